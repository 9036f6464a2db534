//! Through which sockets clients come, and what protects them: socket files, proxies, sockets of the service manager, TLS.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, StreamOwned};

use crate::harness::{Office, PATIENCE, Relay, Sink, Smtp, towards, wait_for};

const CONTENT: &str = "Subject: a test\r\n\r\nbody\r\n";

fn over_file(path: &Path) -> Smtp {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Smtp::over(stream)
}

fn tcp(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

// --- Socket files ---

#[test]
fn mail_comes_by_a_socket_file() {
    let sink = Sink::start();
    let listener = "[listeners.file]\naddress = \"unix:DIR/run/smtp.sock\"\nsocket-mode = \"0600\"\nrelay = true\n";
    let mut relay = Relay::start_for_strangers(&(towards(&sink) + listener));
    let path = relay.folder().join("run/smtp.sock");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(relay.address_of("file"), format!("unix:{}", path.display()));
    over_file(&path).deliver("a@client.test", &["b@there.test"], CONTENT);
    let taken = sink.next();
    assert_eq!(taken.recipients, ["b@there.test"]);
    let own = rustix::process::getuid().as_raw();
    let from = format!("from client.test (unix socket uid={own})");
    assert!(taken.content.contains(&from), "{}", taken.content);
    let mut stranger = relay.smtp();
    stranger.say("EHLO client.test");
    stranger.say("MAIL FROM:<a@client.test>");
    assert!(stranger.say("RCPT TO:<b@there.test>").starts_with("550"), "other listeners are as they were");
    // What a dead relay left is replaced; a relay that ends in order leaves nothing.
    relay.crash_and_restart();
    over_file(&path).deliver("a@client.test", &["c@there.test"], CONTENT);
    relay.stop();
    assert!(!path.exists());
}

#[test]
fn a_client_of_a_socket_file_is_in_no_network() {
    let relay = Relay::start("[listeners.file]\naddress = \"unix:DIR/smtp.sock\"\n");
    let mut client = over_file(&relay.folder().join("smtp.sock"));
    client.say("EHLO client.test");
    client.say("MAIL FROM:<a@client.test>");
    assert!(client.say("RCPT TO:<b@there.test>").starts_with("550 5.7.1"));
}

// --- Proxies ---

/// A listener behind a proxy. Its clients may speak before they are greeted, so that what follows a header at once is heard.
const PROXIED: &str =
    "[listeners.proxied]\naddress = \"127.0.0.1:0\"\nproxy-from = [\"127.0.0.1\"]\nstrict-pipelining = false\n";

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[command, family], &length, rest].concat()
}

fn v2_of(client: [u8; 4]) -> Vec<u8> {
    v2(0x21, 0x11, &[&client[..], &[198, 51, 100, 2, 0x30, 0x39, 0, 25]].concat())
}

fn proxied(relay: &Relay, header: &[u8]) -> Smtp {
    let mut stream = tcp(&relay.address_of("proxied"));
    stream.write_all(header).unwrap();
    Smtp::over(stream)
}

/// The reply to a recipient that only a trusted client may name.
fn relays(mut client: Smtp) -> String {
    client.say("EHLO client.test");
    client.say("MAIL FROM:<a@client.test>");
    client.say("RCPT TO:<b@there.test>")
}

#[test]
fn the_client_is_whom_the_proxy_names() {
    let sink = Sink::start();
    let relay = Relay::start_trusting("192.0.2.0/24", &(towards(&sink) + PROXIED));
    let mut client = proxied(&relay, b"PROXY TCP4 192.0.2.7 198.51.100.2 12345 25\r\n");
    client.deliver("a@client.test", &["b@there.test"], CONTENT);
    assert!(sink.next().content.contains("([192.0.2.7])"));
    let mut client = proxied(&relay, &v2_of([192, 0, 2, 8]));
    client.deliver("a@client.test", &["b@there.test"], CONTENT);
    assert!(sink.next().content.contains("([192.0.2.8])"));
    let v6 = proxied(&relay, b"PROXY TCP6 2001:db8::1 ::1 1 25\r\n");
    assert!(relays(v6).starts_with("550"));
    assert!(relays(proxied(&relay, &v2_of([198, 51, 100, 9]))).starts_with("550"));
    // Of nobody in particular: the proxy's own address, which is no trusted one here.
    for nobody in [b"PROXY UNKNOWN\r\n".to_vec(), v2(0x20, 0, &[])] {
        assert!(relays(proxied(&relay, &nobody)).starts_with("550"));
    }
    // In the same segment as the first command, which is no part of it; and in pieces.
    let mut client = proxied(&relay, b"PROXY TCP4 192.0.2.7 198.51.100.2 12345 25\r\nEHLO client.test\r\n");
    assert!(client.reply().starts_with("250"));
    let mut stream = tcp(&relay.address_of("proxied"));
    stream.set_nodelay(true).unwrap();
    for octet in v2_of([192, 0, 2, 8]) {
        stream.write_all(&[octet]).unwrap();
    }
    assert!(relays(Smtp::over(stream)).starts_with("250"));
}

