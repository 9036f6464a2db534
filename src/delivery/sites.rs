//! All sites, and which domains lead to which: by the set of their exchangers, looked up once in a while.
//!
//! Two domains with the same exchangers are one site: for the hosts behind it they are one sender's mail. Bounded: what is
//! looked up is forgotten with its time, and sites without lanes when nothing of them has to be remembered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Config;
use super::job::{HopName, LaneKey};
use super::shaping::{Effective, Place};
use super::site::{Site, SiteKey};
use crate::hooks::NextHop;
use crate::routing::{Mx, ResolveError};

/// Exchangers change seldom, and the way itself is looked up for every connection: this is for counting only.
const KNOWN_FOR: Duration = Duration::from_secs(300);

/// A look-up that failed is made again soon.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);

/// What is old is good enough to presume that a next hop is alive, until it was looked up again.
const PRESUMED_FOR: Duration = Duration::from_secs(3600);

/// Domains whose exchangers are remembered. Past it they are looked up each time, from the resolver's own cache.
const KNOWN_MAX: usize = 16_384;

/// Sites that are remembered without need.
const SITES_MAX: usize = 20_000;

/// Exchangers that make up a name: whoever lists more has us count wrong, nothing else.
const NAMED_MAX: usize = 10;

/// Where a domain's mail goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exchangers {
    /// Of the site: all of them.
    pub(super) name: Arc<str>,
    /// The most preferred ones.
    pub(super) best: Arc<[Arc<str>]>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sites {
    known: Mutex<HashMap<Arc<str>, (Exchangers, Instant)>>,
    sites: Mutex<HashMap<SiteKey, Arc<Site>>>,
}

impl Exchangers {
    /// Of what the resolver says, and how long to believe it.
    pub(super) fn of(domain: &str, answer: Result<Vec<Mx>, ResolveError>) -> (Self, Duration) {
        let (mut records, time) = match answer {
            Ok(records) => (records, KNOWN_FOR),
            Err(ResolveError::NoData) => (Vec::new(), KNOWN_FOR),
            // The attempt says what is wrong. Until then the domain is counted alone.
            Err(ResolveError::NoSuchName | ResolveError::Temporary(_)) => (Vec::new(), UNKNOWN_FOR),
        };
        records.retain(|mx| !matches!(&*mx.exchange, "" | "."));
        let least = records.iter().map(|mx| mx.preference).min();
        let mut best: Vec<Arc<str>> = Vec::new();
        let mut all: Vec<Arc<str>> = Vec::new();
        for mx in records {
            if Some(mx.preference) == least {
                best.push(Arc::clone(&mx.exchange));
            }
            all.push(mx.exchange);
        }
        for hosts in [&mut best, &mut all] {
            hosts.sort();
            hosts.dedup();
            hosts.truncate(NAMED_MAX);
        }
        if all.is_empty() {
            // The implicit MX (RFC 5321 section 5.1).
            let domain: Arc<str> = domain.to_ascii_lowercase().into();
            return (Self { name: Arc::clone(&domain), best: Arc::new([domain]) }, time);
        }
        (Self { name: site_name(&all), best: best.into() }, time)
    }

    /// Of a host that is named in the route.
    pub(super) fn fixed(hop: &NextHop) -> Self {
        let hosts: Vec<Arc<str>> = match hop {
            NextHop::Smtp { host, .. } | NextHop::Lmtp { host, .. } => vec![Arc::clone(host)],
            NextHop::Mx(domain) => vec![Arc::clone(domain)],
            NextHop::Named(_) => Vec::new(),
        };
        Self { name: HopName(hop).to_string().into(), best: hosts.into() }
    }
}

/// One name for several hosts: what they have in common at their end once, the rest in parentheses.
fn site_name(hosts: &[Arc<str>]) -> Arc<str> {
    let [first, others @ ..] = hosts else { return "".into() };
    if others.is_empty() {
        return Arc::clone(first);
    }
    let mut common: Option<&str> = None;
    for (dot, _) in first.match_indices('.') {
        let suffix = first.get(dot..).unwrap_or_default();
        if suffix.matches('.').count() >= 2 && others.iter().all(|host| host.ends_with(suffix)) {
            common = Some(suffix);
            break;
        }
    }
    let Some(common) = common else { return hosts.join(",").into() };
    let rests: Vec<&str> = hosts.iter().map(|host| host.strip_suffix(common).unwrap_or(host)).collect();
    format!("({}){common}", rests.join("|")).into()
}

