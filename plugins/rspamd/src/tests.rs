//! The hook whole, with a made-up Rspamd.

use waypost_plugin::testing::World;

use super::*;

const REQUEST: &str = "POST http://127.0.0.1:11333/checkv2";

fn world() -> World {
    World::new().client("192.0.2.1").client_name("mail.example.org").ehlo("mail.example.org")
}

#[test]
fn a_large_message_goes_out_whole() {
    let mut world = world().sender("ann@example.org").recipient("bob@example.com").recipient("eve@example.com");
    world = world.http(REQUEST, 200, r#"{"action": "no action"}"#);
    let message = format!("Subject: large\r\n\r\n{}", "0123456789abcdef\r\n".repeat(20_000));
    let run = world.message::<Rspamd>(&message);
    assert_eq!(run.verdict, Ok(MessageVerdict::Proceed));
    let asked = run.requests.first().unwrap();
    assert_eq!(asked.body, message);
    let sent = |name: &str| {
        asked.headers.iter().filter(|(known, _)| known == name).map(|(_, v)| v.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(sent("Rcpt"), ["bob@example.com", "eve@example.com"]);
    assert_eq!((sent("IP"), sent("Hostname")), (vec!["192.0.2.1"], vec!["mail.example.org"]));
    assert!(sent("User").is_empty() && sent("Password").is_empty());
}

#[test]
fn what_is_beyond_the_limit_is_not_asked_about_or_cut() {
    let message = format!("Subject: large\r\n\r\n{}", "0123456789abcdef\r\n".repeat(200));
    let run = world().config(r#"{"max-size": 2048}"#).message::<Rspamd>(&message);
    assert_eq!(run.edits, ["prepend-header X-Spam-Status: Unknown, the message is too large"]);
    assert!(run.requests.is_empty());
    let mut world = world().config(r#"{"max-size": 2048, "larger": "truncate"}"#);
    world = world.http(REQUEST, 200, r#"{"action": "no action"}"#);
    let run = world.message::<Rspamd>(&message);
    assert_eq!(run.requests.first().unwrap().body.len(), 2048);
}

#[test]
fn the_password_comes_from_its_secret() {
    let world = || world().config(r#"{"send-password": true}"#).http(REQUEST, 200, r#"{"action": "reject"}"#);
    let run = world().secret("password", "open").message::<Rspamd>("Subject: x\n\ny\n");
    assert!(run.requests.first().unwrap().headers.contains(&("Password".to_owned(), "open".to_owned())));
    assert_eq!(run.refusal(), "554 5.7.1 this message looks like spam");
    let run = world().message::<Rspamd>("Subject: x\n\ny\n");
    assert!(run.requests.is_empty() && run.refusal().starts_with("451 4.7.1"), "not granted: {run:?}");
}

#[test]
fn a_server_that_is_not_granted_is_told_of() {
    let run = world().message::<Rspamd>("Subject: x\n\ny\n");
    assert!(run.logged("http = { allow = [\"http://127.0.0.1:11333\"] }"), "{:?}", run.log);
    assert!(run.refusal().starts_with("451 4.7.1"));
}
