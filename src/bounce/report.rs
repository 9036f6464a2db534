//! The report as a message: multipart/report (RFC 6522) of an explanation, the status fields and what came back. Pure.

use bytes::Bytes;
use memchr::memmem;

use super::fields::{self, Charset};
use super::{Action, Frame, Notice, Original, Reported, param, text};
use crate::hooks::BounceEdit;
use crate::mail::{BodyKind, Header, Mailbox, Requests};

/// Puts the notice together.
pub(super) fn build(
    original: &Original<'_>,
    action: Action,
    reported: &[Reported<'_>],
    edit: &BounceEdit,
    to: &Mailbox,
    frame: Frame<'_>,
) -> Notice {
    let explanation = text::explain(original, action, reported, edit, frame);
    let charset = charset(original, reported, to);
    let status = fields::status(original, action, reported, charset, frame);
    let returned = Returned::choose(original, action, edit);
    let boundary = boundary(frame, &[explanation.as_bytes(), status.as_bytes(), &returned.octets]);
    let eight_bit = !(explanation.is_ascii() && status.is_ascii() && returned.octets.is_ascii());

    let mut body = Vec::with_capacity(explanation.len() + status.len() + returned.octets.len() + 1024);
    body.extend_from_slice(b"This is a delivery report in MIME format (RFC 3464).\r\n");
    let plain = if explanation.is_ascii() { "text/plain; charset=us-ascii" } else { "text/plain; charset=utf-8" };
    part(&mut body, &boundary, plain, "What happened", explanation.as_bytes());
    let machine = match charset {
        Charset::Ascii => "message/delivery-status",
        Charset::Utf8 => "message/global-delivery-status",
    };
    part(&mut body, &boundary, machine, "Delivery status", status.as_bytes());
    part(&mut body, &boundary, returned.media_type, "Your message", &returned.octets);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());

    Notice {
        recipient: to.clone(),
        // Addresses in UTF-8, and message/global, may only travel under SMTPUTF8 (RFC 6533 section 5).
        smtputf8: original.smtputf8 && (eight_bit || !to.to_string().is_ascii()),
        body_kind: if eight_bit { BodyKind::EightBitMime } else { BodyKind::SevenBit },
        head: head(original, action, to, &boundary, eight_bit, frame),
        body: body.into(),
    }
}

fn head(
    original: &Original<'_>,
    action: Action,
    to: &Mailbox,
    boundary: &str,
    eight_bit: bool,
    frame: Frame<'_>,
) -> Bytes {
    let Frame { hostname, id, now } = frame;
    let mut head = format!(
        "Date: {}\r\n\
         From: Mail Delivery System <MAILER-DAEMON@{hostname}>\r\n\
         To: <{to}>\r\n\
         Subject: {}\r\n\
         Message-ID: <{id}@{hostname}>\r\n\
         {}\
         Auto-Submitted: auto-replied\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"{boundary}\"\r\n",
        now.rfc5322(),
        text::subject(action),
        message_id(original.head).map(|id| format!("References: {id}\r\n")).unwrap_or_default(),
    );
    if eight_bit {
        head.push_str("Content-Transfer-Encoding: 8bit\r\n");
    }
    head.push_str("\r\n");
    head.into()
}

/// The message's own id, by which mail programs put the report beside it (RFC 3834 section 3.1.5). Only a plain one.
fn message_id(head: &[u8]) -> Option<String> {
    let header = Header::parse(Bytes::copy_from_slice(head));
    let id = header.first("Message-ID")?.unfolded();
    let inner = id.strip_prefix('<')?.strip_suffix('>')?;
    let plain = inner.bytes().all(|b| matches!(b, 33..=126) && !matches!(b, b'<' | b'>'));
    (plain && inner.contains('@') && inner.len() <= 250).then_some(id)
}

fn part(out: &mut Vec<u8>, boundary: &str, media_type: &str, description: &str, octets: &[u8]) {
    let encoding = if octets.is_ascii() { "7bit" } else { "8bit" };
    let head = format!(
        "\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Description: {description}\r\n\
         Content-Transfer-Encoding: {encoding}\r\n\r\n"
    );
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(octets);
}

