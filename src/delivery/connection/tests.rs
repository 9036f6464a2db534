//! A real connection against a scripted server: loopback TCP, Unix sockets, real TLS; in-memory streams only where time
//! has to stand still.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::delivery::connector::{Connecting, Stream};
use crate::delivery::tcp::Tcp;
use crate::hooks::{OutcomeKind, TlsPolicy};
use crate::mail::{BodyKind, Mailbox, Recipient, ReversePath};
use crate::store::{Content, Sled, Spool, Spooled};
use crate::tls::{self, ClientCertificates, Minimum, ServerSettings, Tls, TlsClients};

mod dane;

// --- The scripted server ---

enum Act {
    /// The client must send exactly this; nothing more before the next act.
    Hear(Bytes),
    Say(&'static str),
    Tls(TlsAcceptor),
    /// Waits for the client to close, which it does without a word.
    End,
    /// Takes content until the client closes, which it does without the final dot.
    NoEnd,
}

use Act::{End, Say};

fn hear(text: &'static str) -> Act {
    Act::Hear(Bytes::from_static(text.as_bytes()))
}

/// Greeting and EHLO with these extension lines.
fn hello(ehlo: &'static str) -> Vec<Act> {
    vec![Say("220 mx ESMTP\r\n"), hear("EHLO relay.example\r\n"), Say(ehlo)]
}

async fn act(mut stream: Box<dyn Stream>, script: Vec<Act>) {
    for act in script {
        match act {
            Act::Say(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            Act::Hear(wanted) => {
                let mut got = vec![0; wanted.len()];
                stream.read_exact(&mut got).await.unwrap();
                assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&wanted));
            }
            Act::Tls(acceptor) => match acceptor.accept(stream).await {
                Ok(secured) => stream = Box::new(secured),
                Err(_) => return,
            },
            Act::End => {
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
                assert_eq!(String::from_utf8_lossy(&rest), "");
            }
            Act::NoEnd => {
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
                assert!(!rest.is_empty() && memchr::memmem::find(&rest, b"\r\n.\r\n").is_none());
            }
        }
        stream.flush().await.unwrap();
    }
}

/// One script for each connection, in order.
async fn serve(scripts: Vec<Vec<Act>>) -> (Target, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        for script in scripts {
            let (stream, _) = listener.accept().await.unwrap();
            act(Box::new(stream), script).await;
        }
    });
    (Target::new(address, &"localhost".into(), false), server)
}

// --- The client's side ---

fn opening(tls: TlsPolicy) -> Opening {
    Opening {
        hostname: "relay.example".into(),
        tls: Requirement::of(tls),
        credential: None,
        source: Egress::default(),
        timeouts: Timeouts::default(),
    }
}

fn tcp() -> Tcp {
    Tcp::new(Arc::new(TlsClients::load(None).unwrap()))
}

struct Letter {
    sender: ReversePath,
    recipients: Vec<Recipient>,
    head: Bytes,
    body: Content,
}

fn letter(recipient: &str, body: impl Into<Bytes>) -> Letter {
    let mailbox = Mailbox::parse(recipient, false).unwrap();
    Letter {
        sender: ReversePath(None),
        recipients: vec![Recipient { index: 7, original: mailbox.clone(), mailbox, params: vec![] }],
        head: Bytes::from_static(b"A: b\r\n\r\n"),
        body: Content::Memory(body.into()),
    }
}

impl Letter {
    fn mail(&self) -> OutboundMail<'_> {
        OutboundMail {
            sender: &self.sender,
            recipients: &self.recipients,
            body_kind: BodyKind::SevenBit,
            terms: Default::default(),
            smtputf8: false,
            size: self.head.len() as u64 + self.body.len(),
            params: &[],
            prepended: &[],
            head: &self.head,
            body: &self.body,
        }
    }
}

fn short(results: &[Delivered]) -> String {
    let one = |d: &Delivered| format!("{:?} {:?} {}", d.kind, d.stage, d.reply.as_ref().map_or(0, |r| r.code));
    results.iter().map(one).collect::<Vec<_>>().join(", ")
}

const PIPELINED: &str = "250-mx\r\n250 PIPELINING\r\n";
const GROUP: &str = "MAIL FROM:<>\r\nRCPT TO:<a@x.example>\r\nDATA\r\n";
const GO: &str = "250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n";
const GOT: &str = "250 2.0.0 got it\r\n";