#[test]
fn a_proxy_that_says_nothing_good_is_dropped_and_nobody_else_is_heard() {
    let relay = Relay::start_trusting("192.0.2.0/24", PROXIED);
    let bad: [(&[u8], &str); 3] = [
        (b"EHLO client.test\r\n", "no PROXY header"),
        (b"PROXY TCP4 192.0.2.7 somewhere 12345 25\r\n", "bad PROXY header"),
        (&v2(0x21, 0x11, &[0; 5000]), "PROXY header of 5016 octets"),
    ];
    for (said, why) in bad {
        let mut stream = tcp(&relay.address_of("proxied"));
        stream.write_all(said).unwrap();
        let mut heard = Vec::new();
        // It may end by a reset, since the relay did not read everything.
        let _ = stream.read_to_end(&mut heard);
        assert!(heard.is_empty(), "{}", heard.escape_ascii());
        wait_for("the log says why", || relay.log().contains(why).then_some(()));
    }
    let mut stranger = Smtp::over(tcp(&relay.address_of("smtp")));
    let reply = stranger.say("PROXY TCP4 192.0.2.7 198.51.100.2 12345 25");
    assert!(reply.starts_with("500"), "{reply}");
    assert!(relays(stranger).starts_with("550"));
}

#[test]
fn connections_are_counted_for_the_client_that_the_proxy_names() {
    let relay = Relay::start_trusting("192.0.2.0/24", &format!("{PROXIED}[limits]\nper-client = 1\n"));
    let first = proxied(&relay, &v2_of([192, 0, 2, 7]));
    assert!(first.greeting().starts_with("220"));
    assert!(proxied(&relay, &v2_of([192, 0, 2, 7])).greeting().starts_with("421 4.7.0"));
    let others = [[192, 0, 2, 8], [192, 0, 2, 9]].map(|client| proxied(&relay, &v2_of(client)));
    assert!(others.iter().all(|other| other.greeting().starts_with("220")), "the proxy has no limit of its own");
}

// --- Sockets of the service manager ---

#[test]
fn sockets_are_taken_from_the_service_manager() {
    let sink = Sink::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handed.sock");
    let (smtp, local) = (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&path).unwrap());
    let address = smtp.local_addr().unwrap();
    // Somebody who connects before the relay is there waits in the socket.
    let early = tcp(&address.to_string());
    let listener = "[listeners.file]\naddress = \"systemd:local\"\nrelay = true\n";
    let mut relay = Relay::start_activated(&(towards(&sink) + listener), smtp.into(), local.into());
    assert_eq!(relay.address_of("smtp"), address.to_string());
    Smtp::over(early).deliver("a@client.test", &["1@there.test"], CONTENT);
    over_file(&path).deliver("a@client.test", &["2@there.test"], CONTENT);
    assert_eq!([sink.next(), sink.next()].iter().map(|t| t.recipients.len()).sum::<usize>(), 2);
    relay.stop();
    assert!(path.exists(), "it is the manager's");
}

#[test]
fn without_the_socket_of_that_name_the_relay_does_not_start_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        "hostname = \"relay.test\"\n[listeners.smtp]\naddress = \"systemd:smtp\"\n[process]\nallow-root = true\n";
    fs::write(folder.path().join("waypost.toml"), text).unwrap();
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_waypost"))
        .args(["run", "--config"])
        .arg(folder.path().join("waypost.toml"))
        .env_remove("LISTEN_FDS")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(!run.status.success() && said.contains("no socket named \"smtp\""), "{said}");
    assert!(said.contains("FileDescriptorName=smtp"), "{said}");
}

// --- TLS ---

