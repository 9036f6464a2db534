//! Verdicts of guests, checked: what does not fit is a failure of the plugin, never a guess of the relay.
//!
//! Pure. The errors are for the log; nothing of them reaches a client.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::bindings::exports::waypost::plugin::on_auth;
use super::bindings::waypost::plugin as wit;
use super::convert;
use crate::hooks::{
    Assignment, AttemptVerdict, AuthVerdict, BounceEdit, BounceVerdict, Disposition, Identity, MessageVerdict, NextHop,
    ResultAction, Route, RouteGroup, RoutingVerdict, SessionVerdict, TlsPolicy,
};
use crate::mail::Domain;
use crate::smtp::{Reply, Status};

/// A verdict, or in words why it does not fit.
pub(crate) type Checked<T> = Result<T, String>;

/// Lines of a reply: a client shows one, a log keeps some.
const LINES_MAX: usize = 16;

/// Octets of a line: what fits on the wire (RFC 5321 section 4.5.3.1.5) beside code, status and CRLF.
const LINE_MAX: usize = 480;

/// Octets of a reason for the log or the operator.
const REASON_MAX: usize = 512;

/// Octets of the text put in front of a bounce.
const PREFACE_MAX: usize = 4096;

/// Hops of a route, as many as MX names are worth trying.
const HOPS_MAX: usize = 16;

/// A week: whatever waits longer is given up by the schedule anyway.
const SECONDS_MAX: u32 = 604_800;

/// Attributes of an identity.
const ATTRIBUTES_MAX: usize = 32;

/// Which replies a verdict may carry.
#[derive(Clone, Copy)]
enum Class {
    Transient,
    Permanent,
    Either,
}

pub(crate) fn session(verdict: wit::types::SessionVerdict) -> Checked<SessionVerdict> {
    use wit::types::SessionVerdict as Said;
    Ok(match verdict {
        Said::Proceed => SessionVerdict::Proceed,
        Said::Accept => SessionVerdict::Accept,
        Said::Reject(said) => SessionVerdict::Reject(reply(said, Class::Permanent)?),
        Said::Tempfail(said) => SessionVerdict::Tempfail(reply(said, Class::Transient)?),
        Said::Close(said) => SessionVerdict::Close(reply(said, Class::Either)?),
    })
}

pub(crate) fn message(verdict: wit::types::MessageVerdict) -> Checked<MessageVerdict> {
    use wit::types::MessageVerdict as Said;
    Ok(match verdict {
        Said::Proceed => MessageVerdict::Proceed,
        Said::Accept => MessageVerdict::Accept,
        Said::Reject(said) => MessageVerdict::Reject(reply(said, Class::Permanent)?),
        Said::Tempfail(said) => MessageVerdict::Tempfail(reply(said, Class::Transient)?),
        Said::Discard(why) => MessageVerdict::Discard(plain(&why, REASON_MAX).into()),
        Said::Quarantine(why) => MessageVerdict::Quarantine(plain(&why, REASON_MAX).into()),
    })
}

/// `asked`: what the plugin was shown; `proven`: the exchange proved the name, and there is no secret.
pub(crate) fn auth(verdict: on_auth::AuthVerdict, asked: &on_auth::Attempt, proven: bool) -> Checked<AuthVerdict> {
    use on_auth::AuthVerdict as Said;
    Ok(match verdict {
        Said::Proceed => AuthVerdict::Proceed,
        Said::Success(said) => AuthVerdict::Success(vouched(identity(said)?, asked, proven)?),
        Said::Failure(said) => AuthVerdict::Failure(reply(said, Class::Permanent)?),
        Said::Tempfail(said) => AuthVerdict::Tempfail(reply(said, Class::Transient)?),
    })
}

/// `open`: the recipients that were asked about.
pub(crate) fn routing(verdict: wit::routing::RoutingVerdict, open: &[u32]) -> Checked<RoutingVerdict> {
    use wit::routing::RoutingVerdict as Said;
    Ok(match verdict {
        Said::Proceed => RoutingVerdict::Proceed,
        Said::Assign(groups) => RoutingVerdict::Assign(route_groups(groups, open)?),
        Said::Reject(said) => RoutingVerdict::Reject(reply(said, Class::Permanent)?),
        Said::Tempfail(said) => RoutingVerdict::Tempfail(reply(said, Class::Transient)?),
    })
}

pub(crate) fn attempt(verdict: wit::deliveries::AttemptVerdict) -> Checked<AttemptVerdict> {
    use wit::deliveries::AttemptVerdict as Said;
    Ok(match verdict {
        Said::Proceed => AttemptVerdict::Proceed,
        Said::HoldSeconds(said) => AttemptVerdict::HoldSeconds(seconds(said)?),
        Said::Reroute(said) => AttemptVerdict::Reroute(route(said)?.into()),
        Said::Fail(said) => AttemptVerdict::Fail(reply(said, Class::Permanent)?),
    })
}

