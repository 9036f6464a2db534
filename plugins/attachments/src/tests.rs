//! The hook whole.

use waypost_plugin::testing::World;

use super::*;

const TWO: &str = "Subject: two\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\nIgnored.\n--b\n\
    Content-Type: x/y; name=a.exe\n\none\n--b\n\nHello\n--b\nContent-Type: message/rfc822\n\nSubject: inner\n\
    Content-Type: x/y; name=b.exe\n\ntwo\n--b--\nEnd.\n";

fn world(config: &str) -> World {
    World::new().client("192.0.2.1").sender("ann@example.org").recipient("bob@example.com").config(config)
}

#[test]
fn several_parts_are_taken_away() {
    let mut world = world(r#"{"actions": {"extension": "strip"}, "note": "Gone."}"#);
    let run = world.message::<Attachments>(TWO);
    assert_eq!(run.verdict, Ok(MessageVerdict::Proceed));
    let note = "Content-Type: text/plain; charset=utf-8\r\n\r\nGone.";
    let expected = format!("Ignored.\r\n--b\r\n{note}\r\n--b\r\n\r\nHello\r\n--b\r\n{note}\r\n--b--\r\nEnd.\r\n");
    assert_eq!(String::from_utf8(run.body.unwrap()).unwrap(), expected);
    assert!(run.edits.iter().any(|edit| edit.starts_with("prepend-header X-Attachment-Policy: removed; ")));
}

#[test]
fn stripping_gives_way_to_what_is_stricter() {
    let run = world(r#"{"actions": {"extension": "strip", "deceptive": "quarantine"}}"#)
        .message::<Attachments>(&TWO.replace("b.exe", "b.pdf.exe"));
    assert!(matches!(run.answer(), MessageVerdict::Quarantine(why) if why.contains("b.pdf.exe")), "{run:?}");
    assert_eq!(run.body, None);
}

#[test]
fn a_message_too_large_is_not_looked_through() {
    let large = format!("Subject: x\n\n{}", "0123456789\n".repeat(200));
    let run = world(r#"{"max-size": 1024}"#).message::<Attachments>(&large);
    assert!(matches!(run.answer(), MessageVerdict::Quarantine(why) if why.contains("too large")), "{run:?}");
    let run = world(r#"{"max-size": 1024, "actions": {"limits": "ignore"}}"#).message::<Attachments>(&large);
    assert_eq!(run.verdict, Ok(MessageVerdict::Proceed));
}

#[test]
fn trusted_clients_can_be_left_out() {
    let config = r#"{"skip-authenticated": true}"#;
    assert!(world(config).message::<Attachments>(TWO).refusal().starts_with("554 5.7.1 an attachment"));
    let run = world(config).identity("ann").message::<Attachments>(TWO);
    assert_eq!((run.verdict, run.edits.len()), (Ok(MessageVerdict::Proceed), 0));
}