fn script(parts: impl IntoIterator<Item = Vec<Act>>) -> Vec<Act> {
    parts.into_iter().flatten().collect()
}

#[tokio::test]
async fn messages_go_one_after_another_over_one_connection() {
    let one = || vec![hear(GROUP), Say(GO), hear("A: b\r\n\r\n..x\r\n.\r\n"), Say(GOT)];
    let refused = vec![hear(GROUP), Say("250 ok\r\n550 5.1.1 no\r\n503 none\r\n")];
    let reset =
        vec![hear("RSET\r\n"), hear(GROUP), Say("250 ok\r\n"), Say(GO), hear("A: b\r\n\r\n..x\r\n.\r\n"), Say(GOT)];
    let bye = vec![hear("QUIT\r\n"), Say("221 bye\r\n"), End];
    let (target, server) = serve(vec![script([hello(PIPELINED), one(), one(), refused, reset, bye])]).await;

    let mut connection = Connection::open(&tcp(), &target, &opening(TlsPolicy::Off)).await.unwrap();
    let letter = letter("a@x.example", ".x\r\n");
    assert_eq!(short(&connection.send(&letter.mail()).await), "Delivered Done 250");
    assert!(connection.is_still_usable());
    assert_eq!(short(&connection.send(&letter.mail()).await), "Delivered Done 250");
    assert_eq!(short(&connection.send(&letter.mail()).await), "Permanent Rcpt 550");
    assert_eq!(short(&connection.send(&letter.mail()).await), "Delivered Done 250");
    assert!(connection.tls().is_none() && connection.remote().0.as_ref() == "localhost");
    connection.quit().await;
    server.await.unwrap();
}

#[tokio::test]
async fn the_next_envelope_rides_with_the_final_dot() {
    let second = "MAIL FROM:<>\r\nRCPT TO:<b@x.example>\r\nDATA\r\n";
    let script = script([
        hello(PIPELINED),
        vec![hear(GROUP), Say(GO), hear("A: b\r\n\r\nx\r\n.\r\n"), hear(second)],
        vec![Say("250 got\r\n250 ok\r\n250 ok\r\n354 go\r\n"), hear("A: b\r\n\r\ny\r\n.\r\n"), Say("451 later\r\n")],
        vec![hear(GROUP), Say(GO), hear("A: b\r\n\r\nx\r\n.\r\n"), hear(second), Say("554 no\r\n250 ok\r\n")],
        vec![Say("450 no\r\n503 none\r\n"), hear("QUIT\r\n"), End],
    ]);
    let (target, server) = serve(vec![script]).await;
    let mut connection = Connection::open(&tcp(), &target, &opening(TlsPolicy::Off)).await.unwrap();
    let (x, y) = (letter("a@x.example", "x\r\n"), letter("b@x.example", "y\r\n"));
    assert_eq!(short(&connection.send_with_next(&x.mail(), Some(&y.mail())).await), "Delivered Done 250");
    assert!(connection.is_still_usable());
    assert_eq!(short(&connection.send_with_next(&y.mail(), None).await), "Temporary Answer 451");
    assert_eq!(short(&connection.send_with_next(&x.mail(), Some(&y.mail())).await), "Permanent Answer 554");
    assert_eq!(short(&connection.send(&y.mail()).await), "Temporary Rcpt 450");
    connection.quit().await;
    server.await.unwrap();
}

#[tokio::test]
async fn another_mail_than_the_announced_one_is_not_sent() {
    let second = "MAIL FROM:<>\r\nRCPT TO:<b@x.example>\r\nDATA\r\n";
    let script = script([
        hello(PIPELINED),
        vec![hear(GROUP), Say(GO), hear("A: b\r\n\r\nx\r\n.\r\n"), hear(second), Say(GOT), Say(GO), End],
    ]);
    let (target, server) = serve(vec![script]).await;
    let mut connection = Connection::open(&tcp(), &target, &opening(TlsPolicy::Off)).await.unwrap();
    let (x, y) = (letter("a@x.example", "x\r\n"), letter("b@x.example", "y\r\n"));
    assert_eq!(short(&connection.send_with_next(&x.mail(), Some(&y.mail())).await), "Delivered Done 250");
    assert_eq!(short(&connection.send(&x.mail()).await), "Temporary Mail 451");
    assert!(!connection.is_usable());
    connection.quit().await;
    server.await.unwrap();
}