/// `asked`: the recipients of the outcomes.
pub(crate) fn dispositions(
    said: Vec<wit::deliveries::RecipientDisposition>,
    asked: impl Iterator<Item = u32>,
) -> Checked<Vec<Disposition>> {
    let mut left: BTreeSet<u32> = asked.collect();
    let disposition = |said: wit::deliveries::RecipientDisposition| {
        if !left.remove(&said.recipient) {
            return Err(format!("a disposition of recipient {}, unknown or named twice", said.recipient));
        }
        Ok(Disposition { recipient: said.recipient, action: action(said.action)? })
    };
    said.into_iter().map(disposition).collect()
}

fn action(said: wit::deliveries::ResultAction) -> Checked<ResultAction> {
    use wit::deliveries::ResultAction as Said;
    Ok(match said {
        Said::Proceed => ResultAction::Proceed,
        Said::RetryAfterSeconds(said) => ResultAction::RetryAfterSeconds(seconds(said)?),
        Said::Reroute(said) => ResultAction::Reroute(route(said)?.into()),
        Said::Bounce(said) => ResultAction::Bounce(reply(said, Class::Permanent)?),
        Said::Forget(why) => ResultAction::Forget(plain(&why, REASON_MAX).into()),
    })
}

pub(crate) fn bounce(verdict: wit::deliveries::BounceVerdict) -> Checked<BounceVerdict> {
    use wit::deliveries::BounceVerdict as Said;
    Ok(match verdict {
        Said::Proceed => BounceVerdict::Proceed,
        Said::Suppress(why) => BounceVerdict::Suppress(plain(&why, REASON_MAX).into()),
        Said::Edit(said) => {
            no_options(&said.options)?;
            BounceVerdict::Edit(BounceEdit {
                preface: said.preface.map(|text| preface(&text).into()),
                return_headers_only: said.return_headers_only,
                redirect_to: said.redirect_to.map(|to| convert::to_mailbox(&to, false)).transpose()?,
            })
        }
    })
}

fn reply(said: wit::types::Reply, class: Class) -> Checked<Reply> {
    let code = said.code;
    let fits = match class {
        Class::Transient => code / 100 == 4,
        Class::Permanent => code / 100 == 5,
        Class::Either => matches!(code / 100, 4 | 5),
    };
    // RFC 5321 section 4.2: the second digit is 0 to 5.
    if !fits || code / 10 % 10 > 5 {
        return Err(format!("reply code {code} does not fit the verdict"));
    }
    let own_class = if code / 100 == 4 { 4 } else { 5 };
    let status = match said.status {
        // RFC 3463 section 3.8: refused by a rule of this site.
        None => Status::new(own_class, 7, 1),
        Some(s) if s.kind == own_class && s.subject <= 999 && s.detail <= 999 => {
            Status::new(s.kind, s.subject, s.detail)
        }
        Some(s) => return Err(format!("status {}.{}.{} does not fit reply code {code}", s.kind, s.subject, s.detail)),
    };
    if said.lines.len() > LINES_MAX {
        return Err(format!("a reply of {} lines; {LINES_MAX} are allowed", said.lines.len()));
    }
    let mut lines: Vec<Arc<str>> = said.lines.iter().map(|line| plain(line, LINE_MAX).into()).collect();
    if lines.is_empty() {
        lines.push(if own_class == 4 { "Refused for now, try again later" } else { "Refused" }.into());
    }
    Ok(Reply { code, status: Some(status), lines: lines.into() })
}

/// Without control characters, and at most `max` octets.
fn plain(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        if out.len() + c.len_utf8() > max {
            break;
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
    out
}

/// Line breaks stay, as LF.
fn preface(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let line = plain(line, PREFACE_MAX.saturating_sub(out.len() + 1));
        out.push_str(&line);
        out.push('\n');
        if out.len() >= PREFACE_MAX {
            break;
        }
    }
    out
}

fn identity(said: wit::types::Identity) -> Checked<Identity> {
    let word = |text: &str, max| -> Arc<str> { plain(text, max).into() };
    if said.name.is_empty() {
        return Err("an identity without a name".to_owned());
    }
    if said.attributes.len() > ATTRIBUTES_MAX {
        return Err(format!("{} attributes; {ATTRIBUTES_MAX} are allowed", said.attributes.len()));
    }
    Ok(Identity {
        mechanism: word(&said.mechanism, 32),
        name: word(&said.name, 256),
        acts_as: said.acts_as.as_deref().map(|name| word(name, 256)),
        attributes: said.attributes.iter().map(|(k, v)| (word(k, 64), word(v, 1024))).collect(),
    })
}

