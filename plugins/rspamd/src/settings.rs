//! `[plugins.rspamd.config]`.

use serde::Deserialize;
use waypost_plugin::http::Url;
use waypost_plugin::reply::{Status, parse};
use waypost_plugin::{Checked, Network, Reply};

/// The operator's wishes, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) url: String,
    pub(crate) timeout_millis: u32,
    pub(crate) max_size: u32,
    pub(crate) larger: Larger,
    pub(crate) on_unavailable: OnUnavailable,
    pub(crate) on_reject: OnReject,
    pub(crate) on_soft_reject: OnDefer,
    pub(crate) on_greylist: OnDefer,
    pub(crate) reject_reply: Reply,
    pub(crate) soft_reject_reply: Reply,
    pub(crate) unavailable_reply: Reply,
    pub(crate) use_messages: bool,
    pub(crate) headers: Vec<SpamHeader>,
    pub(crate) headers_on_clean: bool,
    pub(crate) subject_prefix: String,
    pub(crate) milter_headers: bool,
    pub(crate) skip_authenticated: bool,
    pub(crate) skip_relay_clients: bool,
    pub(crate) skip_networks: Vec<Network>,
    pub(crate) send_password: bool,
    pub(crate) settings_id: Option<String>,
}

/// What becomes of a message beyond `max-size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Larger {
    Skip,
    Truncate,
}

/// What becomes of a message that nobody could look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnUnavailable {
    Tempfail,
    Proceed,
    Header,
}

/// What becomes of a message that is to be rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnReject {
    Reject,
    Quarantine,
    Header,
    Discard,
}

/// What becomes of a message that is to come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnDefer {
    Tempfail,
    Proceed,
}

/// One of the fields that tell the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SpamHeader {
    Flag,
    Status,
    Score,
    Symbols,
    Action,
}

/// As written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Table {
    url: String,
    timeout_millis: u32,
    max_size: u32,
    larger: Larger,
    on_unavailable: OnUnavailable,
    on_reject: OnReject,
    on_soft_reject: OnDefer,
    on_greylist: OnDefer,
    reject_reply: String,
    soft_reject_reply: String,
    unavailable_reply: String,
    use_messages: bool,
    headers: Vec<SpamHeader>,
    headers_on_clean: bool,
    subject_prefix: String,
    milter_headers: bool,
    skip_authenticated: bool,
    skip_relay_clients: bool,
    skip_networks: Vec<String>,
    send_password: bool,
    settings_id: Option<String>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:11333/checkv2".to_owned(),
            // Below the relay's own 5 s for a request, so that it is this plugin which says what is to happen.
            timeout_millis: 4500,
            // The relay's own limit for a request, `grants.http.bytes`.
            max_size: 1 << 20,
            larger: Larger::Skip,
            on_unavailable: OnUnavailable::Tempfail,
            on_reject: OnReject::Reject,
            on_soft_reject: OnDefer::Tempfail,
            // With its own greylisting at work Rspamd says "soft reject" to those who have to wait, and "greylist" of a
            // message that has waited.
            on_greylist: OnDefer::Proceed,
            reject_reply: "554 5.7.1 this message looks like spam".to_owned(),
            soft_reject_reply: "451 4.7.1 please try again later".to_owned(),
            unavailable_reply: "451 4.7.1 messages can't be checked now, please try again later".to_owned(),
            use_messages: true,
            headers: vec![SpamHeader::Flag, SpamHeader::Status, SpamHeader::Score, SpamHeader::Symbols],
            headers_on_clean: true,
            subject_prefix: "[SPAM] ".to_owned(),
            milter_headers: true,
            skip_authenticated: false,
            skip_relay_clients: false,
            skip_networks: Vec::new(),
            send_password: false,
            settings_id: None,
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
    if table.max_size < 1024 {
        errors.push(format!("max-size: {} octets hold no message; it is at least 1024", table.max_size));
    }
    if table.max_size > 1 << 20 {
        warnings.push(format!("max-size: for {} octets grants.http.bytes has to be larger than 1 MiB", table.max_size));
    }
    let printable = |text: &str| text.chars().all(|c| !c.is_control());
    if !printable(&table.subject_prefix) || !table.subject_prefix.is_ascii() {
        errors.push("subject-prefix: it is not printable ASCII".to_owned());
    }
    if table.settings_id.as_deref().is_some_and(|id| id.is_empty() || !id.bytes().all(|b| b.is_ascii_graphic())) {
        errors.push("settings-id: it is not one printable word".to_owned());
    }
    let mut skip_networks = Vec::new();
    for text in &table.skip_networks {
        match text.parse() {
            Ok(network) => skip_networks.push(network),
            Err(error) => errors.push(format!("skip-networks: {error}")),
        }
    }
    if table.on_reject == OnReject::Discard {
        warnings.push("on-reject: what is discarded is told to nobody, and lost where Rspamd errs".to_owned());
    }
    Settings {
        reject_reply: reply("reject-reply", &table.reject_reply, (554, (5, 7, 1)), errors),
        soft_reject_reply: reply("soft-reject-reply", &table.soft_reject_reply, (451, (4, 7, 1)), errors),
        unavailable_reply: reply("unavailable-reply", &table.unavailable_reply, (451, (4, 7, 1)), errors),
        url: table.url,
        timeout_millis: table.timeout_millis,
        max_size: table.max_size,
        larger: table.larger,
        on_unavailable: table.on_unavailable,
        on_reject: table.on_reject,
        on_soft_reject: table.on_soft_reject,
        on_greylist: table.on_greylist,
        use_messages: table.use_messages,
        headers: table.headers,
        headers_on_clean: table.headers_on_clean,
        subject_prefix: table.subject_prefix,
        milter_headers: table.milter_headers,
        skip_authenticated: table.skip_authenticated,
        skip_relay_clients: table.skip_relay_clients,
        skip_networks,
        send_password: table.send_password,
        settings_id: table.settings_id,
    }
}

