//! The smallest policy at RCPT, which asks the relay nothing, and a hundred host calls at MAIL. The same in JavaScript and
//! Python lies beside it, so that `cargo bench --bench hooks` compares languages by the same work.

use waypost_plugin::{Mailbox, OnMail, OnRcpt, Outcome, Recipient, SessionVerdict, reply, system};

/// The plugin.
#[derive(Debug)]
pub struct Guest;

/// Host calls of one MAIL: enough to tell one from the call around them.
const CALLS: u32 = 100;

impl OnMail for Guest {
    fn on_mail(_: Option<Mailbox>) -> Outcome<SessionVerdict> {
        let sum: i64 = (0..CALLS).map(|_| system::now().seconds).sum();
        Ok(if sum > 0 { SessionVerdict::Proceed } else { SessionVerdict::Accept })
    }
}

impl OnRcpt for Guest {
    fn on_rcpt(candidate: Recipient) -> Outcome<SessionVerdict> {
        if candidate.mailbox.local_part.starts_with("blocked") {
            return Ok(reply::reject(550, (5, 7, 1), "blocked"));
        }
        Ok(SessionVerdict::Proceed)
    }
}

waypost_plugin::export!(Guest: on_mail, on_rcpt);

#[cfg(test)]
mod tests {
    use waypost_plugin::Mailbox;

    use super::*;

    #[test]
    fn only_blocked_mailboxes_are_refused() {
        for (local_part, refused) in [("blocked-1", true), ("bob", false)] {
            let mailbox = Mailbox { local_part: local_part.to_owned(), domain: "example.com".to_owned() };
            let candidate = Recipient { index: 0, mailbox: mailbox.clone(), original: mailbox, params: Vec::new() };
            let verdict = Guest::on_rcpt(candidate).unwrap();
            assert_eq!(matches!(verdict, SessionVerdict::Reject(_)), refused, "{local_part}");
        }
    }
}
