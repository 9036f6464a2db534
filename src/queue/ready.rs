//! Messages in the window that are due, by priority: those above 0 go first, those below last.
//!
//! Nobody starves: of sixteen that are taken, one is of the last kind and three of the middle one, where there are any.
//! Pure.

use std::collections::VecDeque;

use crate::mail::QueueId;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ready {
    first: VecDeque<QueueId>,
    middle: VecDeque<QueueId>,
    last: VecDeque<QueueId>,
    turn: u8,
}

impl Ready {
    /// At the end of its kind.
    pub(super) fn push(&mut self, id: QueueId, priority: i8) {
        let line = match priority {
            1.. => &mut self.first,
            0 => &mut self.middle,
            ..0 => &mut self.last,
        };
        line.push_back(id);
    }

    /// The next one.
    pub(super) fn pop(&mut self) -> Option<QueueId> {
        // The common case: nothing but the middle kind.
        if self.first.is_empty() && self.last.is_empty() {
            return self.middle.pop_front();
        }
        self.turn = self.turn.wrapping_add(1) % 16;
        let Self { first, middle, last, turn } = self;
        let order = match turn {
            0 => [last, middle, first],
            4 | 8 | 12 => [middle, first, last],
            _ => [first, middle, last],
        };
        order.into_iter().find_map(VecDeque::pop_front)
    }

    pub(super) fn len(&self) -> usize {
        self.first.len() + self.middle.len() + self.last.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_urgent_go_first_and_nobody_starves() {
        let mut ready = Ready::default();
        for id in 0..100_u64 {
            ready.push(QueueId::from_u64(id), 0);
            ready.push(QueueId::from_u64(1000 + id), 5);
            ready.push(QueueId::from_u64(2000 + id), -5);
        }
        let taken: Vec<u64> = (0..32).filter_map(|_| ready.pop()).map(QueueId::to_u64).collect();
        let of = |from: u64| taken.iter().filter(|id| (from..from + 100).contains(*id)).copied().collect::<Vec<_>>();
        assert_eq!((of(1000).len(), of(0).len(), of(2000).len()), (24, 6, 2));
        assert_eq!(of(1000), (1000..1024).collect::<Vec<_>>(), "by arrival");
        assert_eq!(taken[0], 1000);
        assert_eq!((ready.len(), std::iter::from_fn(|| ready.pop()).count()), (268, 268));
        ready.push(QueueId::from_u64(7), 0);
        assert_eq!((ready.pop(), ready.pop()), (Some(QueueId::from_u64(7)), None));
    }
}