fn check_server(table: &Table, errors: &mut Vec<String>, warnings: &mut Vec<String>) {
    match table.url.parse::<Url>() {
        Ok(url) if table.send_password && !url.is_secure() && !url.is_local() => {
            warnings.push(format!("url: the password goes to {} without TLS", url.origin()));
        }
        Ok(_) => {}
        Err(why) => errors.push(format!("url: {why}")),
    }
    if !(100..=60_000).contains(&table.timeout_millis) {
        errors.push(format!("timeout-millis: {} is not from 100 to 60000", table.timeout_millis));
    } else if table.timeout_millis > 5000 {
        warnings.push("timeout-millis: the relay gives a request 5 s; raise grants.http.timeout with it".to_owned());
    }
}

/// A reply whose class is that of its default: a permanent refusal can't be made of a temporary one.
fn reply(key: &str, text: &str, default: (u16, Status), errors: &mut Vec<String>) -> Reply {
    let fallback = || waypost_plugin::reply::reply(default.0, default.1, "refused");
    match parse(text, default) {
        Ok(reply) if reply.code / 100 == default.0 / 100 => reply,
        Ok(reply) => {
            errors.push(format!("{key}: {} is no {}yz code", reply.code, default.0 / 100));
            fallback()
        }
        Err(error) => {
            errors.push(format!("{key}: {error}"));
            fallback()
        }
    }
}

#[cfg(test)]
mod tests {
    use waypost_plugin::Settings as _;

    use super::*;

    #[test]
    fn an_empty_table_is_good() {
        let checked = Settings::read("").unwrap();
        assert!(checked.warnings.is_empty());
        assert_eq!(checked.settings.on_unavailable, OnUnavailable::Tempfail);
        assert_eq!(checked.settings.url, "http://127.0.0.1:11333/checkv2");
    }

    #[test]
    fn every_mistake_is_named() {
        let errors = Settings::read(
            r#"{"url": "rspamd:11333", "timeout-millis": 0, "max-size": 0, "subject-prefix": "a\nb", "settings-id": "",
                "skip-networks": ["10.0.0.1/8"], "reject-reply": "450 later", "soft-reject-reply": "",
                "unavailable-reply": "550 5.7.1 no"}"#,
        )
        .unwrap_err();
        let named: Vec<_> = errors.iter().filter_map(|error| error.split(':').next()).collect();
        assert_eq!(
            named,
            [
                "url",
                "timeout-millis",
                "max-size",
                "subject-prefix",
                "settings-id",
                "skip-networks",
                "reject-reply",
                "soft-reject-reply",
                "unavailable-reply"
            ]
        );
    }

    #[test]
    fn unknown_keys_and_words_are_mistakes() {
        for document in [r#"{"uri": "x"}"#, r#"{"on-reject": "drop"}"#, r#"{"headers": ["level"]}"#, "[]"] {
            assert_eq!(Settings::read(document).unwrap_err().len(), 1, "{document}");
        }
    }

    #[test]
    fn odd_settings_are_warned_of() {
        let checked = Settings::read(
            r#"{"url": "http://scanner.example:11334/checkv2", "send-password": true, "timeout-millis": 9000,
                "max-size": 2000000, "on-reject": "discard"}"#,
        )
        .unwrap();
        assert_eq!(checked.warnings.len(), 4, "{:?}", checked.warnings);
    }
}
