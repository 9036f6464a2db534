//! Turns for jobs whose next hop nobody knows to be alive: they may hold a part of the queue's window, never all of it.
//!
//! A dead host is found out by waiting for it, and whoever waits holds a place in the window. With thousands of dead next
//! hops all places would wait, and mail for hosts that answer could not come in. So what is on trial needs a turn: mail that
//! was never tried from one lot, mail that failed before, or found none for long, from a smaller one, and the fewer turns are
//! left, the fewer one next hop may have. What gets no turn goes back to the queue. A host that says nothing may be waited
//! for by the minute: a turn that takes long moves to a lot of its own, so that others are soon tried. All turns together are no
//! more than the places for connections to such hosts. Never waits, never speaks to anybody.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The window in parts, for counting with shares of it.
const ALL: usize = 8;

/// Of the window, for mail that was never tried.
const FIRST_SHARE: usize = 4;

/// Of the window, for mail that failed before.
const AGAIN_SHARE: usize = 8;

/// Of the window, for trials that take long.
const SLOW_SHARE: usize = 4;

/// After so long a trial takes long: whoever is alive has answered by then.
const SLOW_AFTER: Duration = Duration::from_secs(5);

/// Of the turns that are left, for one next hop: a few with much mail don't leave the many without.
const PART: usize = 16;

/// The first wait of new mail that gets no turn, and the longest: the first ones will soon have found out, and if they found
/// somebody no turn is needed.
const FIRST_WAITS: Waits = Waits { first: 2, longest: 30 };

/// The same of what failed before.
const AGAIN_WAITS: Waits = Waits { first: 5, longest: 900 };

/// After so long a refusal counts half.
const HALF_LIFE: Duration = Duration::from_secs(30);

/// A turn. It ends when the job is done with, in whatever way.
pub(super) type Turn = Arc<Held>;

/// What a turn takes of a lot.
#[derive(Debug)]
pub(super) struct Held(Mutex<OwnedSemaphorePermit>);

/// See the module.
#[derive(Debug)]
pub(super) struct Trials {
    first: Lot,
    again: Lot,
    slow: Arc<Semaphore>,
}

/// Seconds that jobs without a turn stay away.
#[derive(Clone, Copy, Debug)]
struct Waits {
    first: u32,
    longest: u32,
}

#[derive(Debug)]
struct Lot {
    turns: Arc<Semaphore>,
    most: usize,
    waits: Waits,
    /// Since when each turn is held, the oldest first.
    given: Mutex<VecDeque<(Instant, Weak<Held>)>>,
    refused: Mutex<Refused>,
}

/// How many jobs got no turn lately: each counts the less the longer ago it was.
#[derive(Debug, Default)]
struct Refused {
    weight: f64,
    at: Option<Instant>,
}

impl Trials {
    /// For a queue that has this many messages in memory, and so many places for connections to sites that are still to answer:
    /// whoever has a turn finds a place too, and nobody waits for one behind those who wait for the dead.
    pub(super) fn new(window: usize, places: usize) -> Self {
        let all = window.min(places * ALL / (ALL / FIRST_SHARE + ALL / AGAIN_SHARE + ALL / SLOW_SHARE));
        let slow = Arc::new(Semaphore::new((all / SLOW_SHARE).max(1)));
        let (first, again) = (all / FIRST_SHARE, all / AGAIN_SHARE);
        Self { first: Lot::new(first, FIRST_WAITS), again: Lot::new(again, AGAIN_WAITS), slow }
    }

    /// A turn for a job to a next hop that has `held` jobs already; `again`: it failed before.
    ///
    /// # Errors
    /// When there is none: how long the job should stay away.
    pub(super) fn turn(&self, held: usize, again: bool, now: Instant) -> Result<Turn, Duration> {
        if again { self.again.turn(held, now, &self.slow) } else { self.first.turn(held, now, &self.slow) }
    }
}

impl Lot {
    fn new(most: usize, waits: Waits) -> Self {
        let most = most.max(1);
        let turns = Arc::new(Semaphore::new(most));
        Self { turns, most, waits, given: Mutex::default(), refused: Mutex::default() }
    }

    fn turn(&self, held: usize, now: Instant, slow: &Arc<Semaphore>) -> Result<Turn, Duration> {
        if self.turns.available_permits() <= self.most / 2 {
            self.move_slow(now, slow);
        }
        let share = (self.turns.available_permits() / PART).max(1);
        if held < share
            && let Ok(permit) = Arc::clone(&self.turns).try_acquire_owned()
        {
            let turn = Arc::new(Held(Mutex::new(permit)));
            self.remember(now, &turn);
            return Ok(turn);
        }
        // The more are refused, the later they come back: each time they are written anew.
        let rounds = self.refused.lock().one_more(now) / self.most as f64;
        let Waits { first, longest } = self.waits;
        Err(Duration::from_secs_f64((f64::from(first) * (1.0 + rounds)).min(f64::from(longest))))
    }

    fn remember(&self, now: Instant, turn: &Turn) {
        let mut given = self.given.lock();
        // Most have ended long before they are looked at.
        if given.len() >= 2 * self.most {
            given.retain(|(_, turn)| turn.strong_count() > 0);
        }
        given.push_back((now, Arc::downgrade(turn)));
    }

