//! Next hops that take some of what they get: some recipients, some octets, some messages.

use super::{CONTENT, first, is_done, relay_knowing};
use crate::network::{Network, Received};

fn recipients(messages: &[Received]) -> Vec<Vec<&str>> {
    messages.iter().map(|message| message.recipients.iter().map(|r| r.split('@').next().unwrap()).collect()).collect()
}

#[test]
fn each_recipient_gets_what_is_its_own() {
    let network = Network::new();
    let there = network.listen(
        "there.test",
        network.address().into(),
        "rcpt no@: reply 550 5.1.1 nobody here\nrcpt later@ x1: reply 450 4.2.1 greylisted",
    );
    let home = network.listen("client.test", network.address().into(), "");
    let ways = [("there.test".to_owned(), &there), ("client.test".to_owned(), &home)];
    let relay = relay_knowing(&network, &ways, "");
    let to = ["yes@there.test", "no@there.test", "later@there.test", "also@there.test"];
    relay.smtp().deliver("a@client.test", &to, CONTENT);
    assert_eq!(there.next().recipients, ["yes@there.test", "also@there.test"]);
    assert_eq!(there.next().recipients, ["later@there.test"]);
    let bounce = home.next();
    assert_eq!((bounce.sender.as_str(), bounce.recipients), ("", vec!["a@client.test".to_owned()]));
    let text = String::from_utf8_lossy(&bounce.content);
    assert!(text.contains("nobody here") && text.contains("5.1.1") && !text.contains("yes@there.test"), "{text}");
    is_done(&relay);
    assert_eq!((there.waiting(), home.waiting()), (0, 0));
}

#[test]
fn lmtp_has_one_answer_for_each_recipient() {
    let network = Network::new();
    let script =
        "lmtp\ndot full@ x1: reply 452 4.2.2 mailbox full\ndot never@: reply 550 5.2.1 disabled\ndot last@ x1: drop";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lmtp");
    let over_unix = network.listen_unix(&path, script);
    let over_tcp = network.listen("store.test", network.address().into(), script);
    let home = network.listen("client.test", network.address().into(), "");
    let relay = network.relay_without_names(&format!(
        "[routing.domains]\n\"unix.test\" = \"lmtp+unix:{}\"\n\"tcp.test\" = \"lmtp://{}\"\n\"client.test\" = \"smtp://{}\"\n",
        path.display(),
        over_tcp.address(),
        home.address(),
    ));
    for (domain, store) in [("unix.test", &over_unix), ("tcp.test", &over_tcp)] {
        let to: Vec<String> =
            ["one", "full", "never", "two", "last"].iter().map(|name| format!("{name}@{domain}")).collect();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        relay.smtp().deliver("a@client.test", &to, CONTENT);
        store.has(4);
        let came: Vec<Received> = (0..4).map(|_| store.next()).collect();
        assert_eq!(recipients(&came[..2]), [["one"], ["two"]]);
        let mut rest = recipients(&came[2..]).concat();
        rest.sort_unstable();
        assert_eq!(rest, ["full", "last"], "tried again, and alone");
        assert!(home.next().text().contains("never@"), "the bounce");
    }
    is_done(&relay);
    assert_eq!((over_unix.waiting(), over_tcp.waiting(), home.waiting()), (0, 0, 0));
}

#[test]
fn recipients_that_are_too_many_go_at_once_in_another_transaction() {
    let network = Network::new();
    let too_many = |name: &str| format!("rcpt {name}@ x1: reply 452 4.5.3 too many recipients\n");
    let peers = [
        ("rcptmax", "offer PIPELINING, LIMITS RCPTMAX=2".to_owned(), vec![2, 2, 1], 1),
        ("mailmax", "offer LIMITS RCPTMAX=2 MAILMAX=2".to_owned(), vec![2, 2, 1], 2),
        ("told", format!("{}{}{}", too_many("c"), too_many("d"), too_many("e")), vec![2, 3], 1),
        (
            "hangs-up",
            format!(
                "{}{}rcpt e@ x1: reply 421 4.7.0 too many errors",
                "rcpt c@ x1: reply 452 4.5.3 too many recipients\n",
                "rcpt d@ x1: reply 452 4.5.3 too many recipients\n"
            ),
            vec![2, 2, 1],
            2,
        ),
        ("told-one-by-one", format!("offer SIZE\n{}", too_many("c")), vec![2, 3], 1),
    ];
    let hosts: Vec<_> =
        peers.iter().map(|(name, script, ..)| network.listen(name, network.address().into(), script)).collect();
    let ways: Vec<_> = peers.iter().zip(&hosts).map(|((name, ..), host)| (format!("{name}.test"), host)).collect();
    let relay = relay_knowing(&network, &ways, "");
    for ((name, _, sizes, connections), host) in peers.iter().zip(&hosts) {
        let to: Vec<String> = ["a", "b", "c", "d", "e"].iter().map(|local| format!("{local}@{name}.test")).collect();
        relay.smtp().deliver("s@client.test", &to.iter().map(String::as_str).collect::<Vec<_>>(), CONTENT);
        host.has(sizes.len());
        let came: Vec<usize> = sizes.iter().map(|_| host.next().recipients.len()).collect();
        assert_eq!((&came, host.connections()), (sizes, *connections), "{name}: {:?}", host.said());
    }
    is_done(&relay);
    assert!(!relay.log().contains("deferred"), "{}", relay.log());
}

