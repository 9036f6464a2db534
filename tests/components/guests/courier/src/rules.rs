//! What the courier decides, by local parts and names. Pure.

use waypost_plugin::{
    Attempt, AttemptVerdict, AuthVerdict, BounceEdit, BounceVerdict, HostTarget, Identity, Mailbox, NextHop, Outcome,
    OutcomeKind, Recipient, RecipientDisposition, RecipientOutcome, ResultAction, Route, SessionVerdict, reply,
};

/// A name is judged by its first label.
pub(crate) fn helo(name: &str) -> SessionVerdict {
    match name.split('.').next() {
        Some("reject") => reply::reject(550, (5, 7, 1), "not by that name"),
        Some("tempfail") => reply::tempfail(450, (4, 7, 1), "not now"),
        Some("close") => SessionVerdict::Close(reply::reply(421, (4, 7, 0), "goodbye")),
        Some("accept") => SessionVerdict::Accept,
        _ => SessionVerdict::Proceed,
    }
}

/// `ann` with the password `secret` is welcome, others are judged by their names.
pub(crate) fn auth(attempt: &Attempt) -> AuthVerdict {
    match attempt.name.as_str() {
        "ann" if attempt.secret.as_deref() == Some("secret") => AuthVerdict::Success(Identity {
            mechanism: attempt.mechanism.clone(),
            name: attempt.name.clone(),
            acts_as: attempt.acts_as.clone(),
            attributes: vec![("tenant".to_owned(), "one".to_owned())],
        }),
        "later" => reply::tempfail(454, (4, 7, 0), "come back later"),
        "ann" | "nobody" => reply::reject(535, (5, 7, 8), "no"),
        _ => AuthVerdict::Proceed,
    }
}

/// Verdict for the whole attempt: that of the first recipient that has one.
pub(crate) fn attempt(recipients: &[Recipient], elsewhere: Option<&str>) -> Outcome<AttemptVerdict> {
    for recipient in recipients {
        match recipient.mailbox.local_part.as_str() {
            "hold" => return Ok(AttemptVerdict::HoldSeconds(60)),
            "fail" => return Ok(AttemptVerdict::Fail(reply::reply(550, (5, 1, 1), "not from here"))),
            "reroute" => return route(elsewhere).map(AttemptVerdict::Reroute),
            _ => {}
        }
    }
    Ok(AttemptVerdict::Proceed)
}

/// Variable envelope return path, for a sender whose local part is `list` and one recipient.
pub(crate) fn return_path(sender: Option<&Mailbox>, recipients: &[Recipient]) -> Option<Mailbox> {
    let sender = sender.filter(|sender| sender.local_part == "list")?;
    let [recipient] = recipients else { return None };
    let Mailbox { local_part, domain } = &recipient.mailbox;
    Some(Mailbox { local_part: format!("list+{local_part}={domain}"), domain: sender.domain.clone() })
}

/// `delivered 2, temporary 1` and so on; what did not happen is left out.
pub(crate) fn summary(outcomes: &[RecipientOutcome]) -> String {
    let count = |kind| outcomes.iter().filter(|outcome| outcome.kind == kind).count();
    let kinds = [
        ("delivered", OutcomeKind::Delivered),
        ("temporary", OutcomeKind::Temporary),
        ("permanent", OutcomeKind::Permanent),
        ("expired", OutcomeKind::Expired),
    ];
    let parts: Vec<_> = kinds
        .into_iter()
        .map(|(name, kind)| (name, count(kind)))
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    parts.join(", ")
}

/// What is to become of those that were not delivered, by local part; of the others nothing is said.
pub(crate) fn dispositions(
    recipients: &[Recipient],
    outcomes: &[RecipientOutcome],
    elsewhere: Option<&str>,
) -> Outcome<Vec<RecipientDisposition>> {
    let mut dispositions = Vec::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.kind != OutcomeKind::Delivered) {
        let recipient = recipients.iter().find(|recipient| recipient.index == outcome.recipient);
        let action = match recipient.map(|recipient| recipient.mailbox.local_part.as_str()) {
            Some("retry") => ResultAction::RetryAfterSeconds(5),
            Some("second") => ResultAction::Reroute(route(elsewhere)?),
            Some("bounce") => ResultAction::Bounce(reply::reply(550, (5, 4, 7), "the courier gives up")),
            Some("forget") => ResultAction::Forget("forgotten by the courier".to_owned()),
            Some("default") => ResultAction::Proceed,
            _ => continue,
        };
        dispositions.push(RecipientDisposition { recipient: outcome.recipient, action });
    }
    Ok(dispositions)
}

/// By the local part of the sender.
pub(crate) fn bounce(sender: Option<&Mailbox>, failed: usize, summary: Option<&str>) -> BounceVerdict {
    match sender.map(|sender| (sender.local_part.as_str(), &sender.domain)) {
        Some(("quiet", _)) => BounceVerdict::Suppress("the sender wants no bounces".to_owned()),
        Some(("edited", domain)) => BounceVerdict::Edit(BounceEdit {
            preface: Some(format!("{failed} failed ({}).", summary.unwrap_or("nothing known"))),
            return_headers_only: true,
            redirect_to: Some(Mailbox { local_part: "bounces".to_owned(), domain: domain.clone() }),
            options: Vec::new(),
        }),
        _ => BounceVerdict::Proceed,
    }
}