impl Office {
    /// A handshake; the relay's certificate, once the first reply came.
    fn shake(&self, address: &str, name: &str, shown: Option<&Path>) -> std::io::Result<Secured> {
        let config = self.client(shown);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut stream = StreamOwned::new(ClientConnection::new(config, name).unwrap(), tcp(address));
        // Under TLS 1.3 the server's judgement of the client shows only after the client's half of the handshake.
        let mut first = [0; 4];
        stream.read_exact(&mut first)?;
        assert_eq!(&first, b"220 ");
        let certificate = stream.conn.peer_certificates().unwrap()[0].clone().into_owned();
        Ok(Secured { stream, certificate })
    }
}

struct Secured {
    stream: StreamOwned<ClientConnection, TcpStream>,
    certificate: CertificateDer<'static>,
}

const IMPLICIT: &str = "[listeners.tls]\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\n";

#[test]
fn a_client_gets_the_certificate_for_the_name_it_asks_for() {
    let office = Office::new();
    office.issue("first", "relay.test", 1);
    office.issue("second", "*.other.test", 2);
    let tables = format!("[tls]\n{}[[tls.certificates]]\n{}{IMPLICIT}", office.pair("first"), office.pair("second"));
    let relay = Relay::start(&tables);
    let address = relay.address_of("tls");
    let of = |file: &str| CertificateDer::from_pem_file(office.file(file)).unwrap();
    let got = |name: &str| office.shake(&address, name, None).map(|secured| secured.certificate);
    assert_eq!(got("relay.test").unwrap(), of("first"));
    assert_eq!(got("mx.other.test").unwrap(), of("second"));
    // The first is sent, and the client sees that it is another one's.
    assert!(got("third.test").unwrap_err().to_string().contains("certificate"));
    let check = relay.command(&["check"]);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn certificates_of_clients_are_asked_for_or_required() {
    let (office, elsewhere) = (Office::new(), Office::new());
    office.issue("server", "relay.test", 1);
    office.issue("ann", "ann.test", 2);
    elsewhere.issue("bob", "bob.test", 3);
    let listener = |name: &str, clients: &str| {
        format!(
            "[listeners.{name}]\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\nclient-certificates = {clients:?}\n"
        )
    };
    let authorities = format!("client-authorities = {:?}\n", office.file("ca"));
    let tables = format!(
        "[tls]\n{}{authorities}{}{}",
        office.pair("server"),
        listener("ask", "ask"),
        listener("must", "require")
    );
    let relay = Relay::start(&tables);
    let (ann, bob) = (office.file("ann"), elsewhere.file("bob"));
    let greeted =
        |listener: &str, shown: Option<&Path>| office.shake(&relay.address_of(listener), "relay.test", shown).is_ok();
    for shown in [None, Some(&*ann), Some(&*bob)] {
        assert!(greeted("ask", shown), "{shown:?}");
    }
    assert!(greeted("must", Some(&ann)));
    assert!(!greeted("must", None) && !greeted("must", Some(&bob)));
}

#[test]
fn new_certificates_are_put_in_force_by_a_reload_or_by_themselves() {
    let office = Office::new();
    office.issue("server", "relay.test", 1);
    let of = || CertificateDer::from_pem_file(office.file("server")).unwrap();
    for watch in ["never", "1s"] {
        let tables = format!("[tls]\n{}watch = {watch:?}\n{IMPLICIT}", office.pair("server"));
        let relay = Relay::start(&tables);
        let address = relay.address_of("tls");
        let shown = || office.shake(&address, "relay.test", None).map(|secured| secured.certificate).ok();
        let mut before = office.shake(&address, "relay.test", None).unwrap();
        assert_eq!(before.certificate, of());
        let mut line = [0; 512];
        let read = before.stream.read(&mut line).unwrap();
        assert!(line[..read].ends_with(b"\r\n"), "the rest of the greeting");
        // One that is no good changes nothing.
        fs::write(office.file("server"), "rubbish").unwrap();
        if watch == "never" {
            assert!(!relay.command(&["reload"]).status.success());
        } else {
            wait_for("the log says so", || relay.log().contains("no good; the old ones go on serving").then_some(()));
        }
        assert_eq!(shown(), Some(before.certificate.clone()), "{watch}: the old one serves");
        office.issue("server", "relay.test", 2);
        if watch == "never" {
            assert!(relay.command(&["reload"]).status.success());
            assert_eq!(shown(), Some(of()));
        } else {
            wait_for("the new one serves", || (shown() == Some(of())).then_some(()));
        }
        assert_ne!(before.certificate, of());
        before.stream.write_all(b"NOOP\r\n").unwrap();
        let read = before.stream.read(&mut line).unwrap();
        assert!(line[..read].starts_with(b"250"), "{watch}: a connection that stands goes on");
    }
}

#[test]
fn the_certificate_of_the_api_is_taken_by_itself_and_told_of() {
    let office = Office::new();
    office.issue("api", "relay.test", 1);
    let of = || CertificateDer::from_pem_file(office.file("api")).unwrap();
    let pair = office.pair("api");
    let http = format!("[admin.http]\naddress = \"127.0.0.1:0\"\nmetrics = \"open\"\n{pair}");
    let relay = Relay::start(&format!("[tls]\n{pair}watch = \"1s\"\n{http}"));
    let address = wait_for("the API listens", || {
        let log = relay.log();
        let line = log.lines().find(|line| line.contains("the admin API listens"))?;
        let at = line.find("127.0.0.1:")?;
        Some(line[at..].chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect::<String>())
    });
    let metrics = || {
        let name = ServerName::try_from("relay.test").unwrap();
        let connection = ClientConnection::new(office.client(None), name).unwrap();
        let mut stream = StreamOwned::new(connection, tcp(&address));
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some((stream.conn.peer_certificates()?[0].clone().into_owned(), text))
    };
    let (before, text) = metrics().unwrap();
    assert_eq!(before, of());
    let series = "waypost_tls_certificate_expiry_timestamp_seconds{door=\"admin\",name=\"relay.test\"} ";
    assert!(text.contains(series), "{text}");
    fs::write(office.file("api"), "rubbish").unwrap();
    wait_for("the log says so", || relay.log().contains("no good; the old ones go on serving").then_some(()));
    assert_eq!(metrics().unwrap().0, before, "the old one serves");
    office.issue("api", "relay.test", 2);
    wait_for("the new one serves", || (metrics()?.0 == of()).then_some(()));
    let status = relay.json(&["status"]);
    let told = &status["certificates"][1];
    assert_eq!((&told["door"], &told["names"][0]), (&"admin".into(), &"relay.test".into()), "{status}");
    assert!(told["days_left"].as_i64().unwrap() > 0, "{told}");
}

#[test]
fn the_header_of_a_proxy_comes_before_the_handshake() {
    let office = Office::new();
    office.issue("server", "relay.test", 1);
    let sink = Sink::start();
    let tables = format!("[tls]\n{}{IMPLICIT}proxy-from = [\"127.0.0.1\"]\n{}", office.pair("server"), towards(&sink));
    let relay = Relay::start_trusting("192.0.2.0/24", &tables);
    let mut stream = tcp(&relay.address_of("tls"));
    stream.write_all(&v2_of([192, 0, 2, 7])).unwrap();
    let connection = ClientConnection::new(office.client(None), ServerName::try_from("relay.test").unwrap()).unwrap();
    let mut client = Smtp::over(StreamOwned::new(connection, stream));
    client.deliver("a@client.test", &["b@there.test"], CONTENT);
    let content = sink.next().content;
    assert!(content.contains("([192.0.2.7])") && content.contains("TLSv1.3"), "{content}");
}

#[test]
fn an_expired_certificate_is_warned_of_and_serves() {
    let office = Office::new();
    let mut params = CertificateParams::new(vec!["relay.test".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let key = KeyPair::generate().unwrap();
    let both = params.signed_by(&key, &office.issuer).unwrap().pem() + &key.serialize_pem();
    fs::write(office.file("server"), both).unwrap();
    let relay = Relay::start(&format!("[tls]\n{}", office.pair("server")));
    wait_for("the log warns", || relay.log().contains("expired on").then_some(()));
    let check = relay.command(&["check"]);
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.success() && said.contains("warning: ") && said.contains("expired on"), "{said}");
    let said = relay.json(&["check"]);
    let warnings = said["warnings"].as_array().unwrap();
    let expired = warnings.iter().filter(|warning| warning["problem"].as_str().unwrap().contains("expired on"));
    assert_eq!((said["ok"].as_bool(), expired.count()), (Some(true), 1));
}
