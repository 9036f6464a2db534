//! `[plugins.greylist.config]`.

use serde::Deserialize;
use waypost_plugin::{Checked, DomainTable, Network};

use crate::policy::Client;

/// The operator's wishes, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) delay_seconds: u32,
    /// A triplet that did not come back is forgotten after this.
    pub(crate) expiry_seconds: u32,
    /// One that passed is remembered for this, counted from its last mail.
    pub(crate) remember_seconds: u32,
    pub(crate) network_v4: u8,
    pub(crate) network_v6: u8,
    exempt_networks: Vec<Network>,
    exempt_domains: DomainTable<()>,
    exempt_authenticated: bool,
    exempt_relay_clients: bool,
}

/// As written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Table {
    delay_seconds: u32,
    expiry_seconds: u32,
    remember_days: u32,
    network_v4: u8,
    network_v6: u8,
    exempt_networks: Vec<String>,
    exempt_domains: Vec<String>,
    exempt_authenticated: bool,
    exempt_relay_clients: bool,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            delay_seconds: 300,
            // RFC 5321 section 4.5.4.1 has senders try for days, but the second try comes within hours.
            expiry_seconds: 2 * 86_400,
            // Longer than a month, so that monthly newsletters wait but once.
            remember_days: 36,
            network_v4: 24,
            network_v6: 64,
            exempt_networks: Vec::new(),
            exempt_domains: Vec::new(),
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
    if table.delay_seconds == 0 {
        errors.push("delay-seconds: 0 would let everybody pass at once; remove the plugin instead".to_owned());
    }
    if table.delay_seconds > 3600 {
        warnings.push(format!("delay-seconds: {} s delay wanted mail by more than an hour", table.delay_seconds));
    }
    if table.expiry_seconds <= table.delay_seconds {
        errors.push(format!(
            "expiry-seconds: {} s is not longer than the delay of {} s, so nobody would ever pass",
            table.expiry_seconds, table.delay_seconds
        ));
    } else if table.expiry_seconds - table.delay_seconds < 4 * 3600 {
        warnings.push("expiry-seconds: many servers take hours for their next try; leave them more time".to_owned());
    }
    if table.remember_days == 0 || table.remember_days > 3650 {
        errors.push(format!("remember-days: {} is not from 1 to 3650", table.remember_days));
    }
    for (name, prefix, most) in [("network-v4", table.network_v4, 32), ("network-v6", table.network_v6, 128)] {
        if prefix == 0 || prefix > most {
            errors.push(format!("{name}: {prefix} is not from 1 to {most}"));
        }
    }
    let mut exempt_networks = Vec::new();
    for text in &table.exempt_networks {
        match text.parse() {
            Ok(network) => exempt_networks.push(network),
            Err(error) => errors.push(format!("exempt-networks: {error}")),
        }
    }
    let mut exempt_domains = DomainTable::default();
    for pattern in &table.exempt_domains {
        if let Err(error) = exempt_domains.insert(pattern, ()) {
            errors.push(format!("exempt-domains: {error}"));
        }
    }
    Settings {
        delay_seconds: table.delay_seconds,
        expiry_seconds: table.expiry_seconds,
        remember_seconds: table.remember_days.saturating_mul(86_400),
        network_v4: table.network_v4,
        network_v6: table.network_v6,
        exempt_networks,
        exempt_domains,
        exempt_authenticated: table.exempt_authenticated,
        exempt_relay_clients: table.exempt_relay_clients,
    }
}

impl Settings {
    /// True if this client or this recipient domain is none of our business.
    pub(crate) fn exempts(&self, client: &Client, domain: &str) -> bool {
        self.exempt_authenticated && client.authenticated
            || self.exempt_relay_clients && client.may_relay
            || client.address.is_some_and(|address| self.exempt_networks.iter().any(|n| n.contains(address)))
            || self.exempt_domains.find(domain).is_some()
    }
}

#[cfg(test)]
mod tests {
    use waypost_plugin::Settings as _;

    use super::*;

    const STRANGER: Client = Client { address: None, authenticated: false, may_relay: false };

    fn from(address: &str) -> Client {
        Client { address: address.parse().ok(), ..STRANGER }
    }

    #[test]
    fn an_empty_table_is_good() {
        for document in ["", "{}"] {
            let checked = Settings::read(document).unwrap();
            assert!(checked.warnings.is_empty());
            assert_eq!(checked.settings.delay_seconds, 300);
            assert_eq!(checked.settings.remember_seconds, 36 * 86_400);
        }
    }

    #[test]
    fn every_mistake_is_named() {
        let document = r#"{"delay-seconds": 0, "expiry-seconds": 0, "remember-days": 0, "network-v4": 33,
            "network-v6": 0, "exempt-networks": ["10.0.0.1/8"], "exempt-domains": ["a..b", "x.org", "x.org"]}"#;
        let errors = Settings::read(document).unwrap_err();
        let named: Vec<_> = errors.iter().filter_map(|error| error.split(':').next()).collect();
        assert_eq!(
            named,
            [
                "delay-seconds",
                "expiry-seconds",
                "remember-days",
                "network-v4",
                "network-v6",
                "exempt-networks",
                "exempt-domains",
                "exempt-domains"
            ]
        );
    }

    #[test]
    fn unknown_keys_and_other_types_are_mistakes() {
        for document in [r#"{"delay": 300}"#, r#"{"delay-seconds": "300"}"#, r#"{"delay-seconds": -1}"#, "[]"] {
            assert_eq!(Settings::read(document).unwrap_err().len(), 1, "{document}");
        }
        let errors = Settings::read(r#"{"delay": 300}"#).unwrap_err();
        assert!(errors.concat().starts_with("unknown field `delay`, expected one of"), "{errors:?}");
    }

    #[test]
    fn odd_times_are_warned_of() {
        let checked = Settings::read(r#"{"delay-seconds": 7200, "expiry-seconds": 10800}"#).unwrap();
        assert_eq!(checked.warnings.len(), 2);
    }

    #[test]
    fn exemptions() {
        let settings = Settings::read(
            r#"{"exempt-networks": ["127.0.0.0/8", "::1", "10.0.0.0/8"], "exempt-domains": [".lists.example.org"]}"#,
        )
        .unwrap()
        .settings;
        for (client, domain, exempt) in [
            (from("127.0.0.1"), "example.org", true),
            (from("::1"), "example.org", true),
            (from("::ffff:10.1.2.3"), "example.org", true),
            (from("192.0.2.1"), "example.org", false),
            (from("192.0.2.1"), "a.lists.example.org", true),
            (Client { authenticated: true, ..from("192.0.2.1") }, "example.org", true),
            (Client { may_relay: true, ..from("192.0.2.1") }, "example.org", true),
            (STRANGER, "example.org", false),
        ] {
            assert_eq!(settings.exempts(&client, domain), exempt, "{client:?} to {domain}");
        }
    }

    #[test]
    fn exemptions_can_be_switched_off() {
        let settings =
            Settings::read(r#"{"exempt-authenticated": false, "exempt-relay-clients": false}"#).unwrap().settings;
        let client = Client { address: None, authenticated: true, may_relay: true };
        assert!(!settings.exempts(&client, "example.org"));
    }
}
