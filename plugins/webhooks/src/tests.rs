//! The hooks whole, with a made-up service.

use waypost_plugin::testing::{Fault, World, outcome};

use super::*;

const REQUEST: &str = "POST http://127.0.0.1:8000/";

fn world(recipients: usize) -> World {
    let world =
        World::new().client("192.0.2.1").config(r#"{"url": "http://127.0.0.1:8000/"}"#).sender("ann@example.org");
    (0..recipients).fold(world, |world, n| world.recipient(&format!("r{n}@example.com")))
}

#[test]
fn many_recipients_are_told_in_more_than_one_request() {
    let run = world(60).http(REQUEST, 204, "").message::<Webhooks>("Subject: x\n\ny\n");
    assert_eq!(run.verdict, Ok(MessageVerdict::Proceed));
    let told: Vec<usize> =
        run.requests.iter().map(|asked| asked.body.matches("\"event\":\"accepted\"").count()).collect();
    assert_eq!(told, [25, 25, 10]);
}

#[test]
fn nothing_the_service_does_changes_anything() {
    for (status, body) in [(500, ""), (302, ""), (200, "<html>"), (200, r#"{"verdict": "reject"}"#)] {
        let mut world = world(1).http(REQUEST, status, body);
        assert_eq!(world.message::<Webhooks>("Subject: x\n\ny\n").verdict, Ok(MessageVerdict::Proceed), "{status}");
    }
    for fault in [Fault::Refused, Fault::Timeout, Fault::Dns, Fault::Tls] {
        let mut world = world(1).http_fault(REQUEST, fault);
        let run = world.message::<Webhooks>("Subject: x\n\ny\n");
        assert_eq!((run.verdict, run.edits.len()), (Ok(MessageVerdict::Proceed), 0), "{fault:?}");
        let run = world.delivery_result::<Webhooks>(vec![outcome(
            0,
            OutcomeKind::Permanent,
            Stage::Rcpt,
            "550 5.1.1 unknown",
        )]);
        assert_eq!(run.verdict, Ok(Vec::new()), "{fault:?}");
        assert!(run.requests.is_empty(), "it is left alone for a while");
    }
}

#[test]
fn without_the_grants_mail_goes_on() {
    let mut world = world(1).config(r#"{"url": "http://127.0.0.1:8000/", "spool-keys": 10, "sign": true}"#);
    let run = world.message::<Webhooks>("Subject: x\n\ny\n");
    assert_eq!(run.verdict, Ok(MessageVerdict::Proceed));
    assert!(run.logged("the service was not told") && run.logged("events are lost"), "{:?}", run.log);
}
