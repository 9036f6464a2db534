//! Limits on messages, recipients and connections in a time.
//!
//! This file asks the relay and counts; `policy` makes keys and judges thresholds, `settings` holds what the operator
//! wants. All limits that concern something are looked at before any of them counts it, so that what one of them refuses
//! costs nothing in the others.

mod policy;
mod settings;

use waypost_plugin::{
    Cached, Lifecycle, Mailbox, OWN, OnConnect, OnMail, OnRcpt, Outcome, Recipient, SessionVerdict, Settings as _,
    context, log, metrics, rate_limits, system,
};

use policy::{Counted, Facts, Station};
use settings::{Action, Count, Limit, Settings, Store};

/// The plugin.
#[derive(Debug)]
pub struct RateLimit;

static SETTINGS: Cached<Settings> = Cached::new();

impl Lifecycle for RateLimit {
    fn validate_config(document: &str) -> Result<Vec<String>, Vec<String>> {
        Settings::read(document).map(|checked| checked.warnings)
    }
}

impl OnConnect for RateLimit {
    fn on_connect() -> Outcome<SessionVerdict> {
        judge(Station::Connect, &facts(None, None)?)
    }
}

impl OnMail for RateLimit {
    fn on_mail(sender: Option<Mailbox>) -> Outcome<SessionVerdict> {
        judge(Station::Mail, &facts(sender, None)?)
    }
}

impl OnRcpt for RateLimit {
    fn on_rcpt(candidate: Recipient) -> Outcome<SessionVerdict> {
        let sender = context::current_transaction()?.sender();
        judge(Station::Rcpt, &facts(sender, Some(candidate.mailbox))?)
    }
}

fn facts(sender: Option<Mailbox>, recipient: Option<Mailbox>) -> Outcome<Facts> {
    let session = context::current_session()?;
    Ok(Facts {
        address: session.client().address.parse().ok(),
        listener: session.listener(),
        account: session.identity().map(|identity| identity.name.to_lowercase()),
        may_relay: session.may_relay(),
        sender,
        recipient,
    })
}

/// A limit, the key it counts under now, and what that key may have.
struct Claim<'a> {
    limit: &'a Limit,
    key: String,
    counter: String,
    /// What makes it the same thing, counted once in a transaction.
    once: String,
    max: u32,
}

/// How much of a limit is used, and when there will be more.
struct Usage {
    allowed: bool,
    used: u32,
    of: u32,
    wait_seconds: u32,
}

/// Each thing that is counted costs this.
const COST: u32 = 1;

/// Name of the note with what this transaction was counted for.
const NOTE: &str = "counted";

fn judge(station: Station, facts: &Facts) -> Outcome<SessionVerdict> {
    let settings = SETTINGS.get()?;
    if settings.exempts(facts) {
        return Ok(SessionVerdict::Proceed);
    }
    let mut counted = counted(station)?;
    let mut claims = claims(station, facts, settings);
    claims.retain(|claim| counted.as_ref().is_none_or(|counted| !counted.has(&claim.once)));
    // A limit that only warns stops nothing, so it need not be looked at first.
    for claim in claims.iter().filter(|claim| claim.limit.action != Action::Warn) {
        let usage = look(claim)?;
        if !usage.allowed
            && let Some(verdict) = past(claim, &usage)?
        {
            return Ok(verdict);
        }
    }
    for claim in &claims {
        let usage = take(claim)?;
        // Somebody was faster between the look and this.
        if !usage.allowed
            && let Some(verdict) = past(claim, &usage)?
        {
            return Ok(verdict);
        }
        count("counted", claim.limit)?;
        if policy::crosses(claim.limit, usage.used, COST, usage.of) {
            count("warned", claim.limit)?;
            let text = format!("{}: {} has used {} of {}", claim.limit.name, claim.key, usage.used, usage.of);
            log::write(log::Level::Warn, &text, &[]);
        }
        if let Some(counted) = &mut counted {
            counted.add(&claim.once);
        }
    }
    if let Some(counted) = counted.filter(|_| !claims.is_empty()) {
        context::current_session()?.set_note(NOTE, counted.text())?;
    }
    Ok(SessionVerdict::Proceed)
}

