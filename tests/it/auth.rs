//! AUTH under TLS, with a client of its own: SCRAM as RFC 5802 writes it, down to the sums.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::harness::{Office, PATIENCE, Relay, Sink, assert_starts, component, towards, wait_for};

/// A relay with a certificate and the accounts of `lines`. At the listener `asking` it asks clients for theirs.
struct Ground {
    relay: Relay,
    office: Office,
    _sink: Sink,
}

impl Ground {
    fn new(lines: &str, tables: &str) -> Self {
        let (office, sink) = (Office::new(), Sink::start());
        office.issue("server", "relay.test", 1);
        let accounts = office.file("accounts");
        fs::write(&accounts, lines).unwrap();
        let tables = format!(
            "{}[listeners.asking]\naddress = \"127.0.0.1:0\"\nclient-certificates = \"ask\"\n\
             [tls]\n{}client-authorities = {:?}\n[auth]\ncredentials = {accounts:?}\n{tables}",
            towards(&sink),
            office.pair("server"),
            office.file("ca"),
        );
        Self { relay: Relay::start_for_strangers(&tables), office, _sink: sink }
    }

    /// A client after STARTTLS and EHLO, and what it was offered then.
    fn client(&self) -> (Client, String) {
        Self::offered(Client::connect(self.relay.listener("smtp"), self.office.client(None)))
    }

    /// A client that has this certificate to show, when it is asked.
    fn certified(&self, shown: Option<&Path>) -> (Client, String) {
        Self::offered(Client::connect(self.relay.listener("asking"), self.office.client(shown)))
    }

    /// The log, once this is in it: a thread of its own writes it.
    fn log_with(&self, text: &str) -> String {
        wait_for(text, || Some(self.relay.log()).filter(|log| log.contains(text)))
    }

    fn offered(mut client: Client) -> (Client, String) {
        let offer = client.say("EHLO client.test");
        let mechanisms = offer.lines().find_map(|line| line.get(4..)?.strip_prefix("AUTH ")).unwrap_or_default();
        (client, mechanisms.to_owned())
    }
}

/// A client under TLS.
struct Client {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

impl Client {
    fn connect(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut plain = BufReader::new(stream.try_clone().unwrap());
        assert_starts(&reply(&mut plain), "220");
        stream.write_all(b"EHLO client.test\r\n").unwrap();
        assert!(!reply(&mut plain).contains("AUTH"), "in clear text");
        stream.write_all(b"STARTTLS\r\n").unwrap();
        assert_starts(&reply(&mut plain), "220");
        let connection = ClientConnection::new(config, "relay.test".try_into().unwrap()).unwrap();
        Self { stream: BufReader::new(StreamOwned::new(connection, stream)) }
    }

    fn say(&mut self, line: &str) -> String {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        reply(&mut self.stream)
    }

    /// RFC 9266.
    fn exporter(&mut self) -> Vec<u8> {
        let exported = [0; 32].to_vec();
        self.stream.get_ref().conn.export_keying_material(exported, b"EXPORTER-Channel-Binding", Some(&[])).unwrap()
    }

