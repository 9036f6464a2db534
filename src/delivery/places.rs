//! Places for connections, over all sites: so many sockets and no more, and never all of them with the dead.
//!
//! A site that has not answered yet takes a place and one of the smaller number of places for such; once it took a message,
//! it gives the latter back.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// See the module.
#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    /// For sites that are still to answer.
    unknown: Arc<Semaphore>,
    /// How many there are of both.
    size: Mutex<(usize, usize)>,
}

/// A place, for as long as it lives.
#[derive(Debug)]
pub(super) struct Place {
    _one: Option<OwnedSemaphorePermit>,
    unknown: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// The site took a message.
    pub(super) fn prove(&mut self) {
        self.unknown = None;
    }
}

impl Places {
    pub(super) fn new(count: usize) -> Self {
        let size = sizes(count);
        let semaphore = |count| Arc::new(Semaphore::new(count));
        Self { all: semaphore(size.0), unknown: semaphore(size.1), size: Mutex::new(size) }
    }

    /// Places for sites that are still to answer.
    pub(super) fn unknown(&self) -> usize {
        self.size.lock().1
    }

    /// Waits for a place among `count`. `proven`: the site has answered before.
    pub(super) async fn take(&self, count: usize, proven: bool) -> Place {
        self.resize(count);
        // The scarcer kind first: who waits for it keeps nobody from the other.
        let unknown = if proven { None } else { Arc::clone(&self.unknown).acquire_owned().await.ok() };
        Place { _one: Arc::clone(&self.all).acquire_owned().await.ok(), unknown }
    }

    /// Somebody would have to wait.
    pub(super) fn is_scarce(&self) -> bool {
        self.all.available_permits() == 0
    }

    /// After a reload. Where there are to be fewer, those that are taken go as they are given back.
    fn resize(&self, count: usize) {
        let mut size = self.size.lock();
        let wanted = sizes(count);
        if *size == wanted {
            return;
        }
        let (all, unknown) = &mut *size;
        for (semaphore, have, wanted) in [(&self.all, all, wanted.0), (&self.unknown, unknown, wanted.1)] {
            if wanted > *have {
                semaphore.add_permits(wanted - *have);
                *have = wanted;
            } else {
                *have -= semaphore.forget_permits(*have - wanted);
            }
        }
    }
}

/// Of all places, and of those for sites that are still to answer.
fn sizes(count: usize) -> (usize, usize) {
    let count = count.clamp(1, Semaphore::MAX_PERMITS);
    (count, count.div_ceil(2))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn soon(places: &Places, count: usize, proven: bool) -> Option<Place> {
        tokio::time::timeout(Duration::from_secs(5), places.take(count, proven)).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_unknown_get_half_and_the_known_the_rest() {
        let places = Places::new(4);
        let mut one = soon(&places, 4, false).await.unwrap();
        let _two = soon(&places, 4, false).await.unwrap();
        assert!(soon(&places, 4, false).await.is_none(), "no third that may be dead");
        let three = soon(&places, 4, true).await.unwrap();
        one.prove();
        let _four = soon(&places, 4, false).await.unwrap();
        assert!(places.is_scarce() && soon(&places, 4, true).await.is_none());
        drop(three);
        assert!(soon(&places, 4, true).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_makes_more_of_them_or_fewer() {
        let places = Places::new(1);
        let one = soon(&places, 1, true).await.unwrap();
        let two = soon(&places, 2, true).await.unwrap();
        assert!(soon(&places, 2, true).await.is_none());
        assert!(soon(&places, 1, true).await.is_none());
        drop(one);
        assert!(soon(&places, 1, true).await.is_none(), "one is still taken");
        drop(two);
        assert!(soon(&places, 1, true).await.is_some());
    }
}
