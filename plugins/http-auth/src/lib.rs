//! Asks a service over HTTP whether a name and its password belong together.
//!
//! This file asks the relay and the service; what an answer means is in `policy`, what is kept of a success in `cache`. A
//! service that can't tell never makes a success. Must never write a password anywhere but into the request.

mod cache;
mod policy;
mod settings;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use waypost_plugin::http::Request;
use waypost_plugin::{
    Attempt, AuthVerdict, Cached, Identity, Lifecycle, OWN, OnAuth, Outcome, Settings as _, SmtpSession, config,
    context, log, metrics, rate_limits, raw_kv, system,
};

use cache::Entry;
use policy::{Judgement, Known, Question};
use settings::{ActsAs, OnUnavailable, Settings, Shape};

/// The plugin.
#[derive(Debug)]
pub struct HttpAuth;

static SETTINGS: Cached<Settings> = Cached::new();

/// Octets of an answer: what is kept with a session is less.
const ANSWER_MAX: usize = 48 << 10;

impl Lifecycle for HttpAuth {
    fn validate_config(document: &str) -> Result<Vec<String>, Vec<String>> {
        Settings::read(document).map(|checked| checked.warnings)
    }
}

impl OnAuth for HttpAuth {
    fn on_auth(attempt: Attempt) -> Outcome<AuthVerdict> {
        let settings = SETTINGS.get()?;
        if !settings.covers(&attempt.name) {
            return Ok(AuthVerdict::Proceed);
        }
        // The exchange itself proved the name; there is nothing to ask the service.
        if attempt.mechanism.starts_with("SCRAM-") || attempt.mechanism == "EXTERNAL" {
            return Ok(AuthVerdict::Proceed);
        }
        let Some(secret) = attempt.secret.as_deref() else {
            return Err("there is no password: add under [plugins.NAME.grants]: auth-secrets = true".to_owned());
        };
        if attempt.acts_as.is_some() && settings.acts_as == ActsAs::Refuse {
            count("acts-as");
            return Ok(AuthVerdict::Failure(settings.failure_reply.clone()));
        }
        let session = context::current_session()?;
        let client = policy::client_key(&session.client().address);
        if braked(&client, settings.client_failures, settings)? {
            return Ok(slowed(settings));
        }
        if let Some(known) = kept(settings, &attempt, secret) {
            count("cached");
            return Ok(success(attempt, known));
        }
        // After the cache: guesses at a name keep nobody out who has just been in.
        let name = policy::name_key(&attempt.name);
        if braked(&name, settings.name_failures, settings)? {
            return Ok(slowed(settings));
        }
        match asked(settings, &attempt, secret, &session) {
            Judgement::Success(known) => {
                keep(settings, &attempt, secret, &known);
                count("success");
                Ok(success(attempt, known))
            }
            Judgement::Failure => {
                failed(&client, settings.client_failures, settings);
                failed(&name, settings.name_failures, settings);
                count("failure");
                Ok(AuthVerdict::Failure(settings.failure_reply.clone()))
            }
            Judgement::Unavailable(why) => {
                count("unavailable");
                log::write(log::Level::Warn, &format!("the service can't tell who it is: {why}"), &[]);
                Ok(match settings.on_unavailable {
                    OnUnavailable::Tempfail => AuthVerdict::Tempfail(settings.tempfail_reply.clone()),
                    OnUnavailable::Proceed => AuthVerdict::Proceed,
                })
            }
        }
    }
}

fn success(attempt: Attempt, known: Known) -> AuthVerdict {
    AuthVerdict::Success(Identity {
        mechanism: attempt.mechanism,
        name: known.name.unwrap_or(attempt.name),
        acts_as: attempt.acts_as,
        attributes: known.attributes.into_iter().collect(),
    })
}

fn slowed(settings: &Settings) -> AuthVerdict {
    count("braked");
    log::write(log::Level::Info, "too many failures: the service was not asked", &[]);
    AuthVerdict::Tempfail(settings.brake_reply.clone())
}

