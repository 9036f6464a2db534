//! Settings of `[delivery]`, `[destinations.NAME]`, `[credentials.NAME]`, `[sources.NAME]`, `[lanes.NAME]`, `[retry]`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Timeouts;
use super::TlsOut;
use super::egress::{Pool, Source};
use super::notices::Notices;
use super::shaping::Shaping;
use super::trusted::Trusted;
use crate::hooks::{NextHop, Route, TlsPolicy};
use crate::queue::{Schedule, hop_text};
use crate::routing::Selection;

/// What delivery needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// This relay's name, for EHLO and reports.
    pub hostname: Arc<str>,
    /// For hops that do not say otherwise.
    pub tls: TlsPolicy,
    /// Port for MX targets: 25.
    pub mx_port: u16,
    /// Limits of lanes without a name.
    pub limits: LaneLimits,
    /// `[lanes.NAME]`.
    pub lanes: BTreeMap<Arc<str>, LaneLimits>,
    /// `[destinations.NAME]`.
    pub destinations: BTreeMap<Arc<str>, Destination>,
    /// `[credentials.NAME]`.
    pub credentials: BTreeMap<Arc<str>, Credential>,
    /// Where each of them may be presented.
    pub trusted: Trusted,
    /// `[sources.NAME]`.
    pub sources: BTreeMap<Arc<str>, Source>,
    /// `[pools.NAME]`.
    pub pools: BTreeMap<Arc<str>, Pool>,
    /// `[shaping]`.
    pub shaping: Shaping,
    /// Connections to all next hops at a time.
    pub max_connections: usize,
    /// A connection as old as this gets no more messages: the next one asks anew for addresses and policies.
    pub connection_age: Duration,
    /// `[retry]`.
    pub schedule: Schedule,
    /// `[retry.NAME]`.
    pub schedules: BTreeMap<Arc<str>, Schedule>,
    /// Which targets are spoken to, and whether DANE is looked for.
    pub selection: Selection,
    /// `[notices]`.
    pub notices: Notices,
    /// `[delivery.timeouts]`.
    pub timeouts: Timeouts,
    /// `tls-memory`, `trust`, `[mta-sts]`, `[tlsrpt]`.
    pub tls_out: TlsOut,
}

/// A destination with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Another route: a smarthost and its settings.
    Route(Arc<Route>),
    /// A Maildir; `{local}` and `{domain}` in the path stand for the recipient's parts, made safe for a file name.
    Maildir {
        /// Its folder.
        path: PathBuf,
    },
    /// Taken and dropped.
    Discard,
}

/// How hard one next hop may be worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneLimits {
    /// Connections at a time.
    pub connections: usize,
    /// Recipients of one transaction.
    pub recipients: usize,
    /// Messages over one connection.
    pub messages_per_connection: u32,
    /// An idle connection is kept this long for another message.
    pub idle: Duration,
    /// Messages started per second, over all connections; none: no limit.
    pub per_second: Option<u32>,
    /// The same for a minute.
    pub per_minute: Option<u32>,
    /// The same for an hour.
    pub per_hour: Option<u32>,
    /// The same for a day.
    pub per_day: Option<u32>,
    /// Connections opened per minute; none: no limit.
    pub connects_per_minute: Option<u32>,
    /// After a connection failed, no new attempt for this long.
    pub cool_down: Duration,
}

impl Default for LaneLimits {
    fn default() -> Self {
        Self {
            connections: 20,
            recipients: 50,
            messages_per_connection: 1000,
            idle: Duration::from_secs(2),
            per_second: None,
            per_minute: None,
            per_hour: None,
            per_day: None,
            connects_per_minute: None,
            cool_down: Duration::from_secs(60),
        }
    }
}

/// A name and password for a next hop.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// User name.
    pub name: Arc<str>,
    /// Password.
    pub secret: Arc<str>,
}

impl fmt::Debug for Credential {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("name", &self.name).finish_non_exhaustive()
    }
}

/// One hop of a route with what applies to it, names looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leg {
    /// As it stands in the route.
    pub(super) hop: NextHop,
    /// Where that leads.
    pub(super) way: Way,
}

