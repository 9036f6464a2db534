//! The hooks whole, with a made-up service.

use waypost_plugin::testing::{Fault, World};

use super::*;

const REQUEST: &str = "POST http://127.0.0.1:8000/";

fn world(more: &str) -> World {
    let config = format!(r#"{{"url": "http://127.0.0.1:8000/"{more}}}"#);
    World::new().client("192.0.2.1").ehlo("mail.example.org").sender("ann@example.org").config(&config)
}

#[test]
fn other_hooks_cost_no_request() {
    let mut world = world("").http(REQUEST, 500, "");
    assert_eq!(world.connect::<HttpPolicy>().verdict, Ok(SessionVerdict::Proceed));
    let run = world.message::<HttpPolicy>("Subject: x\n\ny\n");
    assert_eq!((run.verdict, run.requests.len()), (Ok(MessageVerdict::Proceed), 0));
    assert!(world.rcpt::<HttpPolicy>("bob@example.com").verdict.unwrap_err().contains("its status is 500"));
}

#[test]
fn an_answer_is_done_whole_or_not_at_all() {
    let answer = r#"{"verdict": "reject", "reply": "450 odd", "tags": ["a"]}"#;
    let run = world("").http(REQUEST, 200, answer).rcpt::<HttpPolicy>("bob@example.com");
    assert!(run.verdict.is_err() && run.edits.is_empty());
    let wish = r#", "failures": {"rcpt": "tempfail"}"#;
    let run = world(wish).http(REQUEST, 200, answer).rcpt::<HttpPolicy>("bob@example.com");
    assert_eq!(run.refusal(), "451 4.7.1 please try again later");
    assert!(run.edits.is_empty());
}

#[test]
fn a_cache_that_is_not_granted_costs_a_line() {
    let wish = r#", "cache": {"key": "{client}", "seconds": 60}"#;
    let mut world = world(wish).http(REQUEST, 204, "");
    for _ in 0..2 {
        let run = world.rcpt::<HttpPolicy>("bob@example.com");
        assert_eq!((run.answer(), run.requests.len()), (&SessionVerdict::Proceed, 1));
        assert!(run.logged("answers can't be kept"), "{:?}", run.log);
    }
}

#[test]
fn failures_are_not_kept() {
    let wish = r#", "cache": {"key": "{client}", "seconds": 60}, "failures": {"rcpt": "proceed"}"#;
    let mut world = world(wish).grant_kv().http_fault(REQUEST, Fault::Timeout);
    assert_eq!(world.rcpt::<HttpPolicy>("bob@example.com").verdict, Ok(SessionVerdict::Proceed));
    assert!(world.kv_keys("own").is_empty());
    world.forget_http();
    let mut world = world.http(REQUEST, 200, r#"{"verdict": "accept"}"#);
    assert_eq!(world.rcpt::<HttpPolicy>("bob@example.com").verdict, Ok(SessionVerdict::Accept));
    assert_eq!(world.kv_keys("own").len(), 1);
}

#[test]
fn no_question_at_auth_has_a_password_in_it() {
    let run = world(r#", "hooks": ["auth"]"#).http(REQUEST, 200, r#"{"verdict": "reject"}"#).auth::<HttpPolicy>(
        "PLAIN",
        "ann",
        Some("correct horse"),
    );
    assert_eq!(run.refusal(), "535 5.7.8 authentication failed");
    assert!(!run.requests.first().unwrap().body.contains("horse"));
}
