//! Rounds through what is overdue: messages that were looked at, and that nobody has a turn for, stay in the index as they are.
//!
//! After an outage a million messages may be due, most of them for hosts that are still dead. To write each of them anew, with a
//! later time, would cost more than all the mail that can be delivered. So they are passed over: the search for what is due
//! goes on behind them, and begins again from the first when all have been looked at and some time has passed, the more the
//! more there are. Plain data, times passed in; does no I/O.

use std::time::Duration;

use crate::mail::QueueId;
use crate::time::Timestamp;

/// An entry of the due index: in the order of its keys.
pub(super) type Entry = (Timestamp, QueueId);

/// From the first message passed over to the next round, at least.
const FIRST: Duration = Duration::from_secs(5);

/// The same, at most: as long as what failed waits anyhow.
const LONGEST: Duration = Duration::from_secs(900);

/// For each message passed over.
const EACH: Duration = Duration::from_millis(1);

/// Where most of what a search brought was passed over, the next search comes so much later: the relay has other work.
const PAUSE: Duration = Duration::from_secs(1);

/// What became due within this time is looked for by itself: new mail that was put off for a moment would come after all that is
/// overdue.
const LATELY: Duration = Duration::from_secs(30);

/// What is written with a time that has come may be seen so much later.
const SLACK: Duration = Duration::from_secs(1);

/// A time so far ahead of the clock is from before the clock was put back. Less is what threads that ask it one after the other
/// may differ by.
const AHEAD: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// Messages passed over, and since when.
    passed: u32,
    since: Option<Timestamp>,
    /// When the last search began, how many messages it brought, and how many of them were passed over.
    searched: Timestamp,
    brought: usize,
    of_them: usize,
    /// Nothing overdue is looked for before.
    paused: Timestamp,
    /// All before this was looked at in this round, and is in the window or passed over.
    overdue: Option<Entry>,
    /// All before this that became due lately was looked at.
    lately: Option<Entry>,
    /// The first that came to be outside of the window since the last search began: that search may have been past it.
    since_then: Option<Entry>,
}

impl Rounds {
    /// A message goes out of the window as it is.
    pub(super) fn pass_over(&mut self, now: Timestamp) {
        self.passed = self.passed.saturating_add(1);
        self.since.get_or_insert(now);
        self.of_them += 1;
        if self.of_them > self.brought / 2 {
            self.paused = self.searched.plus(PAUSE);
        }
    }

    /// When to search, given that nothing outside of the window, but what was passed over, is due before `next`.
    pub(super) fn when(&self, next: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        let again = self.since.map(|since| if is_ahead(since, now) { now } else { since.plus(self.wait()) });
        let soonest = [next, again].into_iter().flatten().min();
        let paused = Some(self.paused).filter(|paused| !is_ahead(paused.minus(PAUSE), now));
        soonest.map(|at| paused.map_or(at, |paused| at.max(paused)))
    }

    /// True where the search may begin anew: all was looked at that was due when the round began, and it is time. There may always be
    /// something that became due in this moment.
    pub(super) fn begins_anew(&mut self, next: Option<Timestamp>, now: Timestamp) -> bool {
        let all = |since: Timestamp| next.is_none_or(|next| next > since.min(now));
        let time = |since: Timestamp| is_ahead(since, now) || since.plus(self.wait()) <= now;
        let begins = self.since.is_some_and(|since| all(since) && time(since));
        if begins {
            (self.passed, self.since) = (0, None);
        }
        begins
    }

    /// Nothing is passed over: a search from the very beginning does no harm.
    pub(super) fn is_over(&self) -> bool {
        self.since.is_none()
    }

    /// A search begins for what is due from `next` on. Gives where it begins, and where that for what became due lately does.
    pub(super) fn search(&mut self, next: Timestamp, now: Timestamp) -> (Entry, Entry) {
        (self.searched, self.brought, self.of_them, self.since_then) = (now, 0, 0, None);
        let first = |at| (at, QueueId::from_u64(0));
        // Many may be due at the same time, if an operator said so.
        let overdue = self.overdue.filter(|(at, _)| *at == next).unwrap_or(first(next));
        let (lately, looked_at) = (first(now.minus(LATELY)), self.lately.filter(|(at, _)| !is_ahead(*at, now)));
        (overdue, looked_at.map_or(lately, |looked_at| lately.max(looked_at)))
    }

    /// It brought so many, and left these outside, the first of their kinds. None: nothing.
    pub(super) fn searched(&mut self, brought: usize, overdue: Option<Entry>, lately: Option<Entry>) {
        self.brought = brought;
        let missed = self.since_then.filter(|missed| overdue.is_some_and(|(at, _)| missed.0 == at));
        self.overdue = [overdue, missed].into_iter().flatten().min();
        let all = (self.searched.minus(SLACK), QueueId::from_u64(0));
        self.lately = lately.filter(|(at, _)| *at <= self.searched).or(Some(all));
    }