/// Where a hop leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To a host.
    Host {
        /// Never [`NextHop::Named`].
        hop: NextHop,
        /// Never [`TlsPolicy::Inherit`], unless the configuration itself says so.
        tls: TlsPolicy,
        /// The `[sources.NAME]` to connect from.
        source: Option<Arc<str>>,
        /// What to authenticate with.
        credential: Option<Credential>,
    },
    /// Into a Maildir.
    Maildir(PathBuf),
    /// Nowhere.
    Discard,
    /// A name that the configuration does not know: the operator's error, so the mail waits until it is mended.
    Unknown(String),
}

/// A destination may name another one, which may name no third: what an operator can still see through, and no
/// circle can hold it up.
const DEPTH: usize = 2;

impl Config {
    /// The route's hops in order, destinations replaced by what they stand for. Source, credential and TLS of a
    /// destination are its own: those of another hop are never shown to its host. `picked` is the source that was picked for
    /// the message.
    pub(super) fn legs(&self, route: &Route, picked: Option<&Arc<str>>) -> Vec<Leg> {
        let mut legs = Vec::with_capacity(route.hops.len());
        for hop in &route.hops {
            self.push_legs(&mut legs, (hop, hop), route, picked, DEPTH);
        }
        if legs.is_empty() {
            let hop = NextHop::Named("".into());
            legs.push(Leg { hop, way: Way::Unknown("the route has no hops".into()) });
        }
        legs
    }

    fn push_legs(
        &self,
        legs: &mut Vec<Leg>,
        (shown, hop): (&NextHop, &NextHop),
        route: &Route,
        picked: Option<&Arc<str>>,
        depth: usize,
    ) {
        let NextHop::Named(name) = hop else {
            legs.push(Leg { hop: shown.clone(), way: self.host(hop, route, picked) });
            return;
        };
        let way = match self.destinations.get(name) {
            Some(Destination::Route(inner)) if depth > 0 => {
                inner.hops.iter().for_each(|hop| self.push_legs(legs, (shown, hop), inner, picked, depth - 1));
                return;
            }
            Some(Destination::Route(_)) => Way::Unknown(format!("destination {name} is named through too many others")),
            Some(Destination::Maildir { path }) => Way::Maildir(path.clone()),
            Some(Destination::Discard) => Way::Discard,
            None => Way::Unknown(format!("no destination is called {name}")),
        };
        legs.push(Leg { hop: shown.clone(), way });
    }

    fn host(&self, hop: &NextHop, route: &Route, picked: Option<&Arc<str>>) -> Way {
        let source = match &route.source {
            None => picked.cloned(),
            Some(name) if self.sources.contains_key(name) => Some(Arc::clone(name)),
            Some(name) => match self.pools.get(name) {
                Some(pool) => {
                    let is_member = |picked: &&Arc<str>| pool.members.iter().any(|(member, _)| member == *picked);
                    picked.filter(is_member).or_else(|| pool.members.first().map(|(member, _)| member)).cloned()
                }
                None => return Way::Unknown(format!("no source is called {name}")),
            },
        };
        let (credential, tls) = match &route.credential {
            None if route.tls == TlsPolicy::Inherit => (None, self.tls),
            None => (None, route.tls),
            Some(name) => {
                let Some(credential) = self.credentials.get(name) else {
                    return Way::Unknown(format!("no credential is called {name}"));
                };
                let Some(tls) = self.trusted.tls(name, hop, route) else {
                    let hop = hop_text(hop);
                    return Way::Unknown(format!(
                        "credential {name} is not for {hop}: credentials.{name}.hosts says for whom it is"
                    ));
                };
                (Some(credential.clone()), tls)
            }
        };
        Way::Host { hop: hop.clone(), tls, source, credential }
    }

    /// The lane of a route's mail, if it has one that is known.
    pub(super) fn lane(&self, route: &Route) -> Option<(&Arc<str>, &LaneLimits)> {
        let name = self.setting(route, |route| route.lane.as_ref(), DEPTH)?;
        self.lanes.get_key_value(name)
    }

    /// Names of a route's lane and schedule that nobody has: its mail goes as that of everybody. A reload may bring them.
    pub(super) fn unknown(&self, route: &Route) -> impl Iterator<Item = String> {
        let lane = self.setting(route, |route| route.lane.as_ref(), DEPTH);
        let lane = lane.filter(|name| !self.lanes.contains_key(*name)).map(|name| format!("no lane is called {name}"));
        let schedule = self.setting(route, |route| route.retry_schedule.as_ref(), DEPTH);
        let schedule = schedule.filter(|name| !self.schedules.contains_key(*name));
        lane.into_iter().chain(schedule.map(|name| format!("no retry schedule is called {name}")))
    }

