//! An answer as the verdict of its hook. Pure. The answer was checked: a verdict that its hook does not have can't come
//! here, and is no opinion if it does.

use waypost_plugin::reply::{Status, parse, reply};
use waypost_plugin::{
    Assignment, AttemptVerdict, AuthVerdict, BounceEdit, BounceVerdict, Mailbox, MessageVerdict, RecipientDisposition,
    Reply, ResultAction, RouteGroup, RoutingVerdict, SessionVerdict, split_address,
};

use crate::answer::{Answer, Disposition, RouteTable, Verdict};
use crate::hop;

/// Replies where the service has no words of its own.
const REJECT: (u16, Status) = (550, (5, 7, 1));
const TEMPFAIL: (u16, Status) = (451, (4, 7, 1));

/// A week: the longest the relay waits.
const SECONDS_MAX: u32 = 604_800;

/// The reply of a refusal, of the class that its default has.
fn refusal(text: Option<&str>, default: (u16, Status), words: &str) -> Result<Reply, String> {
    let Some(text) = text else { return Ok(reply(default.0, default.1, words)) };
    let found = parse(text, default).map_err(|_| "its reply is none: write a code, a status and a text".to_owned())?;
    if found.code / 100 == default.0 / 100 {
        Ok(found)
    } else {
        Err(format!("its reply has the code {}, which does not fit its verdict", found.code))
    }
}

fn rejection(text: Option<&str>) -> Result<Reply, String> {
    refusal(text, REJECT, "refused by policy")
}

fn deferral(text: Option<&str>) -> Result<Reply, String> {
    refusal(text, TEMPFAIL, "please try again later")
}

fn reason(text: Option<&String>) -> String {
    text.cloned().unwrap_or_else(|| "the policy service said so".to_owned())
}

/// An envelope address; empty is the null one, where there is one.
pub(crate) fn mailbox(text: &str) -> Result<Mailbox, String> {
    let (local, domain) = split_address(text).ok_or("an address in its answer is none")?;
    Ok(Mailbox { local_part: local.to_owned(), domain: domain.to_owned() })
}

/// At connect, helo, mail and rcpt.
pub(crate) fn session(answer: &Answer) -> Result<SessionVerdict, String> {
    let text = answer.reply.as_deref();
    Ok(match answer.verdict {
        Verdict::Accept => SessionVerdict::Accept,
        Verdict::Reject => SessionVerdict::Reject(rejection(text)?),
        Verdict::Tempfail => SessionVerdict::Tempfail(deferral(text)?),
        Verdict::Close => SessionVerdict::Close(closing(text)?),
        _ => SessionVerdict::Proceed,
    })
}

/// Either class will do.
fn closing(text: Option<&str>) -> Result<Reply, String> {
    let permanent = text.is_some_and(|text| text.trim_start().starts_with('5'));
    let default = if permanent { (554, (5, 7, 1)) } else { (421, (4, 7, 1)) };
    refusal(text, default, "goodbye")
}

/// At auth.
pub(crate) fn auth(answer: &Answer) -> Result<AuthVerdict, String> {
    let text = answer.reply.as_deref();
    Ok(match answer.verdict {
        Verdict::Reject => AuthVerdict::Failure(refusal(text, (535, (5, 7, 8)), "authentication failed")?),
        Verdict::Tempfail => AuthVerdict::Tempfail(refusal(text, (454, (4, 7, 0)), "please try again later")?),
        _ => AuthVerdict::Proceed,
    })
}

/// At message.
pub(crate) fn message(answer: &Answer) -> Result<MessageVerdict, String> {
    let text = answer.reply.as_deref();
    Ok(match answer.verdict {
        Verdict::Accept => MessageVerdict::Accept,
        Verdict::Reject => MessageVerdict::Reject(rejection(text)?),
        Verdict::Tempfail => MessageVerdict::Tempfail(deferral(text)?),
        Verdict::Discard => MessageVerdict::Discard(reason(answer.reason.as_ref())),
        Verdict::Quarantine => MessageVerdict::Quarantine(reason(answer.reason.as_ref())),
        _ => MessageVerdict::Proceed,
    })
}

/// At route; `asked` are the indexes of the recipients.
pub(crate) fn routing(answer: &Answer, asked: &[u32]) -> Result<RoutingVerdict, String> {
    let text = answer.reply.as_deref();
    match answer.verdict {
        Verdict::Reject => Ok(RoutingVerdict::Reject(rejection(text)?)),
        Verdict::Tempfail => Ok(RoutingVerdict::Tempfail(deferral(text)?)),
        Verdict::Assign => assignment(&answer.routes, asked).map(RoutingVerdict::Assign),
        _ => Ok(RoutingVerdict::Proceed),
    }
}

