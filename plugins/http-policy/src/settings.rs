//! `[plugins.http-policy.config]`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use waypost_plugin::Checked;
use waypost_plugin::http::Url;

use crate::cache::Template;

/// The operator's wishes, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) url: String,
    hooks: Vec<Hook>,
    pub(crate) timeout_millis: u32,
    pub(crate) send_token: bool,
    pub(crate) headers: bool,
    pub(crate) body_max: u32,
    failures: BTreeMap<Hook, OnFailure>,
    pub(crate) cache: Option<Cache>,
}

/// Answers that are kept.
#[derive(Debug)]
pub(crate) struct Cache {
    pub(crate) key: Template,
    pub(crate) seconds: u32,
    hooks: Vec<Hook>,
}

/// A hook by the name that the relay's configuration has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Hook {
    Connect,
    Helo,
    Auth,
    Mail,
    Rcpt,
    Message,
    Route,
    DeliveryAttempt,
    DeliveryResult,
    Bounce,
}

impl Hook {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Helo => "helo",
            Self::Auth => "auth",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Message => "message",
            Self::Route => "route",
            Self::DeliveryAttempt => "delivery-attempt",
            Self::DeliveryResult => "delivery-result",
            Self::Bounce => "bounce",
        }
    }

    /// True at the hooks of the queue, where nobody can be told to come back.
    pub(crate) fn is_of_queue(self) -> bool {
        matches!(self, Self::DeliveryAttempt | Self::DeliveryResult | Self::Bounce)
    }

    /// True where the same question can have the same answer: none about a message, none about a secret.
    fn is_cacheable(self) -> bool {
        matches!(self, Self::Connect | Self::Helo | Self::Mail | Self::Rcpt)
    }
}

/// What becomes of a question without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnFailure {
    /// The plugin fails: the relay's `on-failure` decides.
    Fail,
    Tempfail,
    Proceed,
}

/// As written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Table {
    url: String,
    hooks: Vec<Hook>,
    timeout_millis: u32,
    send_token: bool,
    headers: bool,
    body_max: u32,
    failures: BTreeMap<Hook, OnFailure>,
    cache: Option<CacheTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct CacheTable {
    key: String,
    seconds: u32,
    #[serde(default)]
    hooks: Option<Vec<Hook>>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            url: String::new(),
            hooks: vec![Hook::Rcpt],
            // People wait for the answer to RCPT, and servers have others to ask.
            timeout_millis: 2000,
            send_token: false,
            headers: true,
            body_max: 0,
            failures: BTreeMap::new(),
            cache: None,
        }
    }
}

/// Octets of a body that fit into a request with all else, written as base64 where it is no text.
const BODY_MAX: u32 = 512 << 10;

impl waypost_plugin::Settings for Settings {
    fn read(document: &str) -> Result<Checked<Self>, Vec<String>> {
        Checked::from_table(document, check)
    }
}

fn check(table: Table, errors: &mut Vec<String>, warnings: &mut Vec<String>) -> Settings {
    if table.url.is_empty() {
        errors.push("url: it is missing; write where the service is, such as https://policy.example.com/v1".to_owned());
    } else {
        check_url(&table, errors, warnings);
    }
    if table.hooks.is_empty() {
        errors.push("hooks: without one it is never asked; remove the plugin instead".to_owned());
    }
    if !(100..=60_000).contains(&table.timeout_millis) {
        errors.push(format!("timeout-millis: {} is not from 100 to 60000", table.timeout_millis));
    } else if table.timeout_millis > 5000 {
        warnings.push("timeout-millis: the relay gives a request 5 s; raise grants.http.timeout with it".to_owned());
    }
    if table.body_max > BODY_MAX {
        errors.push(format!("body-max: {} octets are more than {BODY_MAX}", table.body_max));
    }
    for (hook, wish) in &table.failures {
        if hook.is_of_queue() && *wish == OnFailure::Tempfail {
            errors.push(format!("failures.{}: there is nobody to be told to come back; write proceed", hook.name()));
        }
        if !table.hooks.contains(hook) {
            warnings.push(format!("failures.{}: it is not asked at that hook", hook.name()));
        }
    }
    let cache = table.cache.and_then(|cache| check_cache(cache, &table.hooks, errors));
    Settings {
        url: table.url,
        hooks: table.hooks,
        timeout_millis: table.timeout_millis,
        send_token: table.send_token,
        headers: table.headers,
        body_max: table.body_max,
        failures: table.failures,
        cache,
    }
}

