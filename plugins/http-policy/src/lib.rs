//! Asks an operator's own service what to do, at the hooks that the settings name.
//!
//! What is asked is in `question`, gathered by `facts`; what may be answered is in `answer`, what it means in `verdicts`
//! and `edits`. This file asks, keeps answers, and says what happens without one. An answer that does not fit is none:
//! nothing of it is done. Must never write addresses or content to the log.

mod answer;
mod cache;
mod edits;
mod facts;
mod hop;
mod question;
mod settings;
mod verdicts;

use waypost_plugin::http::Request;
use waypost_plugin::{
    Attempt, AttemptVerdict, AuthVerdict, BounceVerdict, Cached, Lifecycle, Mailbox, MessageVerdict, OWN, OnAuth,
    OnBounce, OnConnect, OnDeliveryAttempt, OnDeliveryResult, OnHelo, OnMail, OnMessage, OnRcpt, OnRoute, Outcome,
    Recipient, RecipientDisposition, RecipientOutcome, RoutingPhase, RoutingVerdict, SessionVerdict, Settings as _,
    config, log, metrics, raw_kv,
};

use answer::{Answer, Verdict};
use question::Question;
use settings::{Hook, OnFailure, Settings};

/// The plugin.
#[derive(Debug)]
pub struct HttpPolicy;

static SETTINGS: Cached<Settings> = Cached::new();

/// Octets of an answer. A kv value holds as many.
const ANSWER_MAX: usize = 64 << 10;

impl Lifecycle for HttpPolicy {
    fn validate_config(document: &str) -> Result<Vec<String>, Vec<String>> {
        Settings::read(document).map(|checked| checked.warnings)
    }
}

/// Asks the service where it is to be asked, does the edits of its answer, and makes a verdict of it.
fn decided<V>(
    hook: Hook,
    add: impl FnOnce(&mut Question),
    verdict: impl Fn(&Answer) -> Result<V, String>,
) -> Outcome<V> {
    let settings = SETTINGS.get()?;
    if !settings.asks_at(hook) {
        return verdict(&Answer::default());
    }
    let mut question = facts::question(hook, settings)?;
    add(&mut question);
    // The verdict first: with one that does not fit, no edit is done either.
    match asked(settings, hook, &question).and_then(|answer| Ok((verdict(&answer)?, answer))) {
        Ok((verdict, answer)) => {
            edits::apply(&answer, hook)?;
            count(hook, "answered");
            Ok(verdict)
        }
        Err(why) => {
            count(hook, "failed");
            let why = format!("{}: the policy service did not answer: {why}", hook.name());
            match settings.on_failure(hook) {
                OnFailure::Fail => return Err(why),
                OnFailure::Tempfail | OnFailure::Proceed => log::write(log::Level::Warn, &why, &[]),
            }
            let tempfail = settings.on_failure(hook) == OnFailure::Tempfail;
            let wish = if tempfail { Verdict::Tempfail } else { Verdict::Proceed };
            verdict(&Answer { verdict: wish, ..Answer::default() })
        }
    }
}

/// The answer, perhaps one that was kept.
fn asked(settings: &Settings, hook: Hook, question: &Question) -> Result<Answer, String> {
    let cache = settings.cache_at(hook).map(|cache| (cache.key.key(question), cache.seconds));
    if let Some((key, _)) = &cache {
        match raw_kv::get(OWN.0, key) {
            // One that can't be read any more is asked for again.
            Ok(Some(kept)) => {
                if let Ok(answer) = Answer::read(&kept.value, hook) {
                    count(hook, "cached");
                    return Ok(answer);
                }
            }
            Ok(None) => {}
            Err(error) => log::write(log::Level::Warn, &format!("answers can't be kept: {}", String::from(error)), &[]),
        }
    }
    let answer = fetched(settings, hook, question)?;
    if let Some((key, seconds)) = cache.filter(|_| answer.is_cacheable()) {
        // A cache that can't be written to costs time, and was told of when it was read.
        let kept = serde_json::to_vec(&answer).unwrap_or_default();
        let _ = raw_kv::set(OWN.0, &key, &kept, Some(seconds));
    }
    Ok(answer)
}

