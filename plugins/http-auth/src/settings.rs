//! `[plugins.http-auth.config]`.

use serde::Deserialize;
use waypost_plugin::http::Url;
use waypost_plugin::reply::{Status, parse};
use waypost_plugin::{Checked, DomainTable, Reply, split_address};

/// The operator's wishes, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) url: String,
    pub(crate) request: Shape,
    pub(crate) name_field: String,
    pub(crate) secret_field: String,
    pub(crate) timeout_millis: u32,
    pub(crate) send_token: bool,
    domains: DomainTable<()>,
    pub(crate) acts_as: ActsAs,
    pub(crate) on_unavailable: OnUnavailable,
    /// Zero: nothing is kept.
    pub(crate) cache_seconds: u32,
    /// Zero: no brake.
    pub(crate) client_failures: u32,
    pub(crate) name_failures: u32,
    pub(crate) period_seconds: u32,
    pub(crate) failure_reply: Reply,
    pub(crate) tempfail_reply: Reply,
    pub(crate) brake_reply: Reply,
}

/// How name and password are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Shape {
    Json,
    Form,
    Basic,
}

/// What becomes of a client that wants to act as somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ActsAs {
    Refuse,
    Ask,
}

/// What becomes of an attempt that nobody can judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnUnavailable {
    Tempfail,
    Proceed,
}

/// As written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Table {
    url: String,
    insecure: bool,
    request: Shape,
    name_field: String,
    secret_field: String,
    timeout_millis: u32,
    send_token: bool,
    domains: Vec<String>,
    acts_as: ActsAs,
    on_unavailable: OnUnavailable,
    cache_seconds: u32,
    client_failures: u32,
    name_failures: u32,
    period_seconds: u32,
    failure_reply: String,
    tempfail_reply: String,
    brake_reply: String,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            url: String::new(),
            insecure: false,
            request: Shape::Json,
            name_field: "username".to_owned(),
            secret_field: "password".to_owned(),
            timeout_millis: 3000,
            send_token: false,
            domains: Vec::new(),
            acts_as: ActsAs::Refuse,
            on_unavailable: OnUnavailable::Tempfail,
            cache_seconds: 0,
            // A person who mistypes gets there within ten tries; a program that guesses does not.
            client_failures: 10,
            name_failures: 100,
            period_seconds: 600,
            failure_reply: "535 5.7.8 authentication failed".to_owned(),
            tempfail_reply: "454 4.7.0 authentication is not possible now, please try again later".to_owned(),
            brake_reply: "454 4.7.0 too many failures, please try again later".to_owned(),
        }
    }
}

impl waypost_plugin::Settings for Settings {
    fn read(document: &str) -> Result<Checked<Self>, Vec<String>> {
        Checked::from_table(document, check)
    }
}

fn check(table: Table, errors: &mut Vec<String>, warnings: &mut Vec<String>) -> Settings {
    check_server(&table, errors, warnings);
    for (key, field) in [("name-field", &table.name_field), ("secret-field", &table.secret_field)] {
        if field.is_empty() {
            errors.push(format!("{key}: it is empty"));
        }
    }
    if table.name_field == table.secret_field {
        errors.push("secret-field: it is the same as name-field".to_owned());
    }
    if table.request == Shape::Basic && table.send_token {
        errors.push("send-token: with request = \"basic\" the password is where the token would be".to_owned());
    }
    if table.request == Shape::Basic && table.acts_as == ActsAs::Ask {
        errors.push("acts-as: with request = \"basic\" there is no place for a second name".to_owned());
    }
    if table.cache_seconds > 3600 {
        errors.push(format!("cache-seconds: {} is not from 0 to 3600", table.cache_seconds));
    } else if table.cache_seconds > 600 {
        warnings.push(format!("cache-seconds: a changed password is good for {} s more", table.cache_seconds));
    }
    if !(1..=86_400).contains(&table.period_seconds) {
        errors.push(format!("period-seconds: {} is not from 1 to 86400", table.period_seconds));
    }
    if table.client_failures == 0 && table.name_failures == 0 {
        warnings.push("client-failures, name-failures: nothing slows down who guesses passwords".to_owned());
    }
    let mut domains = DomainTable::default();
    for pattern in &table.domains {
        if let Err(error) = domains.insert(pattern, ()) {
            errors.push(format!("domains: {error}"));
        }
    }
    Settings {
        failure_reply: reply("failure-reply", &table.failure_reply, (535, (5, 7, 8)), errors),
        tempfail_reply: reply("tempfail-reply", &table.tempfail_reply, (454, (4, 7, 0)), errors),
        brake_reply: reply("brake-reply", &table.brake_reply, (454, (4, 7, 0)), errors),
        url: table.url,
        request: table.request,
        name_field: table.name_field,
        secret_field: table.secret_field,
        timeout_millis: table.timeout_millis,
        send_token: table.send_token,
        domains,
        acts_as: table.acts_as,
        on_unavailable: table.on_unavailable,
        cache_seconds: table.cache_seconds,
        client_failures: table.client_failures,
        name_failures: table.name_failures,
        period_seconds: table.period_seconds,
    }
}