impl Sites {
    /// Where a hop leads, if nobody has to be asked for it.
    pub(super) fn exchangers(&self, hop: &NextHop, now: Instant) -> Option<Exchangers> {
        match hop {
            NextHop::Mx(domain) if !domain.is_empty() && !domain.starts_with('[') => {
                let known = self.known.lock();
                known.get(domain).filter(|(_, until)| now < *until).map(|(exchangers, _)| exchangers.clone())
            }
            fixed => Some(Exchangers::fixed(fixed)),
        }
    }

    /// The same, from a look-up that may be old.
    pub(super) fn known_lately(&self, hop: &NextHop) -> Option<Exchangers> {
        match hop {
            NextHop::Mx(domain) if !domain.is_empty() && !domain.starts_with('[') => {
                self.known.lock().get(domain).map(|(exchangers, _)| exchangers.clone())
            }
            fixed => Some(Exchangers::fixed(fixed)),
        }
    }

    /// True if a lane that has no site yet will most likely lead to one that has proven itself.
    pub(super) fn presumes(&self, config: &Config, key: &LaneKey) -> bool {
        let Some(NextHop::Mx(domain)) = config.first_hop(&key.route) else { return false };
        let found = self.known.lock().get(domain).map(|(exchangers, _)| exchangers.clone());
        let site = found.and_then(|found| self.sites.lock().get(&describe(config, key, &found).0).cloned());
        site.is_some_and(|site| site.is_proven())
    }

    /// Remembers what a look-up said: where the domain's mail goes. One that failed for now does not say that it goes elsewhere
    /// than before, to a site that nothing is known of and nothing is held against.
    pub(super) fn learn(&self, domain: &Arc<str>, answer: Result<Vec<Mx>, ResolveError>, now: Instant) -> Exchangers {
        let failed = matches!(answer, Err(ResolveError::Temporary(_)));
        let (mut found, time) = Exchangers::of(domain, answer);
        let mut known = self.known.lock();
        if failed && let Some((before, _)) = known.get(domain) {
            found = before.clone();
        }
        if known.len() < KNOWN_MAX || known.contains_key(domain) {
            known.insert(Arc::clone(domain), (found.clone(), now + time));
        }
        found
    }

    /// True if the exchangers of this hop's domain were looked up too long ago.
    pub(super) fn is_old(&self, hop: &NextHop, now: Instant) -> bool {
        let NextHop::Mx(domain) = hop else { return false };
        let literal = domain.is_empty() || domain.starts_with('[');
        !literal && self.known.lock().get(domain).is_none_or(|(_, until)| now >= *until)
    }

    /// The site of a lane whose first hop leads there.
    pub(super) fn find(&self, config: &Config, key: &LaneKey, found: &Exchangers, now: Instant) -> Arc<Site> {
        let (site, effective) = describe(config, key, found);
        let mut sites = self.sites.lock();
        if let Some(known) = sites.get(&site) {
            known.retune(&effective, Arc::clone(&found.best));
            return Arc::clone(known);
        }
        let new = Arc::new(Site::new(site.clone(), &effective, Arc::clone(&found.best), now));
        // A place on this machine, a Maildir for one: nobody has to let us in.
        if found.best.is_empty() {
            new.greeted();
        }
        sites.insert(site, Arc::clone(&new));
        new
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Site>> {
        self.sites.lock().values().cloned().collect()
    }

    /// Forgets what is old. Lanes without work are gone already.
    pub(super) fn sweep(&self, now: Instant) {
        let mut known = self.known.lock();
        let scarce = known.len() >= KNOWN_MAX;
        known.retain(|_, (_, until)| now < if scarce { *until } else { *until + PRESUMED_FOR });
        if known.capacity() > 4 * known.len() + 64 {
            known.shrink_to_fit();
        }
        drop(known);
        let mut sites = self.sites.lock();
        let scarce = sites.len() > SITES_MAX;
        // Found under this lock only: what is held by nobody else now will not be.
        sites.retain(|_, site| Arc::strong_count(site) > 1 || !site.is_over(now, scarce));
        if sites.capacity() > 4 * sites.len() + 64 {
            sites.shrink_to_fit();
        }
    }
}

impl LaneKey {
    /// What rules look at.
    pub(super) fn place<'a>(&'a self, config: &'a Config, found: &'a Exchangers) -> Place<'a> {
        let domain = config.first_hop(&self.route).and_then(|hop| match hop {
            NextHop::Mx(domain) => Some(&**domain),
            _ => None,
        });
        Place { domain, hosts: &found.best, source: self.source.as_deref(), tenant: self.tenant.as_deref() }
    }
}