fn quota(failures: u32, settings: &Settings) -> rate_limits::Quota {
    rate_limits::Quota {
        burst: failures,
        refill: failures,
        period_millis: settings.period_seconds.saturating_mul(1000),
    }
}

/// True where the failures are used up. Looks only: a success costs nothing.
fn braked(key: &str, failures: u32, settings: &Settings) -> Result<bool, String> {
    if failures == 0 {
        return Ok(false);
    }
    Ok(rate_limits::take(key, quota(failures, settings), 0)?.remaining == 0)
}

fn failed(key: &str, failures: u32, settings: &Settings) {
    if failures > 0 {
        // Another one may have been faster, and taken the last.
        let _ = rate_limits::take(key, quota(failures, settings), 1);
    }
}

fn asked(settings: &Settings, attempt: &Attempt, secret: &str, session: &SmtpSession) -> Judgement {
    let response = request(settings, attempt, secret, session).and_then(|request| Ok(request.send()?));
    match response {
        Ok(response) => policy::judge(response.status, response.header("Content-Type"), &response.body),
        Err(why) => Judgement::Unavailable(why),
    }
}

fn request(settings: &Settings, attempt: &Attempt, secret: &str, session: &SmtpSession) -> Result<Request, String> {
    let acts_as = attempt.acts_as.as_deref();
    let request = match settings.request {
        Shape::Json => {
            let question = Question {
                proof: BTreeMap::from([
                    (settings.name_field.as_str(), attempt.name.as_str()),
                    (settings.secret_field.as_str(), secret),
                ]),
                acts_as,
                mechanism: &attempt.mechanism,
                client: Some(session.client().address),
                helo: session.helo(),
                listener: Some(session.listener()),
            };
            Request::post_json(&settings.url, &question)?
        }
        Shape::Form => {
            let mut pairs =
                vec![(settings.name_field.as_str(), attempt.name.as_str()), (settings.secret_field.as_str(), secret)];
            pairs.extend(acts_as.map(|name| ("acts-as", name)));
            Request::post(&settings.url, policy::form(&pairs).into_bytes())
                .header("Content-Type", "application/x-www-form-urlencoded")
        }
        Shape::Basic => {
            if attempt.name.contains(':') {
                // RFC 7617 section 2: the first colon ends the name.
                return Err("a name with a colon can't be sent with request = \"basic\"".to_owned());
            }
            let proof = STANDARD.encode(format!("{}:{secret}", attempt.name));
            Request::get(&settings.url).header("Authorization", &format!("Basic {proof}"))
        }
    };
    let request = request.timeout_millis(settings.timeout_millis).answer_max(ANSWER_MAX);
    Ok(if settings.send_token { request.bearer(&config::secret("token")?) } else { request })
}

/// Who it is, if the same password was good a short time ago.
fn kept(settings: &Settings, attempt: &Attempt, secret: &str) -> Option<Known> {
    if settings.cache_seconds == 0 {
        return None;
    }
    let key = cache::key(&attempt.name, attempt.acts_as.as_deref());
    match raw_kv::get(OWN.0, &key) {
        Ok(found) => serde_json::from_slice::<Entry>(&found?.value).ok()?.verify(secret),
        Err(error) => {
            log::write(log::Level::Warn, &format!("successes can't be kept: {}", String::from(error)), &[]);
            None
        }
    }
}

fn keep(settings: &Settings, attempt: &Attempt, secret: &str, known: &Known) {
    if settings.cache_seconds > 0 {
        let entry = Entry::of(secret, &system::random_bytes(cache::SALT), known.clone());
        let value = serde_json::to_vec(&entry).unwrap_or_default();
        // A cache that can't be written to costs time, and was told of when it was read.
        let key = cache::key(&attempt.name, attempt.acts_as.as_deref());
        let _ = raw_kv::set(OWN.0, &key, &value, Some(settings.cache_seconds));
    }
}

fn count(result: &str) {
    // A metric that can't be kept is no reason to fail.
    let _ = metrics::add("attempts", 1, &[("result".to_owned(), result.to_owned())]);
}

waypost_plugin::export!(HttpAuth: lifecycle, on_auth);

#[cfg(test)]
mod tests;