    /// RFC 5802 section 3 with SHA-256; `header` is the GS2 header, `binding` what is bound to. The last reply.
    fn scram(&mut self, mechanism: &str, header: &str, binding: &[u8], name: &str, password: &str) -> String {
        let bare = format!("n={name},r=rOprNGfwEbeRWgbNEkqO");
        let challenge = self.say(&format!("AUTH {mechanism} {}", STANDARD.encode(format!("{header}{bare}"))));
        let Some(challenge) = challenge.strip_prefix("334 ") else { return challenge };
        let first = String::from_utf8(STANDARD.decode(challenge).unwrap()).unwrap();
        let parts: Vec<&str> = first.split(',').collect();
        let [nonce, salt, iterations] =
            ["r=", "s=", "i="].map(|key| parts.iter().find_map(|p| p.strip_prefix(key)).unwrap());
        assert!(nonce.len() > 20 && nonce.starts_with("rOprNGfwEbeRWgbNEkqO"), "{first}");
        let mut salted = [0; 32];
        let rounds: NonZeroU32 = iterations.parse().unwrap();
        let salt = STANDARD.decode(salt).unwrap();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut salted);
        let sign = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
        let client_key = sign(&salted, "Client Key");
        let bound = STANDARD.encode([header.as_bytes(), binding].concat());
        let without_proof = format!("c={bound},r={nonce}");
        let all = format!("{bare},{first},{without_proof}");
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        let signature = sign(stored_key.as_ref(), &all);
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let last = self.say(&STANDARD.encode(format!("{without_proof},p={}", STANDARD.encode(proof))));
        let Some(last) = last.strip_prefix("334 ") else { return last };
        let own = sign(sign(&salted, "Server Key").as_ref(), &all);
        assert_eq!(
            STANDARD.decode(last).unwrap(),
            format!("v={}", STANDARD.encode(own)).as_bytes(),
            "who is the server?"
        );
        self.say("")
    }

    fn plain(&mut self, name: &str, password: &str) -> String {
        self.say(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{name}\0{password}"))))
    }
}

fn reply(stream: &mut impl std::io::BufRead) -> String {
    let mut reply = String::new();
    while {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "closed after {reply:?}");
        reply.push_str(line.trim_end_matches("\r\n"));
        reply.push('\n');
        line.as_bytes().get(3) == Some(&b'-')
    } {}
    reply.trim_end_matches('\n').to_owned()
}

