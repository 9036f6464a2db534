//! The hook whole, with a made-up service.

use waypost_plugin::testing::World;

use super::*;

const REQUEST: &str = "POST http://127.0.0.1:8000/check";

fn world(more: &str) -> World {
    let config = format!(r#"{{"url": "http://127.0.0.1:8000/check"{more}}}"#);
    World::new().client("192.0.2.1").config(&config).grant_kv().http(REQUEST, 200, "")
}

#[test]
fn nothing_readable_is_kept_of_a_password() {
    let mut world = world(r#", "cache-seconds": 60"#);
    let first = world.auth::<HttpAuth>("PLAIN", "ann", Some("correct horse"));
    assert!(matches!(first.answer(), AuthVerdict::Success(identity) if identity.name == "ann"));
    let second = world.auth::<HttpAuth>("LOGIN", "ann", Some("correct horse"));
    assert!(matches!(second.answer(), AuthVerdict::Success(_)) && second.requests.is_empty());
    let third = world.auth::<HttpAuth>("LOGIN", "ann", Some("wrong"));
    assert_eq!(third.requests.len(), 1, "another password is asked about");
    let keys = world.kv_keys("own");
    assert_eq!(keys.len(), 1);
    assert!(!format!("{world:?}").contains("correct horse"));
}

#[test]
fn without_the_password_it_fails_and_says_why() {
    let run = world("").auth::<HttpAuth>("PLAIN", "ann", None);
    assert!(run.verdict.unwrap_err().contains("auth-secrets = true"));
}

#[test]
fn a_service_that_is_not_granted_makes_no_success() {
    let mut world = World::new().config(r#"{"url": "http://127.0.0.1:8000/check"}"#);
    let run = world.auth::<HttpAuth>("PLAIN", "ann", Some("x"));
    assert!(run.refusal().starts_with("454 4.7.0") && run.logged("allow = [\"http://127.0.0.1:8000\"]"), "{run:?}");
}
