//! Which source a message leaves from: by weight, among those that work and have not used up their day.
//!
//! Pure: told what happened, `now` and chance. Must never pick a source that is known to be broken while another works.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::Config;
use super::egress::{Pool, Source};
use crate::time::Timestamp;

/// A source that failed is left alone for so long, and twice as long after each failure that follows.
const FIRST_REST: Duration = Duration::from_secs(30);

/// At most so long: a link that is up again is used within this.
const LONGEST_REST: Duration = Duration::from_secs(600);

/// What can't leave today is looked at again within this: somebody may have changed the plan.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// Sites counted for warm-up at a time.
const COUNTED_MAX: usize = 50_000;

const DAY: i64 = 86_400;

/// What is known of sources.
#[derive(Debug, Default)]
pub(super) struct Sources {
    faults: HashMap<Arc<str>, Fault>,
    /// Messages of a day, by source and site.
    sent: HashMap<(Arc<str>, Arc<str>), u32>,
    /// What of it nobody has asked for yet.
    changed: HashSet<(Arc<str>, Arc<str>)>,
    /// That day.
    day: i64,
}

/// How many messages left a source for a site on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) source: Arc<str>,
    pub(super) site: Arc<str>,
    pub(super) count: u32,
}

/// The day of a time, in UTC, as the plans of warm-up count them.
pub(super) fn day_of(now: Timestamp) -> i64 {
    now.secs().div_euclid(DAY)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    until: Timestamp,
    in_a_row: u32,
    why: Arc<str>,
}

/// A message that was counted: for whom, and on which day. Whoever gives it back gives back this and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) source: Arc<str>,
    pub(super) site: Arc<str>,
    day: i64,
}

/// From where a message leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Picked {
    /// From this source, and what was counted for that.
    Source(Arc<str>, Option<Count>),
    /// From none before this time, and why.
    Later(Timestamp, Arc<str>),
}

/// The message that a source is picked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passenger<'a> {
    /// Its number, for those who stay with their source.
    pub(super) number: u64,
    /// It was tried before, and counted then.
    pub(super) tried: bool,
    /// Where it goes: as much as is known of the site.
    pub(super) site: &'a str,
}

impl Sources {
    /// The source for a message whose route names `name`: that source, or one of that pool. `random` is of 0..1.
    pub(super) fn pick(
        &mut self,
        config: &Config,
        name: &Arc<str>,
        who: Passenger<'_>,
        random: f64,
        now: Timestamp,
    ) -> Picked {
        let alone;
        let pool = match config.pools.get(name) {
            Some(pool) => pool,
            None => {
                alone = Pool { members: vec![(Arc::clone(name), 1)], sticky: false };
                &alone
            }
        };
        self.begin_day(now);
        let mut able = Vec::with_capacity(pool.members.len());
        let mut later: Option<(Timestamp, Arc<str>)> = None;
        for (member, weight) in &pool.members {
            match self.able(config, member, who, now) {
                Ok(()) => able.push((member, *weight)),
                Err((at, why)) if later.as_ref().is_none_or(|(first, _)| at < *first) => later = Some((at, why)),
                Err(_) => {}
            }
        }
        // The same number falls on the same member, as long as the same ones are able.
        let chance = if pool.sticky { share(who.number) } else { random };
        match (weighted(&able, chance), later) {
            (Some(member), _) => {
                let count = self.count(config.sources.get(member), member, who);
                Picked::Source(Arc::clone(member), count)
            }
            (None, Some((at, why))) => Picked::Later(at, why),
            // A pool without members: the configuration does not let one in.
            (None, None) => Picked::Source(Arc::clone(name), None),
        }
    }

    /// Whether a source can be used, else when to ask again.
    fn able(
        &self,
        config: &Config,
        member: &Arc<str>,
        who: Passenger<'_>,
        now: Timestamp,
    ) -> Result<(), (Timestamp, Arc<str>)> {
        if let Some(Fault { until, why, .. }) = self.faults.get(member).filter(|fault| now < fault.until) {
            return Err((*until, Arc::clone(why)));
        }
        let warm_up = config.sources.get(member).and_then(|source| source.warm_up.as_ref());
        let Some(most) = warm_up.and_then(|plan| plan.most(self.day)) else { return Ok(()) };
        let sent = self.sent.get(&(Arc::clone(member), who.site.into())).copied().unwrap_or(0);
        // What left before is not counted twice.
        if sent < most || who.tried && most > 0 {
            return Ok(());
        }
        let tomorrow = Timestamp::from_secs((self.day + 1).saturating_mul(DAY));
        Err((
            tomorrow.min(now.plus(LOOK_AGAIN)),
            format!("the source {member} has used up its day's {most} messages").into(),
        ))
    }

