//! `[plugins.dmarc-policy.config]`.

use serde::Deserialize;
use waypost_plugin::lists::{domains, networks};
use waypost_plugin::{Checked, DomainTable, Network, Reply, reply};

/// What is done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Action {
    Reject,
    Tempfail,
    /// Kept, but not delivered until somebody has looked at it.
    Quarantine,
    Mark,
    Proceed,
}

impl Action {
    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Tempfail => "tempfail",
            Self::Quarantine => "quarantine",
            Self::Mark => "mark",
            Self::Proceed => "proceed",
        }
    }
}

/// What is done with Authentication-Results fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Results {
    /// Those that claim to be ours are removed, and ours is added.
    #[default]
    Add,
    /// They are removed only.
    Strip,
    Leave,
}

/// The operator's wishes, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) on_reject: Action,
    pub(crate) on_quarantine: Action,
    pub(crate) on_none: Action,
    pub(crate) bad_from: Action,
    pub(crate) spf_fail: Action,
    pub(crate) temperror: Action,
    pub(crate) results: Results,
    /// Names beside the relay's own whose results are removed, in lower case.
    pub(crate) authserv_ids: Vec<String>,
    pub(crate) mark_header: String,
    pub(crate) reject: Reply,
    pub(crate) trusted_sealers: DomainTable<()>,
    pub(crate) allow_domains: DomainTable<()>,
    pub(crate) allow_networks: Vec<Network>,
    pub(crate) allow_client_names: DomainTable<()>,
    exempt_authenticated: bool,
    exempt_relay_clients: bool,
}

/// As written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Table {
    on_reject: Action,
    on_quarantine: Action,
    on_none: Action,
    bad_from: Action,
    spf_fail: Action,
    temperror: Action,
    results: Results,
    authserv_ids: Vec<String>,
    mark_header: String,
    reject_text: String,
    trusted_sealers: Vec<String>,
    allow_domains: Vec<String>,
    allow_networks: Vec<String>,
    allow_client_names: Vec<String>,
    exempt_authenticated: bool,
    exempt_relay_clients: bool,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            on_reject: Action::Reject,
            on_quarantine: Action::Quarantine,
            on_none: Action::Mark,
            // Mail that names no author, or several domains, seldom is honest, and a policy must not be passed by so easily.
            bad_from: Action::Reject,
            spf_fail: Action::Proceed,
            temperror: Action::Tempfail,
            results: Results::Add,
            authserv_ids: Vec::new(),
            mark_header: "X-DMARC".to_owned(),
            reject_text: "mail from {domain} is not authenticated, and its policy asks to refuse it".to_owned(),
            trusted_sealers: Vec::new(),
            allow_domains: Vec::new(),
            allow_networks: Vec::new(),
            allow_client_names: Vec::new(),
            exempt_authenticated: true,
            exempt_relay_clients: true,
        }
    }
}

impl waypost_plugin::Settings for Settings {
    fn read(document: &str) -> Result<Checked<Self>, Vec<String>> {
        Checked::from_table(document, check)
    }
}

fn check(table: Table, errors: &mut Vec<String>, warnings: &mut Vec<String>) -> Settings {
    if !matches!(table.temperror, Action::Tempfail | Action::Proceed) {
        errors.push(
            "temperror: write \"tempfail\" or \"proceed\": nothing is known that could be held against it".to_owned(),
        );
    }
    let name = &table.mark_header;
    if name.is_empty() || name.len() > 78 || !name.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
        errors.push(format!("mark-header: `{name}` is no field name"));
    }
    if table.reject_text.split('{').skip(1).any(|part| !part.starts_with("domain}")) {
        errors.push("reject-text: a brace opens nothing but {domain}".to_owned());
    }
    // RFC 7489 section 10.3 says 550, and 5.7.1.
    let reject = reply::parse(&table.reject_text, (550, (5, 7, 1))).unwrap_or_else(|error| {
        errors.push(format!("reject-text: {error}"));
        reply::reply(550, (5, 7, 1), "refused")
    });
    if reject.code < 500 {
        errors.push(format!("reject-text: {} is no code from 500 to 599", reject.code));
    }
    if table.spf_fail == Action::Reject {
        warnings.push("spf-fail: \"reject\" turns forwarded mail away unless DMARC passes".to_owned());
    }
    if table.trusted_sealers.iter().any(|name| name == "*") {
        errors.push("trusted-sealers: everybody can seal; name those you trust".to_owned());
    }
    let authserv_id = |id: &String| id.trim_end_matches('.').to_ascii_lowercase();
    Settings {
        on_reject: table.on_reject,
        on_quarantine: table.on_quarantine,
        on_none: table.on_none,
        bad_from: table.bad_from,
        spf_fail: table.spf_fail,
        temperror: table.temperror,
        results: table.results,
        authserv_ids: table.authserv_ids.iter().map(authserv_id).collect(),
        mark_header: table.mark_header,
        reject,
        trusted_sealers: domains("trusted-sealers", &table.trusted_sealers, errors),
        allow_domains: domains("allow-domains", &table.allow_domains, errors),
        allow_networks: networks("allow-networks", &table.allow_networks, errors),
        allow_client_names: domains("allow-client-names", &table.allow_client_names, errors),
        exempt_authenticated: table.exempt_authenticated,
        exempt_relay_clients: table.exempt_relay_clients,
    }
}

/// What is known of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) authenticated: bool,
    pub(crate) may_relay: bool,
}

impl Settings {
    /// True if this client's mail is not judged.
    pub(crate) fn exempts(&self, client: &Client) -> bool {
        self.exempt_authenticated && client.authenticated || self.exempt_relay_clients && client.may_relay
    }
}

#[cfg(test)]
mod tests {
    use waypost_plugin::Settings as _;

    use super::*;

    #[test]
    fn an_empty_table_is_good() {
        let checked = Settings::read("{}").unwrap();
        assert!(checked.warnings.is_empty());
        let client = Client { authenticated: false, may_relay: false };
        assert!(!checked.settings.exempts(&client));
        assert!(checked.settings.exempts(&Client { authenticated: true, ..client }));
        assert!(checked.settings.exempts(&Client { may_relay: true, ..client }));
    }

    #[test]
    fn every_mistake_is_named() {
        let document = r#"{"temperror": "reject", "mark-header": "", "reject-text": "450 {from}", "trusted-sealers": ["*", "a..b"],
            "allow-domains": ["x y"], "allow-networks": ["10.0.0.1/8"], "allow-client-names": ["*", "*"]}"#;
        let errors = Settings::read(document).unwrap_err();
        let named: Vec<_> = errors.iter().filter_map(|error| error.split(':').next()).collect();
        assert_eq!(
            named,
            [
                "temperror",
                "mark-header",
                "reject-text",
                "reject-text",
                "trusted-sealers",
                "trusted-sealers",
                "allow-domains",
                "allow-networks",
                "allow-client-names"
            ]
        );
        assert!(Settings::read(r#"{"on-reject": "drop"}"#).is_err());
        assert_eq!(Settings::read(r#"{"spf-fail": "reject"}"#).unwrap().warnings.len(), 1);
    }
}