/// The setting `elsewhere` is `host:port`.
fn route(elsewhere: Option<&str>) -> Outcome<Route> {
    let target = elsewhere.and_then(|text| {
        let (host, port) = text.rsplit_once(':')?;
        Some(HostTarget { host: host.to_owned(), port: port.parse().ok()? })
    });
    let target = target.ok_or("elsewhere: not set to host:port")?;
    Ok(Route::over(vec![NextHop::Smtp(target)]))
}

#[cfg(test)]
mod tests {
    use waypost_plugin::Stage;

    use super::*;

    fn mailbox(local_part: &str) -> Mailbox {
        Mailbox { local_part: local_part.to_owned(), domain: "example.org".to_owned() }
    }

    fn recipients(names: &[&str]) -> Vec<Recipient> {
        let recipient = |(index, name): (u32, &&str)| Recipient {
            index,
            mailbox: mailbox(name),
            original: mailbox(name),
            params: Vec::new(),
        };
        (10..).zip(names).map(recipient).collect()
    }

    fn outcome(recipient: u32, kind: OutcomeKind) -> RecipientOutcome {
        RecipientOutcome {
            recipient,
            kind,
            stage: Stage::Rcpt,
            reply: None,
            remote_name: None,
            remote: None,
            tls: None,
            details: Vec::new(),
        }
    }

    #[test]
    fn attempts_follow_the_first_opinion() {
        let of = |names: &[&str]| attempt(&recipients(names), Some("192.0.2.1:25"));
        assert!(matches!(of(&["ann", "bob"]), Ok(AttemptVerdict::Proceed)));
        assert!(matches!(of(&["ann", "hold", "fail"]), Ok(AttemptVerdict::HoldSeconds(60))));
        assert!(matches!(of(&["fail"]), Ok(AttemptVerdict::Fail(_))));
        assert!(matches!(of(&["reroute"]), Ok(AttemptVerdict::Reroute(_))));
        for elsewhere in [None, Some("host"), Some("host:x")] {
            assert!(attempt(&recipients(&["reroute"]), elsewhere).is_err(), "{elsewhere:?}");
        }
    }

    #[test]
    fn lists_get_a_return_path_per_recipient() {
        let list = mailbox("list");
        let path = return_path(Some(&list), &recipients(&["ann"])).unwrap();
        assert_eq!(path.to_string(), "list+ann=example.org@example.org");
        assert!(return_path(Some(&list), &recipients(&["ann", "bob"])).is_none());
        assert!(return_path(Some(&mailbox("ann")), &recipients(&["ann"])).is_none());
        assert!(return_path(None, &recipients(&["ann"])).is_none());
    }

    #[test]
    fn what_was_delivered_is_left_alone() {
        let recipients = recipients(&["retry", "retry", "forget", "bounce", "default", "ann", "second"]);
        let kinds = [OutcomeKind::Delivered, OutcomeKind::Temporary];
        let outcomes: Vec<_> = (10..17)
            .map(|index| outcome(index, kinds[usize::from(index > 10)]))
            .chain([outcome(99, kinds[1])])
            .collect();
        let shown: Vec<_> = dispositions(&recipients, &outcomes, Some("192.0.2.1:25"))
            .unwrap()
            .into_iter()
            .map(|disposition| {
                let action = match disposition.action {
                    ResultAction::Proceed => "proceed",
                    ResultAction::RetryAfterSeconds(5) => "retry",
                    ResultAction::RetryAfterSeconds(_) => "retry at another time",
                    ResultAction::Reroute(_) => "reroute",
                    ResultAction::Bounce(_) => "bounce",
                    ResultAction::Forget(_) => "forget",
                };
                (disposition.recipient, action)
            })
            .collect();
        assert_eq!(shown, [(11, "retry"), (12, "forget"), (13, "bounce"), (14, "proceed"), (16, "reroute")]);
        assert_eq!(summary(&outcomes), "delivered 1, temporary 7");
    }

    #[test]
    fn bounces_follow_the_sender() {
        assert!(matches!(bounce(None, 1, None), BounceVerdict::Proceed));
        assert!(matches!(bounce(Some(&mailbox("quiet")), 1, None), BounceVerdict::Suppress(_)));
        let BounceVerdict::Edit(edit) = bounce(Some(&mailbox("edited")), 2, Some("permanent 2")) else {
            panic!("not edited")
        };
        assert_eq!(edit.preface.as_deref(), Some("2 failed (permanent 2)."));
        assert_eq!(edit.redirect_to.unwrap().to_string(), "bounces@example.org");
    }

    #[test]
    fn clients_are_judged_by_name() {
        assert!(matches!(helo("reject.example.org"), SessionVerdict::Reject(_)));
        assert!(matches!(helo("close"), SessionVerdict::Close(_)));
        assert!(matches!(helo("mx.example.org"), SessionVerdict::Proceed));
        let of = |name: &str, secret: Option<&str>| {
            auth(&Attempt {
                mechanism: "PLAIN".to_owned(),
                name: name.to_owned(),
                acts_as: None,
                details: Vec::new(),
                secret: secret.map(str::to_owned),
            })
        };
        assert!(matches!(of("ann", Some("secret")), AuthVerdict::Success(_)));
        assert!(matches!(of("ann", Some("guess")), AuthVerdict::Failure(_)));
        assert!(matches!(of("ann", None), AuthVerdict::Failure(_)));
        assert!(matches!(of("later", None), AuthVerdict::Tempfail(_)));
        assert!(matches!(of("bob", None), AuthVerdict::Proceed));
    }
}
