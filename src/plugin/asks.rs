//! Manifest against configuration: what a plugin asks for and what it was granted, what limits it wishes for, what its
//! settings must look like. Pure.
//!
//! Both must agree: nothing that a plugin can't do without is missing, and nothing is given that its author did not
//! foresee. The operator's word wins wherever there is one.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::engine::MEMORY_MAX;
use super::load::Problem;
use super::manifest::{Asks, Manifest, Wanted};
use super::{Budget, Grants, Instances, PluginConfig, metrics, schema};
use crate::hooks::Hook;

/// What a manifest may wish for at most; an operator may grant more.
const CPU_MAX: Duration = Duration::from_secs(10);
const WALL_MAX: Duration = Duration::from_secs(60);

/// Asks of one manifest.
const ASKS_MAX: usize = 100;

/// What can be asked for, as a message tells it.
const KNOWN: &str = "kv, kv-shared:NAME, secrets:NAME, dns, http, auth-secrets, relay and notes-of:NAME";

/// One thing that can be asked for and granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ask<'a> {
    Kv,
    KvShared(&'a str),
    Secret(&'a str),
    Dns,
    Http,
    AuthSecrets,
    Relay,
    NotesOf(&'a str),
}

impl<'a> Ask<'a> {
    fn parse(word: &'a str) -> Option<Self> {
        let (key, name) = word.split_once(':').map_or((word, None), |(key, name)| (key, Some(name)));
        let named = name.filter(|name| (1..=64).contains(&name.len()));
        match (key, name) {
            ("kv", None) => Some(Self::Kv),
            ("dns", None) => Some(Self::Dns),
            ("http", None) => Some(Self::Http),
            ("auth-secrets", None) => Some(Self::AuthSecrets),
            ("relay", None) => Some(Self::Relay),
            ("kv-shared", Some(_)) => named.map(Self::KvShared),
            ("secrets", Some(_)) => named.map(Self::Secret),
            ("notes-of", Some(_)) => named.map(Self::NotesOf),
            _ => None,
        }
    }

    /// All that was granted.
    fn granted(grants: &'a Grants) -> Vec<Self> {
        let single = [
            (grants.kv.is_some(), Self::Kv),
            (grants.dns.is_some(), Self::Dns),
            (grants.http.is_some(), Self::Http),
            (grants.auth_secrets, Self::AuthSecrets),
            (grants.relay, Self::Relay),
        ];
        let single = single.into_iter().filter(|(granted, _)| *granted).map(|(_, ask)| ask);
        let shared = grants.kv_shared.keys().map(|name| Self::KvShared(name));
        let secrets = grants.secrets.keys().map(|name| Self::Secret(name));
        single.chain(shared).chain(secrets).chain(grants.notes_of.iter().map(|name| Self::NotesOf(name))).collect()
    }

    /// The key of the grant, what stands between it and the value, and the value: lines of the same key become one.
    fn line(self) -> (&'static str, Shape, String) {
        match self {
            Self::Kv => ("kv", Shape::Single, "{}".to_owned()),
            Self::Dns => ("dns", Shape::Single, "{}".to_owned()),
            Self::Http => ("http", Shape::Single, "{ allow = [\"https://HOST\"] }".to_owned()),
            Self::AuthSecrets => ("auth-secrets", Shape::Single, "true".to_owned()),
            Self::Relay => ("relay", Shape::Single, "true".to_owned()),
            Self::KvShared(name) => ("kv-shared", Shape::Table, format!("{} = \"write\"", key(name))),
            Self::Secret(name) => ("secrets", Shape::Table, format!("{} = \"FILE\"", key(name))),
            Self::NotesOf(name) => ("notes-of", Shape::List, quoted(name)),
        }
    }
}

impl fmt::Display for Ask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kv => f.write_str("kv"),
            Self::Dns => f.write_str("dns"),
            Self::Http => f.write_str("http"),
            Self::AuthSecrets => f.write_str("auth-secrets"),
            Self::Relay => f.write_str("relay"),
            Self::KvShared(name) => write!(f, "kv-shared:{}", name.escape_debug()),
            Self::Secret(name) => write!(f, "secrets:{}", name.escape_debug()),
            Self::NotesOf(name) => write!(f, "notes-of:{}", name.escape_debug()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Single,
    Table,
    List,
}

/// A key of TOML.
pub(crate) fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if bare { name.to_owned() } else { quoted(name) }
}

/// A text of TOML: JSON's escapes are among those of TOML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What to add to `[plugins.NAME.grants]`, in words.
fn lines(asks: &[Ask<'_>]) -> String {
    table(asks).iter().map(|line| format!("`{line}`")).collect::<Vec<_>>().join(", ")
}

/// Lines of `[plugins.NAME.grants]` that grant these asks of a manifest; what nobody knows is left out.
pub fn grant_lines(asks: &[String]) -> Vec<String> {
    table(&asks.iter().filter_map(|word| Ask::parse(word)).collect::<Vec<_>>())
}

fn table(asks: &[Ask<'_>]) -> Vec<String> {
    let mut by_key: BTreeMap<&str, (Shape, Vec<String>)> = BTreeMap::new();
    for (key, shape, value) in asks.iter().map(|ask| ask.line()) {
        by_key.entry(key).or_insert((shape, Vec::new())).1.push(value);
    }
    let line = |(key, (shape, values)): (&str, (Shape, Vec<String>))| match shape {
        Shape::Single => format!("{key} = {}", values.concat()),
        Shape::Table => format!("{key} = {{ {} }}", values.join(", ")),
        Shape::List => format!("{key} = [{}]", values.join(", ")),
    };
    by_key.into_iter().map(line).collect()
}

fn words(asks: &[Ask<'_>]) -> String {
    asks.iter().map(|ask| format!("`{ask}`")).collect::<Vec<_>>().join(", ")
}

fn parsed<'a>(words: &'a [String], asks: &Asks) -> Result<Vec<Ask<'a>>, String> {
    if asks.required.len() + asks.optional.len() > ASKS_MAX {
        return Err(format!("its manifest asks for more than {ASKS_MAX} things"));
    }
    let parse = |word: &'a String| {
        let shown: String = word.chars().take(80).collect();
        Ask::parse(word)
            .ok_or_else(|| format!("its manifest asks for {shown:?}, which this relay does not know; it knows {KNOWN}"))
    };
    words.iter().map(parse).collect()
}

/// Asks against grants: what was granted and not asked for comes back.
fn agree<'a>(plugin: &str, asks: &Asks, grants: &'a Grants) -> Result<Vec<Ask<'a>>, String> {
    let required = parsed(&asks.required, asks)?;
    let optional = parsed(&asks.optional, asks)?;
    let granted = Ask::granted(grants);
    let missing: Vec<Ask<'_>> = required.iter().filter(|ask| !granted.contains(ask)).copied().collect();
    if !missing.is_empty() {
        return Err(format!(
            "it can't do without {}, which is not granted: add to [plugins.{}.grants] {}",
            words(&missing),
            key(plugin),
            lines(&missing)
        ));
    }
    let unasked = |ask: &&Ask<'_>| !required.contains(ask) && !optional.contains(ask);
    Ok(granted.iter().filter(unasked).copied().collect())
}

