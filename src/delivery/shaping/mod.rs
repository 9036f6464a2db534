//! `[shaping]`: which limits hold for a site, and which setting caused each; which complaints slow it down.
//!
//! Pure. Several rules may fit: each says what it says, and for each setting the most specific rule wins.

mod backoff;
mod shipped;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use backoff::{Backoff, CodePattern, Complaint, Reaction, Slow, StatusPattern};
pub(super) use backoff::{Heard, heard};
pub use shipped::shipped;

use super::LaneLimits;
use crate::hooks::TlsPolicy;
use crate::mail::Annotations;

/// Settings of `[shaping]`.
#[derive(Clone, Debug, Default)]
pub struct Shaping {
    /// `[[shaping.rules]]`, in the order of the file.
    pub rules: Vec<Rule>,
    /// `[[shaping.backoff]]`, then what is shipped.
    pub backoff: Vec<Backoff>,
    /// The annotation that names a message's tenant: plugin and key; none: `tenant` of any plugin.
    pub tenant: Option<(Arc<str>, Arc<str>)>,
}

/// One of `[[shaping.rules]]`.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// For people: its `name`, or its place in the file.
    pub name: Arc<str>,
    /// Whose limits it sets.
    pub whom: Whom,
    /// What it sets.
    pub set: Adjustments,
}

/// Which sites a rule is about. What is empty does not matter; all others have to fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whom {
    /// Recipients' domains: these, or with a leading dot all below.
    pub domain: Vec<Arc<str>>,
    /// One of the most preferred exchangers, or the host of a fixed hop.
    pub mx: Vec<Arc<str>>,
    /// The `[sources.NAME]` that mail leaves from.
    pub source: Vec<Arc<str>>,
    /// The tenant.
    pub tenant: Vec<Arc<str>>,
}

/// What a rule sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adjustments {
    /// Sites that the rule is about are one site of this name.
    pub site: Option<Arc<str>>,
    /// A source or a pool.
    pub from: Option<Arc<str>>,
    /// Never less than the route's.
    pub tls: Option<TlsPolicy>,
    /// As in [`LaneLimits`], here and below.
    pub connections: Option<usize>,
    /// Recipients of one transaction.
    pub recipients: Option<usize>,
    /// Messages over one connection.
    pub messages_per_connection: Option<u32>,
    /// An idle connection is kept for so long.
    pub idle: Option<Duration>,
    /// Rates.
    pub per_second: Option<u32>,
    /// Rates.
    pub per_minute: Option<u32>,
    /// Rates.
    pub per_hour: Option<u32>,
    /// Rates.
    pub per_day: Option<u32>,
    /// Connections opened per minute.
    pub connects_per_minute: Option<u32>,
    /// Rest after it could not be reached.
    pub cool_down: Option<Duration>,
}

/// What is known of a site when its limits are looked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place<'a> {
    /// The recipients' domain, where the hop is its MX.
    pub(super) domain: Option<&'a str>,
    /// The most preferred exchangers, or the host.
    pub(super) hosts: &'a [Arc<str>],
    pub(super) source: Option<&'a str>,
    pub(super) tenant: Option<&'a str>,
}

/// The limits of a site, and what caused each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Effective {
    pub(super) limits: LaneLimits,
    /// Never less than this; none: the route decides alone.
    pub(super) tls: Option<TlsPolicy>,
    /// The name of a site that several are made one of.
    pub(super) site: Option<Arc<str>>,
    /// By the key of the setting.
    pub(super) causes: BTreeMap<&'static str, Arc<str>>,
}

/// How well a rule fits: domain before exchanger before tenant before source, and in each the longer pattern.
type Fit = (usize, usize, bool, bool);

impl Whom {
    /// How well it fits; none: it does not.
    pub(super) fn fit(&self, place: &Place<'_>) -> Option<Fit> {
        let domain = best(&self.domain, place.domain.as_slice())?;
        let mx = best(&self.mx, place.hosts)?;
        let source = one_of(&self.source, place.source)?;
        let tenant = one_of(&self.tenant, place.tenant)?;
        Some((domain, mx, tenant, source))
    }
}

/// The length of the longest pattern that fits one of the names. A whole name beats every suffix. Without patterns, nought.
fn best<N: AsRef<str>>(patterns: &[Arc<str>], names: &[N]) -> Option<usize> {
    if patterns.is_empty() {
        return Some(0);
    }
    let fits = |pattern: &Arc<str>| names.iter().find_map(|name| fit(pattern, name.as_ref()));
    patterns.iter().filter_map(fits).max()
}

/// More than any suffix can be long (RFC 1035 section 2.3.4).
const WHOLE: usize = 1024;