#[tokio::test]
async fn a_server_that_leaves_leaves_the_mail_to_be_tried_again() {
    let stages: [(Vec<Act>, &str); 6] = [
        (vec![], "Temporary Mail 451"),
        (vec![hear(GROUP), Say("250 ok\r\n")], "Temporary Rcpt 451"),
        (vec![hear(GROUP), Say("250 ok\r\n250 ok\r\n")], "Temporary Data 451"),
        (vec![hear(GROUP), Say(GO), hear("A: b\r\n\r\nx\r\n.\r\n")], "Temporary Answer 451"),
        (vec![hear(GROUP), Say(GO), hear("A: b\r\n\r\nx\r\n.\r\n"), Say("250-got")], "Temporary Answer 451"),
        (vec![hear(GROUP), Say("421 bye\r\n")], "Temporary Mail 421"),
    ];
    for (acts, want) in stages {
        let (target, server) = serve(vec![script([hello(PIPELINED), acts])]).await;
        let mut connection = Connection::open(&tcp(), &target, &opening(TlsPolicy::Off)).await.unwrap();
        let letter = letter("a@x.example", "x\r\n");
        assert_eq!(short(&connection.send(&letter.mail()).await), want);
        assert!(!connection.is_usable());
        assert_eq!(short(&connection.send(&letter.mail()).await), "Temporary Mail 451", "no use any more");
        connection.quit().await;
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_does_not_open_says_how_far_it_came() {
    let table: [(Vec<Act>, Stage, bool); 5] = [
        (vec![], Stage::Greeting, false),
        (vec![Say("554 no\r\n"), hear("QUIT\r\n"), End], Stage::Greeting, false),
        (vec![Say("HTTP/1.1 200 OK\r\n")], Stage::Greeting, false),
        (vec![Say("220 hi\r\n"), hear("EHLO relay.example\r\n")], Stage::Helo, false),
        (
            vec![
                Say("220 hi\r\n"),
                hear("EHLO relay.example\r\n"),
                Say("550 no\r\n"),
                hear("HELO relay.example\r\n"),
                Say("550 no\r\n"),
                hear("QUIT\r\n"),
                End,
            ],
            Stage::Helo,
            true,
        ),
    ];
    for (acts, stage, permanent) in table {
        let (target, server) = serve(vec![acts]).await;
        let error = Connection::open(&tcp(), &target, &opening(TlsPolicy::Off)).await.unwrap_err();
        assert_eq!((error.stage, error.permanent, error.try_next_target), (stage, permanent, true));
        assert!(error.reply.is_some());
        server.await.unwrap();
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    drop(listener);
    let target = Target::new(address, &"localhost".into(), false);
    let error = Connection::open(&tcp(), &target, &opening(TlsPolicy::Off)).await.unwrap_err();
    assert_eq!((error.stage, error.permanent), (Stage::Connect, false));
    let error = Connection::open(&tcp(), &target, &opening(TlsPolicy::Dane)).await.unwrap_err();
    assert_eq!((error.stage, error.permanent, error.try_next_target), (Stage::Tls, false, true));
    let other_family = Opening { source: from("::1"), ..opening(TlsPolicy::Off) };
    let error = Connection::open(&tcp(), &target, &other_family).await.unwrap_err();
    assert_eq!((error.stage, error.permanent, error.try_next_target), (Stage::Connect, false, true));
}

#[tokio::test]
async fn the_source_address_is_the_one_asked_for() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let source = from("127.0.0.3");
    let tcp = tcp();
    let (stream, accepted) = tokio::join!(tcp.connect(&address, &source), listener.accept());
    stream.unwrap();
    assert_eq!(Some(accepted.unwrap().1.ip()), source.address);
}

#[tokio::test]
async fn an_idle_connection_is_looked_at_before_it_is_used_again() {
    let (target, server) = serve(vec![script([hello(PIPELINED), vec![Say("421 too idle\r\n")]])]).await;
    let mut connection = Connection::open(&tcp(), &target, &opening(TlsPolicy::Off)).await.unwrap();
    server.await.unwrap();
    // The runtime has to see that there is something to read.
    while connection.is_still_usable() {
        tokio::task::yield_now().await;
    }
    assert!(!connection.is_usable());
}

#[tokio::test]
async fn a_large_body_is_streamed_and_stays_as_it_was() {
    let line = "..dots at the start\r\nand then text that goes on for a while\r\n";
    let body: String = line.repeat(20_000) + &"x".repeat(300_000) + "\r\n";
    let mut wire = b"A: b\r\n\r\n".to_vec();
    wire.extend_from_slice(body.replace("\r\n.", "\r\n..").replacen('.', "..", 1).as_bytes());
    wire.extend_from_slice(b".\r\n");
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Sled::open(&folder.path().join("db"), 1 << 20).unwrap());
    let mut draft = Spool::open(&folder.path().join("spool"), 0, store).unwrap().draft();
    draft.append(format!("before{body}").as_bytes()).await.unwrap();
    let Content::Spooled(whole) = draft.finish().await.unwrap() else { panic!("large, and in memory") };
    let spooled = Spooled { offset: 6, len: body.len() as u64, ..whole };
    for body in [Content::Spooled(spooled.clone()), Content::Memory(Bytes::from(body))] {
        let acts = vec![hear(GROUP), Say(GO), Act::Hear(wire.clone().into()), Say(GOT), End];
        let (target, server) = serve(vec![script([hello(PIPELINED), acts])]).await;
        let mut connection = Connection::open(&tcp(), &target, &opening(TlsPolicy::Off)).await.unwrap();
        let letter = Letter { body, ..letter("a@x.example", "") };
        assert_eq!(short(&connection.send(&letter.mail()).await), "Delivered Done 250");
        drop(connection);
        server.await.unwrap();
    }
    // A spool file shorter than it was: no final dot.
    let acts = vec![hear(GROUP), Say(GO), Act::NoEnd];
    let (target, server) = serve(vec![script([hello(PIPELINED), acts])]).await;
    let mut connection = Connection::open(&tcp(), &target, &opening(TlsPolicy::Off)).await.unwrap();
    let body = Content::Spooled(Spooled { len: spooled.len + 100, ..spooled });
    let letter = Letter { body, ..letter("a@x.example", "") };
    assert_eq!(short(&connection.send(&letter.mail()).await), "Temporary Data 451");
    assert!(!connection.is_usable());
    connection.quit().await;
    server.await.unwrap();
}

#[tokio::test]
async fn lmtp_is_spoken_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lmtp");
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        let script = vec![
            Say("220 store LMTP\r\n"),
            hear("LHLO relay.example\r\n"),
            Say("250-store\r\n250 PIPELINING\r\n"),
            hear("MAIL FROM:<>\r\nRCPT TO:<a@x.example>\r\nRCPT TO:<b@x.example>\r\nDATA\r\n"),
            Say("250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"),
            hear("A: b\r\n\r\nx\r\n.\r\n"),
            Say("250 got\r\n452 4.2.2 full\r\n"),
            hear("QUIT\r\n"),
            End,
        ];
        act(Box::new(listener.accept().await.unwrap().0), script).await;
    });
    let target = Target::new(Address::Unix(path.clone()), &"unix:lmtp".into(), true);
    let mut connection = Connection::open(&tcp(), &target, &opening(TlsPolicy::Opportunistic)).await.unwrap();
    let mut letter = letter("a@x.example", "x\r\n");
    letter.recipients.extend(self::letter("b@x.example", "").recipients);
    assert_eq!(short(&connection.send(&letter.mail()).await), "Delivered Done 250, Temporary Answer 452");
    assert_eq!(&*connection.remote().1.address, format!("unix:{}", path.display()));
    connection.quit().await;
    server.await.unwrap();
}