    fn count(&mut self, source: Option<&Source>, member: &Arc<str>, who: Passenger<'_>) -> Option<Count> {
        let limited =
            source.and_then(|source| source.warm_up.as_ref()).is_some_and(|plan| plan.most(self.day).is_some());
        if !limited || who.tried {
            return None;
        }
        let count = Count { source: Arc::clone(member), site: who.site.into(), day: self.day };
        self.add(&count).then_some(count)
    }

    /// False: there is no room for another site.
    fn add(&mut self, count: &Count) -> bool {
        let key = (Arc::clone(&count.source), Arc::clone(&count.site));
        let room = self.sent.len() < COUNTED_MAX || self.sent.contains_key(&key);
        if room {
            self.changed.insert(key.clone());
            let sent = self.sent.entry(key).or_default();
            *sent = sent.saturating_add(1);
        }
        room
    }

    /// A message that was counted did not leave after all. That it was counted on another day is nothing to this one.
    pub(super) fn returned(&mut self, count: &Count) {
        let key = (Arc::clone(&count.source), Arc::clone(&count.site));
        if count.day != self.day {
            return;
        }
        if let Entry::Occupied(mut sent) = self.sent.entry(key.clone()) {
            *sent.get_mut() = sent.get().saturating_sub(1);
            // A domain whose site is known by now has no more use of its place.
            if *sent.get() == 0 {
                sent.remove();
            }
            self.changed.insert(key);
        }
    }

    /// Just before a message leaves: counts it for the site, which may not have been known when its source was picked, and for
    /// the day that it is now. False: it may not leave from there, and is counted as it was.
    pub(super) fn recount(&mut self, config: &Config, count: &mut Count, site: &Arc<str>, now: Timestamp) -> bool {
        self.begin_day(now);
        if count.day == self.day && count.site == *site {
            return true;
        }
        let new = Count { source: Arc::clone(&count.source), site: Arc::clone(site), day: self.day };
        let plan = config.sources.get(&count.source).and_then(|source| source.warm_up.as_ref());
        if let Some(most) = plan.and_then(|plan| plan.most(self.day)) {
            let sent = self.sent.get(&(Arc::clone(&new.source), Arc::clone(site))).copied().unwrap_or(0);
            if sent >= most {
                return false;
            }
        }
        self.returned(count);
        self.add(&new);
        *count = new;
        true
    }

    /// An earlier run counted these on this day.
    pub(super) fn resume(&mut self, day: i64, sent: Vec<Sent>) {
        self.day = day;
        self.sent = sent.into_iter().map(|Sent { source, site, count }| ((source, site), count)).collect();
    }

    /// What was counted since this was asked last, and on which day. None: nothing.
    pub(super) fn changed(&mut self) -> Option<(i64, Vec<Sent>)> {
        let changed = std::mem::take(&mut self.changed);
        let sent = |key: (Arc<str>, Arc<str>)| {
            let count = self.sent.get(&key).copied().unwrap_or(0);
            Sent { source: key.0, site: key.1, count }
        };
        (!changed.is_empty()).then(|| (self.day, changed.into_iter().map(sent).collect()))
    }

    fn begin_day(&mut self, now: Timestamp) {
        let day = day_of(now);
        if day != self.day {
            self.day = day;
            self.sent = HashMap::new();
            self.changed = HashSet::new();
        }
    }

    /// A source could not be used.
    pub(super) fn failed(&mut self, source: &Arc<str>, why: &Arc<str>, now: Timestamp) {
        let fault = self.faults.get(source);
        // Those that were tried together fail together.
        if fault.is_some_and(|fault| now < fault.until) {
            return;
        }
        let in_a_row = fault.map_or(0, |fault| fault.in_a_row);
        let rest = FIRST_REST.saturating_mul(1 << in_a_row.min(10)).min(LONGEST_REST);
        tracing::error!(source = &**source, why = &**why, rest_s = rest.as_secs(), "the source can't be used");
        let fault = Fault { until: now.plus(rest), in_a_row: in_a_row.saturating_add(1), why: Arc::clone(why) };
        self.faults.insert(Arc::clone(source), fault);
    }

    /// It could.
    pub(super) fn worked(&mut self, source: &Arc<str>) {
        if self.faults.remove(source).is_some() {
            tracing::info!(source = &**source, "the source can be used again");
        }
    }

