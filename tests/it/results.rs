//! Authentication-Results of the relay's own, against a name server in a network of the test's own.

use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::DkimSigner;

use crate::harness::{PATIENCE, Relay, Sink, Smtp, component, in_own_network, serve_names, towards};

/// Strangers by way of a proxy, who may come from anywhere, and over a socket file; and who may relay.
const LISTENERS: &str = r#"
[listeners.mx]
address = "127.0.0.1:0"
proxy-from = ["127.0.0.1"]
authentication-results = true

[listeners.file]
address = "unix:DIR/file.sock"
authentication-results = true

[listeners.own]
address = "unix:DIR/own.sock"
relay = true
authentication-results = true
"#;

/// Claims to be of this host, in several forms, around one that does not.
const FORGED: &str = "Authentication-Results: relay.test; spf=pass\r\n\
                      Authentication-Results: elsewhere.example; spf=pass\r\n\
                      authentication-results:\r\n (really (honest)) \"Relay.test\" 1;\r\n dkim=pass header.d=bank.example\r\n";

const LETTER: &str = "From: Ann <ann@example.org>\r\nSubject: hello\r\n\r\nbody\r\n";

const KEPT: &str = "Authentication-Results: elsewhere.example; spf=pass\r\nFrom: ";

fn zone(key: &Ed25519Key) -> Vec<(String, String)> {
    let public = BASE64.encode(key.public_key());
    let lines = [
        ("7.2.0.192.in-addr.arpa", "PTR mail.example.org"),
        ("8.2.0.192.in-addr.arpa", "PTR mail.example.org"),
        ("10.2.0.192.in-addr.arpa", "SERVFAIL"),
        ("mail.example.org", "A 192.0.2.7"),
        ("example.org", "v=spf1 ip4:192.0.2.7 -all"),
        ("_dmarc.example.org", "v=DMARC1; p=reject"),
        ("s1._domainkey.example.org", &format!("v=DKIM1; k=ed25519; p={public}")),
        ("sick.example", "SERVFAIL"),
        ("_dmarc.sick.example", "SERVFAIL"),
    ];
    lines.iter().map(|(name, data)| ((*name).to_owned(), (*data).to_owned())).collect()
}

fn stranger(relay: &Relay, from: &str) -> Smtp {
    let mut stream = TcpStream::connect(relay.address_of("mx")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("PROXY TCP4 {from} 198.51.100.1 12345 25\r\n").as_bytes()).unwrap();
    Smtp::over(stream)
}

