//! Rules against header sections.

use waypost_plugin::Settings as _;

use super::*;

fn settings(document: &str) -> Settings {
    Settings::read(document).unwrap().settings
}

fn facts(identity: Option<&str>) -> Facts {
    Facts {
        id: "Q1".to_owned(),
        sender: Some(Mailbox { local_part: "ann".to_owned(), domain: "example.org".to_owned() }),
        client: "192.0.2.1".to_owned(),
        listener: "submission".to_owned(),
        identity: identity.map(str::to_owned),
        date: "Mon, 23 Nov 2026 22:50:00 +0000".to_owned(),
        unique: "0011".to_owned(),
    }
}

fn fields(lines: &[&str]) -> Vec<HeaderField> {
    let field = |(index, line): (usize, &&str)| {
        let (name, value) = line.split_once(": ").unwrap();
        HeaderField { index: u32::try_from(index).unwrap(), name: name.to_owned(), value: value.to_owned() }
    };
    lines.iter().enumerate().map(field).collect()
}

fn shown(change: &Change) -> String {
    match change {
        Change::Top(name, value) => format!("top {name}: {value}"),
        Change::Bottom(name, value) => format!("bottom {name}: {value}"),
        Change::Replace(index, value) => format!("{index} = {value}"),
        Change::Remove(index) => format!("{index} gone"),
    }
}

fn changed(document: &str, identity: Option<&str>, lines: &[&str]) -> Vec<String> {
    changes(&settings(document), &facts(identity), &fields(lines)).iter().map(shown).collect()
}

#[test]
fn an_empty_table_completes_submissions_only() {
    let both = ["top Date: Mon, 23 Nov 2026 22:50:00 +0000", "top Message-ID: <Q1.0011@example.org>"];
    assert_eq!(changed("{}", Some("ann"), &["Subject: x"]), both);
    assert_eq!(changed("{}", None, &["Subject: x"]), [""; 0]);
    assert_eq!(changed("{}", Some("ann"), &["DATE: x", "message-id: <y>"]), [""; 0]);
    assert_eq!(changed(r#"{"complete": "never"}"#, Some("ann"), &["Subject: x"]), [""; 0]);
    assert_eq!(changed(r#"{"complete": "anyone"}"#, None, &["Date: x"]), both[1..]);
}

#[test]
fn the_identifier_needs_a_domain() {
    let null = Facts { sender: None, ..facts(Some("ann")) };
    let made = |document| changes(&settings(document), &null, &fields(&["Date: x"]));
    assert_eq!(made("{}"), []);
    let top = Change::Top("Message-ID".to_owned(), "<Q1.0011@mx.example.net>".to_owned());
    assert_eq!(made(r#"{"message-id-domain": "mx.example.net"}"#), [top]);
}

#[test]
fn fields_are_removed_by_name_or_by_prefix() {
    let document = r#"{"remove": ["X-Originating-IP", {"name": "X-Spam-*", "from": "unauthenticated"}]}"#;
    let lines = ["X-Spam-Status: no", "Subject: x", "x-spam-level: *", "X-Originating-Ip: 10.0.0.1", "X-Spam: y"];
    assert_eq!(changed(document, None, &lines), ["3 gone", "0 gone", "2 gone"]);
    let complete = ["Date: x", "Message-ID: <y>", "X-Spam-Status: no"];
    assert_eq!(changed(document, Some("ann"), &complete), [""; 0]);
}

#[test]
fn a_field_is_edited_once() {
    let document = r#"{"remove": ["A", "a"], "replace": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"},
        {"name": "B", "value": "3"}]}"#;
    assert_eq!(changed(document, None, &["A: x", "B: y"]), ["0 gone", "1 = 2"]);
}

#[test]
fn replacements_may_depend_on_the_old_value() {
    let document = r#"{"replace": [{"name": "Precedence", "contains": "SPECIAL", "value": "bulk"}]}"#;
    assert_eq!(changed(document, None, &["Precedence: special-delivery", "Precedence: list"]), ["0 = bulk"]);
}

#[test]
fn additions_and_the_stamp_know_the_facts() {
    let document = r#"{"stamp": "{id} from {client} ({identity}) {nothing} {", "add": [
        {"name": "X-Top", "value": "{listener}"},
        {"name": "X-Bottom", "value": "{sender}", "place": "bottom"},
        {"name": "Subject", "value": "(none)", "unless-there": true},
        {"name": "X-User", "value": "{identity}", "from": "authenticated"}
    ]}"#;
    assert!(Settings::read(document).is_err(), "an unknown placeholder is a mistake");
    let document = document.replace(" {nothing} {", "");
    assert_eq!(
        changed(&document, None, &["Subject: x"]),
        ["top X-Top: submission", "bottom X-Bottom: ann@example.org", "top X-Waypost: Q1 from 192.0.2.1 (-)"]
    );
    let complete = ["Date: x", "Message-ID: <y>"];
    assert_eq!(
        changed(&document, Some("a\r\nnn"), &complete),
        [
            "top X-Top: submission",
            "bottom X-Bottom: ann@example.org",
            "top Subject: (none)",
            "top X-User: ann",
            "top X-Waypost: Q1 from 192.0.2.1 (ann)"
        ]
    );
}

#[test]
fn limits_count_fields() {
    let document = r#"{"limits": [{"name": "From", "at-least": 1, "at-most": 1}, {"name": "Received", "at-most": 2,
        "from": "unauthenticated"}]}"#;
    for (lines, expected) in [
        (&["From: a"][..], None),
        (&["Subject: a"], Some("a message needs a From field")),
        (&["From: a", "FROM: b"], Some("2 From fields are too many, at most 1 are allowed")),
        (
            &["From: a", "Received: 1", "Received: 2", "Received: 3"],
            Some("3 Received fields are too many, at most 2 are allowed"),
        ),
    ] {
        let said = refusal(&settings(document), &facts(None), &fields(lines));
        assert_eq!(said.as_deref(), expected, "{lines:?}");
    }
    let lines = fields(&["From: a", "Received: 1", "Received: 2", "Received: 3"]);
    assert_eq!(refusal(&settings(document), &facts(Some("ann")), &lines), None);
}

#[test]
fn patterns_refuse() {
    let document = r#"{"refuse": [{"name": "Subject", "contains": "Viagra", "text": "not here"},
        {"name": "X-Mailer", "equals": "evil 1.0"}, {"name": "From", "starts-with": "admin@"}]}"#;
    for (lines, expected) in [
        (&["Subject: buy VIAGRA now"][..], Some("not here")),
        (&["Subject: hello"], None),
        (&["X-Mailer: Evil 1.0"], Some("the X-Mailer field is not welcome here")),
        (&["X-Mailer: evil 1.0.1"], None),
        (&["From: Admin@example.org"], Some("the From field is not welcome here")),
        (&["From: x admin@example.org"], None),
    ] {
        let said = refusal(&settings(document), &facts(None), &fields(lines));
        assert_eq!(said.as_deref(), expected, "{lines:?}");
    }
}