    /// Until when a source is left alone, and why.
    pub(super) fn trouble(&self, source: &str, now: Timestamp) -> Option<(Timestamp, Arc<str>)> {
        let fault = self.faults.get(source).filter(|fault| now < fault.until)?;
        Some((fault.until, Arc::clone(&fault.why)))
    }

    /// Messages that left for a site today, and how many may; none: as many as there are.
    pub(super) fn warmth(&self, config: &Config, source: &Arc<str>, site: &str, now: Timestamp) -> Option<(u32, u32)> {
        let day = day_of(now);
        let most = config.sources.get(source)?.warm_up.as_ref()?.most(day)?;
        let sent = self.sent.get(&(Arc::clone(source), Arc::from(site))).filter(|_| day == self.day);
        Some((sent.copied().unwrap_or(0), most))
    }
}

/// The member that a chance of 0..1 falls on.
fn weighted<'a>(members: &[(&'a Arc<str>, u32)], chance: f64) -> Option<&'a Arc<str>> {
    let sum: u64 = members.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let mut left = chance.clamp(0.0, 1.0) * sum as f64;
    for (member, weight) in members {
        left -= f64::from(*weight);
        if left < 0.0 {
            return Some(member);
        }
    }
    members.last().map(|(member, _)| *member)
}

/// A number as a chance of 0..1: neighbours far apart (Knuth's multiplicative hashing).
fn share(number: u64) -> f64 {
    let mixed = (number ^ (number >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::config::tests::config;
    use crate::delivery::egress::WarmUp;

    const TODAY: i64 = 20_000;

    fn now() -> Timestamp {
        Timestamp::from_secs(TODAY * DAY + 3600)
    }

    fn pooled(members: &[(&str, u32)], sticky: bool) -> Config {
        let mut config = config();
        for (name, _) in members {
            config.sources.insert((*name).into(), Source::default());
        }
        let members = members.iter().map(|(name, weight)| (Arc::from(*name), *weight)).collect();
        config.pools.insert("pool".into(), Pool { members, sticky });
        config
    }

    fn who(number: u64) -> Passenger<'static> {
        Passenger { number, tried: false, site: "mx.test" }
    }

    fn pick(sources: &mut Sources, config: &Config, number: u64, now: Timestamp) -> String {
        let random = (number % 100) as f64 / 100.0;
        match sources.pick(config, &"pool".into(), who(number), random, now) {
            Picked::Source(name, _) => name.to_string(),
            Picked::Later(at, why) => format!("{}s: {why}", at.since(now).as_secs()),
        }
    }

    /// What was counted, where the source is the new one.
    fn counted(sources: &mut Sources, config: &Config, who: Passenger<'_>, now: Timestamp) -> Option<Count> {
        match sources.pick(config, &"new".into(), who, 0.1, now) {
            Picked::Source(name, count) if &*name == "new" => count,
            other => panic!("{other:?}"),
        }
    }

    fn shares(sources: &mut Sources, config: &Config) -> Vec<(String, usize)> {
        let mut counts = std::collections::BTreeMap::new();
        for number in 0..1000 {
            *counts.entry(pick(sources, config, number, now())).or_insert(0) += 1;
        }
        counts.into_iter().collect()
    }

    #[test]
    fn members_share_by_weight() {
        let mut sources = Sources::default();
        let config = pooled(&[("a", 3), ("b", 1), ("c", 0)], false);
        assert_eq!(shares(&mut sources, &config), [("a".to_owned(), 750), ("b".to_owned(), 250)]);
        let sticky = pooled(&[("a", 3), ("b", 1)], true);
        let [(_, a), (_, b)] = &shares(&mut sources, &sticky)[..] else { panic!("both") };
        assert!((700..800).contains(a), "{a} to {b}");
        assert_eq!(shares(&mut sources, &sticky), shares(&mut sources, &sticky), "each stays with its source");
    }

    #[test]
    fn a_source_is_its_own_pool() {
        let config = pooled(&[("a", 1)], false);
        let picked = Sources::default().pick(&config, &"a".into(), who(1), 0.5, now());
        assert_eq!(picked, Picked::Source("a".into(), None));
    }

    #[test]
    fn what_is_broken_is_left_alone_and_the_others_are_used() {
        let mut sources = Sources::default();
        let config = pooled(&[("a", 1), ("b", 1)], false);
        sources.failed(&"a".into(), &"no such address".into(), now());
        sources.failed(&"a".into(), &"no such address".into(), now());
        assert_eq!(shares(&mut sources, &config), [("b".to_owned(), 1000)]);
        sources.failed(&"b".into(), &"proxy: refused".into(), now().plus(Duration::from_secs(10)));
        let told = pick(&mut sources, &config, 1, now().plus(Duration::from_secs(10)));
        assert_eq!(told, "20s: no such address", "the one that comes back first");
        let later = now().plus(FIRST_REST);
        assert_eq!(pick(&mut sources, &config, 1, later), "a");
        sources.failed(&"a".into(), &"no such address".into(), later);
        assert_eq!(sources.trouble("a", later).unwrap().0, later.plus(2 * FIRST_REST), "twice as long");
        sources.worked(&"a".into());
        assert_eq!(sources.trouble("a", later), None);
    }

    #[test]
    fn a_new_source_is_warmed_up_and_the_others_take_the_rest() {
        let mut sources = Sources::default();
        let mut config = pooled(&[("new", 1), ("old", 1)], false);
        config.sources.get_mut("new").unwrap().warm_up = Some(WarmUp { start: TODAY, plan: vec![50, 100] });
        let count = |shares: Vec<(String, usize)>, name: &str| shares.iter().find(|s| s.0 == name).map_or(0, |s| s.1);
        assert_eq!(count(shares(&mut sources, &config), "new"), 50);
        assert_eq!(count(shares(&mut sources, &config), "new"), 0, "that was it for today");
        assert_eq!(sources.warmth(&config, &"new".into(), "mx.test", now()), Some((50, 50)));
        assert_eq!(sources.warmth(&config, &"old".into(), "mx.test", now()), None);
        let again = Passenger { tried: true, ..who(1) };
        assert_eq!(counted(&mut sources, &config, again, now()), None, "what left before is not counted twice");
        let one = Count { source: "new".into(), site: "mx.test".into(), day: TODAY };
        sources.returned(&one);
        assert_eq!(counted(&mut sources, &config, who(1), now()), Some(one));
        let other = Passenger { site: "other.test", ..who(1) };
        assert!(counted(&mut sources, &config, other, now()).is_some());
        let Picked::Later(at, why) = sources.pick(&config, &"new".into(), who(1), 0.1, now()) else {
            panic!("used up")
        };
        assert_eq!((at, &*why), (now().plus(LOOK_AGAIN), "the source new has used up its day's 50 messages"));
        for (days, expected) in [(1, Some(100)), (2, None), (100, None)] {
            assert_eq!(config.sources["new"].warm_up.as_ref().unwrap().most(TODAY + days), expected);
        }
        assert_eq!(config.sources["new"].warm_up.as_ref().unwrap().most(TODAY - 1), Some(0), "it has not begun");
        let tomorrow = now().plus(Duration::from_secs(86_400));
        assert!(counted(&mut sources, &config, who(1), tomorrow).is_some());
    }

    #[test]
    fn what_was_counted_is_given_back_once_and_moves_to_the_site_it_leaves_for() {
        let mut sources = Sources::default();
        let mut config = pooled(&[("new", 1)], false);
        config.sources.get_mut("new").unwrap().warm_up = Some(WarmUp { start: TODAY, plan: vec![2, 2] });
        let sent = |sources: &Sources, site: &str, now: Timestamp| {
            sources.warmth(&config, &"new".into(), site, now).unwrap().0
        };
        let at = |site| Passenger { site, ..who(1) };
        let site: Arc<str> = "mx.test".into();
        let mut counts =
            ["a.test", "b.test", "c.test"].map(|domain| counted(&mut sources, &config, at(domain), now()).unwrap());
        let moved = counts.each_mut().map(|count| sources.recount(&config, count, &site, now()));
        assert_eq!(moved, [true, true, false], "two for the site, by whichever domain");
        assert_eq!(["mx.test", "a.test", "b.test", "c.test"].map(|site| sent(&sources, site, now())), [2, 0, 0, 1]);
        assert!(sources.recount(&config, &mut counts[0], &site, now()), "it is counted there already");
        let tomorrow = now().plus(Duration::from_secs(86_400));
        assert!(sources.recount(&config, &mut counts[0], &site, tomorrow), "it leaves a day later");
        sources.returned(&counts[1]);
        assert_eq!(sent(&sources, "mx.test", tomorrow), 1, "yesterday's is nothing to today");
        sources.returned(&counts[0]);
        assert_eq!((sent(&sources, "mx.test", tomorrow), sources.sent.len()), (0, 0));
    }
}