#[test]
fn what_a_host_says_before_it_breaks_off_is_heard() {
    let network = Network::new();
    let there = network.listen(
        "there.test",
        network.address().into(),
        "body: read 20000; reply 552 5.3.4 too big for me; reset",
    );
    let home = network.listen("client.test", network.address().into(), "");
    let relay = relay_knowing(&network, &[("there.test".to_owned(), &there), ("client.test".to_owned(), &home)], "");
    relay.smtp().deliver("a@client.test", &["b@there.test"], &large(8 << 20));
    assert!(home.next().text().contains("too big for me"));
    is_done(&relay);
    assert_eq!((there.connections(), there.waiting()), (1, 0));
}

#[test]
fn a_host_that_stops_reading_is_left() {
    let network = Network::new();
    let there = network.listen("there.test", network.address().into(), "body x1: read 100; stall");
    let relay = relay_knowing(&network, &[("there.test".to_owned(), &there)], "");
    let content = large(8 << 20);
    relay.smtp().deliver("a@client.test", &["b@there.test"], &content);
    assert!(there.next().text().ends_with(&content[content.len() - 1000..]));
    is_done(&relay);
    let line = first(&relay, "b@there.test");
    assert!(line.contains("stage=Data reply=451 4.4.2 timed out while the message was sent"), "{line}");
    assert_eq!((there.connections(), there.waiting()), (2, 0));
}

#[test]
fn another_host_takes_what_the_first_breaks_off() {
    let network = Network::new();
    for script in
        ["mail: drop", "rcpt: reset", "data: stall", "mail: reply 451 4.3.2 no mail now", "rcpt: reply 421 4.3.2 bye"]
    {
        let first = network.listen("first.test", network.address().into(), script);
        let second = network.listen("second.test", network.address().into(), "");
        let relay = network.relay_without_names(&format!(
            "[routing]\ndefault = {{ hops = [\"smtp://{}\", \"smtp://{}\"], tls = \"off\" }}\n",
            first.address(),
            second.address(),
        ));
        relay.smtp().deliver("a@client.test", &["b@there.test"], CONTENT);
        assert_eq!(second.next().recipients, ["b@there.test"], "{script}");
        is_done(&relay);
        assert_eq!((first.connections(), second.waiting()), (1, 0), "{script}");
        assert!(!relay.log().contains("deferred"), "{script}: {}", relay.log());
    }
}

#[test]
fn one_connection_carries_what_waits_and_no_more_than_it_should() {
    let network = Network::new();
    let there = network.listen("there.test", network.address().into(), "");
    let few = network.listen("few.test", network.address().into(), "offer PIPELINING, LIMITS MAILMAX=3");
    let ways = [("there.test".to_owned(), &there), ("few.test".to_owned(), &few)];
    let relay = relay_knowing(&network, &ways, "idle = \"30s\"\nconnections = 1\n");
    let mut client = relay.smtp();
    for (domain, host) in [("there.test", &there), ("few.test", &few)] {
        for n in 0..9 {
            client.deliver("a@client.test", &[&format!("b{n}@{domain}")], CONTENT);
        }
        host.has(9);
    }
    assert_eq!((there.connections(), few.connections()), (1, 3));
    assert!((0..9).all(|_| there.next().connection == 0));
    // It says good-bye before it goes.
    let mut relay = relay;
    relay.stop();
    there.is_left_alone();
    there.hears("QUIT", 1);
}

fn large(octets: usize) -> String {
    let line = format!("{}\r\n", "0123456789".repeat(7));
    format!("Subject: large\r\n\r\n{}", line.repeat(octets / line.len()))
}