/// What a lane's site is called, and the limits that hold there.
pub(super) fn describe(config: &Config, key: &LaneKey, found: &Exchangers) -> (SiteKey, Effective) {
    let place = key.place(config, found);
    let lane = config.lane(&key.route);
    let effective = config.shaping.effective(&place, &config.limits, lane.map(|(name, limits)| (&**name, limits)));
    let site = SiteKey {
        name: effective.site.clone().unwrap_or_else(|| Arc::clone(&found.name)),
        source: key.source.clone(),
        lane: lane.map(|(name, _)| Arc::clone(name)),
        tenant: key.tenant.clone(),
        rules: config.shaping.apart(&place),
    };
    (site, effective)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::config::tests::config;
    use crate::delivery::shaping::{Adjustments, Rule, Whom};
    use crate::hooks::{Route, TlsPolicy};

    fn mx(records: &[(u16, &str)]) -> Vec<Mx> {
        records.iter().map(|(preference, host)| Mx { preference: *preference, exchange: (*host).into() }).collect()
    }

    fn key(domain: &str) -> LaneKey {
        let route = Route { hops: vec![NextHop::Mx(domain.into())], ..Route::default() };
        LaneKey { route: Arc::new(route), source: None, tenant: None }
    }

    fn names(exchangers: &Exchangers) -> (&str, Vec<&str>) {
        (&exchangers.name, exchangers.best.iter().map(|host| &**host).collect())
    }

    #[test]
    fn a_site_is_called_after_its_exchangers() {
        for (records, name, best) in [
            (&[(10, "mx.example.net")][..], "mx.example.net", &["mx.example.net"][..]),
            (&[(20, "b.mx.example.net"), (10, "a.mx.example.net")], "(a|b).mx.example.net", &["a.mx.example.net"]),
            (
                &[(1, "aspmx.l.google.com"), (5, "alt1.aspmx.l.google.com")],
                "(alt1.aspmx|aspmx).l.google.com",
                &["aspmx.l.google.com"],
            ),
            (
                &[(10, "a.example.net"), (10, "b.example.org")],
                "a.example.net,b.example.org",
                &["a.example.net", "b.example.org"],
            ),
            (&[(0, ".")], "example.org", &["example.org"]),
        ] {
            let (found, time) = Exchangers::of("Example.org", Ok(mx(records)));
            assert_eq!((names(&found), time), ((name, best.to_vec()), KNOWN_FOR));
        }
        let (found, time) = Exchangers::of("example.org", Err(ResolveError::Temporary("x".into())));
        assert_eq!((&*found.name, time), ("example.org", UNKNOWN_FOR));
    }

    #[test]
    fn domains_with_the_same_exchangers_share_a_site() {
        let (sites, now, config) = (Sites::default(), Instant::now(), config());
        let (shared, _) = Exchangers::of("a.test", Ok(mx(&[(1, "x.mx.test"), (2, "y.mx.test")])));
        let (again, _) = Exchangers::of("b.test", Ok(mx(&[(7, "y.mx.test"), (7, "x.mx.test")])));
        let (other, _) = Exchangers::of("c.test", Ok(mx(&[(1, "x.mx.test")])));
        let a = sites.find(&config, &key("a.test"), &shared, now);
        assert!(Arc::ptr_eq(&a, &sites.find(&config, &key("b.test"), &again, now)));
        assert!(!Arc::ptr_eq(&a, &sites.find(&config, &key("c.test"), &other, now)));
        let from = LaneKey { source: Some("west".into()), ..key("a.test") };
        assert!(!Arc::ptr_eq(&a, &sites.find(&config, &from, &shared, now)), "each source by itself");
    }

    #[test]
    fn a_place_on_this_machine_needs_no_greeting() {
        let (sites, now, config) = (Sites::default(), Instant::now(), config());
        let connections = |hop: NextHop| {
            let route = Arc::new(Route { hops: vec![hop.clone()], ..Route::default() });
            let key = LaneKey { route, source: None, tenant: None };
            sites.find(&config, &key, &Exchangers::fixed(&hop), now).now(now).allowed
        };
        assert_eq!(connections(NextHop::Named("mailboxes".into())), 5);
        assert_eq!(connections(NextHop::Smtp { host: "mx.test".into(), port: 25 }), 1);
    }

    #[test]
    fn rules_join_sites_and_part_them() {
        let (sites, now, mut config) = (Sites::default(), Instant::now(), config());
        let rule = |whom, set| Rule { name: "r".into(), whom, set };
        let provider = Whom { mx: vec![".outlook.test".into()], ..Whom::default() };
        let one = Whom { domain: vec!["c.test".into()], ..Whom::default() };
        config.shaping.rules = vec![
            rule(provider, Adjustments { site: Some("outlook".into()), ..Adjustments::default() }),
            rule(one, Adjustments { connections: Some(1), ..Adjustments::default() }),
        ];
        let found = ["a", "b", "c"].map(|name| {
            let host = format!("{name}-test.mail.outlook.test");
            let (exchangers, _) = Exchangers::of("", Ok(mx(&[(1, &host)])));
            sites.find(&config, &key(&format!("{name}.test")), &exchangers, now)
        });
        assert!(Arc::ptr_eq(&found[0], &found[1]));
        assert_eq!(&*found[0].key.name, "outlook");
        assert!(!Arc::ptr_eq(&found[0], &found[2]));
        assert_eq!((found[0].limits().connections, found[2].limits().connections), (20, 1));
    }

    #[test]
    fn a_look_up_that_fails_for_now_leaves_a_domain_at_its_site() {
        let (sites, now, domain) = (Sites::default(), Instant::now(), Arc::<str>::from("a.test"));
        let failed = || Err(ResolveError::Temporary("x".into()));
        assert_eq!(&*sites.learn(&domain, failed(), now).name, "a.test", "nothing was known");
        let found = sites.learn(&domain, Ok(mx(&[(1, "x.mx.test")])), now);
        let later = now + KNOWN_FOR;
        sites.sweep(later);
        assert_eq!(sites.learn(&domain, failed(), later), found);
        let hop = NextHop::Mx(Arc::clone(&domain));
        assert_eq!(sites.exchangers(&hop, later + UNKNOWN_FOR / 2), Some(found));
        assert!(sites.is_old(&hop, later + UNKNOWN_FOR), "it is looked up again soon");
        let gone = sites.learn(&domain, Err(ResolveError::NoSuchName), later);
        assert_eq!(&*gone.name, "a.test");
    }

    #[test]
    fn who_goes_to_the_same_hosts_in_another_order_changes_nothing_of_what_a_rule_says() {
        let (sites, now, mut config) = (Sites::default(), Instant::now(), config());
        let rule = |mx: &[&str], set| {
            let whom = Whom { mx: mx.iter().map(|host| Arc::from(*host)).collect(), ..Whom::default() };
            Rule { name: "r".into(), whom, set }
        };
        let verify = Adjustments { tls: Some(TlsPolicy::Verify), ..Adjustments::default() };
        let joined = || Adjustments { site: Some("joined".into()), ..Adjustments::default() };
        config.shaping.rules =
            vec![rule(&["a.mx.test"], verify), rule(&[".one.test"], joined()), rule(&[".two.test"], joined())];
        let at = |domain, records| {
            let (found, _) = Exchangers::of(domain, Ok(mx(records)));
            sites.find(&config, &key(domain), &found, now)
        };
        let partner = at("partner.test", &[(10, "a.mx.test"), (20, "b.mx.test")]);
        let other = at("other.test", &[(10, "b.mx.test"), (20, "a.mx.test")]);
        assert_eq!((partner.tls(), other.tls()), (Some(TlsPolicy::Verify), None));
        let (one, two) = (at("1.test", &[(1, "x.one.test")]), at("2.test", &[(1, "x.two.test")]));
        assert!(Arc::ptr_eq(&one, &two), "rules that say the same join what they are about");
    }

    #[test]
    fn what_nobody_needs_is_forgotten() {
        let (sites, now, config) = (Sites::default(), Instant::now(), config());
        let domain: Arc<str> = "a.test".into();
        let hop = NextHop::Mx(Arc::clone(&domain));
        let found = sites.learn(&domain, Ok(mx(&[(1, "x.mx.test")])), now);
        assert_eq!(sites.exchangers(&hop, now), Some(found.clone()));
        let site = sites.find(&config, &key("a.test"), &found, now);
        let later = now + Duration::from_secs(7200);
        sites.sweep(later);
        assert!(sites.is_old(&hop, later) && sites.all().len() == 1, "a lane leads there");
        site.refused(later, None);
        drop(site);
        sites.sweep(later);
        assert!(sites.all().len() == 1, "its rest is not over");
        sites.sweep(later + Duration::from_secs(7200));
        assert!(sites.all().is_empty());
    }
}
