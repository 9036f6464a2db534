//! For tests: an HTTPS server with an authority of its own, and a DNS of its own.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::Client;
use crate::routing::{Answer, Lookup, Mx, RecordData, RecordKind, ResolveError, Resolver};
use crate::tls::{Certificate, ClientCertificates, Minimum, ServerSettings, Tls, TlsClients};

/// An authority, and servers' certificates by it.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    made: AtomicUsize,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        std::fs::write(folder.path().join("ca"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key), made: AtomicUsize::new(0) }
    }

    /// Its own certificate.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("ca")
    }

    /// For a server with these names.
    pub(crate) fn acceptor(&self, names: &[&str]) -> TlsAcceptor {
        self.acceptor_with(names, |_| {})
    }

    pub(crate) fn acceptor_with(&self, names: &[&str], edit: impl FnOnce(&mut CertificateParams)) -> TlsAcceptor {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let (certificate, secret) =
            (self.folder.path().join(format!("{number}.cert")), self.folder.path().join(format!("{number}.key")));
        std::fs::write(&certificate, chain).unwrap();
        std::fs::write(&secret, key.serialize_pem()).unwrap();
        let certificates = vec![Certificate { chain: certificate, key: secret }];
        let settings = ServerSettings { certificates, authorities: None, minimum: Minimum::default() };
        Tls::load(&settings).unwrap().acceptor(ClientCertificates::None).unwrap().clone()
    }

    /// A client that trusts it.
    pub(crate) fn client(&self, zone: &Arc<Zone>) -> Client {
        Client::new(Arc::<Zone>::clone(zone), Arc::new(TlsClients::load(Some(&self.root())).unwrap()))
    }
}

/// What a server answers.
pub(crate) enum Reply {
    /// This.
    Raw(Vec<u8>),
    /// Nothing, and the connection stays open.
    Silence,
}

impl Reply {
    pub(crate) fn text(status: &str, media: &str, body: &str) -> Self {
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: {media}\r\nContent-Length: {}\r\n\r\n", body.len());
        Self::Raw((head + body).into_bytes())
    }
}

/// A request as it came: head and body.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

type Answering = dyn Fn(&Asked) -> Reply + Send;

/// A server that answers each request with what the test says now.
pub(crate) struct WebServer {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    reply: Arc<Mutex<Box<Answering>>>,
}

impl WebServer {
    pub(crate) async fn start(acceptor: TlsAcceptor) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let nothing: Box<Answering> = Box::new(|_| Reply::text("404 Not Found", "text/plain", ""));
        let (asked, reply) = (Arc::default(), Arc::new(Mutex::new(nothing)));
        let server = Self { port, asked: Arc::clone(&asked), reply: Arc::clone(&reply) };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, asked, reply) = (acceptor.clone(), Arc::clone(&asked), Arc::clone(&reply));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let Some(request) = read(&mut stream).await else { return };
                    let answer = reply.lock()(&request);
                    asked.lock().push(request);
                    match answer {
                        Reply::Raw(octets) => {
                            let _ = stream.write_all(&octets).await;
                            let _ = stream.shutdown().await;
                        }
                        Reply::Silence => {
                            let _ = stream.read(&mut [0; 1]).await;
                        }
                    }
                });
            }
        });
        server
    }

    pub(crate) fn answers(&self, reply: impl Fn(&Asked) -> Reply + Send + 'static) {
        *self.reply.lock() = Box::new(reply);
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.lock().len()
    }
}

async fn read(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<Asked> {
    let mut octets = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        octets.extend_from_slice(&piece[..read]);
        let Some(end) = memchr::memmem::find(&octets, b"\r\n\r\n") else { continue };
        let head = String::from_utf8(octets[..end].to_vec()).unwrap();
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let body = &octets[end + 4..];
        if body.len() >= length.unwrap_or(0) {
            return Some(Asked { head, body: body.to_vec() });
        }
    }
}

/// Every host is this machine; texts are what the test says.
#[derive(Default)]
pub(crate) struct Zone {
    texts: Mutex<HashMap<String, Vec<String>>>,
    mx: Mutex<Vec<(u16, String)>>,
    /// Answers do not come.
    pub(crate) dead: std::sync::atomic::AtomicBool,
    asked: AtomicUsize,
}

impl Zone {
    pub(crate) fn set(&self, name: &str, texts: &[&str]) {
        self.texts.lock().insert(name.to_owned(), texts.iter().map(|text| (*text).to_owned()).collect());
    }

    pub(crate) fn set_mx(&self, hosts: &[(u16, &str)]) {
        *self.mx.lock() = hosts.iter().map(|(preference, host)| (*preference, (*host).to_owned())).collect();
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }
}

impl Resolver for Zone {
    fn mx<'a>(&'a self, _: &'a str) -> Lookup<'a, Vec<Mx>> {
        let of = |(preference, host): &(u16, String)| Mx { preference: *preference, exchange: host.as_str().into() };
        let found: Vec<Mx> = self.mx.lock().iter().map(of).collect();
        Box::pin(async move { if found.is_empty() { Err(ResolveError::NoData) } else { Ok(found) } })
    }

    fn addresses<'a>(&'a self, _: &'a str) -> Lookup<'a, Vec<IpAddr>> {
        Box::pin(async { Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]) })
    }

    fn names<'a>(&'a self, ip: IpAddr) -> Lookup<'a, Vec<Arc<str>>> {
        panic!("look-up of {ip}")
    }

    fn records<'a>(&'a self, name: &'a str, kind: RecordKind) -> Lookup<'a, Answer> {
        assert_eq!(kind, RecordKind::Txt);
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.is_dead() {
                return Err(ResolveError::Temporary("nobody answers".into()));
            }
            let texts = self.texts.lock().get(name).cloned().ok_or(ResolveError::NoSuchName)?;
            let records = texts.into_iter().map(|text| RecordData::Text(text.into_bytes())).collect();
            Ok(Answer { records, ttl: 60, secure: false })
        })
    }
}