    /// This one is outside of the window too, and was not looked at.
    pub(super) fn outside(&mut self, entry: Entry) {
        for looked_at in [&mut self.overdue, &mut self.lately].into_iter().flatten() {
            if entry.0 == looked_at.0 {
                *looked_at = entry.min(*looked_at);
            }
        }
        self.since_then = Some(self.since_then.map_or(entry, |first| first.min(entry)));
    }

    fn wait(&self) -> Duration {
        (FIRST + EACH * self.passed).min(LONGEST)
    }
}

/// Whether a time that was kept is of no use, because the clock was put back since: until it has caught up nothing may wait.
pub(super) fn is_ahead(kept: Timestamp, now: Timestamp) -> bool {
    kept > now.plus(AHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000).plus(Duration::from_secs(secs))
    }

    fn entry(secs: u64, id: u64) -> Entry {
        (at(secs), QueueId::from_u64(id))
    }

    #[test]
    fn a_clock_that_is_put_back_stops_no_search() {
        let (before, now) = (20_000, 20_000 - 7200);
        let mut rounds = Rounds::default();
        rounds.search(at(before - 9), at(before));
        rounds.searched(1, Some(entry(before - 8, 7)), None);
        rounds.pass_over(at(before));
        assert_eq!(rounds.when(Some(at(before - 8)), at(before)), Some(at(before + 1)), "it pauses");
        assert_eq!(rounds.when(Some(at(now - 8)), at(now)), Some(at(now - 8)), "of a pause then nobody knows");
        assert!(!rounds.begins_anew(Some(at(now)), at(now)), "not all was looked at");
        assert_eq!(rounds.when(None, at(now)), Some(at(now)));
        assert!(rounds.begins_anew(Some(at(now + 1)), at(now)) && rounds.is_over());
        assert_eq!(rounds.search(at(now - 9), at(now)).1, entry(now - 30, 0), "what became due then is looked for");
        rounds.searched(1, None, None);
        rounds.pass_over(at(now));
        assert_eq!(rounds.when(None, at(now)).unwrap(), at(now + 5).plus(EACH), "and from then on all is as ever");
    }

    #[test]
    fn the_more_are_passed_over_the_later_the_next_round() {
        for (passed, wait) in [(1, 5), (1000, 6), (100_000, 105), (2_000_000, 900)] {
            let mut rounds = Rounds::default();
            rounds.search(at(0), at(0));
            rounds.searched(usize::MAX, None, None);
            (0..passed).for_each(|_| rounds.pass_over(at(1)));
            let next = rounds.when(None, at(1)).unwrap();
            assert_eq!(next.since(at(1)).as_secs(), wait, "{passed}");
            assert!(!rounds.begins_anew(None, at(wait)));
            assert!(!rounds.begins_anew(Some(at(1)), at(2 + wait)), "not all was looked at");
            assert!(rounds.begins_anew(Some(at(2)), at(2 + wait)), "whatever becomes due meanwhile");
            assert!(rounds.is_over() && rounds.when(None, at(wait)).is_none());
        }
    }

    #[test]
    fn a_search_in_vain_makes_the_next_one_wait() {
        let mut rounds = Rounds::default();
        rounds.search(at(3), at(10));
        rounds.searched(4, None, None);
        (0..2).for_each(|_| rounds.pass_over(at(10)));
        assert_eq!(rounds.when(Some(at(3)), at(10)), Some(at(3)), "half of it was of use");
        rounds.pass_over(at(10));
        assert_eq!(rounds.when(Some(at(3)), at(10)), Some(at(11)));
        rounds.search(at(3), at(11));
        rounds.searched(4, None, None);
        assert_eq!(rounds.when(Some(at(3)), at(11)), Some(at(11)), "no longer than that");
        assert_eq!(
            rounds.when(Some(at(20)), at(11)),
            Some(at(15).plus(EACH * 3)),
            "there is nothing else until the next round"
        );
    }

    #[test]
    fn a_search_goes_on_where_the_last_one_ended() {
        let mut rounds = Rounds::default();
        assert_eq!(rounds.search(at(5), at(100)), (entry(5, 0), entry(70, 0)));
        rounds.searched(9, Some(entry(5, 77)), Some(entry(71, 8)));
        assert_eq!(rounds.search(at(5), at(101)), (entry(5, 77), entry(71, 8)));
        rounds.searched(9, Some(entry(5, 99)), Some(entry(102, 8)));
        assert_eq!(rounds.search(at(4), at(102)), (entry(4, 0), entry(100, 0)), "it has seen all up to 101");
        rounds.searched(9, Some(entry(5, 99)), None);
        rounds.outside(entry(5, 98));
        rounds.outside(entry(6, 1));
        assert_eq!(rounds.search(at(5), at(200)), (entry(5, 98), entry(170, 0)));
        rounds.outside(entry(7, 3));
        rounds.searched(9, Some(entry(7, 50)), None);
        assert_eq!(rounds.search(at(7), at(201)).0, entry(7, 3), "it came while the search was past it");
    }
}