/// What the transaction was counted for; none where nothing can come twice.
fn counted(station: Station) -> Outcome<Option<Counted>> {
    if station != Station::Rcpt {
        return Ok(None);
    }
    let note = context::current_session()?.note(None, NOTE)?;
    Ok(Some(Counted::read(note, &context::current_transaction()?.id())))
}

fn claims<'a>(station: Station, facts: &Facts, settings: &'a Settings) -> Vec<Claim<'a>> {
    let claim = |limit: &'a Limit| {
        let key = policy::key(limit, facts, settings)?;
        let max = limit.max_for(&key)?;
        let counter = policy::counter(limit, &key);
        let recipient = facts.recipient.as_ref().filter(|_| limit.count == Count::Recipients);
        let once = recipient.map_or_else(|| counter.clone(), |r| format!("{counter} {}", r.to_string().to_lowercase()));
        Some(Claim { limit, key, counter, once, max })
    };
    settings.limits.iter().filter(|limit| policy::counts_at(limit, station)).filter_map(claim).collect()
}

fn quota(claim: &Claim<'_>) -> rate_limits::Quota {
    rate_limits::Quota {
        burst: claim.limit.burst_for(claim.max),
        refill: claim.max,
        period_millis: claim.limit.period_seconds.saturating_mul(1000),
    }
}

/// Whether one more is allowed, without counting it.
fn look(claim: &Claim<'_>) -> Outcome<Usage> {
    match claim.limit.store {
        Store::Memory => {
            let quota = quota(claim);
            let said = rate_limits::take(&claim.counter, quota, 0)?;
            Ok(Usage { allowed: said.remaining >= COST, ..usage(&said, quota.burst) })
        }
        Store::Kv => {
            let (key, left) = window(claim);
            let used = OWN.text(&key)?.and_then(|text| text.parse().ok()).unwrap_or(0_u32);
            Ok(Usage { allowed: used.saturating_add(COST) <= claim.max, used, of: claim.max, wait_seconds: left })
        }
    }
}

/// Counts one more, if that is allowed.
fn take(claim: &Claim<'_>) -> Outcome<Usage> {
    match claim.limit.store {
        Store::Memory => {
            let quota = quota(claim);
            let said = rate_limits::take(&claim.counter, quota, COST)?;
            Ok(Usage { allowed: said.allowed, ..usage(&said, quota.burst) })
        }
        Store::Kv => {
            let (key, left) = window(claim);
            // The counter outlives its period a little, so that a clock set back finds it.
            let ttl = claim.limit.period_seconds.saturating_add(60);
            let used = OWN.increment(&key, i32::try_from(COST).unwrap_or(1), Some(ttl))?;
            let used = u32::try_from(used).unwrap_or(u32::MAX);
            let allowed = used <= claim.max;
            if !allowed && claim.limit.action != Action::Warn {
                OWN.increment(&key, -1, Some(ttl))?;
            }
            Ok(Usage { allowed, used, of: claim.max, wait_seconds: left })
        }
    }
}

fn usage(said: &rate_limits::Decision, burst: u32) -> Usage {
    Usage {
        allowed: said.allowed,
        used: burst.saturating_sub(said.remaining),
        of: burst,
        wait_seconds: said.retry_after_millis.div_ceil(1000),
    }
}

fn window(claim: &Claim<'_>) -> (String, u32) {
    let (begin, left) = policy::window(system::now().seconds, claim.limit.period_seconds);
    (format!("{}@{begin}", claim.counter), left)
}

/// What becomes of who is past a limit; none: nothing but a line in the log.
fn past(claim: &Claim<'_>, usage: &Usage) -> Outcome<Option<SessionVerdict>> {
    count("refused", claim.limit)?;
    let text =
        format!("{}: {} is past its {} in {} s", claim.limit.name, claim.key, usage.of, claim.limit.period_seconds);
    log::write(log::Level::Info, &text, &[]);
    let reply = policy::refusal(claim.limit, &claim.key, usage.wait_seconds);
    Ok(match claim.limit.action {
        Action::Soft => Some(SessionVerdict::Tempfail(reply)),
        Action::Hard => Some(SessionVerdict::Reject(reply)),
        Action::Warn => None,
    })
}

fn count(counter: &str, limit: &Limit) -> Result<(), String> {
    Ok(metrics::add(counter, 1, &[("limit".to_owned(), limit.name.clone())])?)
}

waypost_plugin::export!(RateLimit: lifecycle, on_connect, on_mail, on_rcpt);
