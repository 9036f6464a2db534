//! Next hops that have to prove who they are, and passwords that are for them alone.

use std::process::Command;

use super::{CONTENT, first, is_done};
use crate::harness::{Relay, Sink, component, towards};
use crate::network::{Network, Peer};

/// A relay that asks this of the next hop of `there.test`, and believes the network's authority.
fn relay_to(network: &Network, peer: &Peer, route: &str, tables: &str) -> Relay {
    Relay::start_believing(
        &network.office.file("ca"),
        &format!(
            "timeouts = {{ tls = \"1s\" }}\n[routing.domains]\n\"there.test\" = {{ hops = [\"smtp://{}\"], {route} }}\n{tables}",
            peer.address(),
        ),
    )
}

/// All cases side by side: most of what they do is waiting.
fn at_once<T: Send>(cases: impl IntoIterator<Item = T>, case: impl Fn(T) + Sync) {
    let case = &case;
    std::thread::scope(|scope| cases.into_iter().for_each(|one| drop(scope.spawn(move || case(one)))));
}

/// A mail host whose certificate is for its address.
fn host(network: &Network, script: &str) -> Peer {
    let address = network.address();
    network.listen(&address.to_string(), address.into(), script)
}

#[test]
fn a_certificate_is_judged_where_it_has_to_be() {
    let network = Network::new();
    at_once(
        [
            ("good", "tls = \"verify\"", Ok(true)),
            ("expired", "tls = \"verify\"", Err("certificate expired")),
            ("other", "tls = \"verify\"", Err("certificate not valid for name")),
            ("expired", "tls = \"encrypt\"", Ok(true)),
            ("other", "tls = \"opportunistic\"", Ok(true)),
            ("good", "tls = \"off\"", Ok(false)),
        ],
        |(certificate, route, comes)| {
            let peer = host(&network, &format!("certificate {certificate}"));
            let relay = relay_to(&network, &peer, route, "");
            relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
            match comes {
                Ok(secured) => assert_eq!(peer.next().secured, secured, "{certificate} {route}"),
                Err(why) => {
                    let line = first(&relay, "b@there.test");
                    assert!(line.contains("deferred") && line.contains("4.7.5") && line.contains(why), "{line}");
                    assert_eq!(relay.messages()[0]["last"].as_str().map(|last| last.contains("4.7.5")), Some(true));
                    assert!(!peer.said().iter().any(|line| line.starts_with("MAIL")), "{:?}", peer.said());
                }
            }
        },
    );
}

#[test]
fn what_must_be_encrypted_waits_for_a_host_that_can() {
    let network = Network::new();
    at_once(
        [
            ("", "stage=Tls reply=451 4.7.4"),
            ("certificate good\nstarttls x1: reply 454 4.7.0 not now", "stage=Tls reply=454 4.7.0 not now"),
            ("certificate good\ntls x1: drop", "stage=Tls reply=451 4.7.5 the TLS handshake failed"),
            ("certificate good\ntls x1: stall", "stage=Tls reply=451 4.7.5 timed out in the TLS handshake"),
            ("certificate good\ntls x1: read 1; garbage", "stage=Tls reply=451 4.7.5 the TLS handshake failed"),
        ],
        |(script, stage)| {
            let peer = host(&network, script);
            let relay = relay_to(&network, &peer, "tls = \"encrypt\"", "");
            relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
            if !script.is_empty() {
                assert!(peer.next().secured, "{script}");
                is_done(&relay);
            }
            let line = first(&relay, "b@there.test");
            assert!(line.contains("deferred") && line.contains(stage), "{script}: {line}");
        },
    );
}

const SMARTHOST: &str = "[credentials.smart]\nname = \"ann\"\nsecret = \"s3cret, really\"\n";

#[test]
fn a_password_is_for_a_host_that_proved_itself() {
    let network = Network::new();
    let account = "account ann=s3cret, really";
    at_once(
        [
            ("PIPELINING, AUTH PLAIN", "good", "", true),
            ("PIPELINING, AUTH LOGIN", "good", "", true),
            ("PIPELINING, AUTH=LOGIN PLAIN", "good", "", true),
            ("PIPELINING, AUTH PLAIN", "other", "", false),
            ("PIPELINING, AUTH PLAIN", "expired", "", false),
            // Told so, it goes to whoever is there, but never in clear text.
            ("PIPELINING, AUTH PLAIN", "other", ", tls = \"encrypt\"", true),
            ("PIPELINING, AUTH CRAM-MD5", "good", "", false),
        ],
        |(offer, certificate, route, comes)| {
            let peer = host(&network, &format!("offer {offer}\ncertificate {certificate}\n{account}"));
            let relay = relay_to(&network, &peer, &format!("credential = \"smart\"{route}"), SMARTHOST);
            relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
            if comes {
                assert_eq!(peer.next().identity.as_deref(), Some("ann"), "{offer}");
            } else {
                let line = first(&relay, "b@there.test");
                assert!(line.contains("deferred"), "{offer}: {line}");
                assert!(!peer.said().iter().any(|line| line.starts_with("AUTH")), "{offer}: {:?}", peer.said());
            }
            assert!(!relay.log().contains("s3cret"), "{offer}");
        },
    );
}

