//! Requests over HTTP through a real component, to a server of this process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::plugin::testing::guest;
use crate::plugin::{Budget, Grants, HttpGrant, PluginConfig, PluginSet};
use crate::routing::{Answer, Lookup, Mx, RecordKind, ResolveError, Resolver};
use crate::tls::{Certificate, ClientCertificates, Minimum, ServerSettings, Tls, TlsClients};

/// Answers each path in its own way.
struct Server {
    address: SocketAddr,
    /// Heads of the requests.
    heads: Arc<Mutex<Vec<String>>>,
    /// Told when a client has gone.
    gone: mpsc::UnboundedReceiver<()>,
}

impl Server {
    async fn start() -> Self {
        Self::with(|stream| async { Some(stream) }).await
    }

    async fn with<S, F>(secure: impl Fn(tokio::net::TcpStream) -> F + Send + Sync + 'static) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        F: Future<Output = Option<S>> + Send,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let (tell, gone) = mpsc::unbounded_channel();
        let seen = heads.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Some(stream) = secure(stream).await else { continue };
                let (seen, tell) = (seen.clone(), tell.clone());
                tokio::spawn(async move {
                    serve(stream, seen).await;
                    let _ = tell.send(());
                });
            }
        });
        Self { address, heads, gone }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// As the configuration writes it.
    fn origin(&self) -> String {
        self.url("")
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, heads: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(octet) => head.push(octet),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    heads.lock().push(head);
    let answer = match &*path {
        "/moved" => "HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "/large" => format!("HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n{}", "x".repeat(4096)),
        "/endless" => format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(4096)),
        "/fields" => format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(70 << 10)),
        "/half" => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello".to_owned(),
        "/stall" | "/sink" => String::new(),
        _ => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
    };
    // A client that has enough goes while it is answered.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

/// Names and their addresses; there are no others.
struct Names(std::collections::BTreeMap<&'static str, Vec<IpAddr>>);

impl Resolver for Names {
    fn mx<'a>(&'a self, domain: &'a str) -> Lookup<'a, Vec<Mx>> {
        panic!("look-up of {domain}")
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Lookup<'a, Vec<IpAddr>> {
        Box::pin(std::future::ready(self.0.get(host).cloned().ok_or(ResolveError::NoSuchName)))
    }

    fn names<'a>(&'a self, ip: IpAddr) -> Lookup<'a, Vec<Arc<str>>> {
        panic!("look-up of {ip}")
    }

    fn records<'a>(&'a self, name: &'a str, _: RecordKind) -> Lookup<'a, Answer> {
        panic!("look-up of {name}")
    }
}

fn grant(allow: &str) -> HttpGrant {
    HttpGrant {
        allow: vec![allow.into()],
        calls: 2,
        bytes: 1000,
        timeout: Duration::from_secs(5),
        private_networks: Vec::new(),
    }
}

fn fetcher(http: Option<HttpGrant>, config: Value) -> Fixture {
    let grants = Grants { http, ..Grants::default() };
    let budgets = [(Hook::Rcpt, Budget { cpu: Duration::from_secs(5), wall: Duration::from_secs(30) })].into();
    let config = PluginConfig { grants, config, budgets, ..PluginConfig::default() };
    Fixture::new().with_config("f", &guest("fetcher"), config)
}

/// What the guest says when it is asked for a local part.
async fn says(set: &PluginSet, local_part: &str) -> String {
    let mut subject = at_rcpt();
    if let Some(candidate) = &mut subject.candidate {
        candidate.mailbox = mailbox(local_part, "example.net");
    }
    match set.rcpt(subject).await.1 {
        SessionVerdict::Reject(reply) => reply.lines.join("\n"),
        other => format!("{other:?}"),
    }
}

async fn fetched(http: Option<HttpGrant>, config: Value) -> String {
    says(&fetcher(http, config).build().await, "fetch").await
}

#[tokio::test]
async fn a_request_needs_its_grant() {
    let server = Server::start().await;
    let said = fetched(None, json!({"url": server.url("/")})).await;
    assert!(said.contains("HttpRequestDenied"), "{said}");
    assert!(server.heads.lock().is_empty());
}

