//! What operators write, good and bad.

use waypost_plugin::Settings as _;

use super::*;

#[test]
fn a_zone_is_enough() {
    let checked = Settings::read(r#"{"lists": [{"zone": "Zen.Example."}]}"#).unwrap();
    assert!(checked.warnings.is_empty());
    let settings = checked.settings;
    assert_eq!((settings.reject_at, settings.mark_at, settings.at), (Some(1), None, At::Rcpt));
    let list = settings.list("zen.example").unwrap();
    assert_eq!((list.about, list.kind, list.codes.weight), (About::Client, Kind::Block, 1));
    assert_eq!(settings.reject.code, 550);
    assert!(Settings::read("{}").is_err());
}

#[test]
fn every_mistake_is_named() {
    let document = r#"{
        "at": "connect", "reject-at": 0, "header": "X Y", "exempt-networks": ["10.0.0.1/8"], "exempt-recipients": ["abuse"],
        "reject-text": "450 later", "tempfail-text": "{who}",
        "lists": [
            {"zone": "a..b", "name": "one"},
            {"zone": "a.example", "name": "two", "about": "helo", "weight": 0},
            {"zone": "b.example", "name": "two", "codes": {"10.0.0.1": 1, "127.0.0.2": 0}, "weight": 2},
            {"zone": "c.example", "errors": ["x"], "reject-text": "250 fine"}
        ]}"#;
    let errors = Settings::read(document).unwrap_err();
    let begin: Vec<_> = errors.iter().map(|error| error.split(" `").next().unwrap_or_default()).collect();
    for expected in [
        "reject-at: a threshold is at least 1",
        "lists: one: zone:",
        "lists: two: about: helo is not known at connect",
        "lists: two: weight: 0 does nothing",
        "lists: two: the name is there twice; give one of them another name",
        "lists: two: has both weight and codes; the codes say what they weigh",
        "lists: two: codes: 127.0.0.2: a weight of 0 does nothing",
        "exempt-recipients: no recipient is known there; write at = \"rcpt\"",
        "header:",
        "reject-text: 450 is no code from 500 to 599",
    ] {
        assert!(begin.contains(&expected), "{expected} is not in {begin:#?}");
    }
    assert_eq!(errors.len(), 15, "{errors:#?}");
}

#[test]
fn many_lists_need_more_look_ups() {
    let lists: Vec<String> = (0..20).map(|n| format!(r#"{{"zone": "l{n}.example"}}"#)).collect();
    let checked = Settings::read(&format!(r#"{{"lists": [{}]}}"#, lists.join(","))).unwrap();
    assert_eq!(checked.warnings, ["lists: 20 of them; grants.dns.lookups has to be at least 21"]);
}

#[test]
fn some_are_spared() {
    let document = r#"{"lists": [{"zone": "a.example"}], "exempt-networks": ["192.0.2.0/24"]}"#;
    let settings = Settings::read(document).unwrap().settings;
    let client = |address: &str| Client { address: address.parse().ok(), authenticated: false, may_relay: false };
    assert!(settings.exempts(&client("192.0.2.9")));
    assert!(!settings.exempts(&client("203.0.113.9")));
    assert!(settings.exempts(&Client { authenticated: true, ..client("203.0.113.9") }));
    assert!(settings.exempts(&Client { may_relay: true, ..client("203.0.113.9") }));
    let to = |local: &str, domain: &str| Mailbox { local_part: local.to_owned(), domain: domain.to_owned() };
    assert!(settings.spares(&to("Postmaster", "")));
    assert!(settings.spares(&to("abuse", "example.com")));
    assert!(!settings.spares(&to("ann", "example.com")));
}