fn check_url(table: &Table, errors: &mut Vec<String>, warnings: &mut Vec<String>) {
    match table.url.parse::<Url>() {
        Ok(url) if !url.is_secure() && !url.is_local() => {
            warnings.push(format!("url: addresses of people go to {} without TLS", url.origin()));
        }
        Ok(_) => {}
        Err(why) => errors.push(format!("url: {why}")),
    }
}

fn check_cache(table: CacheTable, asked: &[Hook], errors: &mut Vec<String>) -> Option<Cache> {
    if !(1..=86_400).contains(&table.seconds) {
        errors.push(format!("cache.seconds: {} is not from 1 to 86400", table.seconds));
    }
    let hooks = table.hooks.unwrap_or_else(|| asked.iter().copied().filter(|hook| hook.is_cacheable()).collect());
    for hook in hooks.iter().filter(|hook| !hook.is_cacheable()) {
        errors.push(format!("cache.hooks: answers about {} are never the same twice", hook.name()));
    }
    match Template::parse(&table.key) {
        Ok(key) => Some(Cache { key, seconds: table.seconds, hooks }),
        Err(error) => {
            errors.push(format!("cache.key: {error}"));
            None
        }
    }
}

impl Settings {
    /// True if the service is asked at this hook.
    pub(crate) fn asks_at(&self, hook: Hook) -> bool {
        self.hooks.contains(&hook)
    }

    /// What becomes of a question without an answer.
    pub(crate) fn on_failure(&self, hook: Hook) -> OnFailure {
        self.failures.get(&hook).copied().unwrap_or(OnFailure::Fail)
    }

    /// The cache, at the hooks that it is for.
    pub(crate) fn cache_at(&self, hook: Hook) -> Option<&Cache> {
        self.cache.as_ref().filter(|cache| cache.hooks.contains(&hook))
    }
}

#[cfg(test)]
mod tests {
    use waypost_plugin::Settings as _;

    use super::*;

    #[test]
    fn a_url_is_enough() {
        let checked = Settings::read(r#"{"url": "http://127.0.0.1:8000/"}"#).unwrap();
        assert!(checked.warnings.is_empty());
        assert!(checked.settings.asks_at(Hook::Rcpt) && !checked.settings.asks_at(Hook::Message));
        assert_eq!(checked.settings.on_failure(Hook::Rcpt), OnFailure::Fail);
    }

    #[test]
    fn every_mistake_is_named() {
        let errors = Settings::read(
            r#"{"url": "x", "hooks": [], "timeout-millis": 1, "body-max": 1000000, "failures": {"bounce": "tempfail"},
                "cache": {"key": "{nobody}", "seconds": 0, "hooks": ["message", "auth"]}}"#,
        )
        .unwrap_err();
        let named: Vec<_> = errors.iter().filter_map(|error| error.split(':').next()).collect();
        assert_eq!(
            named,
            [
                "url",
                "hooks",
                "timeout-millis",
                "body-max",
                "failures.bounce",
                "cache.seconds",
                "cache.hooks",
                "cache.hooks",
                "cache.key"
            ]
        );
        assert!(Settings::read("{}").unwrap_err().concat().starts_with("url: it is missing"));
        assert_eq!(Settings::read(r#"{"url": "http://a/", "hooks": ["rcptto"]}"#).unwrap_err().len(), 1);
    }

    #[test]
    fn odd_settings_are_warned_of() {
        let checked = Settings::read(
            r#"{"url": "http://policy.example/", "timeout-millis": 8000, "failures": {"mail": "proceed"}}"#,
        );
        assert_eq!(checked.unwrap().warnings.len(), 3);
    }

    #[test]
    fn only_questions_of_the_session_are_kept() {
        let settings = Settings::read(
            r#"{"url": "http://[::1]/", "hooks": ["rcpt", "message"], "cache": {"key": "{client}", "seconds": 60}}"#,
        );
        let settings = settings.unwrap().settings;
        assert!(settings.cache_at(Hook::Rcpt).is_some());
        assert!(settings.cache_at(Hook::Message).is_none());
    }
}