fn check_server(table: &Table, errors: &mut Vec<String>, warnings: &mut Vec<String>) {
    if table.url.is_empty() {
        errors.push("url: it is missing; write where the service is, such as https://id.example.com/check".to_owned());
    } else {
        match table.url.parse::<Url>() {
            Ok(url) if !url.is_secure() && !url.is_local() && !table.insecure => errors.push(format!(
                "url: passwords would go to {} without TLS; write https, or insecure = true where the network is yours",
                url.origin()
            )),
            Ok(_) => {}
            Err(why) => errors.push(format!("url: {why}")),
        }
    }
    if !(100..=60_000).contains(&table.timeout_millis) {
        errors.push(format!("timeout-millis: {} is not from 100 to 60000", table.timeout_millis));
    } else if table.timeout_millis > 5000 {
        warnings.push("timeout-millis: the relay gives a request 5 s; raise grants.http.timeout with it".to_owned());
    }
}

/// A reply whose class is that of its default.
fn reply(key: &str, text: &str, default: (u16, Status), errors: &mut Vec<String>) -> Reply {
    match parse(text, default) {
        Ok(reply) if reply.code / 100 == default.0 / 100 => return reply,
        Ok(reply) => errors.push(format!("{key}: {} is no {}yz code", reply.code, default.0 / 100)),
        Err(error) => errors.push(format!("{key}: {error}")),
    }
    waypost_plugin::reply::reply(default.0, default.1, "refused")
}

impl Settings {
    /// True if the service knows about such names.
    pub(crate) fn covers(&self, name: &str) -> bool {
        let domain = || split_address(name).map(|(_, domain)| domain.to_ascii_lowercase()).unwrap_or_default();
        self.domains.is_empty() || self.domains.find(&domain()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use waypost_plugin::Settings as _;

    use super::*;

    fn errors(document: &str) -> Vec<String> {
        let errors = Settings::read(document).unwrap_err();
        errors.iter().filter_map(|error| error.split(':').next()).map(str::to_owned).collect()
    }

    #[test]
    fn a_url_is_enough() {
        let checked = Settings::read(r#"{"url": "https://id.example.com/check"}"#).unwrap();
        assert!(checked.warnings.is_empty());
        assert!(checked.settings.covers("ann") && checked.settings.covers("ann@example.org"));
    }

    #[test]
    fn every_mistake_is_named() {
        let document = r#"{"url": "x", "request": "basic", "name-field": "", "secret-field": "", "timeout-millis": 1,
            "send-token": true, "acts-as": "ask", "cache-seconds": 4000, "period-seconds": 0, "domains": ["a..b"],
            "failure-reply": "450 no", "tempfail-reply": "", "brake-reply": "550 no"}"#;
        assert_eq!(
            errors(document),
            [
                "url",
                "timeout-millis",
                "name-field",
                "secret-field",
                "secret-field",
                "send-token",
                "acts-as",
                "cache-seconds",
                "period-seconds",
                "domains",
                "failure-reply",
                "tempfail-reply",
                "brake-reply"
            ]
        );
        assert_eq!(errors("{}"), ["url"]);
    }

    #[test]
    fn passwords_do_not_go_about_in_the_clear() {
        assert_eq!(errors(r#"{"url": "http://id.example.com/"}"#), ["url"]);
        for document in
            [r#"{"url": "http://id.example.com/", "insecure": true}"#, r#"{"url": "http://127.0.0.1:8000/"}"#]
        {
            assert!(Settings::read(document).is_ok(), "{document}");
        }
    }

    #[test]
    fn odd_settings_are_warned_of() {
        let document = r#"{"url": "https://a/", "timeout-millis": 9000, "cache-seconds": 900, "client-failures": 0,
            "name-failures": 0}"#;
        assert_eq!(Settings::read(document).unwrap().warnings.len(), 3);
    }

    #[test]
    fn names_of_other_domains_are_not_asked_about() {
        let settings = Settings::read(r#"{"url": "https://a/", "domains": ["example.org"]}"#).unwrap().settings;
        for (name, expected) in [("ann@Example.org", true), ("ann@example.com", false), ("ann", false)] {
            assert_eq!(settings.covers(name), expected, "{name}");
        }
    }
}
