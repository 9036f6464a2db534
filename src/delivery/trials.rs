//! Turns for jobs whose next hop nobody knows to be alive: they may hold a part of the queue's window, never all of it.
//!
//! A dead host is found out by waiting for it, and whoever waits holds a place in the window. With thousands of dead next
//! hops all places would wait, and mail for hosts that answer could not come in. So what is on trial needs a turn: mail that
//! was never tried from one lot, mail that failed before, or found none for long, from a smaller one, and the fewer turns are
//! left, the fewer one next hop may have. What gets no turn goes back to the queue. Never waits, never speaks to anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Of the window, for mail that was never tried.
const FIRST_SHARE: usize = 4;

/// Of the window, for mail that failed before.
const AGAIN_SHARE: usize = 8;

/// Of the turns that are left, for one next hop: a few with much mail don't leave the many without.
const PART: usize = 16;

/// The first wait of new mail that gets no turn, and the longest: the first ones will soon have found out, and if they found
/// somebody no turn is needed.
const FIRST_WAITS: Waits = Waits { first: 2, longest: 30 };

/// The same of what failed before.
const AGAIN_WAITS: Waits = Waits { first: 5, longest: 300 };

/// A turn. It ends when the job is done with, in whatever way.
pub(super) type Turn = OwnedSemaphorePermit;

/// See the module.
#[derive(Debug)]
pub(super) struct Trials {
    first: Lot,
    again: Lot,
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
    /// Jobs that got none since half of them were free.
    refused: AtomicU32,
}

impl Trials {
    /// For a queue that has this many messages in memory.
    pub(super) fn new(window: usize) -> Self {
        Self { first: Lot::new(window / FIRST_SHARE, FIRST_WAITS), again: Lot::new(window / AGAIN_SHARE, AGAIN_WAITS) }
    }

    /// A turn for a job to a next hop that has `held` jobs already; `again`: it failed before.
    ///
    /// # Errors
    /// When there is none: how long the job should stay away.
    pub(super) fn turn(&self, held: usize, again: bool) -> Result<Turn, Duration> {
        if again { self.again.turn(held) } else { self.first.turn(held) }
    }
}

impl Lot {
    fn new(most: usize, waits: Waits) -> Self {
        let most = most.max(1);
        Self { turns: Arc::new(Semaphore::new(most)), most, waits, refused: AtomicU32::new(0) }
    }

    fn turn(&self, held: usize) -> Result<Turn, Duration> {
        let left = self.turns.available_permits();
        if left > self.most / 2 {
            self.refused.store(0, Ordering::Relaxed);
        }
        let share = (left / PART).max(1);
        if held < share
            && let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned()
        {
            return Ok(turn);
        }
        // The more are refused, the later they come back: each time they are written anew.
        let refused = self.refused.fetch_add(1, Ordering::Relaxed);
        let rounds = refused / u32::try_from(self.most).unwrap_or(u32::MAX).max(1);
        let Waits { first, longest } = self.waits;
        Err(Duration::from_secs(first.saturating_mul(rounds.saturating_add(1)).min(longest).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_next_hop_has_a_part_of_what_is_left() {
        let trials = Trials::new(4000);
        let mut one = Vec::new();
        while let Ok(turn) = trials.turn(one.len(), false) {
            one.push(turn);
        }
        assert!((50..=63).contains(&one.len()), "{}", one.len());
        assert!(trials.turn(0, false).is_ok(), "others are not the worse for it");
    }

    #[test]
    fn many_next_hops_share_all_turns_and_some_of_the_window_is_left() {
        let trials = Trials::new(4000);
        let (mut first, mut again) = (Vec::new(), Vec::new());
        for _ in 0..4000 {
            first.extend(trials.turn(0, false));
            again.extend(trials.turn(0, true));
        }
        assert_eq!((first.len(), again.len()), (1000, 500));
        first.clear();
        assert!(trials.turn(0, false).is_ok() && trials.turn(0, true).is_err());
    }

    #[test]
    fn the_more_get_none_the_later_they_come_back() {
        let trials = Trials::new(400);
        let turns: Vec<Turn> = (0..50).filter_map(|_| trials.turn(0, true).ok()).collect();
        assert_eq!(turns.len(), 50);
        let waits: Vec<u64> = (0..10_000).filter_map(|_| trials.turn(0, true).err()).map(|d| d.as_secs()).collect();
        assert_eq!((waits[0], waits[49], waits[50], waits[9999]), (5, 5, 10, 300));
        drop(turns);
        assert!(trials.turn(0, true).is_ok());
        let _turns: Vec<Turn> = (0..50).filter_map(|_| trials.turn(0, true).ok()).collect();
        assert_eq!(trials.turn(0, true).err(), Some(Duration::from_secs(5)), "it begins anew");
    }

    #[test]
    fn mail_that_was_never_tried_comes_back_soon() {
        let trials = Trials::new(400);
        let _turns: Vec<Turn> = (0..100).filter_map(|_| trials.turn(0, false).ok()).collect();
        let waits: Vec<u64> = (0..10_000).filter_map(|_| trials.turn(0, false).err()).map(|d| d.as_secs()).collect();
        assert_eq!((waits[0], waits[99], waits[100], waits[9999]), (2, 2, 4, 30));
    }
}
