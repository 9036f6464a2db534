//! The commands of a transaction, rendered before the first is sent: MAIL, one RCPT for each recipient, DATA.
//!
//! Parameters are given only where the next hop offered the extension they belong to. What can't be sent at all is
//! refused here, for all recipients or for one.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::{Capabilities, Cover, OutboundMail};
use crate::delivery::outcome::Delivered;
use crate::hooks::Stage;
use crate::mail::{BodyKind, Param, Recipient};
use crate::smtp::{Reply, Status};

/// What a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// RSET: the transaction before was left open.
    Reset,
    /// MAIL.
    Mail,
    /// RCPT for the recipient at this place of the list.
    Rcpt(usize),
    /// DATA.
    Data,
}

/// All commands one after another, and where each ends.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) commands: String,
    pub(super) steps: Vec<(Step, usize)>,
}

impl Envelope {
    /// The commands for `mail`. Recipients that can't be sent to are handed to `refuse`, with nothing said of those that are
    /// too many for the next hop's limits; without any left, there are no commands.
    pub(super) fn render(
        mail: &OutboundMail<'_>,
        (peer, lmtp): (&Capabilities, bool),
        reset: bool,
        mut refuse: impl FnMut(usize, Option<Delivered>),
    ) -> Self {
        let mut all = Self {
            commands: String::with_capacity(64 * (mail.recipients.len() + 2)),
            steps: Vec::with_capacity(mail.recipients.len() + 3),
        };
        if let Some(refused) = refusal(mail, peer, lmtp) {
            for place in 0..mail.recipients.len() {
                refuse(place, Some(refused.clone()));
            }
            return all;
        }
        if reset {
            all.end(Step::Reset, "RSET\r\n");
        }
        all.mail(mail, peer);
        let (mut taken, mut domains) = (0, HashSet::new());
        for (place, recipient) in mail.recipients.iter().enumerate() {
            if let Some(refused) = rcpt_refusal(recipient, peer) {
                refuse(place, Some(refused));
                continue;
            }
            let domain = &recipient.mailbox.domain;
            let fits = peer.rcpt_domain_max.is_none_or(|most| domains.len() < most) || domains.contains(domain);
            if !fits || peer.rcpt_max.is_some_and(|most| taken >= most) {
                refuse(place, None);
                continue;
            }
            taken += 1;
            domains.insert(domain);
            all.rcpt(place, recipient, peer);
        }
        if taken == 0 {
            return Self::default();
        }
        // A chunk needs no leave: its command goes out with it.
        if !mail.is_binary() {
            all.end(Step::Data, "DATA\r\n");
        }
        all
    }

    fn mail(&mut self, mail: &OutboundMail<'_>, peer: &Capabilities) {
        let out = &mut self.commands;
        // Writing to a String can't fail.
        let _ = match &mail.sender.0 {
            None => write!(out, "MAIL FROM:<>"),
            Some(mailbox) => write!(out, "MAIL FROM:<{mailbox}>"),
        };
        if peer.size {
            let _ = write!(out, " SIZE={}", mail.wire_size());
        }
        if peer.eight_bit_mime && mail.body_kind == BodyKind::EightBitMime {
            out.push_str(" BODY=8BITMIME");
        }
        if mail.is_binary() {
            out.push_str(" BODY=BINARYMIME");
        }
        let requests = &mail.terms.requests;
        // RFC 8689 section 2: where there is no TLS, nobody has it to offer.
        if requests.require_tls && peer.require_tls && mail.terms.cover != Cover::Plain {
            out.push_str(" REQUIRETLS");
        }
        if let Some(priority) = requests.priority.filter(|_| peer.mt_priority) {
            let _ = write!(out, " MT-PRIORITY={priority}");
        }
        if let Some(by) = requests.deliver_by.filter(|_| peer.deliver_by) {
            let _ = write!(out, " BY={}", by.passed_on(mail.terms.arrived, mail.terms.now));
        }
        if peer.smtputf8 && (mail.smtputf8 || !sender_is_ascii(mail) || !mail.recipients.iter().all(is_ascii)) {
            out.push_str(" SMTPUTF8");
        }
        if peer.dsn {
            params(out, mail.params, &["RET", "ENVID"]);
        }
        self.end(Step::Mail, "\r\n");
    }

    fn rcpt(&mut self, place: usize, recipient: &Recipient, peer: &Capabilities) {
        let _ = write!(self.commands, "RCPT TO:<{}>", recipient.mailbox);
        if peer.dsn {
            params(&mut self.commands, &recipient.params, &["NOTIFY", "ORCPT"]);
        }
        self.end(Step::Rcpt(place), "\r\n");
    }

