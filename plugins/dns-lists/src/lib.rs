//! DNS block and allow lists (RFC 5782): asks about the client, its names and the sender's domain.
//!
//! This file asks the relay and keeps what was found with the connection; `codes` reads the answers, `policy` judges,
//! `settings` holds what the operator wants. A list that does not answer, or answers what no list answers, is never
//! taken for one that has a listing.

mod codes;
mod policy;
mod settings;

use waypost_plugin::{
    Cached, Lifecycle, Mailbox, MessageVerdict, OnConnect, OnMail, OnMessage, OnRcpt, Outcome, Recipient, Reply,
    SessionVerdict, Settings as _, SmtpSession, context, dns, log, metrics,
};

use codes::Reading;
use policy::{Found, Hit, Judgement, Verdict};
use settings::{About, At, Client, Kind, List, Settings};

/// The plugin.
#[derive(Debug)]
pub struct DnsLists;

static SETTINGS: Cached<Settings> = Cached::new();

impl Lifecycle for DnsLists {
    fn validate_config(document: &str) -> Result<Vec<String>, Vec<String>> {
        Settings::read(document).map(|checked| checked.warnings)
    }
}

impl OnConnect for DnsLists {
    fn on_connect() -> Outcome<SessionVerdict> {
        at(At::Connect, None)
    }
}

impl OnMail for DnsLists {
    fn on_mail(sender: Option<Mailbox>) -> Outcome<SessionVerdict> {
        at(At::Mail, sender)
    }
}

impl OnRcpt for DnsLists {
    fn on_rcpt(candidate: Recipient) -> Outcome<SessionVerdict> {
        let settings = SETTINGS.get()?;
        if settings.at != At::Rcpt || settings.spares(&candidate.mailbox) {
            return Ok(SessionVerdict::Proceed);
        }
        at(At::Rcpt, context::current_transaction()?.sender())
    }
}

impl OnMessage for DnsLists {
    fn on_message() -> Outcome<MessageVerdict> {
        let settings = SETTINGS.get()?;
        let message = context::current_message()?;
        if let Some(name) = &settings.header {
            // Who could write the field beforehand could speak for the relay.
            for field in message.headers_named(name) {
                message.remove_header(field.index)?;
            }
        }
        // Messages that the relay itself made have no session.
        let Ok(session) = context::current_session() else { return Ok(MessageVerdict::Proceed) };
        if settings.mark_at.is_none() || settings.exempts(&client_of(&session)) {
            return Ok(MessageVerdict::Proceed);
        }
        let transaction = context::current_transaction()?;
        let judgement = judgement(&session, transaction.sender(), settings)?;
        // A message to an exempt recipient may weigh more than a mark takes.
        let marked = settings.mark_at.is_some_and(|mark_at| judgement.score >= mark_at);
        if marked && judgement.verdict != Verdict::Allow {
            if let Some(name) = &settings.header {
                message.prepend_header(name, &policy::header(&judgement))?;
            }
            transaction.add_tag("dns-listed")?;
            transaction.set_annotation("score", &judgement.score.to_string())?;
            count(Verdict::Mark)?;
        }
        Ok(MessageVerdict::Proceed)
    }
}

/// Judges if this is the hook where the operator wants it.
fn at(here: At, sender: Option<Mailbox>) -> Outcome<SessionVerdict> {
    let settings = SETTINGS.get()?;
    if settings.at != here {
        return Ok(SessionVerdict::Proceed);
    }
    let session = context::current_session()?;
    if settings.exempts(&client_of(&session)) {
        return Ok(SessionVerdict::Proceed);
    }
    let judgement = judgement(&session, sender, settings)?;
    let verdict = match judgement.verdict {
        Verdict::Pass | Verdict::Mark => return Ok(SessionVerdict::Proceed),
        Verdict::Allow => SessionVerdict::Proceed,
        Verdict::Reject => SessionVerdict::Reject(reply(&judgement, settings, &session)),
        Verdict::Tempfail => SessionVerdict::Tempfail(reply(&judgement, settings, &session)),
        Verdict::Unsure => {
            let code = if here == At::Connect { 421 } else { 451 };
            // RFC 3463 section 3.5: 4.4.3, a directory server failed.
            waypost_plugin::reply::tempfail(code, (4, 4, 3), "a list can't be asked now, please try again later")
        }
    };
    count(judgement.verdict)?;
    let listings: Vec<String> =
        judgement.hits.iter().map(|hit| format!("{} by {} ({})", hit.what, hit.list, hit.code)).collect();
    let listings = if listings.is_empty() { "listed nowhere".to_owned() } else { listings.join(", ") };
    let text = format!("{}, score {}: {listings}", judgement.verdict.name(), judgement.score);
    log::write(log::Level::Info, &text, &[]);
    Ok(verdict)
}

fn count(verdict: Verdict) -> Result<(), String> {
    Ok(metrics::add("verdicts", 1, &[("verdict".to_owned(), verdict.name().to_owned())])?)
}

fn client_of(session: &SmtpSession) -> Client {
    Client {
        address: session.client().address.parse().ok(),
        authenticated: session.identity().is_some(),
        may_relay: session.may_relay(),
    }
}