#[test]
fn a_plugin_cannot_have_a_password_shown_to_a_host_of_its_own() {
    let network = Network::new();
    at_once(
        [
            // Neither a route of the configuration nor the credential's own list names the host.
            ("hosts = [\"smtp.provider.test\"]\n", "good", Err("credential smart is not for smtp://")),
            ("", "good", Err("credential smart is not for smtp://")),
            ("hosts = [\"HOST\"]\n", "good", Ok(())),
            // The plugin would have it sent to whoever answers: the credential is not for everybody.
            ("hosts = [\"HOST\"]\n", "other", Err("certificate not valid for name")),
        ],
        |(hosts, certificate, comes)| {
            let script = format!("offer AUTH PLAIN\ncertificate {certificate}\naccount ann=s3cret, really");
            let peer = host(&network, &script);
            let own = peer.address().ip().to_string();
            let relay = Relay::start_believing(
                &network.office.file("ca"),
                &format!(
                    "timeouts = {{ tls = \"1s\" }}\n{SMARTHOST}{}[plugins.routes]\npath = {:?}\n[plugins.routes.config.domains]\n\
                     \"there.test\" = {{ hops = [\"smtp://{}\"], tls = \"encrypt\", credential = \"smart\" }}\n",
                    hosts.replace("HOST", &own),
                    component("domain-routes"),
                    peer.address(),
                ),
            );
            relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
            match comes {
                Ok(()) => assert_eq!(peer.next().identity.as_deref(), Some("ann")),
                Err(why) => {
                    let line = first(&relay, "b@there.test");
                    assert!(line.contains("deferred") && relay.log().contains(why), "{line}");
                    assert!(!peer.said().iter().any(|line| line.starts_with("AUTH")), "{:?}", peer.said());
                }
            }
        },
    );
}

#[test]
fn a_wrong_password_is_the_operators_to_mend() {
    let network = Network::new();
    let peer = host(&network, "offer AUTH PLAIN\ncertificate good\naccount ann=other");
    let relay = relay_to(&network, &peer, "credential = \"smart\"", SMARTHOST);
    relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
    let line = first(&relay, "b@there.test");
    assert!(line.contains("deferred") && line.contains("stage=Auth reply=535 5.7.8 no"), "{line}");
    assert_eq!(relay.queued(), 1, "the mail waits");
}

#[test]
fn scram_is_spoken_to_a_server_that_can_prove_itself_too() {
    let network = Network::new();
    let sink = Sink::start();
    network.office.issue("server", "127.0.0.1", 1);
    // A verifier alone: no other mechanism would let this account in.
    let accounts = network.office.file("accounts");
    std::fs::write(&accounts, verifier()).unwrap();
    let smarthost = Relay::start_for_strangers(&format!(
        "{}[tls]\n{}[auth]\ncredentials = {accounts:?}\n",
        towards(&sink),
        network.office.pair("server"),
    ));
    for (secret, comes) in [("s3cret, really", true), ("wrong", false)] {
        let relay = Relay::start_believing(
            &network.office.file("ca"),
            &format!(
                "[routing]\ndefault = {{ hops = [\"smtp://{}\"], credential = \"smart\" }}\n\
                 [credentials.smart]\nname = \"ann\"\nsecret = {secret:?}\n",
                smarthost.address(),
            ),
        );
        relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
        if comes {
            assert!(sink.next().content.contains("Subject: a test"));
        } else {
            let line = first(&relay, "b@there.test");
            assert!(line.contains("stage=Auth reply=535"), "{line}");
        }
    }
    assert!(smarthost.log().contains("SCRAM-SHA-256"), "{}", smarthost.log());
}

/// The line of an account with a SCRAM verifier only, as `waypost password` makes it.
fn verifier() -> String {
    let command = format!("printf 's3cret, really\\n' | {} password ann", env!("CARGO_BIN_EXE_waypost"));
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    let scram = line.split_whitespace().find(|word| word.contains("SCRAM-SHA-256$")).unwrap();
    let scram = &scram[scram.find("SCRAM").unwrap()..];
    format!("ann:{scram}\n")
}