    /// The first hop of a route, destinations followed to the first of theirs.
    pub(super) fn first_hop<'a>(&'a self, route: &'a Route) -> Option<&'a NextHop> {
        let mut hop = route.hops.first()?;
        for _ in 0..DEPTH {
            let NextHop::Named(name) = hop else { break };
            let Some(Destination::Route(inner)) = self.destinations.get(name) else { break };
            hop = inner.hops.first()?;
        }
        Some(hop)
    }

    /// The source or pool that a route's mail leaves from: the route's own, else one that a rule names; with the
    /// rule's name.
    pub(super) fn source_for<'a>(
        &'a self,
        route: &'a Route,
        tenant: Option<&str>,
    ) -> Option<(&'a Arc<str>, Option<&'a Arc<str>>)> {
        if let Some(name) = self.setting(route, |route| route.source.as_ref(), DEPTH) {
            return Some((name, None));
        }
        let domain = match self.first_hop(route) {
            Some(NextHop::Mx(domain)) => Some(&**domain),
            _ => None,
        };
        self.shaping.from(domain, tenant).map(|(name, rule)| (name, Some(rule)))
    }

    /// The name of the schedule that a route's mail follows, if it is not that of everybody.
    pub(super) fn schedule_name<'a>(&'a self, route: &'a Route) -> Option<&'a Arc<str>> {
        let named = self.setting(route, |route| route.retry_schedule.as_ref(), DEPTH);
        named.filter(|name| self.schedules.contains_key(*name))
    }

    /// The retry schedule of a route's mail, with the route's own give-up time if it has one.
    pub(super) fn schedule(&self, route: &Route) -> Cow<'_, Schedule> {
        let named = self.setting(route, |route| route.retry_schedule.as_ref(), DEPTH);
        let schedule = named.and_then(|name| self.schedules.get(name)).unwrap_or(&self.schedule);
        let Some(&secs) = self.setting(route, |route| route.expires_after_secs.as_ref(), DEPTH) else {
            return Cow::Borrowed(schedule);
        };
        let give_up = Duration::from_secs(secs.into());
        let give_up_bounce = schedule.give_up_after_bounce.min(give_up);
        Cow::Owned(Schedule { give_up_after: give_up, give_up_after_bounce: give_up_bounce, ..schedule.clone() })
    }

    /// A setting of the route, or of the destination that its first hop names.
    fn setting<'a, T>(&'a self, route: &'a Route, of: fn(&Route) -> Option<&T>, depth: usize) -> Option<&'a T> {
        of(route).or_else(|| match route.hops.first() {
            Some(NextHop::Named(name)) if depth > 0 => match self.destinations.get(name) {
                Some(Destination::Route(inner)) => self.setting(inner, of, depth - 1),
                _ => None,
            },
            _ => None,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A configuration to vary in tests.
    pub(in crate::delivery) fn config() -> Config {
        Config {
            hostname: "relay.test".into(),
            tls: TlsPolicy::Off,
            mx_port: 25,
            limits: LaneLimits::default(),
            lanes: BTreeMap::new(),
            destinations: BTreeMap::new(),
            credentials: BTreeMap::new(),
            trusted: Trusted::default(),
            sources: BTreeMap::new(),
            pools: BTreeMap::new(),
            connection_age: Duration::from_secs(300),
            shaping: Shaping::default(),
            max_connections: 1000,
            schedule: Schedule { jitter_percent: 0, ..Schedule::default() },
            schedules: BTreeMap::new(),
            // The next hops of tests are on this machine.
            selection: Selection { never: [].into(), ..Selection::default() },
            notices: Notices::default(),
            timeouts: Timeouts::default(),
            tls_out: TlsOut::default(),
        }
    }

    pub(in crate::delivery) fn named(name: &str) -> Route {
        Route { hops: vec![NextHop::Named(name.into())], ..Route::default() }
    }

    fn host(name: &str) -> NextHop {
        NextHop::Smtp { host: name.into(), port: 25 }
    }

    fn ways(config: &Config, route: &Route) -> Vec<Way> {
        config.legs(route, None).into_iter().map(|leg| leg.way).collect()
    }

    #[test]
    fn a_destinations_secrets_stay_with_its_own_hops() {
        let mut config = config();
        let credential = Credential { name: "me".into(), secret: "s3cret".into() };
        config.credentials.insert("smart".into(), credential.clone());
        let inner = Route { hops: vec![host("smart.test")], credential: Some("smart".into()), ..Route::default() };
        config.trusted.add_route(&inner);
        let told = Route { tls: TlsPolicy::Encrypt, ..inner.clone() };
        let elsewhere = Route { hops: vec![host("evil.test")], ..inner.clone() };
        config.destinations.insert("smarthost".into(), Destination::Route(Arc::new(inner)));
        let hops = vec![NextHop::Named("smarthost".into()), host("backup.test")];
        let route = Route { hops, tls: TlsPolicy::Encrypt, ..Route::default() };
        // The certificate is judged where a password is sent, unless the configuration says otherwise: not a plugin.
        assert!(matches!(&ways(&config, &told)[..], [Way::Host { tls: TlsPolicy::Verify, .. }]));
        // What a plugin's route names is for the configuration's hosts alone.
        let refused = "credential smart is not for smtp://evil.test:25: credentials.smart.hosts says for whom it is";
        assert_eq!(ways(&config, &elsewhere), [Way::Unknown(refused.into())]);
        let (tls, source) = (TlsPolicy::Verify, None);
        let expected = vec![
            Way::Host { hop: host("smart.test"), tls, source: source.clone(), credential: Some(credential) },
            Way::Host { hop: host("backup.test"), tls: TlsPolicy::Encrypt, source, credential: None },
        ];
        assert_eq!(ways(&config, &route), expected);
        assert_eq!(
            config.legs(&route, None)[0].hop,
            NextHop::Named("smarthost".into()),
            "shown as the plugin wrote it"
        );
    }

    #[test]
    fn unknown_names_and_circles_are_told() {
        let mut config = config();
        config.destinations.insert("a".into(), Destination::Route(Arc::new(named("b"))));
        config.destinations.insert("b".into(), Destination::Route(Arc::new(named("a"))));
        config.destinations.insert("hole".into(), Destination::Discard);
        let sourced = Route { hops: vec![host("x.test")], source: Some("nowhere".into()), ..Route::default() };
        let lent = Route { hops: vec![host("x.test")], credential: Some("nobody".into()), ..Route::default() };
        for (route, text) in [
            (named("a"), "destination a is named through too many others"),
            (named("c"), "no destination is called c"),
            (Route::default(), "the route has no hops"),
            (sourced, "no source is called nowhere"),
            (lent, "no credential is called nobody"),
        ] {
            assert_eq!(ways(&config, &route), vec![Way::Unknown(text.into())]);
        }
        assert_eq!(ways(&config, &named("hole")), vec![Way::Discard]);
    }

    #[test]
    fn lane_and_schedule_come_from_the_route_or_its_destination() {
        let mut config = config();
        let slow = LaneLimits { connections: 1, ..LaneLimits::default() };
        config.lanes.insert("slow".into(), slow);
        let patient = Schedule { first: Duration::from_secs(3600), ..Schedule::default() };
        config.schedules.insert("patient".into(), patient.clone());
        let inner = Route {
            hops: vec![host("x.test")],
            lane: Some("slow".into()),
            retry_schedule: Some("patient".into()),
            ..Route::default()
        };
        config.destinations.insert("d".into(), Destination::Route(Arc::new(inner)));
        assert_eq!(config.lane(&named("d")), Some((&Arc::from("slow"), &slow)));
        assert_eq!(*config.schedule(&named("d")), patient);
        assert_eq!(config.lane(&Route::default()), None);
        assert_eq!(config.unknown(&named("d")).count(), 0);
        let wrong = Route { lane: Some("fast".into()), retry_schedule: Some("never".into()), ..named("d") };
        assert_eq!((config.lane(&wrong), &*config.schedule(&wrong)), (None, &config.schedule));
        let unknown: Vec<String> = config.unknown(&wrong).collect();
        assert_eq!(unknown, ["no lane is called fast", "no retry schedule is called never"]);
        let short = Route { expires_after_secs: Some(600), ..named("d") };
        let schedule = config.schedule(&short).into_owned();
        assert_eq!(schedule.give_up_after, Duration::from_secs(600));
        assert_eq!(schedule.give_up_after_bounce, Duration::from_secs(600));
        assert_eq!(schedule.first, Duration::from_secs(3600));
    }
}