fn fetched(settings: &Settings, hook: Hook, question: &Question) -> Result<Answer, String> {
    let mut request = Request::post_json(&settings.url, question)?
        .timeout_millis(settings.timeout_millis)
        .answer_max(ANSWER_MAX)
        .header("Accept", "application/json");
    if settings.send_token {
        request = request.bearer(&config::secret("token")?);
    }
    let response = request.send()?;
    match response.status {
        200 => Answer::read(&response.body, hook),
        // No opinion.
        204 => Ok(Answer::default()),
        status => Err(format!("its status is {status}")),
    }
}

fn count(hook: Hook, result: &str) {
    let labels = [("hook", hook.name()), ("result", result)].map(|(key, value)| (key.to_owned(), value.to_owned()));
    // A metric that can't be kept is no reason to fail.
    let _ = metrics::add("requests", 1, &labels);
}

impl OnConnect for HttpPolicy {
    fn on_connect() -> Outcome<SessionVerdict> {
        decided(Hook::Connect, |_| {}, verdicts::session)
    }
}

impl OnHelo for HttpPolicy {
    fn on_helo(name: String) -> Outcome<SessionVerdict> {
        decided(Hook::Helo, |question| question.helo = Some(name), verdicts::session)
    }
}

impl OnAuth for HttpPolicy {
    fn on_auth(attempt: Attempt) -> Outcome<AuthVerdict> {
        let auth = question::Auth { mechanism: attempt.mechanism, name: attempt.name, acts_as: attempt.acts_as };
        decided(Hook::Auth, |question| question.auth = Some(auth), verdicts::auth)
    }
}

impl OnMail for HttpPolicy {
    fn on_mail(_: Option<Mailbox>) -> Outcome<SessionVerdict> {
        // The transaction says who the sender is.
        decided(Hook::Mail, |_| {}, verdicts::session)
    }
}

impl OnRcpt for HttpPolicy {
    fn on_rcpt(candidate: Recipient) -> Outcome<SessionVerdict> {
        decided(Hook::Rcpt, |question| question.recipient = Some(facts::recipient(&candidate)), verdicts::session)
    }
}

impl OnMessage for HttpPolicy {
    fn on_message() -> Outcome<MessageVerdict> {
        decided(Hook::Message, |_| {}, verdicts::message)
    }
}

impl OnRoute for HttpPolicy {
    fn on_route(phase: RoutingPhase, recipients: Vec<Recipient>) -> Outcome<RoutingVerdict> {
        let asked: Vec<u32> = recipients.iter().map(|recipient| recipient.index).collect();
        let add = |question: &mut Question| question.route = Some(facts::routing(phase, &recipients));
        decided(Hook::Route, add, |answer| verdicts::routing(answer, &asked))
    }
}

impl OnDeliveryAttempt for HttpPolicy {
    fn on_delivery_attempt() -> Outcome<AttemptVerdict> {
        decided(Hook::DeliveryAttempt, |_| {}, verdicts::attempt)
    }
}

impl OnDeliveryResult for HttpPolicy {
    fn on_delivery_result(outcomes: Vec<RecipientOutcome>) -> Outcome<Vec<RecipientDisposition>> {
        let asked: Vec<u32> = outcomes.iter().map(|outcome| outcome.recipient).collect();
        let add = |question: &mut Question| question.outcomes = Some(facts::outcomes(&outcomes));
        decided(Hook::DeliveryResult, add, |answer| verdicts::result(answer, &asked))
    }
}

impl OnBounce for HttpPolicy {
    fn on_bounce(failed: Vec<RecipientOutcome>) -> Outcome<BounceVerdict> {
        decided(Hook::Bounce, |question| question.outcomes = Some(facts::outcomes(&failed)), verdicts::bounce)
    }
}

waypost_plugin::export!(
    HttpPolicy: lifecycle, on_connect, on_helo, on_auth, on_mail, on_rcpt, on_message, on_route, on_delivery_attempt,
    on_delivery_result, on_bounce
);

#[cfg(test)]
mod tests;