    /// Turns that take long go to the lot of the slow ones, as far as that has room.
    fn move_slow(&self, now: Instant, slow: &Arc<Semaphore>) {
        let mut given = self.given.lock();
        while let Some((since, turn)) = given.front() {
            if let Some(turn) = turn.upgrade() {
                if now.duration_since(*since) < SLOW_AFTER {
                    return;
                }
                let Ok(permit) = Arc::clone(slow).try_acquire_owned() else { return };
                *turn.0.lock() = permit;
            }
            given.pop_front();
        }
    }
}

impl Refused {
    /// How much all of them count, this one included.
    fn one_more(&mut self, now: Instant) -> f64 {
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(now);
        self.weight = self.weight * 0.5_f64.powf(since.as_secs_f64() / HALF_LIFE.as_secs_f64()) + 1.0;
        self.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(trials: &Trials, count: usize, again: bool, now: Instant) -> Vec<Turn> {
        (0..count).filter_map(|_| trials.turn(0, again, now).ok()).collect()
    }

    fn waits(trials: &Trials, again: bool, now: Instant) -> Vec<u64> {
        (0..10_000).filter_map(|_| trials.turn(0, again, now).err()).map(|wait| wait.as_secs()).collect()
    }

    #[test]
    fn one_next_hop_has_a_part_of_what_is_left() {
        let (trials, now) = (Trials::new(4000, 100_000), Instant::now());
        let mut one = Vec::new();
        while let Ok(turn) = trials.turn(one.len(), false, now) {
            one.push(turn);
        }
        assert!((50..=63).contains(&one.len()), "{}", one.len());
        assert!(trials.turn(0, false, now).is_ok(), "others are not the worse for it");
    }

    #[test]
    fn many_next_hops_share_all_turns_and_some_of_the_window_is_left() {
        let (trials, now) = (Trials::new(4000, 100_000), Instant::now());
        let (first, again) = (turns(&trials, 4000, false, now), turns(&trials, 4000, true, now));
        assert_eq!((first.len(), again.len()), (1000, 500));
        drop(first);
        assert!(trials.turn(0, false, now).is_ok() && trials.turn(0, true, now).is_err());
    }

    #[test]
    fn no_more_have_a_turn_than_find_a_place() {
        for (window, places) in [(10_000, 2000), (10_000, 50), (400, 2000)] {
            let (trials, begun) = (Trials::new(window, places), Instant::now());
            let mut held = Vec::new();
            for round in 0..4 {
                let now = begun + SLOW_AFTER * round;
                held.extend(turns(&trials, window, false, now));
                held.extend(turns(&trials, window, true, now));
            }
            let all = places.min(window * 5 / 8);
            assert!(held.len() <= all && held.len() + 4 >= all, "{} of {places}", held.len());
        }
    }

    #[test]
    fn the_more_get_none_the_later_they_come_back() {
        let (trials, now) = (Trials::new(400, 100_000), Instant::now());
        let _held = turns(&trials, 50, true, now);
        let long = waits(&trials, true, now);
        assert_eq!((long[0], long[49], long[149], long[9999]), (5, 10, 20, 900));
    }

    #[test]
    fn a_refusal_counts_half_after_a_while() {
        let (mut refused, now) = (Refused::default(), Instant::now());
        let weights: Vec<f64> = (0..1000).map(|_| refused.one_more(now)).collect();
        assert_eq!((weights[0].round(), weights[999].round()), (1.0, 1000.0));
        let later = [1, 3, 20].map(|lives| refused.one_more(now + HALF_LIFE * lives).round());
        assert_eq!(later, [501.0, 126.0, 1.0]);
    }

    #[test]
    fn mail_that_was_never_tried_comes_back_soon() {
        let (trials, now) = (Trials::new(400, 100_000), Instant::now());
        let _held = turns(&trials, 100, false, now);
        let long = waits(&trials, false, now);
        assert_eq!((long[0], long[99], long[199], long[9999]), (2, 4, 6, 30));
    }

    #[test]
    fn who_takes_long_leaves_its_turn_to_others_as_far_as_there_is_room() {
        let (trials, begun) = (Trials::new(400, 100_000), Instant::now());
        let mute = turns(&trials, 60, false, begun);
        let later = turns(&trials, 100, false, begun + SLOW_AFTER / 2);
        assert_eq!((mute.len(), later.len()), (60, 40));
        assert!(trials.turn(0, false, begun + SLOW_AFTER / 2).is_err());
        let more = turns(&trials, 400, false, begun + SLOW_AFTER);
        assert_eq!(more.len(), 60, "those of the mute, and no others");
        let last = turns(&trials, 400, false, begun + 3 * SLOW_AFTER);
        assert_eq!(last.len(), 40, "the lot of the slow has 100");
        drop((mute, later));
        assert_eq!(turns(&trials, 400, false, begun + 5 * SLOW_AFTER).len(), 100, "as many may take long again");
    }

    #[test]
    fn what_has_ended_is_forgotten() {
        let (trials, now) = (Trials::new(40, 100_000), Instant::now());
        let _kept = trials.turn(0, false, now).unwrap();
        for _ in 0..1000 {
            drop(trials.turn(0, false, now).unwrap());
        }
        assert!(trials.first.given.lock().len() <= 20, "{}", trials.first.given.lock().len());
    }
}