// --- TLS ---

struct Certificate {
    folder: tempfile::TempDir,
}

impl Certificate {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("cert"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key"), made.signing_key.serialize_pem()).unwrap();
        Self { folder }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("cert")
    }

    fn acceptor(&self) -> TlsAcceptor {
        let certificate = tls::Certificate { chain: self.path(), key: self.folder.path().join("key") };
        let settings =
            ServerSettings { certificates: vec![certificate], authorities: None, minimum: Minimum::default() };
        Tls::load(&settings).unwrap().acceptor(ClientCertificates::None).unwrap().clone()
    }

    fn starttls(&self) -> Vec<Act> {
        vec![hear("STARTTLS\r\n"), Say("220 go\r\n"), Act::Tls(self.acceptor())]
    }
}

fn knowing(root: Option<&Path>) -> Tcp {
    Tcp::new(Arc::new(TlsClients::load(root).unwrap()))
}

const OFFERS_TLS: &str = "250-mx\r\n250 STARTTLS\r\n";

#[tokio::test]
async fn starttls_by_policy() {
    let certificate = Certificate::new();
    let again = || vec![hear("EHLO relay.example\r\n"), Say(PIPELINED), hear("QUIT\r\n"), End];
    let good = || script([hello(OFFERS_TLS), certificate.starttls(), again()]);
    for (policy, root) in [
        (TlsPolicy::Opportunistic, None),
        (TlsPolicy::Inherit, None),
        (TlsPolicy::Encrypt, None),
        (TlsPolicy::Verify, Some(certificate.path())),
    ] {
        let (target, server) = serve(vec![good()]).await;
        let connection = Connection::open(&knowing(root.as_deref()), &target, &opening(policy)).await.unwrap();
        let facts = connection.tls().unwrap();
        assert_eq!((&*facts.protocol, facts.server_name.as_deref()), ("TLSv1.3", Some("localhost")));
        assert!(connection.capabilities().pipelining);
        connection.quit().await;
        server.await.unwrap();
    }
    // A certificate nobody vouches for, and one for another name.
    for (root, host) in [(None, "localhost"), (Some(certificate.path()), "mx.example")] {
        let (target, server) = serve(vec![script([hello(OFFERS_TLS), certificate.starttls()])]).await;
        let target = Target { host: host.into(), ..target };
        let opened = Connection::open(&knowing(root.as_deref()), &target, &opening(TlsPolicy::Verify)).await;
        let error = opened.unwrap_err();
        assert_eq!((error.stage, error.permanent), (Stage::Tls, false));
        assert!(error.error.unwrap().contains("certificate"));
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_failed_handshake_leads_to_plain_text_only_where_that_will_do() {
    // The first octet of a TLS record is answered with what is none.
    let no_tls = || vec![hear("STARTTLS\r\n"), Say("220 go\r\n"), hear("\x16"), Say("what?\r\n")];
    let broken = || script([hello(OFFERS_TLS), no_tls()]);
    let plain = script([hello(OFFERS_TLS), vec![hear("MAIL FROM:<>\r\n"), Say("550 no\r\n"), hear("QUIT\r\n"), End]]);
    let (target, server) = serve(vec![broken(), plain]).await;
    let mut connection = Connection::open(&tcp(), &target, &opening(TlsPolicy::Opportunistic)).await.unwrap();
    assert!(connection.tls().is_none());
    assert_eq!(short(&connection.send(&letter("a@x.example", "").mail()).await), "Permanent Mail 550");
    connection.quit().await;
    server.await.unwrap();

    let (target, server) = serve(vec![broken()]).await;
    let error = Connection::open(&tcp(), &target, &opening(TlsPolicy::Encrypt)).await.unwrap_err();
    assert_eq!(error.stage, Stage::Tls);
    server.await.unwrap();
}

#[tokio::test]
async fn what_comes_in_plain_text_behind_starttls_is_not_believed() {
    let acts = vec![hear("STARTTLS\r\n"), Say("220 go\r\n250-mx\r\n250 AUTH PLAIN\r\n")];
    let (target, server) = serve(vec![script([hello(OFFERS_TLS), acts])]).await;
    let error = Connection::open(&tcp(), &target, &opening(TlsPolicy::Opportunistic)).await.unwrap_err();
    assert_eq!((error.stage, error.permanent), (Stage::Tls, false));
    server.await.unwrap();
}

/// From a local address.
fn from(address: &str) -> Egress {
    Egress { address: Some(address.parse().unwrap()), ..Egress::default() }
}

/// The submissions port, which a test can't listen on.
struct Redirected {
    to: SocketAddr,
    tcp: Tcp,
}

impl Connector for Redirected {
    fn connect<'a>(&'a self, _: &'a Address, from: &'a Egress) -> Connecting<'a, Box<dyn Stream>> {
        Box::pin(async move { self.tcp.connect(&Address::Tcp(self.to), from).await })
    }

    fn secure<'a>(
        &'a self,
        stream: Box<dyn Stream>,
        host: &'a str,
        requirement: &'a Requirement,
    ) -> Connecting<'a, Secured> {
        self.tcp.secure(stream, host, requirement)
    }
}