    fn end(&mut self, step: Step, with: &str) {
        self.commands.push_str(with);
        self.steps.push((step, self.commands.len()));
    }
}

fn params(out: &mut String, params: &[Param], passed_on: &[&str]) {
    for param in params {
        let Some(value) = &param.value else { continue };
        let fits = value.bytes().all(|b| b > b' ' && b != 0x7f);
        if fits && passed_on.contains(&&*param.keyword) {
            let _ = write!(out, " {}={value}", param.keyword);
        }
    }
}

/// Why nobody can get this message here.
fn refusal(mail: &OutboundMail<'_>, peer: &Capabilities, lmtp: bool) -> Option<Delivered> {
    let no = |code, status, text: String| Some(Delivered::permanent(Stage::Mail, Reply::new(code, status, text)));
    if let Some(limit) = peer.size_limit.filter(|limit| mail.wire_size() > *limit) {
        // RFC 1870 section 6: what can't be taken is not tried. RFC 3463 section 3.4: X.3.4, too big for system.
        let text = format!("the message has {} octets, the next hop takes {limit}", mail.wire_size());
        return no(552, Status::new(5, 3, 4), text);
    }
    // What LMTP takes has arrived: there is no further way on which something could be asked.
    let requests = mail.terms.requests;
    let safe = mail.terms.cover == Cover::Verified && peer.require_tls;
    // RFC 8689 section 4.2.1. Of the null reverse-path nobody would be told: it is lost for no such reason (section 5 there).
    if requests.require_tls && !mail.terms.untold && !lmtp && !safe {
        return no(550, Status::new(5, 7, 30), "the next hop does not offer REQUIRETLS".to_owned());
    }
    if requests.deliver_by.is_some_and(|by| by.give_up) && !lmtp && !peer.deliver_by {
        // RFC 2852 section 4.1.4: nobody there would give it up in time.
        return no(550, Status::new(5, 3, 3), "the next hop does not offer DELIVERBY".to_owned());
    }
    if mail.is_binary() && !peer.binary {
        // RFC 3030 section 3: without BINARYMIME and BDAT it can't be sent, and it is not converted here.
        return no(554, Status::new(5, 6, 3), "binary content can't be sent to the next hop".to_owned());
    }
    if mail.body_kind == BodyKind::EightBitMime && !peer.eight_bit_mime {
        // RFC 6152 section 3: converted or returned. Converting would break signatures. Content that was never declared to
        // have 8-bit octets is passed on as it came.
        return no(554, Status::new(5, 6, 3), "8-bit content can't be sent to the next hop".to_owned());
    }
    if mail.sender.0.as_ref().is_some_and(|m| !is_clean(&m.local_part)) {
        return no(553, Status::new(5, 1, 7), "the sender's address can't be sent".to_owned());
    }
    if peer.smtputf8 {
        return None;
    }
    if !sender_is_ascii(mail) {
        return no(553, Status::new(5, 6, 7), "the next hop takes no sender with non-ASCII address".to_owned());
    }
    // RFC 6531 section 3.5: a message whose header needs SMTPUTF8 can't go on without it. Raw 8-bit header fields of
    // messages that never asked for SMTPUTF8 are passed on as they came.
    if mail.smtputf8 && !mail.head.is_ascii() {
        return no(554, Status::new(5, 6, 7), "the next hop takes no UTF-8 header fields".to_owned());
    }
    None
}

/// Why this one recipient can't be sent to.
fn rcpt_refusal(recipient: &Recipient, peer: &Capabilities) -> Option<Delivered> {
    let no = |status, text: &str| Some(Delivered::permanent(Stage::Rcpt, Reply::new(553, status, text)));
    if !is_clean(&recipient.mailbox.local_part) {
        return no(Status::new(5, 1, 3), "the recipient's address can't be sent");
    }
    if !peer.smtputf8 && !is_ascii(recipient) {
        return no(Status::new(5, 6, 7), "the next hop takes no recipient with non-ASCII address");
    }
    None
}

fn sender_is_ascii(mail: &OutboundMail<'_>) -> bool {
    mail.sender.0.as_ref().is_none_or(|mailbox| mailbox.local_part.is_ascii())
}

fn is_ascii(recipient: &Recipient) -> bool {
    recipient.mailbox.local_part.is_ascii()
}

/// No address parsed by this relay has a control character; that none can break out of its command must not depend on
/// every way by which an address can come.
fn is_clean(local_part: &str) -> bool {
    !local_part.bytes().any(|b| b.is_ascii_control())
}
