//! What is done with a message. Pure: the answer, the settings and the names of the header fields go in, a verdict and
//! edits come out.

use waypost_plugin::{MessageVerdict, Network, Reply};

use crate::answer::{Action, Answer};
use crate::settings::{OnDefer, OnReject, OnUnavailable, Settings, SpamHeader};

/// What is known of the client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    /// None for a local socket.
    pub(crate) address: Option<std::net::IpAddr>,
    pub(crate) authenticated: bool,
    pub(crate) may_relay: bool,
}

/// One change of the header section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    Remove(u32),
    Replace(u32, String),
    Prepend(String, String),
}

/// A field of the message: its position, name and value.
pub(crate) type Field = (u32, String, String);

/// Octets of the list of symbols.
const SYMBOLS_MAX: usize = 900;

/// Names of the fields that tell the result. A message that brings one itself tells a lie.
const OURS: &str = "x-spam";

/// True if this client's mail is not looked at.
pub(crate) fn skips(client: &Client, settings: &Settings) -> bool {
    settings.skip_authenticated && client.authenticated
        || settings.skip_relay_clients && client.may_relay
        || client.address.is_some_and(|address| lies_in(&settings.skip_networks, address))
}

fn lies_in(networks: &[Network], address: std::net::IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// For a field of the request. What can't stand in one would make it none, and the message one that was not looked at.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// What Rspamd's answer leads to.
pub(crate) fn verdict(answer: &Answer, settings: &Settings) -> MessageVerdict {
    let worded = |reply: &Reply| {
        let mut reply = reply.clone();
        if let (true, Some(message)) = (settings.use_messages, &answer.message) {
            reply.lines = vec![message.clone()];
        }
        reply
    };
    let reason = || format!("rspamd: {}, {:.1} of {:.1}", answer.action.name(), answer.score, answer.required);
    match answer.action {
        Action::Nothing | Action::AddHeader | Action::RewriteSubject => MessageVerdict::Proceed,
        Action::Greylist => defer(settings.on_greylist, worded(&settings.soft_reject_reply)),
        Action::SoftReject => defer(settings.on_soft_reject, worded(&settings.soft_reject_reply)),
        Action::Reject => match settings.on_reject {
            OnReject::Reject => MessageVerdict::Reject(worded(&settings.reject_reply)),
            OnReject::Quarantine => MessageVerdict::Quarantine(reason()),
            OnReject::Header => MessageVerdict::Proceed,
            OnReject::Discard => MessageVerdict::Discard(reason()),
        },
        Action::Discard => MessageVerdict::Discard(reason()),
        Action::Quarantine => MessageVerdict::Quarantine(reason()),
    }
}

fn defer(wish: OnDefer, reply: Reply) -> MessageVerdict {
    match wish {
        OnDefer::Tempfail => MessageVerdict::Tempfail(reply),
        OnDefer::Proceed => MessageVerdict::Proceed,
    }
}

/// Fields that only we may set are taken away, whoever set them.
pub(crate) fn without_forged(fields: &[Field]) -> Vec<Edit> {
    let forged = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.strip_prefix(OURS).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    fields.iter().filter(|field| forged(&field.1)).map(|field| Edit::Remove(field.0)).collect()
}

/// What becomes of the header section of a message that was looked at.
pub(crate) fn edits(fields: &[Field], answer: &Answer, settings: &Settings) -> Vec<Edit> {
    let mut edits = without_forged(fields);
    if settings.milter_headers {
        for (name, which) in &answer.remove {
            let new = chosen(fields, name, *which).map(Edit::Remove);
            edits.extend(new.filter(|edit| !edits.contains(edit)).collect::<Vec<_>>());
        }
    }
    if answer.action == Action::RewriteSubject {
        edits.extend(subject(fields, answer, settings, &edits));
    }
    let mut added = if settings.milter_headers { answer.add.clone() } else { Vec::new() };
    if settings.headers_on_clean || answer.action.is_spam() {
        let ours = settings.headers.iter().filter_map(|header| shown(*header, answer));
        let set = |name: &str| answer.add.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        added.extend(ours.filter(|(name, _)| !(settings.milter_headers && set(name))));
    }
    // The last one that is put on top stands highest.
    edits.extend(added.into_iter().rev().map(|(name, value)| Edit::Prepend(name, value)));
    edits
}

/// Positions of the fields of that name that are meant.
fn chosen(fields: &[Field], name: &str, which: i64) -> impl Iterator<Item = u32> {
    let named: Vec<u32> = fields.iter().filter(|f| f.1.eq_ignore_ascii_case(name)).map(|f| f.0).collect();
    let nth = |n: i64| usize::try_from(n - 1).ok().and_then(|at| named.get(at).copied());
    let count = i64::try_from(named.len()).unwrap_or(i64::MAX);
    let picked = match which {
        0 => named,
        n if n > 0 => nth(n).into_iter().collect(),
        n => nth(count.saturating_add(n).saturating_add(1)).into_iter().collect(),
    };
    picked.into_iter()
}

fn subject(fields: &[Field], answer: &Answer, settings: &Settings, edits: &[Edit]) -> Option<Edit> {
    let old = fields.iter().find(|f| f.1.eq_ignore_ascii_case("subject") && !edits.contains(&Edit::Remove(f.0)));
    let was = old.map(|field| field.2.as_str()).unwrap_or_default();
    let new = answer.subject.clone().unwrap_or_else(|| format!("{}{was}", settings.subject_prefix));
    match old {
        Some((index, _, _)) => Some(Edit::Replace(*index, new)),
        None => Some(Edit::Prepend("Subject".to_owned(), new)),
    }
}

/// One of our own fields.
fn shown(header: SpamHeader, answer: &Answer) -> Option<(String, String)> {
    let spam = answer.action.is_spam();
    let (name, value) = match header {
        SpamHeader::Flag => ("X-Spam-Flag", spam.then(|| "YES".to_owned())?),
        SpamHeader::Status => {
            let yes = if spam { "Yes" } else { "No" };
            ("X-Spam-Status", format!("{yes}, score={:.2} required={:.2}", answer.score, answer.required))
        }
        SpamHeader::Score => ("X-Spam-Score", format!("{:.2}", answer.score)),
        SpamHeader::Symbols => ("X-Spam-Symbols", listed(&answer.symbols)),
        SpamHeader::Action => ("X-Spam-Action", answer.action.name().to_owned()),
    };
    Some((name.to_owned(), value))
}

/// `NAME(1.50), NAME(0.10)`, the heaviest first, as many as there is room for.
pub(crate) fn listed(symbols: &[(String, f64)]) -> String {
    let mut list = String::new();
    for (name, score) in symbols {
        let name: String = name.chars().filter(char::is_ascii_graphic).collect();
        let one = format!("{name}({score:.2})");
        if list.len() + one.len() > SYMBOLS_MAX {
            break;
        }
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(&one);
    }
    if list.is_empty() { "none".to_owned() } else { list }
}

/// What becomes of a message that nobody could look at.
pub(crate) fn unavailable(fields: &[Field], settings: &Settings) -> (MessageVerdict, Vec<Edit>) {
    match settings.on_unavailable {
        OnUnavailable::Tempfail => (MessageVerdict::Tempfail(settings.unavailable_reply.clone()), Vec::new()),
        OnUnavailable::Proceed => (MessageVerdict::Proceed, without_forged(fields)),
        OnUnavailable::Header => (MessageVerdict::Proceed, unseen(fields, "the scanner could not be asked")),
    }
}

/// A message that was not looked at says so.
pub(crate) fn unseen(fields: &[Field], why: &str) -> Vec<Edit> {
    let mut edits = without_forged(fields);
    edits.push(Edit::Prepend("X-Spam-Status".to_owned(), format!("Unknown, {why}")));
    edits
}

#[cfg(test)]
mod tests {
    use waypost_plugin::Settings as _;

    use super::*;

    fn settings(document: &str) -> Settings {
        Settings::read(document).unwrap().settings
    }

    fn answer(text: &str) -> Answer {
        Answer::read(text.as_bytes()).unwrap()
    }

    fn fields() -> Vec<Field> {
        ["Received", "X-Spam-Status", "Subject", "x-spam-flag", "X-Spammer", "X-Old", "X-Old", "X-Spam"]
            .iter()
            .zip(0..)
            .map(|(name, index)| (index, (*name).to_owned(), format!("v{index}")))
            .collect()
    }

    fn told(verdict: &MessageVerdict) -> String {
        match verdict {
            MessageVerdict::Proceed => "proceed".to_owned(),
            MessageVerdict::Accept => "accept".to_owned(),
            MessageVerdict::Reject(reply) | MessageVerdict::Tempfail(reply) => {
                format!("{} {}", reply.code, reply.lines.join("|"))
            }
            MessageVerdict::Discard(why) => format!("discard {why}"),
            MessageVerdict::Quarantine(why) => format!("quarantine {why}"),
        }
    }

    #[test]
    fn each_action_has_its_verdict() {
        for (document, text, expected) in [
            ("{}", r#"{"action": "no action"}"#, "proceed"),
            ("{}", r#"{"action": "add header"}"#, "proceed"),
            ("{}", r#"{"action": "greylist"}"#, "proceed"),
            (r#"{"on-greylist": "tempfail"}"#, r#"{"action": "greylist"}"#, "451 please try again later"),
            ("{}", r#"{"action": "soft reject"}"#, "451 please try again later"),
            (r#"{"on-soft-reject": "proceed"}"#, r#"{"action": "soft reject"}"#, "proceed"),
            ("{}", r#"{"action": "reject"}"#, "554 this message looks like spam"),
            ("{}", r#"{"action": "reject", "messages": {"smtp_message": "Gtube"}}"#, "554 Gtube"),
            (
                r#"{"use-messages": false, "reject-reply": "550 5.7.0 no"}"#,
                r#"{"action": "reject", "messages": {"smtp_message": "Gtube"}}"#,
                "550 no",
            ),
            (
                r#"{"on-reject": "quarantine"}"#,
                r#"{"action": "reject", "score": 20, "required_score": 15}"#,
                "quarantine rspamd: reject, 20.0 of 15.0",
            ),
            (r#"{"on-reject": "header"}"#, r#"{"action": "reject"}"#, "proceed"),
            (r#"{"on-reject": "discard"}"#, r#"{"action": "reject"}"#, "discard rspamd: reject, 0.0 of 0.0"),
            ("{}", r#"{"action": "quarantine"}"#, "quarantine rspamd: quarantine, 0.0 of 0.0"),
        ] {
            assert_eq!(told(&verdict(&answer(text), &settings(document))), expected, "{document} {text}");
        }
    }

    #[test]
    fn forged_fields_go_and_others_stay() {
        assert_eq!(without_forged(&fields()), [Edit::Remove(1), Edit::Remove(3), Edit::Remove(7)]);
    }

    #[test]
    fn fields_are_set_as_the_settings_say() {
        let spam =
            answer(r#"{"action": "add header", "score": 6, "required_score": 15, "symbols": {"A": {"score": 6}}}"#);
        let names = |edits: &[Edit]| -> Vec<String> {
            let name = |edit: &Edit| {
                if let Edit::Prepend(name, value) = edit { format!("{name}: {value}") } else { String::new() }
            };
            edits.iter().map(name).filter(|text| !text.is_empty()).collect()
        };
        assert_eq!(
            names(&edits(&fields(), &spam, &settings("{}"))),
            [
                "X-Spam-Symbols: A(6.00)",
                "X-Spam-Score: 6.00",
                "X-Spam-Status: Yes, score=6.00 required=15.00",
                "X-Spam-Flag: YES"
            ]
        );
        let clean = answer(r#"{"action": "no action", "score": -1}"#);
        assert_eq!(names(&edits(&[], &clean, &settings("{}"))).len(), 3);
        assert!(edits(&[], &clean, &settings(r#"{"headers-on-clean": false}"#)).is_empty());
    }

    #[test]
    fn rspamds_own_fields_win() {
        let text = r#"{"action": "no action", "milter": {"add_headers": {"X-Spam-Score": "mine"},
            "remove_headers": {"X-Old": -1, "X-Spammer": 1, "X-Spam-Status": 0, "None": 3}}}"#;
        let done = edits(&fields(), &answer(text), &settings(r#"{"headers": ["score"]}"#));
        let expected = [
            Edit::Remove(1),
            Edit::Remove(3),
            Edit::Remove(7),
            Edit::Remove(4),
            Edit::Remove(6),
            Edit::Prepend("X-Spam-Score".to_owned(), "mine".to_owned()),
        ];
        assert!(expected.iter().all(|edit| done.contains(edit)) && done.len() == expected.len(), "{done:?}");
        let done = edits(&fields(), &answer(text), &settings(r#"{"headers": [], "milter-headers": false}"#));
        assert_eq!(done.len(), 3);
    }

    #[test]
    fn subjects_are_rewritten() {
        let own = answer(r#"{"action": "rewrite subject"}"#);
        let none = r#"{"headers": []}"#;
        assert!(edits(&fields(), &own, &settings(none)).contains(&Edit::Replace(2, "[SPAM] v2".to_owned())));
        let given = answer(r#"{"action": "rewrite subject", "subject": "*** v2"}"#);
        assert!(edits(&fields(), &given, &settings(none)).contains(&Edit::Replace(2, "*** v2".to_owned())));
        assert_eq!(edits(&[], &given, &settings(none)), [Edit::Prepend("Subject".to_owned(), "*** v2".to_owned())]);
    }

    #[test]
    fn without_a_scanner_the_settings_decide() {
        let done = |document| unavailable(&fields(), &settings(document));
        let (verdict, edits) = done("{}");
        assert_eq!((told(&verdict).split(' ').next(), edits.len()), (Some("451"), 0));
        let (verdict, edits) = done(r#"{"on-unavailable": "proceed"}"#);
        assert_eq!((told(&verdict).as_str(), edits.len()), ("proceed", 3));
        let (verdict, edits) = done(r#"{"on-unavailable": "header"}"#);
        assert_eq!((told(&verdict).as_str(), edits.len()), ("proceed", 4));
    }

    #[test]
    fn no_client_can_break_the_request() {
        assert_eq!(clean("mail.example.org"), "mail.example.org");
        assert_eq!(clean("a\r\nIP: 127.0.0.1\0"), "a??IP: 127.0.0.1?");
    }

    #[test]
    fn long_lists_are_cut() {
        let many: Vec<(String, f64)> = (0..200).map(|n| (format!("SYMBOL_{n}"), 0.5)).collect();
        assert!(listed(&many).len() < 950);
        assert_eq!(listed(&[]), "none");
    }

    #[test]
    fn trusted_clients_can_be_left_out() {
        let client = Client { address: "10.1.2.3".parse().ok(), authenticated: true, may_relay: true };
        for (document, expected) in [
            ("{}", false),
            (r#"{"skip-authenticated": true}"#, true),
            (r#"{"skip-relay-clients": true}"#, true),
            (r#"{"skip-networks": ["10.0.0.0/8"]}"#, true),
            (r#"{"skip-networks": ["192.0.2.0/24"]}"#, false),
        ] {
            assert_eq!(skips(&client, &settings(document)), expected, "{document}");
        }
    }
}