/// The grants without some of them.
fn without(grants: &Grants, unasked: &[Ask<'_>]) -> Grants {
    let mut left = grants.clone();
    for ask in unasked {
        match ask {
            Ask::Kv => left.kv = None,
            Ask::Dns => left.dns = None,
            Ask::Http => left.http = None,
            Ask::AuthSecrets => left.auth_secrets = false,
            Ask::Relay => left.relay = false,
            Ask::KvShared(name) => left.kv_shared.retain(|known, _| &**known != *name),
            Ask::Secret(name) => left.secrets.retain(|known, _| &**known != *name),
            Ask::NotesOf(name) => left.notes_of.retain(|known| &**known != *name),
        }
    }
    left
}

/// Looks whether a component and its configuration fit, and fills in what the manifest wishes for where the operator
/// said nothing. What was granted and is not asked for is not given, and a warning says so: of two versions, one may ask
/// for what the other has no use for.
pub(crate) fn fit(
    plugin: &str,
    manifest: Option<&Manifest>,
    config: &PluginConfig,
) -> Result<(PluginConfig, Option<String>), Problem> {
    let Some(manifest) = manifest else { return Ok((config.clone(), None)) };
    metrics::check(&manifest.metrics).map_err(Problem::Component)?;
    let unasked = match &manifest.asks {
        Some(asks) => agree(plugin, asks, &config.grants).map_err(Problem::Grants)?,
        None => Vec::new(),
    };
    let grants = without(&config.grants, &unasked);
    let warning = (!unasked.is_empty()).then(|| {
        format!(
            "it is granted {}, which its manifest does not ask for: that is not given; remove it from \
             [plugins.{}.grants], or rebuild the plugin with it among its asks",
            words(&unasked),
            key(plugin)
        )
    });
    if let Some(schema) = &manifest.config_schema {
        schema::check(schema, &config.config)?;
    }
    let budgets = budgets(&manifest.limits, config).map_err(Problem::Component)?;
    let memory = manifest.limits.memory.map(|wanted| wanted.clamp(PluginConfig::MEMORY, MEMORY_MAX));
    // An author can wish for more isolation than the relay's default, not for less.
    let wish = manifest.instances.filter(|wish| *wish == Instances::Fresh || !config.grants.has_secrets());
    let config = PluginConfig {
        budgets,
        grants,
        memory: config.memory.or(memory),
        instances: config.instances.or(wish),
        ..config.clone()
    };
    Ok((config, warning))
}

/// Budgets as the operator has them, else as wished for within bounds, never below the default.
fn budgets(wanted: &Wanted, config: &PluginConfig) -> Result<BTreeMap<Hook, Budget>, String> {
    let known = |name: &&String| Hook::ALL.iter().any(|hook| hook.interface() == **name);
    if let Some(unknown) = wanted.cpu_ms.keys().chain(wanted.wall_ms.keys()).find(|name| !known(name)) {
        let unknown: String = unknown.chars().take(64).collect();
        return Err(format!(
            "the limits in its manifest name {unknown:?}, which is no hook; write on-rcpt and the like"
        ));
    }
    let wish = |map: &BTreeMap<String, u32>, hook: Hook, usual: Duration, most: Duration| {
        let wish = map.get(hook.interface()).map(|millis| Duration::from_millis((*millis).into()));
        wish.map_or(usual, |wish| wish.clamp(usual, most.max(usual)))
    };
    let mut budgets = config.budgets.clone();
    for hook in Hook::ALL {
        let usual = Budget::of(hook);
        let cpu = wish(&wanted.cpu_ms, hook, usual.cpu, CPU_MAX);
        let wall = wish(&wanted.wall_ms, hook, usual.wall, WALL_MAX).max(cpu);
        if (Budget { cpu, wall }) != usual {
            budgets.entry(hook).or_insert(Budget { cpu, wall });
        }
    }
    Ok(budgets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{Access, DnsGrant, KvQuota};

    fn asks(required: &[&str], optional: &[&str]) -> Asks {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Asks { required: owned(required), optional: owned(optional) }
    }

    fn kv_and_dns() -> Grants {
        Grants {
            kv: Some(KvQuota { bytes: 1, keys: 1 }),
            dns: Some(DnsGrant { lookups: 1, zones: Vec::new() }),
            ..Grants::default()
        }
    }

    #[test]
    fn asks_and_grants_must_agree() {
        let named = Grants {
            kv_shared: [("rep".into(), Access::Read)].into(),
            secrets: [("api-key".into(), "/f".into())].into(),
            notes_of: ["greylist".into()].into(),
            ..Grants::default()
        };
        let every = ["kv-shared:rep", "secrets:api-key", "notes-of:greylist"];
        let table: [(Asks, Grants, Result<(), &str>); 14] = [
            (asks(&[], &[]), Grants::default(), Ok(())),
            (asks(&["kv", "dns"], &[]), kv_and_dns(), Ok(())),
            (asks(&["kv"], &["dns"]), kv_and_dns(), Ok(())),
            (asks(&[], &["kv", "dns", "http"]), Grants::default(), Ok(())),
            (asks(&every, &[]), named.clone(), Ok(())),
            (asks(&["kv"], &[]), Grants::default(), Err("add to [plugins.p.grants] `kv = {}`")),
            (asks(&["dns"], &[]), Grants::default(), Err("`dns = {}`")),
            (asks(&["http"], &[]), Grants::default(), Err("`http = { allow = [\"https://HOST\"] }`")),
            (asks(&["relay", "auth-secrets"], &[]), Grants::default(), Err("`auth-secrets = true`, `relay = true`")),
            (
                asks(&every, &[]),
                Grants::default(),
                Err("`notes-of = [\"greylist\"]`, `secrets = { api-key = \"FILE\" }`"),
            ),
            (
                asks(&["secrets:a", "secrets:b c"], &[]),
                named.clone(),
                Err("`secrets = { a = \"FILE\", \"b c\" = \"FILE\" }`"),
            ),
            (asks(&["kv-shared:rep"], &[]), Grants::default(), Err("`kv-shared = { rep = \"write\" }`")),
            (asks(&["kvs"], &[]), Grants::default(), Err("it knows kv, kv-shared:NAME")),
            (asks(&[], &["kv:own"]), Grants::default(), Err("asks for \"kv:own\"")),
        ];
        for (asks, grants, expected) in table {
            match (agree("p", &asks, &grants), expected) {
                (Ok(unasked), Ok(())) => assert_eq!(unasked, []),
                (Err(said), Err(words)) => assert!(said.contains(words), "{said}"),
                (said, _) => panic!("{asks:?}: {said:?}"),
            }
        }
        for word in ["", ":", "secrets:", "secrets", "dns:x", "notes-of", "KV"] {
            assert_eq!(Ask::parse(word), None, "{word}");
        }
        assert!(agree("p", &asks(&["kv"; 101], &[]), &kv_and_dns()).unwrap_err().contains("more than 100"));
    }

    #[test]
    fn what_is_granted_and_not_asked_for_is_not_given() {
        let manifest = |json: &str| -> Manifest { serde_json::from_str(json).unwrap() };
        let named = Grants {
            kv_shared: [("rep".into(), Access::Read)].into(),
            secrets: [("api-key".into(), "/f".into())].into(),
            notes_of: ["greylist".into()].into(),
            ..kv_and_dns()
        };
        let config = PluginConfig { grants: named.clone(), ..PluginConfig::default() };
        let (fitted, warning) = fit("p", Some(&manifest(r#"{"asks": {"required": ["kv"]}}"#)), &config).unwrap();
        assert_eq!(fitted.grants, Grants { kv: named.kv, ..Grants::default() });
        let warning = warning.unwrap();
        assert!(warning.contains("`dns`, `kv-shared:rep`, `secrets:api-key`, `notes-of:greylist`"), "{warning}");
        assert!(warning.contains("[plugins.p.grants]"), "{warning}");
    }

    #[test]
    fn without_asks_whatever_is_granted_counts() {
        let config = PluginConfig { grants: kv_and_dns(), ..PluginConfig::default() };
        assert_eq!(fit("p", None, &config), Ok((config.clone(), None)));
        assert_eq!(fit("p", Some(&Manifest::default()), &config), Ok((config, None)));
    }

    #[test]
    fn a_wish_counts_where_the_operator_is_silent_and_within_bounds() {
        let ms = Duration::from_millis;
        let manifest = |json: &str| -> Manifest { serde_json::from_str(json).unwrap() };
        let wishing = manifest(
            r#"{"instances": "fresh", "limits": {"memory": 134217728,
                "cpu-ms": {"on-rcpt": 100, "on-mail": 5, "on-message": 100000}, "wall-ms": {"on-message": 999999}}}"#,
        );
        let silent = fit("p", Some(&wishing), &PluginConfig::default()).unwrap().0;
        assert_eq!((silent.memory, silent.instances), (Some(128 << 20), Some(Instances::Fresh)));
        assert_eq!(silent.budgets.get(&Hook::Rcpt), Some(&Budget { cpu: ms(100), wall: ms(2000) }));
        assert_eq!(silent.budgets.get(&Hook::Message), Some(&Budget { cpu: CPU_MAX, wall: WALL_MAX }));
        assert_eq!(silent.budgets.len(), 2, "less than the default is no wish");

        let budget = Budget { cpu: ms(1), wall: ms(2) };
        let said = PluginConfig {
            memory: Some(1 << 20),
            instances: Some(Instances::Warm),
            budgets: [(Hook::Rcpt, budget)].into(),
            ..PluginConfig::default()
        };
        let kept = fit("p", Some(&wishing), &said).unwrap().0;
        assert_eq!((kept.memory, kept.instances), (said.memory, said.instances));
        assert_eq!(kept.budgets.get(&Hook::Rcpt), Some(&budget));

        let huge = manifest(r#"{"limits": {"memory": 99999999999}, "instances": "warm"}"#);
        let grants = Grants { auth_secrets: true, ..Grants::default() };
        let secret = fit("p", Some(&huge), &PluginConfig { grants, ..PluginConfig::default() }).unwrap().0;
        assert_eq!((secret.memory, secret.instances()), (Some(MEMORY_MAX), Instances::Fresh));
        let odd = manifest(r#"{"limits": {"cpu-ms": {"rcpt": 1}}}"#);
        assert!(fit("p", Some(&odd), &PluginConfig::default()).unwrap_err().to_string().contains("no hook"));
    }
}