fn over_file(relay: &Relay, name: &str) -> Smtp {
    let stream = UnixStream::connect(relay.folder().join(name)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Smtp::over(stream)
}

/// What arrives of a message: the fields below the trace field on top, unfolded where they were folded.
fn arrives(sink: &Sink, mut client: Smtp, sender: &str, content: &str) -> String {
    client.deliver(sender, &["bob@ours.test"], content);
    let content = sink.next().content.replace("\r\n\t", " ").replace("\r\n ", " ");
    assert!(content.starts_with("Received: from client.test "), "{content}");
    content.split_once("\r\n").unwrap().1.to_owned()
}

#[test]
fn mail_of_strangers_says_on_top_what_was_found_out() {
    in_own_network("results::mail_of_strangers_says_on_top_what_was_found_out", || {
        let key = Ed25519Key::from_pkcs8_der(&Ed25519Key::generate_pkcs8().unwrap()).unwrap();
        serve_names(zone(&key));
        let sink = Sink::start();
        let relay = Relay::start_for_strangers(&(towards(&sink) + LISTENERS));

        // A signature may cover what is removed: what was sent is what is verified.
        let signer = DkimSigner::from_key(key).domain("example.org").selector("s1");
        let signer = signer.headers(["From", "Subject", "Authentication-Results"]);
        let letter = format!("{FORGED}{LETTER}");
        let signed = signer.sign(letter.as_bytes()).unwrap().to_header() + &letter;
        let found = arrives(&sink, stranger(&relay, "192.0.2.7"), "ann@example.org", &signed);
        let field = "Authentication-Results: relay.test; iprev=pass policy.iprev=192.0.2.7; spf=pass \
                     smtp.mailfrom=ann@example.org; dkim=pass header.d=example.org header.s=s1; dmarc=pass (p=reject) \
                     header.from=example.org; arc=none\r\nDKIM-Signature: ";
        assert!(found.starts_with(field), "{found}");
        assert!(found.contains(KEPT), "{found}");
        assert_eq!(found.to_ascii_lowercase().matches("authentication-results: ").count(), 2, "{found}");

        let found = arrives(&sink, stranger(&relay, "192.0.2.8"), "ann@example.org", &letter);
        let field = "Authentication-Results: relay.test; iprev=fail policy.iprev=192.0.2.8; spf=fail \
                     smtp.mailfrom=ann@example.org; dkim=none; dmarc=fail (p=reject) header.from=example.org; arc=none\r\n";
        assert_eq!(found, format!("{field}{KEPT}Ann <ann@example.org>\r\nSubject: hello\r\n\r\nbody\r\n"));

        let found = arrives(&sink, stranger(&relay, "192.0.2.9"), "", "Subject: hello\r\n\r\nbody\r\n");
        let field = "Authentication-Results: relay.test; iprev=permerror policy.iprev=192.0.2.9; spf=none \
                     smtp.helo=client.test; dkim=none; dmarc=none; arc=none\r\nSubject: ";
        assert!(found.starts_with(field), "{found}");

        // A sick name server is a result, not a refusal.
        let sick = LETTER.replace("example.org", "sick.example");
        let found = arrives(&sink, stranger(&relay, "192.0.2.10"), "ann@sick.example", &sick);
        let field = "Authentication-Results: relay.test; iprev=temperror policy.iprev=192.0.2.10; spf=temperror \
                     smtp.mailfrom=ann@sick.example; dkim=none; dmarc=temperror header.from=sick.example; arc=none\r\n";
        assert!(found.starts_with(field), "{found}");

        // At no address, there is none that could have a name.
        let found = arrives(&sink, over_file(&relay, "file.sock"), "", &letter);
        assert!(
            found.starts_with("Authentication-Results: relay.test; spf=none smtp.helo=client.test; dkim=none;"),
            "{found}"
        );
    });
}

#[test]
fn forged_results_go_whoever_sends_them_and_a_plugin_says_it_instead() {
    in_own_network("results::forged_results_go_whoever_sends_them_and_a_plugin_says_it_instead", || {
        serve_names(Vec::new());
        let sink = Sink::start();
        let letter = format!("{FORGED}{LETTER}");
        let relay = Relay::start_for_strangers(&(towards(&sink) + LISTENERS));
        let kept = format!("{KEPT}Ann <ann@example.org>\r\nSubject: hello\r\n\r\nbody\r\n");
        assert_eq!(arrives(&sink, over_file(&relay, "own.sock"), "ann@example.org", &letter), kept);
        // Where the option is off nothing is touched.
        let trusting = Relay::start(&towards(&sink));
        let found = arrives(&sink, trusting.smtp(), "ann@example.org", &letter);
        assert!(found.starts_with("Authentication-Results: relay.test; spf=pass\r\n"), "{found}");

        let plugin = format!(
            "[plugins.stamp]\npath = {:?}\nconfig = {{ add = [{{ name = \"Authentication-Results\", value = \"relay.test; none\", \
             place = \"top\" }}] }}\n",
            component("header-policy")
        );
        let relay = Relay::start_for_strangers(&(towards(&sink) + LISTENERS + &plugin));
        let found = arrives(&sink, stranger(&relay, "192.0.2.9"), "ann@example.org", &letter);
        assert_eq!(found, format!("Authentication-Results: relay.test; none\r\n{kept}"));
    });
}