fn fit(pattern: &str, name: &str) -> Option<usize> {
    let ends = |suffix: &str| {
        let at = name.len().checked_sub(suffix.len())?;
        name.get(at..).filter(|end| end.eq_ignore_ascii_case(suffix))
    };
    if pattern.starts_with('.') {
        return ends(pattern).filter(|_| name.len() > pattern.len()).map(|_| pattern.len());
    }
    pattern.eq_ignore_ascii_case(name).then_some(WHOLE)
}

fn one_of(names: &[Arc<str>], name: Option<&str>) -> Option<bool> {
    if names.is_empty() {
        return Some(false);
    }
    name.filter(|name| names.iter().any(|known| &**known == *name)).map(|_| true)
}

impl Shaping {
    /// The limits of a site. `base` are those of the route's lane, else of `[delivery]`, which `usual` are.
    pub(super) fn effective(
        &self,
        place: &Place<'_>,
        usual: &LaneLimits,
        lane: Option<(&str, &LaneLimits)>,
    ) -> Effective {
        let mut merge = Merge::new(*usual);
        for (_, rule) in self.fitting(place) {
            merge.lay(&rule.set, &rule.name);
        }
        if let Some((name, limits)) = lane {
            merge.narrow(name, limits, usual);
        }
        merge.into
    }

    /// The rules that fit, the most specific last, and of equals the later one.
    fn fitting(&self, place: &Place<'_>) -> impl Iterator<Item = (usize, &Rule)> {
        let fits = self.rules.iter().enumerate().filter_map(|(at, rule)| Some((rule.whom.fit(place)?, at, rule)));
        let mut fits: Vec<_> = fits.collect();
        fits.sort_by_key(|(fit, ..)| *fit);
        fits.into_iter().map(|(_, at, rule)| (at, rule))
    }

    /// Rules that part sites, by their place and in the order in which they are laid: what differs in them has counters and
    /// settings of its own, though its exchangers are the same. Else whoever came last would change what holds for the
    /// others. Rules about the recipients' domain each by itself; of those about exchangers, whichever of them that say the same.
    pub(super) fn apart(&self, place: &Place<'_>) -> Vec<u16> {
        let alike = |rule: &Rule| self.rules.iter().position(|one| one.whom.domain.is_empty() && one.set == rule.set);
        let parts = self.fitting(place).filter_map(|(at, rule)| match &rule.whom {
            whom if !whom.domain.is_empty() => Some(at),
            whom if !whom.mx.is_empty() => alike(rule),
            _ => None,
        });
        parts.filter_map(|at| u16::try_from(at).ok()).collect()
    }

    /// The source or pool that a rule names for mail to this domain or of this tenant; with the rule's name.
    pub(super) fn from(&self, domain: Option<&str>, tenant: Option<&str>) -> Option<(&Arc<str>, &Arc<str>)> {
        let place = Place { domain, tenant, ..Place::default() };
        let fits = self.rules.iter().filter_map(|rule| {
            let from = rule.set.from.as_ref()?;
            Some((rule.whom.fit(&place)?, from, &rule.name))
        });
        fits.max_by_key(|(fit, ..)| *fit).map(|(_, from, name)| (from, name))
    }

    /// The tenant of a message, if some rule names it: others need no counters of their own.
    pub(super) fn tenant_of(&self, annotations: &Annotations) -> Option<Arc<str>> {
        match &self.tenant {
            Some((plugin, key)) => self.tenant_named(&annotations.get(plugin, key)?.value),
            None => self.tenant_named(annotations.named("tenant")?),
        }
    }

    /// The tenant of this name, if some rule names it.
    pub(super) fn tenant_named(&self, name: &str) -> Option<Arc<str>> {
        let named = self.rules.iter().map(|rule| &rule.whom).chain(self.backoff.iter().map(|backoff| &backoff.whom));
        named.flat_map(|whom| &whom.tenant).find(|tenant| &***tenant == name).cloned()
    }
}

/// Settings laid one over the other.
struct Merge {
    into: Effective,
}

impl Merge {
    fn new(limits: LaneLimits) -> Self {
        let built_in = LaneLimits::default();
        let mut causes = BTreeMap::new();
        for (key, same) in compare(&limits, &built_in) {
            causes.insert(key, if same { "default".into() } else { format!("delivery.{key}").into() });
        }
        Self { into: Effective { limits, tls: None, site: None, causes } }
    }

