//! Ways through the tables, by tables.

use waypost_plugin::Settings as _;

use super::*;

const DOCUMENT: &str = r#"{"kv": "own", "depth": 3, "expansion": 4, "domain-aliases": {"example.net": "example.org"},
    "domains": {
        "example.org": {"mailboxes": ["ann", "bob", "a-b", "info-*", "*-lists-x", "x*"], "separators": "+-",
            "aliases": {"Sales": ["ann", "bob", "carol@other.example"], "all": ["sales", "ann"], "copy": ["copy", "ann"],
                "old": ":refuse 550 5.1.6 she left", "noise": ":discard", "half": ["noise", "ann"], "gone": "old", "info-hr": "ann"}},
        "strict.example": {"mailboxes": ["ann"], "keep-detail": false, "unknown": "tempfail"},
        "all.example": {"catch-all": "@example.org", "mailboxes": ["own"], "unknown": "proceed"}
    }}"#;

fn mailbox(text: &str) -> Mailbox {
    let (local, domain) = text.rsplit_once('@').unwrap();
    Mailbox { local_part: local.to_owned(), domain: domain.to_owned() }
}

fn stored(key: &str) -> Result<Option<String>, String> {
    Ok(match key {
        "kate@example.org" => Some(""),
        "kv-list@example.org" => Some("ann, kate"),
        "one@example.org" => Some("two"),
        "two@example.org" => Some("one"),
        "deep1@example.org" => Some("deep2"),
        "deep2@example.org" => Some("deep3"),
        "deep3@example.org" => Some("deep4"),
        "deep4@example.org" => Some("deep5"),
        "deep5@example.org" => Some(""),
        "many@example.org" => Some("ann+1,ann+2,ann+3,ann+4,ann+5"),
        "leak@example.org" => Some("x@outside.example"),
        "odd@example.org" => Some(":what"),
        "down@example.org" => return Err("store is down".to_owned()),
        "@strict.example" => Some("ann"),
        _ => None,
    }
    .map(str::to_owned))
}

fn shown(text: &str) -> String {
    let settings = Settings::read(DOCUMENT).unwrap().settings;
    match Walk::new(&settings, stored).fate(&mailbox(text)) {
        Ok(Fate::Deliver(to)) => to.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Ok(Fate::Refuse(reply)) => format!("refuse {}", reply.lines.join("")),
        Ok(Fate::Unknown(unknown)) => format!("unknown {unknown:?}"),
        Ok(fate) => fate.name().to_owned(),
        Err(Trouble::Tables(why)) => format!("tables: {why}"),
        Err(Trouble::Plugin(why)) => format!("plugin: {why}"),
    }
}

#[test]
fn fates() {
    for (recipient, expected) in [
        ("x@outside.example", "not-ours"),
        ("ann@example.org", "ann@example.org"),
        ("ANN@example.org", "ANN@example.org"),
        ("ann@example.net", "ann@example.org"),
        ("Ann+Shop@example.org", "Ann+Shop@example.org"),
        ("a-b-c@example.org", "a-b-c@example.org"),
        ("+ann@example.org", "unknown Reject"),
        ("nobody@example.org", "unknown Reject"),
        ("sales@example.org", "ann@example.org bob@example.org carol@other.example"),
        ("sales+x@example.org", "ann@example.org bob@example.org carol@other.example"),
        ("all@example.org", "ann@example.org bob@example.org carol@other.example"),
        ("copy@example.org", "copy@example.org ann@example.org"),
        ("old@example.org", "refuse she left"),
        ("gone@example.org", "unknown Reject"),
        ("noise@example.org", "discard"),
        ("half@example.org", "ann@example.org"),
        ("info-desk@example.org", "info-desk@example.org"),
        ("info-hr@example.org", "ann@example.org"),
        ("a-lists-x@example.org", "a-lists-x@example.org"),
        ("Postmaster@example.org", "Postmaster@example.org"),
        ("Ann+x@strict.example", "Ann@strict.example"),
        ("who@strict.example", "ann@strict.example"),
        ("ann@all.example", "ann@example.org"),
        ("own@all.example", "own@all.example"),
        ("nobody@all.example", "unknown Proceed"),
        ("kate@example.org", "kate@example.org"),
        ("kv-list@example.org", "ann@example.org kate@example.org"),
        ("one@example.org", "tables: it leads back to one@example.org"),
        ("deep2@example.org", "deep5@example.org"),
        ("deep1@example.org", "tables: more than 3 aliases follow one another"),
        ("many@example.org", "tables: it leads to more than 4 recipients"),
        ("leak@example.org", "tables: leak@example.org in kv leads out to x@outside.example, and kv-outside is false"),
        ("odd@example.org", "tables: odd@example.org in kv: `:what` is none of :mailbox, :discard and :refuse"),
        ("down@example.org", "plugin: store is down"),
    ] {
        assert_eq!(shown(recipient), expected, "{recipient}");
    }
}

#[test]
fn the_envelope_is_changed_as_little_as_can_be() {
    let to = |list: &str| Fate::Deliver(list.split(' ').map(mailbox).collect());
    let recipient = |index: u32, text: &str, fate: Fate| {
        let mailbox = mailbox(text);
        (Recipient { index, original: mailbox.clone(), mailbox, params: Vec::new() }, fate)
    };
    let found = edits(&[
        recipient(0, "sales@a", to("ann@a bob@a carol@b")),
        recipient(1, "bob@a", to("bob@a")),
        recipient(2, "x@b", Fate::NotOurs),
        recipient(3, "noise@a", Fate::Discard),
        recipient(4, "all@a", to("ANN@a bob@a")),
        recipient(5, "copy@a", to("copy@a dora@a")),
        recipient(6, "ann@alias", to("ann@a")),
        recipient(7, "new@a", Fate::Unknown(Unknown::Reject)),
    ]);
    let text = |s: &str| s.to_owned();
    assert_eq!(
        found,
        [
            Edit::Rewrite(0, text("ann"), text("a")),
            Edit::Add(text("carol"), text("b")),
            Edit::Remove(3),
            Edit::Remove(4),
            Edit::Add(text("dora"), text("a")),
            Edit::Remove(6),
        ]
    );
}