fn assignment(tables: &[RouteTable], asked: &[u32]) -> Result<Vec<RouteGroup>, String> {
    if tables.is_empty() {
        return Err("it assigns, but has no routes".to_owned());
    }
    let mut taken: Vec<u32> = Vec::new();
    let mut groups = Vec::new();
    for table in tables {
        let free = |taken: &[u32]| asked.iter().copied().filter(|index| !taken.contains(index)).collect::<Vec<_>>();
        let recipients = table.recipients.clone().unwrap_or_else(|| free(&taken));
        for index in &recipients {
            if !asked.contains(index) {
                return Err(format!("it routes recipient {index}, which it was not asked about"));
            }
            if taken.contains(index) {
                return Err(format!("it routes recipient {index} twice"));
            }
            taken.push(*index);
        }
        let assignment = match &table.fail {
            Some(_) if !table.hops.is_empty() => return Err("a route has hops and fails".to_owned()),
            Some(text) => Assignment::Fail(rejection(Some(text))?),
            None => Assignment::Route(hop::route(table)?),
        };
        if !recipients.is_empty() {
            groups.push(RouteGroup { recipients, assignment });
        }
    }
    Ok(groups)
}

fn seconds(wish: Option<u32>) -> Result<u32, String> {
    let fits = wish.filter(|seconds| (1..=SECONDS_MAX).contains(seconds));
    fits.ok_or_else(|| format!("its seconds are missing or not from 1 to {SECONDS_MAX}"))
}

fn reroute(table: Option<&RouteTable>) -> Result<waypost_plugin::Route, String> {
    hop::route(table.ok_or("it reroutes, but has no route")?)
}

/// At delivery-attempt.
pub(crate) fn attempt(answer: &Answer) -> Result<AttemptVerdict, String> {
    Ok(match answer.verdict {
        Verdict::Hold => AttemptVerdict::HoldSeconds(seconds(answer.seconds)?),
        Verdict::Reroute => AttemptVerdict::Reroute(reroute(answer.route.as_ref())?),
        Verdict::Fail => AttemptVerdict::Fail(rejection(answer.reply.as_deref())?),
        _ => AttemptVerdict::Proceed,
    })
}

/// At delivery-result: single dispositions first, the verdict for all others; `asked` are indexes of the recipients.
pub(crate) fn result(answer: &Answer, asked: &[u32]) -> Result<Vec<RecipientDisposition>, String> {
    let mut done: Vec<RecipientDisposition> = Vec::new();
    for disposition in &answer.dispositions {
        let recipient = disposition.recipient;
        if !asked.contains(&recipient) || done.iter().any(|d| d.recipient == recipient) {
            return Err(format!("it disposes of recipient {recipient} twice, or was not asked about it"));
        }
        done.push(RecipientDisposition { recipient, action: action(disposition)? });
    }
    if answer.verdict == Verdict::Proceed {
        return Ok(done);
    }
    for recipient in asked.iter().copied() {
        if !done.iter().any(|d| d.recipient == recipient) {
            let all = Disposition {
                recipient,
                verdict: answer.verdict,
                reply: answer.reply.clone(),
                reason: answer.reason.clone(),
                seconds: answer.seconds,
                route: answer.route.clone(),
            };
            done.push(RecipientDisposition { recipient, action: action(&all)? });
        }
    }
    Ok(done)
}

fn action(wish: &Disposition) -> Result<ResultAction, String> {
    Ok(match wish.verdict {
        Verdict::Proceed => ResultAction::Proceed,
        Verdict::Retry => ResultAction::RetryAfterSeconds(seconds(wish.seconds)?),
        Verdict::Reroute => ResultAction::Reroute(reroute(wish.route.as_ref())?),
        Verdict::Bounce => ResultAction::Bounce(rejection(wish.reply.as_deref())?),
        Verdict::Forget => ResultAction::Forget(reason(wish.reason.as_ref())),
        _ => return Err("a disposition has a verdict that does not exist at delivery-result".to_owned()),
    })
}

/// At bounce.
pub(crate) fn bounce(answer: &Answer) -> Result<BounceVerdict, String> {
    match answer.verdict {
        Verdict::Suppress => Ok(BounceVerdict::Suppress(reason(answer.reason.as_ref()))),
        Verdict::Edit => {
            let wish = answer.bounce.as_ref().ok_or("it edits, but has no bounce")?;
            Ok(BounceVerdict::Edit(BounceEdit {
                preface: wish.preface.clone(),
                return_headers_only: wish.headers_only,
                redirect_to: wish.redirect_to.as_deref().map(mailbox).transpose()?,
                options: Vec::new(),
            }))
        }
        _ => Ok(BounceVerdict::Proceed),
    }
}

#[cfg(test)]
mod tests;