/// A success lets a client in that may relay then. Who the client is can tell only who saw what it offered; of a name that it
/// has proved a plugin can say more, not that it is another one.
fn vouched(said: Identity, asked: &on_auth::Attempt, proven: bool) -> Checked<Identity> {
    match &asked.secret {
        Some(_) => Ok(said),
        None if proven => Ok(Identity {
            name: asked.name.as_str().into(),
            acts_as: said.acts_as.filter(|name| asked.acts_as.as_deref() == Some(&**name)),
            ..said
        }),
        None => Err("a success without having seen the secret: it takes the grant `auth-secrets`".to_owned()),
    }
}

fn seconds(said: u32) -> Checked<u32> {
    if (1..=SECONDS_MAX).contains(&said) {
        return Ok(said);
    }
    Err(format!("{said} seconds; 1 to {SECONDS_MAX} are allowed"))
}

fn route_groups(groups: Vec<wit::routing::RouteGroup>, open: &[u32]) -> Checked<Vec<RouteGroup>> {
    let mut left: BTreeSet<u32> = open.iter().copied().collect();
    let group = |said: wit::routing::RouteGroup| {
        if let Some(index) = said.recipients.iter().find(|index| !left.remove(index)) {
            return Err(format!("a route for recipient {index}, not asked about or named twice"));
        }
        let assignment = match said.assignment {
            wit::routing::Assignment::Route(said) => Assignment::Route(route(said)?.into()),
            wit::routing::Assignment::Fail(said) => Assignment::Fail(reply(said, Class::Permanent)?),
        };
        Ok(RouteGroup { recipients: said.recipients, assignment })
    };
    groups.into_iter().map(group).collect()
}

fn route(said: wit::routing::Route) -> Checked<Route> {
    use wit::routing::TlsPolicy as Said;
    no_options(&said.options)?;
    if !(1..=HOPS_MAX).contains(&said.hops.len()) {
        return Err(format!("a route of {} hops; 1 to {HOPS_MAX} are allowed", said.hops.len()));
    }
    if said.expires_after_seconds == Some(0) {
        return Err("a route that expires at once".to_owned());
    }
    Ok(Route {
        hops: said.hops.into_iter().map(next_hop).collect::<Checked<_>>()?,
        tls: match said.tls {
            Said::Inherit => TlsPolicy::Inherit,
            Said::Off => TlsPolicy::Off,
            Said::Opportunistic => TlsPolicy::Opportunistic,
            Said::Encrypt => TlsPolicy::Encrypt,
            Said::Verify => TlsPolicy::Verify,
            Said::Dane => TlsPolicy::Dane,
        },
        source: said.source.map(name).transpose()?,
        credential: said.credential.map(name).transpose()?,
        lane: said.lane.map(name).transpose()?,
        retry_schedule: said.retry_schedule.map(name).transpose()?,
        expires_after_secs: said.expires_after_seconds,
    })
}

fn no_options(options: &[(String, String)]) -> Checked<()> {
    match options.first() {
        None => Ok(()),
        Some((name, _)) => Err(format!("unknown option `{}`", plain(name, 64))),
    }
}

fn next_hop(said: wit::routing::NextHop) -> Checked<NextHop> {
    use wit::routing::NextHop as Said;
    Ok(match said {
        Said::Mx(domain) => NextHop::Mx(parse_domain(&domain)?),
        Said::Smtp(target) => NextHop::Smtp { host: host(&target.host, target.port)?, port: target.port },
        Said::Lmtp(target) => match target.host.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') && path.len() < 108 && !path.contains(char::is_control) => {
                NextHop::Lmtp { host: target.host.into(), port: 0 }
            }
            Some(_) => return Err("`unix:` needs an absolute path of at most 107 octets".to_owned()),
            None => NextHop::Lmtp { host: host(&target.host, target.port)?, port: target.port },
        },
        Said::Named(said) => NextHop::Named(name(said)?),
    })
}

fn parse_domain(text: &str) -> Checked<Arc<str>> {
    let domain = Domain::parse(text).map_err(|e| format!("`{}` is no domain: {e}", plain(text, 64)))?;
    Ok(domain.as_str().into())
}

fn host(text: &str, port: u16) -> Checked<Arc<str>> {
    if port == 0 {
        return Err("a host with port 0".to_owned());
    }
    match text.parse::<IpAddr>() {
        Ok(ip) => Ok(ip.to_string().into()),
        Err(_) if text.starts_with('[') => Err("a host is a name or an address without brackets".to_owned()),
        Err(_) => parse_domain(text),
    }
}

/// A name from the configuration.
fn name(text: String) -> Checked<Arc<str>> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=64).contains(&text.len()) && text.chars().all(good) {
        return Ok(text.into());
    }
    Err(format!("`{}` is no name from the configuration", plain(&text, 64)))
}

#[cfg(test)]
mod tests;