/// UTF-8 fields only for a sender that used SMTPUTF8, and only where an address needs them.
fn charset(original: &Original<'_>, reported: &[Reported<'_>], to: &Mailbox) -> Charset {
    let ascii = |mailbox: &Mailbox| mailbox.local_part.is_ascii();
    let all_ascii = ascii(to) && reported.iter().all(|r| ascii(&r.recipient.mailbox) && ascii(&r.recipient.original));
    if original.smtputf8 && !all_ascii { Charset::Utf8 } else { Charset::Ascii }
}

/// A boundary that occurs in no part (RFC 2046 section 5.1.1).
fn boundary(frame: Frame<'_>, parts: &[&[u8]]) -> String {
    let mut boundary = format!("=_{}_report", frame.id);
    let mut count = 0_u32;
    while parts.iter().any(|part| memmem::find(part, boundary.as_bytes()).is_some()) {
        count = count.saturating_add(1);
        boundary = format!("=_{}_report_{count}", frame.id);
    }
    boundary
}

/// What comes back of the original message.
struct Returned {
    media_type: &'static str,
    octets: Vec<u8>,
}

impl Returned {
    /// RET (RFC 3461 section 4.3) is honoured where it asks for less. A message that failed is otherwise returned whole
    /// if it is small and nothing but lines of text; of others, and in reports that tell of no failure (section 5.2.6
    /// there), the header section is enough, and of one that was sent with REQUIRETLS nothing else may come back, whatever RET
    /// says (RFC 8689 section 5).
    fn choose(original: &Original<'_>, action: Action, edit: &BounceEdit) -> Self {
        let headers_only = edit.return_headers_only
            || action != Action::Failed
            || Requests::of(original.sender_params).require_tls
            || param(original.sender_params, "RET").is_some_and(|ret| ret.eq_ignore_ascii_case("HDRS"));
        match original.body {
            Some(body) if !headers_only && is_lines(original.head) && is_lines(body) => {
                let octets = [original.head, body].concat();
                let global = original.smtputf8 && !original.head.is_ascii();
                Self { media_type: if global { "message/global" } else { "message/rfc822" }, octets }
            }
            _ => Self::headers(original),
        }
    }

    fn headers(original: &Original<'_>) -> Self {
        let mut octets = Vec::with_capacity(original.head.len());
        for line in lines(original.head).filter(|line| !line.is_empty() && is_text(line)) {
            octets.extend_from_slice(line);
            octets.extend_from_slice(b"\r\n");
        }
        let global = original.smtputf8 && !octets.is_ascii();
        Self { media_type: if global { "message/global-headers" } else { "text/rfc822-headers" }, octets }
    }
}

fn is_lines(octets: &[u8]) -> bool {
    lines(octets).all(is_text)
}

/// Pieces between CRLFs; the last one may be unfinished.
fn lines(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(octets);
    std::iter::from_fn(move || {
        let octets = rest?;
        let Some(end) = memmem::find(octets, b"\r\n") else {
            rest = None;
            return Some(octets);
        };
        rest = octets.get(end + 2..);
        octets.get(..end)
    })
}

/// True for what may stand in a line of 7-bit or 8-bit mail (RFC 2045 section 2.8).
fn is_text(line: &[u8]) -> bool {
    line.len() <= 998 && memchr::memchr3(b'\r', b'\n', 0, line).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::QueueId;
    use crate::time::Timestamp;

    #[test]
    fn the_boundary_avoids_what_the_parts_hold() {
        let frame = Frame { hostname: "relay.test", id: QueueId::from_u64(7), now: Timestamp::from_secs(0) };
        let first = boundary(frame, &[]);
        let hostile = format!("--{first}--\r\n--{first}_1\r\n");
        let second = boundary(frame, &[hostile.as_bytes()]);
        assert!(!hostile.contains(&second) && second.len() <= 70, "{second}");
    }

    #[test]
    fn only_lines_of_text_go_back_whole() {
        let long = [b'x'; 999];
        for (octets, fit) in [
            (&b"a\r\nb"[..], true),
            (b"", true),
            ("caf\u{e9}\r\n".as_bytes(), true),
            (b"a\nb", false),
            (b"a\rb", false),
            (b"a\0", false),
            (&long, false),
        ] {
            assert_eq!(is_lines(octets), fit, "{octets:?}");
        }
    }
}
