//! The manifest inside a component: one custom section `waypost:manifest` at the top level, JSON, at most 64 KiB.
//!
//! Readable without running code, and covered by the digest of the file.

use std::collections::BTreeMap;

use serde::Deserialize;
use wasmparser::{Parser, Payload};

use super::Instances;

/// Name of the section.
const SECTION: &str = "waypost:manifest";

/// Octets of the section.
const SIZE_MAX: usize = 64 * 1024;

/// What an author says of a plugin.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Manifest {
    /// Of the plugin; the operator's name for it wins.
    pub name: Option<String>,
    /// Of the plugin.
    pub version: Option<String>,
    /// Hooks it exports, e.g. `on-rcpt`; if there, it must be true.
    pub hooks: Option<Vec<String>>,
    /// Digest of the sources it was built from.
    pub sources: Option<String>,
    /// What it wants of the relay. One without asks is taken to be content with whatever is granted.
    pub asks: Option<Asks>,
    /// How its instances are to be used; the operator's word wins.
    pub instances: Option<Instances>,
    /// What a call may need; the operator's word wins, and the relay's defaults where neither says anything.
    #[serde(default)]
    pub limits: Wanted,
    /// JSON Schema of its settings.
    pub config_schema: Option<serde_json::Value>,
    /// Its metrics: nothing else can be counted.
    #[serde(default)]
    pub metrics: Metrics,
    /// Where it may be used: an SPDX expression.
    pub licence: Option<String>,
    /// Where its sources are.
    pub source: Option<String>,
    /// In one sentence.
    pub description: Option<String>,
}

/// Grants it asks for, each by the key of `[plugins.NAME.grants]`, with a colon and a name where the grant has names:
/// `kv`, `kv-shared:reputation`, `secrets:api-key`, `dns`, `http`, `auth-secrets`, `relay`, `notes-of:greylist`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asks {
    /// Without one of these it does not work, and is not loaded.
    #[serde(default)]
    pub required: Vec<String>,
    /// It can do without.
    #[serde(default)]
    pub optional: Vec<String>,
}

/// What a call may need beyond the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Octets of linear memory.
    pub memory: Option<usize>,
    /// Milliseconds of CPU time by hook, e.g. `on-message`.
    #[serde(default)]
    pub cpu_ms: BTreeMap<String, u32>,
    /// Milliseconds in all by hook.
    #[serde(default)]
    pub wall_ms: BTreeMap<String, u32>,
}

/// Names with their label keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metrics {
    /// Counters.
    #[serde(default)]
    pub counters: BTreeMap<String, Vec<String>>,
    /// Histograms.
    #[serde(default)]
    pub histograms: BTreeMap<String, Vec<String>>,
}

/// Looks for the manifest. Sections of nested components and modules do not count.
pub(crate) fn find(component: &[u8]) -> Result<Option<Manifest>, String> {
    let mut depth = 0_usize;
    let mut found = None;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(|e| format!("the file is cut off, or damaged: {e}; copy it anew"))? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 0 && section.name() == SECTION => {
                if found.is_some() {
                    return Err(format!("more than one `{SECTION}` section"));
                }
                found = Some(parse(section.data())?);
            }
            _ => {}
        }
    }
    Ok(found)
}

fn parse(json: &[u8]) -> Result<Manifest, String> {
    if json.len() > SIZE_MAX {
        return Err(format!("the `{SECTION}` section has {} octets; {SIZE_MAX} are allowed", json.len()));
    }
    let manifest: Manifest =
        serde_json::from_slice(json).map_err(|e| format!("the `{SECTION}` section can't be read: {e}"))?;
    let word = |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    let named = [&manifest.name, &manifest.version, &manifest.sources];
    if named.into_iter().flatten().any(|text| !word(text)) {
        return Err(format!("name, version and sources in `{SECTION}` are 1 to 64 printable characters"));
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::testing::with_section;

    #[test]
    fn exactly_one_at_the_top_is_read() {
        let empty = wat::parse_str("(component)").unwrap();
        assert_eq!(find(&empty), Ok(None));
        let json = br#"{"name":"guard","version":"1.2.0","hooks":["on-rcpt"],"sources":"ab"}"#;
        let one = with_section(&empty, SECTION, json);
        let manifest = find(&one).unwrap().unwrap();
        assert_eq!((manifest.name.as_deref(), manifest.version.as_deref()), (Some("guard"), Some("1.2.0")));
        assert!(find(&with_section(&one, SECTION, json)).is_err(), "two of them");
        let nested = wat::parse_str(r#"(component (component (@custom "waypost:manifest" "{") ))"#);
        assert_eq!(nested.map_or(Ok(None), |nested| find(&nested)), Ok(None));
    }

    #[test]
    fn nonsense_is_refused() {
        let empty = wat::parse_str("(component)").unwrap();
        for bad in ["", "{", r#"{"name":"a\u001b"}"#, r#"{"version":""}"#, r#"{"hooks":1}"#] {
            assert!(find(&with_section(&empty, SECTION, bad.as_bytes())).is_err(), "{bad}");
        }
        let large = format!("{}{}", " ".repeat(SIZE_MAX), "{}");
        assert!(find(&with_section(&empty, SECTION, large.as_bytes())).is_err());
    }
}
