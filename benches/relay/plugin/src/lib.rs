//! The plugin of the benchmark: on all ten hooks, with a little real work at each, and in nobody's way.
//!
//! What it looks at is what an ordinary policy looks at; what it writes (a note, an annotation, a header field, a
//! route) makes the relay carry edits as it would for one. It must never refuse the benchmark's own mail.

use waypost_plugin::{
    Assignment, Attempt, AttemptVerdict, AuthVerdict, BounceEdit, BounceVerdict, HostTarget, Mailbox, MessageVerdict,
    NextHop, OnAuth, OnBounce, OnConnect, OnDeliveryAttempt, OnDeliveryResult, OnHelo, OnMail, OnMessage, OnRcpt,
    OnRoute, Outcome, OutcomeKind, Recipient, RecipientDisposition, RecipientOutcome, Route, RouteGroup, RoutingPhase,
    RoutingVerdict, SessionVerdict, config, context, reply,
};

/// The plugin.
#[derive(Debug)]
pub struct Bench;

impl OnConnect for Bench {
    fn on_connect() -> Outcome<SessionVerdict> {
        let client = context::current_session()?.client();
        if config::get("blocked-client").is_some_and(|blocked| blocked == client.address) {
            return Ok(reply::reject(554, (5, 7, 1), "not from there"));
        }
        Ok(SessionVerdict::Proceed)
    }
}

impl OnHelo for Bench {
    fn on_helo(name: String) -> Outcome<SessionVerdict> {
        if !is_name(&name) {
            return Ok(reply::reject(550, (5, 5, 2), "that is not a name"));
        }
        context::current_session()?.set_note("helo", &name)?;
        Ok(SessionVerdict::Proceed)
    }
}

impl OnAuth for Bench {
    fn on_auth(attempt: Attempt) -> Outcome<AuthVerdict> {
        if attempt.name.is_empty() {
            return Ok(reply::reject(535, (5, 7, 8), "nobody"));
        }
        Ok(AuthVerdict::Proceed)
    }
}

impl OnMail for Bench {
    fn on_mail(sender: Option<Mailbox>) -> Outcome<SessionVerdict> {
        if sender.is_some_and(|sender| is_below(&sender.domain, "blocked.invalid")) {
            return Ok(reply::reject(550, (5, 7, 1), "not from that domain"));
        }
        Ok(SessionVerdict::Proceed)
    }
}

impl OnRcpt for Bench {
    fn on_rcpt(candidate: Recipient) -> Outcome<SessionVerdict> {
        if config::get("blocked-domain").is_some_and(|blocked| is_below(&candidate.mailbox.domain, &blocked)) {
            return Ok(reply::reject(550, (5, 7, 1), "not to that domain"));
        }
        context::current_transaction()?.set_annotation("domain", &candidate.mailbox.domain)?;
        Ok(SessionVerdict::Proceed)
    }
}

impl OnMessage for Bench {
    fn on_message() -> Outcome<MessageVerdict> {
        let message = context::current_message()?;
        let verdict = match message.text("Subject") {
            Some(subject) if subject.contains("blocked-by-the-bench-plugin") => "blocked",
            Some(_) => "seen",
            None => "bare",
        };
        message.prepend_header("X-Bench", verdict)?;
        if verdict == "blocked" {
            return Ok(reply::reject(554, (5, 7, 1), "not with that subject"));
        }
        Ok(MessageVerdict::Proceed)
    }
}

impl OnRoute for Bench {
    fn on_route(_phase: RoutingPhase, recipients: Vec<Recipient>) -> Outcome<RoutingVerdict> {
        let Some(host) = config::get("next-hop") else { return Ok(RoutingVerdict::Proceed) };
        let (host, port) = host_and_port(&host).ok_or("next-hop: not host:port")?;
        let hop = NextHop::Smtp(HostTarget { host: host.to_owned(), port });
        Ok(RoutingVerdict::Assign(vec![RouteGroup {
            recipients: recipients.iter().map(|recipient| recipient.index).collect(),
            assignment: Assignment::Route(Route::over(vec![hop])),
        }]))
    }
}

impl OnDeliveryAttempt for Bench {
    fn on_delivery_attempt() -> Outcome<AttemptVerdict> {
        let recipients = context::current_delivery()?.recipients();
        if recipients.iter().any(|recipient| is_below(&recipient.mailbox.domain, "hold.invalid")) {
            return Ok(AttemptVerdict::HoldSeconds(300));
        }
        Ok(AttemptVerdict::Proceed)
    }
}

impl OnDeliveryResult for Bench {
    fn on_delivery_result(outcomes: Vec<RecipientOutcome>) -> Outcome<Vec<RecipientDisposition>> {
        let failed = outcomes.iter().filter(|outcome| outcome.kind == OutcomeKind::Permanent).count();
        if failed > 0 {
            context::current_delivery()?.set_annotation("failed", &failed.to_string())?;
        }
        Ok(Vec::new())
    }
}

impl OnBounce for Bench {
    fn on_bounce(failed: Vec<RecipientOutcome>) -> Outcome<BounceVerdict> {
        Ok(BounceVerdict::Edit(BounceEdit {
            preface: Some(format!("{} of your recipients did not get this message.", failed.len())),
            return_headers_only: true,
            redirect_to: None,
            options: Vec::new(),
        }))
    }
}

/// The shape of what may follow HELO: a domain or an address literal (RFC 5321 section 4.1.1.1). Underscores and bare
/// labels are common, and no reason to refuse anybody.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'[' | b']' | b':'))
}

/// True for the domain itself and for what is below it.
fn is_below(domain: &str, parent: &str) -> bool {
    domain.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    Some((host.trim_start_matches('[').trim_end_matches(']'), port.parse().ok()?))
}

waypost_plugin::export!(
    Bench: on_connect, on_helo, on_auth, on_mail, on_rcpt, on_message, on_route, on_delivery_attempt,
    on_delivery_result, on_bounce
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_nonsense() {
        for name in ["localhost", "mx.example.org", "[127.0.0.1]", "[IPv6:2001:db8::1]", "my_host"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "a b", "<x>", "a\r\nb"] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    #[test]
    fn below_means_at_a_label() {
        assert!(is_below("example.org", "example.org"));
        assert!(is_below("mx.example.org", "example.org"));
        assert!(!is_below("notexample.org", "example.org"));
    }

    #[test]
    fn hosts_have_ports() {
        assert_eq!(host_and_port("127.0.0.1:2525"), Some(("127.0.0.1", 2525)));
        assert_eq!(host_and_port("[::1]:25"), Some(("::1", 25)));
        assert_eq!(host_and_port("mx.example.org"), None);
    }
}