/// What `waypost password` prints.
fn account(name: &str, password: &str, more: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
    command.args(["password", name]).args(more).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn whoever_knows_the_password_is_let_in_by_every_mechanism() {
    let lines = [account("ann", "correct horse", &[]), account("bob", "battery", &["--scram"])].concat();
    let ground = Ground::new(&lines, "");
    let offered = ground.client().1;
    assert!(offered.ends_with("SCRAM-SHA-256 PLAIN LOGIN"), "{offered}");
    let good = "235 2.7.0 authenticated";
    for (name, password) in [("ann", "correct horse"), ("bob", "battery")] {
        let (mut client, _) = ground.client();
        assert_eq!(client.scram("SCRAM-SHA-256", "n,,", b"", name, password), good);
        assert_starts(&client.say(&format!("MAIL FROM:<{name}@ours.test>")), "250");
        assert_starts(&client.say("RCPT TO:<eve@elsewhere.test>"), "250");
        assert_eq!(ground.client().0.plain(name, password), good);
    }
    ground.log_with("authenticated name=ann mechanism=SCRAM-SHA-256");
}

#[test]
fn whoever_does_not_is_not_and_names_can_not_be_told_apart() {
    let ground = Ground::new(&account("ann", "correct horse", &["--scram"]), "");
    let (mut client, _) = ground.client();
    for name in ["ann", "eve", "eve"] {
        let reply = client.scram("SCRAM-SHA-256", "n,,", b"", name, "incorrect");
        assert_starts(&reply, "535 5.7.8 authentication failed");
    }
    let mut salts = ["ann", "eve", "eve", "max"].into_iter().map(|name| {
        let reply =
            ground.client().0.say(&format!("AUTH SCRAM-SHA-256 {}", STANDARD.encode(format!("n,,n={name},r=x"))));
        let first = String::from_utf8(STANDARD.decode(reply.strip_prefix("334 ").unwrap()).unwrap()).unwrap();
        let (_, rest) = first.split_once(",s=").unwrap();
        rest.to_owned()
    });
    let [ann, eve, again, max] = [(); 4].map(|()| salts.next().unwrap());
    assert_eq!(eve, again);
    assert_eq!([ann.len(), max.len()], [eve.len(); 2]);
    assert!(eve != max && ann.ends_with(",i=100000") && eve.ends_with(",i=100000"));
    let log = ground.log_with("authentication refused name=eve mechanism=\"SCRAM-SHA-256\"");
    assert!(!log.contains("incorrect"), "{log}");
}

#[test]
fn scram_is_offered_where_it_works_for_everybody_or_was_asked_for() {
    let lines = [account("ann", "correct horse", &["--argon2"]), account("bob", "battery", &[])].concat();
    assert_eq!(Ground::new(&lines, "").client().1, "PLAIN LOGIN");
    let listed = Ground::new(&lines, "mechanisms = [\"SCRAM-SHA-256\", \"OAUTHBEARER\", \"EXTERNAL\"]\n");
    let (mut client, offered) = listed.client();
    assert_eq!(offered, "SCRAM-SHA-256", "there is nothing to check the others with");
    assert_starts(&client.plain("ann", "correct horse"), "504 5.5.4");
    assert_starts(&client.scram("SCRAM-SHA-256", "n,,", b"", "ann", "correct horse"), "535 5.7.8");
    assert_starts(&client.scram("SCRAM-SHA-256", "n,,", b"", "bob", "battery"), "235");
}

#[test]
fn a_proof_is_good_on_its_own_connection_only() {
    let ground = Ground::new(&account("ann", "correct horse", &[]), "");
    let (mut client, offered) = ground.client();
    assert!(offered.starts_with("SCRAM-SHA-256-PLUS "), "{offered}");
    let (mut other, _) = ground.client();
    let (own, foreign) = (client.exporter(), other.exporter());
    let mut plus =
        |header: &str, binding: &[u8]| client.scram("SCRAM-SHA-256-PLUS", header, binding, "ann", "correct horse");
    assert_starts(&plus("p=tls-exporter,,", &foreign), "535 5.7.8");
    assert_starts(&plus("n,,", b""), "535 5.7.8");
    assert_starts(&plus("p=tls-exporter,,", &own), "235");
    // It could bind itself, and the list that it saw had lost PLUS (RFC 5802 section 6).
    assert_starts(&other.scram("SCRAM-SHA-256", "y,,", b"", "ann", "correct horse"), "535 5.7.8");
}

/// A web server that answers one request for each status, and tells what it was asked.
fn service(statuses: &'static [&'static str]) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for status in statuses {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = BufReader::new(stream.try_clone().unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while line != "\r\n" {
                line.clear();
                request.read_line(&mut line).unwrap();
                let lower = line.to_ascii_lowercase();
                length = lower.strip_prefix("content-length:").map_or(length, |n| n.trim().parse().unwrap());
            }
            let mut body = vec![0; length];
            request.read_exact(&mut body).unwrap();
            tell.send(String::from_utf8(body).unwrap()).unwrap();
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        }
    });
    (address, told)
}