#[tokio::test]
async fn the_submissions_port_begins_with_tls() {
    let certificate = Certificate::new();
    let acts = vec![
        Act::Tls(certificate.acceptor()),
        Say("220 hi\r\n"),
        hear("EHLO relay.example\r\n"),
        Say("250-mx\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n"),
        hear("AUTH PLAIN AGFubgBwdw==\r\n"),
        Say("235 2.7.0 ok\r\n"),
        hear("QUIT\r\n"),
        End,
    ];
    let (target, server) = serve(vec![acts]).await;
    let Address::Tcp(to) = target.address else { panic!("no TCP") };
    let connector = Redirected { to, tcp: knowing(Some(&certificate.path())) };
    let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 465)));
    let target = Target::new(address, &"localhost".into(), false);
    let credential = Some(Credential { name: "ann".into(), secret: "pw".into() });
    let how = Opening { credential, ..opening(TlsPolicy::Verify) };
    let connection = Connection::open(&connector, &target, &how).await.unwrap();
    assert!(connection.tls().is_some());
    connection.quit().await;
    server.await.unwrap();
}

// --- Time ---

/// In memory, so that paused time does not run ahead of the network.
struct InMemory(std::sync::Mutex<Option<DuplexStream>>);

impl Connector for InMemory {
    fn connect<'a>(&'a self, _: &'a Address, _: &'a Egress) -> Connecting<'a, Box<dyn Stream>> {
        let stream = self.0.lock().unwrap().take();
        Box::pin(async move {
            match stream {
                Some(stream) => Ok(Box::new(stream) as Box<dyn Stream>),
                None => std::future::pending().await,
            }
        })
    }

    fn secure<'a>(&'a self, _: Box<dyn Stream>, _: &'a str, _: &'a Requirement) -> Connecting<'a, Secured> {
        panic!("nobody asked for TLS")
    }
}