#[tokio::test]
async fn only_the_origins_granted_are_asked() {
    let server = Server::start().await;
    let other = Server::start().await;
    let said = fetched(Some(grant(&server.origin())), json!({"url": server.url("/a?b=c")})).await;
    assert_eq!(said, "200 5 octets");
    let head = server.heads.lock().pop().unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get /a?b=c http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {}\r\n", server.address)), "{head}");

    let port = server.address.port();
    let urls = [
        other.url("/"),
        format!("https://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://127.0.0.2:{port}/"),
        format!("http://127.0.0.1:{port}@{}/", other.address),
        format!("http://{}/", server.address).replace("127.0.0.1", "2130706433"),
    ];
    for url in urls {
        let said = fetched(Some(grant(&server.origin())), json!({"url": url})).await;
        assert!(said.contains("HttpRequestDenied") || said.contains("HttpRequestUriInvalid"), "{url}: {said}");
    }
    assert!(server.heads.lock().is_empty() && other.heads.lock().is_empty());
}

#[tokio::test]
async fn where_a_name_leads_is_judged() {
    let server = Server::start().await;
    let port = server.address.port();
    let origin = format!("http://api.example:{port}");
    let build = async |private: &[&str], addresses: &[&str]| {
        let private_networks = private.iter().map(|net| net.parse().unwrap()).collect();
        let http = HttpGrant { private_networks, ..grant(&origin) };
        let mut fixture = fetcher(Some(http), json!({"url": format!("{origin}/")}));
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        fixture.services.resolver = Arc::new(Names([("api.example", addresses)].into()));
        says(&fixture.build().await, "fetch").await
    };
    for address in ["127.0.0.1", "::ffff:127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "0.0.0.0"] {
        let said = build(&["192.168.0.0/16"], &[address]).await;
        assert!(said.contains("DestinationIpProhibited"), "{address}: {said}");
    }
    assert!(server.heads.lock().is_empty());
    assert_eq!(build(&["127.0.0.0/8"], &["127.0.0.1"]).await, "200 5 octets");
    assert_eq!(
        build(&["127.0.0.1/32"], &["10.1.1.1", "::ffff:127.0.0.1"]).await,
        "200 5 octets",
        "the good one of two"
    );
    let head = server.heads.lock().pop().unwrap().to_ascii_lowercase();
    assert!(head.contains(&format!("host: api.example:{port}\r\n")), "{head}");

    let mut fixture = fetcher(Some(grant("http://nowhere.example:80")), json!({"url": "http://nowhere.example/"}));
    fixture.services.resolver = Arc::new(Names([].into()));
    let unknown = says(&fixture.build().await, "fetch").await;
    assert!(unknown.contains("DnsError") && unknown.contains("NXDOMAIN"), "{unknown}");
}

#[tokio::test]
async fn a_redirect_is_the_guests_affair() {
    let server = Server::start().await;
    let said = fetched(Some(grant(&server.origin())), json!({"url": server.url("/moved")})).await;
    assert_eq!(said, "302 to http://192.0.2.1/ 0 octets");
    assert_eq!(server.heads.lock().len(), 1);
}

#[tokio::test]
async fn what_is_too_large_is_an_error() {
    let server = Server::start().await;
    let table = [
        ("/large", 0, "HttpResponseBodySize"),
        ("/endless", 0, "200 broke: HTTP response body size exceeds limit: 1000 bytes"),
        ("/fields", 0, "HttpResponseHeaderSectionSize"),
        ("/sink", 3000, "HttpRequestBodySize(Some(1000))"),
        ("/", 900, "200 5 octets"),
    ];
    for (path, send, expected) in table {
        let config = json!({"url": server.url(path), "send": send});
        let said = fetched(Some(grant(&server.origin())), config).await;
        assert!(said.contains(expected), "{path}: {said}");
    }
}