/// Asks the allow lists, and the block lists unless one of those has spoken.
fn judgement(session: &SmtpSession, sender: Option<Mailbox>, settings: &Settings) -> Outcome<Judgement> {
    let allowed = ask_all(Kind::Allow, session, sender.as_ref(), settings)?;
    let spoken = allowed.iter().any(|found| !found.hits.is_empty());
    let blocked = if spoken { Vec::new() } else { ask_all(Kind::Block, session, sender.as_ref(), settings)? };
    Ok(policy::judge(&allowed, &blocked, settings))
}

fn ask_all(kind: Kind, session: &SmtpSession, sender: Option<&Mailbox>, settings: &Settings) -> Outcome<Vec<Found>> {
    let mut all = Vec::new();
    for about in About::ALL {
        let lists: Vec<&List> = settings.lists.iter().filter(|l| l.kind == kind && l.about == about).collect();
        let what = match about {
            About::Client => Some(session.client().address).filter(|address| !address.starts_with("unix:")),
            About::ClientName => session.client_name(),
            About::Helo => session.helo(),
            About::Sender => sender.map(|sender| sender.domain.clone()),
        };
        let Some(what) = what.filter(|_| !lists.is_empty()) else { continue };
        let note = format!("{kind:?} {}", about.name());
        let known = session.note(None, &note)?.and_then(|text| serde_json::from_str::<Found>(&text).ok());
        if let Some(known) = known.filter(|known| known.what == what) {
            all.push(known);
            continue;
        }
        let found = ask(&lists, &what)?;
        if let Ok(text) = serde_json::to_string(&found) {
            session.set_note(&note, &text)?;
        }
        all.push(found);
    }
    Ok(all)
}

/// Asks lists about one thing. What fails is remembered as well: a list that is down is not asked at every recipient.
fn ask(lists: &[&List], what: &str) -> Outcome<Found> {
    let mut found = Found { what: what.to_owned(), ..Found::default() };
    for list in lists {
        let failure = match look_up(list, what) {
            Ok(addresses) => match list.codes.read(&addresses) {
                Reading::NotListed => continue,
                Reading::Listed { weight, code } => {
                    metrics::add("listings", 1, &[("list".to_owned(), list.name.clone())])?;
                    found.hits.push(Hit { list: list.name.clone(), weight, what: what.to_owned(), code });
                    continue;
                }
                Reading::Failed { code } => format!("it answers {code}, which is no listing"),
            },
            Err(dns::DnsError::NoSuchName | dns::DnsError::NoData | dns::DnsError::InvalidName) => continue,
            Err(dns::DnsError::Denied) => {
                return Err(format!("{}: not granted: grants.dns, its zones, or its number of lookups", list.zone));
            }
            Err(dns::DnsError::TimedOut) => "nobody answers".to_owned(),
            Err(dns::DnsError::ServerFailure) => "its server failed".to_owned(),
            Err(dns::DnsError::Other(why)) => why,
        };
        metrics::add("failures", 1, &[("list".to_owned(), list.name.clone())])?;
        log::write(log::Level::Warn, &format!("{} can't be asked: {failure}", list.name), &[]);
        found.failed.push(list.name.clone());
    }
    Ok(found)
}

fn look_up(list: &List, what: &str) -> Result<Vec<String>, dns::DnsError> {
    if list.about == About::Client {
        return dns::list_lookup(what, &list.zone);
    }
    let Some(name) = policy::domain_name(what, &list.zone) else { return Ok(Vec::new()) };
    let answer = dns::lookup(&name, dns::RecordKind::A)?;
    let address = |data| if let dns::RecordData::Address(address) = data { Some(address) } else { None };
    Ok(answer.records.into_iter().filter_map(address).collect())
}

fn reply(judgement: &Judgement, settings: &Settings, session: &SmtpSession) -> Reply {
    let is_reject = judgement.verdict == Verdict::Reject;
    let mut reply = if is_reject { settings.reject.clone() } else { settings.tempfail.clone() };
    let Some((hit, list)) = policy::decisive(judgement, settings) else { return reply };
    if let Some(own) = list.and_then(|list| list.reject.as_ref()).filter(|_| is_reject) {
        reply = own.clone();
    }
    let wanted = reply.lines.iter().any(|line| line.contains("{txt}"));
    let txt = list.filter(|_| wanted).map(|list| reason(list, &hit.what)).unwrap_or_default();
    let ip = session.client().address;
    for line in &mut reply.lines {
        *line = policy::filled(line, hit, &ip, &txt);
    }
    reply
}

/// The list's own words, empty where there are none: a refusal does not wait for its reason.
fn reason(list: &List, what: &str) -> String {
    let name = match what.parse() {
        Ok(address) if list.about == About::Client => Some(policy::address_name(address, &list.zone)),
        _ => policy::domain_name(what, &list.zone),
    };
    let Some(Ok(answer)) = name.map(|name| dns::lookup(&name, dns::RecordKind::Txt)) else { return String::new() };
    let text = answer.records.into_iter().find_map(|data| match data {
        dns::RecordData::Txt(text) => Some(text),
        _ => None,
    });
    policy::tidy(&text.unwrap_or_default())
}

waypost_plugin::export!(DnsLists: lifecycle, on_connect, on_mail, on_rcpt, on_message);
