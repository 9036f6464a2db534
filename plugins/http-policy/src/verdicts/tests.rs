//! Tables of answers and the verdicts they become.

use super::*;
use crate::settings::Hook;

fn answer(hook: Hook, text: &str) -> Answer {
    Answer::read(text.as_bytes(), hook).unwrap()
}

fn shown(reply: &Reply) -> String {
    let status = reply.status.as_ref().map_or(String::new(), |s| format!("{}.{}.{}", s.kind, s.subject, s.detail));
    format!("{} {status} {}", reply.code, reply.lines.join("|"))
}

#[test]
fn of_the_session() {
    let told = |text| match session(&answer(Hook::Rcpt, text)) {
        Ok(SessionVerdict::Proceed) => "proceed".to_owned(),
        Ok(SessionVerdict::Accept) => "accept".to_owned(),
        Ok(SessionVerdict::Reject(reply)) => format!("reject {}", shown(&reply)),
        Ok(SessionVerdict::Tempfail(reply)) => format!("tempfail {}", shown(&reply)),
        Ok(SessionVerdict::Close(reply)) => format!("close {}", shown(&reply)),
        Err(error) => error,
    };
    for (text, expected) in [
        ("{}", "proceed"),
        (r#"{"verdict": "accept"}"#, "accept"),
        (r#"{"verdict": "reject"}"#, "reject 550 5.7.1 refused by policy"),
        (r#"{"verdict": "reject", "reply": "gone"}"#, "reject 550 5.7.1 gone"),
        (r#"{"verdict": "reject", "reply": "551 5.1.6 moved"}"#, "reject 551 5.1.6 moved"),
        (r#"{"verdict": "tempfail", "reply": "450 4.2.1 later"}"#, "tempfail 450 4.2.1 later"),
        (r#"{"verdict": "close"}"#, "close 421 4.7.1 goodbye"),
        (r#"{"verdict": "close", "reply": "554 5.7.1 go away"}"#, "close 554 5.7.1 go away"),
        (
            r#"{"verdict": "reject", "reply": "450 later"}"#,
            "its reply has the code 450, which does not fit its verdict",
        ),
        (r#"{"verdict": "reject", "reply": "250 ok"}"#, "its reply is none: write a code, a status and a text"),
    ] {
        assert_eq!(told(text), expected, "{text}");
    }
}

#[test]
fn of_auth_and_messages() {
    let Ok(AuthVerdict::Failure(reply)) = auth(&answer(Hook::Auth, r#"{"verdict": "reject"}"#)) else { panic!() };
    assert_eq!(shown(&reply), "535 5.7.8 authentication failed");
    let quarantine = answer(Hook::Message, r#"{"verdict": "quarantine", "reason": "odd"}"#);
    assert!(matches!(message(&quarantine), Ok(MessageVerdict::Quarantine(why)) if why == "odd"));
    let discard = answer(Hook::Message, r#"{"verdict": "discard"}"#);
    assert!(matches!(message(&discard), Ok(MessageVerdict::Discard(_))));
}

#[test]
fn of_routes() {
    let told = |text| match routing(&answer(Hook::Route, text), &[0, 1, 2]) {
        Ok(RoutingVerdict::Assign(groups)) => groups
            .iter()
            .map(|group| match &group.assignment {
                Assignment::Route(route) => {
                    format!("{:?} {}", group.recipients, route.hops.iter().map(hop::written).collect::<String>())
                }
                Assignment::Fail(reply) => format!("{:?} {}", group.recipients, shown(reply)),
            })
            .collect::<Vec<_>>()
            .join("; "),
        Ok(other) => format!("{other:?}"),
        Err(error) => error,
    };
    for (text, expected) in [
        (
            r#"{"verdict": "assign", "routes": [{"recipients": [1], "hops": ["mx:a.example"]}, {"hops": ["destination:x"]}]}"#,
            "[1] mx:a.example; [0, 2] destination:x",
        ),
        (r#"{"verdict": "assign", "routes": [{"fail": "550 5.1.1 no"}]}"#, "[0, 1, 2] 550 5.1.1 no"),
        (r#"{"verdict": "assign"}"#, "it assigns, but has no routes"),
        (r#"{"verdict": "assign", "routes": [{"fail": "no", "hops": ["mx:a"]}]}"#, "a route has hops and fails"),
        (
            r#"{"verdict": "assign", "routes": [{"recipients": [7], "hops": ["mx:a"]}]}"#,
            "it routes recipient 7, which it was not asked about",
        ),
        (
            r#"{"verdict": "assign", "routes": [{"recipients": [1, 1], "hops": ["mx:a"]}]}"#,
            "it routes recipient 1 twice",
        ),
    ] {
        assert_eq!(told(text), expected, "{text}");
    }
}

#[test]
fn of_the_queue() {
    let hold = |text| attempt(&answer(Hook::DeliveryAttempt, text));
    assert!(matches!(hold(r#"{"verdict": "hold", "seconds": 60}"#), Ok(AttemptVerdict::HoldSeconds(60))));
    for text in [r#"{"verdict": "hold"}"#, r#"{"verdict": "hold", "seconds": 0}"#, r#"{"verdict": "reroute"}"#] {
        assert!(hold(text).is_err(), "{text}");
    }
    let text = r#"{"verdict": "retry", "seconds": 300, "dispositions": [{"recipient": 1, "verdict": "forget"}]}"#;
    let done = result(&answer(Hook::DeliveryResult, text), &[0, 1]).unwrap();
    assert_eq!(done.iter().map(|d| d.recipient).collect::<Vec<_>>(), [1, 0]);
    assert!(matches!(done[1].action, ResultAction::RetryAfterSeconds(300)));
    assert!(result(&answer(Hook::DeliveryResult, "{}"), &[0]).unwrap().is_empty());
    for text in [
        r#"{"dispositions": [{"recipient": 9, "verdict": "forget"}]}"#,
        r#"{"dispositions": [{"recipient": 0, "verdict": "accept"}]}"#,
        r#"{"dispositions": [{"recipient": 0, "verdict": "forget"}, {"recipient": 0, "verdict": "forget"}]}"#,
    ] {
        assert!(result(&answer(Hook::DeliveryResult, text), &[0]).is_err(), "{text}");
    }
}

#[test]
fn of_bounces() {
    let told = |text| bounce(&answer(Hook::Bounce, text));
    let edit = told(r#"{"verdict": "edit", "bounce": {"preface": "Hi", "redirect-to": "desk@example.org"}}"#);
    assert!(matches!(edit, Ok(BounceVerdict::Edit(edit)) if edit.redirect_to.is_some()));
    assert!(matches!(told(r#"{"verdict": "suppress"}"#), Ok(BounceVerdict::Suppress(_))));
    assert!(told(r#"{"verdict": "edit"}"#).is_err());
    assert!(told(r#"{"verdict": "edit", "bounce": {"redirect-to": "nobody"}}"#).is_err());
}