#[tokio::test]
async fn time_is_bounded_and_the_guest_is_told() {
    let mut server = Server::start().await;
    let http = HttpGrant { timeout: Duration::from_millis(200), ..grant(&server.origin()) };
    let began = Instant::now();
    let said = fetched(Some(http.clone()), json!({"url": server.url("/stall")})).await;
    assert!(said.contains("HttpResponseTimeout"), "{said}");
    server.gone.recv().await.unwrap();
    let said = fetched(Some(http), json!({"url": server.url("/half")})).await;
    assert_eq!(said, "200 broke: connection read timeout");
    server.gone.recv().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_wall_budget_cuts_a_request_and_its_connection() {
    let mut server = Server::start().await;
    let mut fixture = fetcher(Some(grant(&server.origin())), json!({"url": server.url("/stall")}));
    let wall = Duration::from_millis(300);
    fixture
        .config
        .plugins
        .get_mut("f")
        .unwrap()
        .budgets
        .insert(Hook::Rcpt, Budget { cpu: Duration::from_secs(5), wall });
    let set = fixture.build().await;
    let said = says(&set, "fetch").await;
    assert!(said.contains("Tempfail"), "{said}");
    server.gone.recv().await.unwrap();
    assert_eq!(set.list()[0].failures.iter().map(|(kind, n)| format!("{kind} {n}")).collect::<String>(), "wall 1");
}

#[tokio::test]
async fn requests_are_counted_in_each_call() {
    let server = Server::start().await;
    let set = fetcher(Some(grant(&server.origin())), json!({"url": server.url("/"), "times": 3})).build().await;
    for _ in 0..2 {
        let said = says(&set, "fetch").await;
        assert!(said.starts_with("200 5 octets, 200 5 octets, ") && said.contains("ConnectionLimitReached"), "{said}");
    }
    assert_eq!(server.heads.lock().len(), 4);
}

#[tokio::test]
async fn what_a_call_leaves_behind_ends_with_it() {
    let mut server = Server::start().await;
    let config = json!({"left": server.url("/stall"), "url": server.url("/")});
    let set = fetcher(Some(grant(&server.origin())), config).build().await;
    assert_eq!(says(&set, "leave").await, "200 5 octets");
    assert_eq!(set.list()[0].instances_idle, 1, "the instance lives on");
    for _ in 0..2 {
        server.gone.recv().await.unwrap();
    }
}

#[tokio::test]
async fn no_guest_sets_the_fields_of_the_connection() {
    let set = fetcher(None, json!({})).build().await;
    assert_eq!(says(&set, "fields").await, "set Authorization");
}

#[tokio::test]
async fn a_server_must_prove_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["api.example".to_owned()]).unwrap();
    let (chain, key) = (folder.path().join("cert"), folder.path().join("key"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let certificates = vec![Certificate { chain: chain.clone(), key }];
    let settings = ServerSettings { certificates, authorities: None, minimum: Minimum::default() };
    let acceptor = Tls::load(&settings).unwrap().acceptor(ClientCertificates::None).unwrap().clone();
    let secure = move |stream| {
        let acceptor = acceptor.clone();
        async move { acceptor.accept(stream).await.ok() }
    };
    let server = Server::with(secure).await;
    let port = server.address.port();
    let loopback: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into()];
    let ask = async |host: &'static str, root: Option<&std::path::Path>| {
        let origin = format!("https://{host}:{port}");
        let http = HttpGrant { private_networks: vec!["127.0.0.0/8".parse().unwrap()], ..grant(&origin) };
        let mut fixture = fetcher(Some(http), json!({"url": origin}));
        fixture.services.resolver = Arc::new(Names([(host, loopback.clone())].into()));
        let roots = TlsClients::load(root).unwrap();
        fixture.services.roots = Arc::new(tokio::sync::OnceCell::new_with(Some(roots)));
        says(&fixture.build().await, "fetch").await
    };
    assert_eq!(ask("api.example", Some(&chain)).await, "200 5 octets");
    for (host, root) in [("api.example", None), ("www.example", Some(&*chain))] {
        let said = ask(host, root).await;
        assert!(said.contains("TlsCertificateError"), "{host}: {said}");
    }
    assert_eq!(server.heads.lock().len(), 1);
}