    fn lay(&mut self, set: &Adjustments, rule: &Arc<str>) {
        let Self { into: Effective { limits, tls, site, causes } } = self;
        let mut says = |key: &'static str, said: bool| {
            if said {
                causes.insert(key, Arc::clone(rule));
            }
        };
        says("site", put_some(site, &set.site));
        says("tls", put_some(tls, &set.tls));
        says("connections", put(&mut limits.connections, set.connections));
        says("recipients", put(&mut limits.recipients, set.recipients));
        says("messages-per-connection", put(&mut limits.messages_per_connection, set.messages_per_connection));
        says("idle", put(&mut limits.idle, set.idle));
        says("per-second", put_some(&mut limits.per_second, &set.per_second));
        says("per-minute", put_some(&mut limits.per_minute, &set.per_minute));
        says("per-hour", put_some(&mut limits.per_hour, &set.per_hour));
        says("per-day", put_some(&mut limits.per_day, &set.per_day));
        says("connects-per-minute", put_some(&mut limits.connects_per_minute, &set.connects_per_minute));
        says("cool-down", put(&mut limits.cool_down, set.cool_down));
    }

    /// What a lane says of its own. A plugin may have chosen it for this message, and a rule is there for this site: the
    /// stricter of them holds.
    fn narrow(&mut self, name: &str, lane: &LaneLimits, usual: &LaneLimits) {
        let Effective { limits, causes, .. } = &mut self.into;
        let ruled = |causes: &BTreeMap<&'static str, Arc<str>>, key: &str| {
            causes.get(key).is_some_and(|cause| &**cause != "default" && !cause.starts_with("delivery."))
        };
        for (key, same) in compare(lane, usual) {
            let free = !ruled(causes, key);
            if same {
                continue;
            }
            let taken = match key {
                "connections" => take_if(&mut limits.connections, lane.connections, |a, b| free || a < b),
                "recipients" => take_if(&mut limits.recipients, lane.recipients, |a, b| free || a < b),
                "messages-per-connection" => {
                    take_if(&mut limits.messages_per_connection, lane.messages_per_connection, |a, b| free || a < b)
                }
                "idle" => take_if(&mut limits.idle, lane.idle, |a, b| free || a < b),
                "per-second" => take_if(&mut limits.per_second, lane.per_second, |a, b| free || slower(a, b)),
                "per-minute" => take_if(&mut limits.per_minute, lane.per_minute, |a, b| free || slower(a, b)),
                "per-hour" => take_if(&mut limits.per_hour, lane.per_hour, |a, b| free || slower(a, b)),
                "per-day" => take_if(&mut limits.per_day, lane.per_day, |a, b| free || slower(a, b)),
                "connects-per-minute" => {
                    take_if(&mut limits.connects_per_minute, lane.connects_per_minute, |a, b| free || slower(a, b))
                }
                _ => take_if(&mut limits.cool_down, lane.cool_down, |a, b| free || a > b),
            };
            if taken {
                causes.insert(key, format!("lanes.{name}.{key}").into());
            }
        }
    }
}

fn put<T>(place: &mut T, value: Option<T>) -> bool {
    match value {
        Some(value) => {
            *place = value;
            true
        }
        None => false,
    }
}

fn put_some<T: Clone>(place: &mut Option<T>, value: &Option<T>) -> bool {
    if value.is_some() {
        place.clone_from(value);
    }
    value.is_some()
}

fn take_if<T: Copy>(place: &mut T, value: T, better: impl Fn(T, T) -> bool) -> bool {
    let takes = better(value, *place);
    if takes {
        *place = value;
    }
    takes
}

/// No rate is faster than any.
fn slower(a: Option<u32>, b: Option<u32>) -> bool {
    a.is_some_and(|a| b.is_none_or(|b| a < b))
}

/// Every setting of the limits, and whether two have it alike.
fn compare(a: &LaneLimits, b: &LaneLimits) -> [(&'static str, bool); 10] {
    [
        ("connections", a.connections == b.connections),
        ("recipients", a.recipients == b.recipients),
        ("messages-per-connection", a.messages_per_connection == b.messages_per_connection),
        ("idle", a.idle == b.idle),
        ("per-second", a.per_second == b.per_second),
        ("per-minute", a.per_minute == b.per_minute),
        ("per-hour", a.per_hour == b.per_hour),
        ("per-day", a.per_day == b.per_day),
        ("connects-per-minute", a.connects_per_minute == b.connects_per_minute),
        ("cool-down", a.cool_down == b.cool_down),
    ]
}

/// The stricter of two policies.
pub(super) fn stricter(a: TlsPolicy, b: Option<TlsPolicy>) -> TlsPolicy {
    let rank = |policy: TlsPolicy| match policy {
        TlsPolicy::Off => 0,
        TlsPolicy::Inherit | TlsPolicy::Opportunistic => 1,
        TlsPolicy::Encrypt => 2,
        TlsPolicy::Verify => 3,
        TlsPolicy::Dane => 4,
    };
    b.filter(|b| rank(*b) > rank(a)).unwrap_or(a)
}

#[cfg(test)]
mod tests;