fn in_memory(script: Vec<Act>) -> (InMemory, Target) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    tokio::spawn(act(Box::new(theirs), script));
    let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 25)));
    (InMemory(Some(ours).into()), Target::new(address, &"localhost".into(), false))
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_waited_for_as_long_as_the_stage_allows() {
    let start = tokio::time::Instant::now();
    let (connector, target) = in_memory(vec![End]);
    let error = Connection::open(&connector, &target, &opening(TlsPolicy::Off)).await.unwrap_err();
    assert_eq!((error.stage, start.elapsed().as_secs()), (Stage::Greeting, 300));

    // The stream is taken: this one never connects.
    let start = tokio::time::Instant::now();
    let error = Connection::open(&connector, &target, &opening(TlsPolicy::Off)).await.unwrap_err();
    assert_eq!((error.stage, start.elapsed().as_secs()), (Stage::Connect, 30));

    for (acts, want, secs) in [
        (vec![hear(GROUP), Say("250 ok\r\n"), End], "Temporary Rcpt 451", 300),
        (vec![hear(GROUP), Say("250 ok\r\n250 ok\r\n"), End], "Temporary Data 451", 120),
        (vec![hear(GROUP), Say(GO), hear("A: b\r\n\r\nx\r\n.\r\n"), End], "Temporary Answer 451", 600),
    ] {
        let (connector, target) = in_memory(script([hello(PIPELINED), acts]));
        let mut connection = Connection::open(&connector, &target, &opening(TlsPolicy::Off)).await.unwrap();
        let start = tokio::time::Instant::now();
        let results = connection.send(&letter("a@x.example", "x\r\n").mail()).await;
        assert_eq!((short(&results).as_str(), start.elapsed().as_secs()), (want, secs));
        assert!(results[0].error.is_some() && results[0].kind == OutcomeKind::Temporary);
        assert!(!connection.is_usable());
    }
}