#[test]
fn a_token_is_worth_what_a_plugin_says() {
    let (address, asked) = service(&["204 Yes", "401 No", "401 No"]);
    let plugin = format!(
        "[plugins.http-auth]\npath = {:?}\ngrants.auth-secrets = true\ngrants.http = {{ allow = [\"http://{address}\"] }}\n\
         config = {{ url = \"http://{address}/check\" }}\n",
        component("http-auth")
    );
    let ground = Ground::new(&account("ann", "correct horse", &[]), &plugin);
    let token =
        |token: &str| STANDARD.encode(format!("n,a=ann,\x01host=relay.test\x01port=25\x01auth=Bearer {token}\x01\x01"));
    let (mut client, offered) = ground.client();
    assert_eq!(offered, "OAUTHBEARER XOAUTH2 PLAIN LOGIN", "the plugin may know passwords, and has no verifiers");
    assert_eq!(client.say(&format!("AUTH OAUTHBEARER {}", token("good"))), "235 2.7.0 authenticated");
    let body = asked.recv_timeout(PATIENCE).unwrap();
    assert!(body.contains("\"OAUTHBEARER\"") && body.contains("\"good\""), "{body}");
    let (mut client, _) = ground.client();
    let refused = client.say(&format!("AUTH OAUTHBEARER {}", token("bad")));
    assert_eq!(STANDARD.decode(refused.strip_prefix("334 ").unwrap()).unwrap(), br#"{"status":"invalid_token"}"#);
    assert_starts(&client.say("AQ=="), "535 5.7.8");
    let refused = client.say(&format!("AUTH XOAUTH2 {}", STANDARD.encode("user=ann\x01auth=Bearer bad\x01\x01")));
    assert_starts(&refused, "334 ");
    assert_starts(&client.say(""), "535 5.7.8");
    let log = ground.log_with("authentication refused name=ann mechanism=XOAUTH2");
    assert!(
        log.contains("authenticated name=ann mechanism=OAUTHBEARER") && !log.contains("good") && !log.contains("bad"),
        "{log}"
    );
}

#[test]
fn a_token_is_never_held_against_passwords() {
    let ground = Ground::new(&account("ann", "token", &[]), "mechanisms = [\"XOAUTH2\", \"PLAIN\"]\n");
    let (mut client, offered) = ground.client();
    assert_eq!(offered, "PLAIN");
    let refused = client.say(&format!("AUTH XOAUTH2 {}", STANDARD.encode("user=ann\x01auth=Bearer token\x01\x01")));
    assert_starts(&refused, "504 5.5.4");
}

#[test]
fn a_verified_certificate_is_let_in_by_its_own_name_and_no_other_one_is() {
    let ground = Ground::new(&account("bob", "battery", &["--argon2"]), "");
    let elsewhere = Office::new();
    ground.office.issue("ann", "ann@ours.test", 2);
    ground.office.issue("host", "host.test", 3);
    elsewhere.issue("ann", "ann@ours.test", 2);
    for (file, name) in [("ann", "ann@ours.test"), ("host", "host.test")] {
        for message in ["=".to_owned(), STANDARD.encode(name)] {
            let (mut client, offered) = ground.certified(Some(&ground.office.file(file)));
            assert_eq!(offered, "EXTERNAL PLAIN LOGIN");
            assert_eq!(client.say(&format!("AUTH EXTERNAL {message}")), "235 2.7.0 authenticated");
            assert_starts(&client.say("MAIL FROM:<ann@ours.test>"), "250");
            assert_starts(&client.say("RCPT TO:<eve@elsewhere.test>"), "250");
        }
        ground.log_with(&format!("authenticated name={name} mechanism=EXTERNAL"));
    }
    // The right name by an authority that nobody named, no certificate, and one that was not asked for.
    let own = ground.office.client(Some(&ground.office.file("ann")));
    let strangers = [
        ground.certified(Some(&elsewhere.file("ann"))),
        ground.certified(None),
        Ground::offered(Client::connect(ground.relay.listener("smtp"), own)),
    ];
    for (mut client, offered) in strangers {
        assert_eq!(offered, "PLAIN LOGIN");
        assert_starts(&client.say(&format!("AUTH EXTERNAL {}", STANDARD.encode("ann@ours.test"))), "504 5.5.4");
        assert_may_not_relay(&mut client);
    }
    // To act as another one, with an account or without, is not the certificate's to say.
    for other in ["bob", "host.test"] {
        let (mut client, _) = ground.certified(Some(&ground.office.file("ann")));
        assert_starts(&client.say(&format!("AUTH EXTERNAL {}", STANDARD.encode(other))), "535 5.7.8");
        assert_may_not_relay(&mut client);
    }
}

fn assert_may_not_relay(client: &mut Client) {
    assert_starts(&client.say("MAIL FROM:<ann@ours.test>"), "250");
    assert_starts(&client.say("RCPT TO:<eve@elsewhere.test>"), "550");
}
