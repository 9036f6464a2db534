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
    all: Arc<Kind>,
    /// For sites that are still to answer.
    unknown: Arc<Kind>,
}

/// Places of one kind.
#[derive(Debug)]
struct Kind {
    free: Arc<Semaphore>,
    size: Mutex<Size>,
}

#[derive(Clone, Copy, Debug)]
struct Size {
    /// How many there are to be.
    wanted: usize,
    /// How many there are, those taken included.
    have: usize,
}

/// One that is taken.
#[derive(Debug)]
struct Taken {
    kind: Arc<Kind>,
    permit: Option<OwnedSemaphorePermit>,
}

/// A place, for as long as it lives.
#[derive(Debug)]
pub(super) struct Place {
    _one: Taken,
    unknown: Option<Taken>,
}

impl Place {
    /// The site took a message.
    pub(super) fn prove(&mut self) {
        self.unknown = None;
    }
}

impl Kind {
    fn new(count: usize) -> Arc<Self> {
        let size = Mutex::new(Size { wanted: count, have: count });
        Arc::new(Self { free: Arc::new(Semaphore::new(count)), size })
    }

    async fn take(self: &Arc<Self>) -> Taken {
        Taken { kind: Arc::clone(self), permit: Arc::clone(&self.free).acquire_owned().await.ok() }
    }

    /// Where there are to be fewer, those that are taken go as they are given back.
    fn resize(&self, wanted: usize) {
        let mut size = self.size.lock();
        size.wanted = wanted;
        if wanted > size.have {
            self.free.add_permits(wanted - size.have);
            size.have = wanted;
        } else {
            size.have -= self.free.forget_permits(size.have - wanted);
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut size = self.kind.size.lock();
        // Not given back first: whoever waits would have it at once.
        if size.have > size.wanted
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
            size.have -= 1;
        }
    }
}

impl Places {
    pub(super) fn new(count: usize) -> Self {
        let (all, unknown) = sizes(count);
        Self { all: Kind::new(all), unknown: Kind::new(unknown) }
    }

    /// Places for sites that are still to answer.
    pub(super) fn unknown(&self) -> usize {
        self.unknown.size.lock().wanted
    }

    /// Waits for a place among `count`. `proven`: the site has answered before.
    pub(super) async fn take(&self, count: usize, proven: bool) -> Place {
        let (all, unknown) = sizes(count);
        self.all.resize(all);
        self.unknown.resize(unknown);
        // The scarcer kind first: who waits for it keeps nobody from the other.
        let unknown = if proven { None } else { Some(self.unknown.take().await) };
        Place { _one: self.all.take().await, unknown }
    }

    /// Somebody would have to wait.
    pub(super) fn is_scarce(&self) -> bool {
        self.all.free.available_permits() == 0
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

    #[tokio::test(start_paused = true)]
    async fn they_become_fewer_though_somebody_always_waits() {
        let places = Arc::new(Places::new(3));
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.push(soon(&places, 3, true).await.unwrap());
        }
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let places = Arc::clone(&places);
                tokio::spawn(async move { places.take(1, true).await })
            })
            .collect();
        tokio::task::yield_now().await;
        taken.truncate(1);
        assert!(soon(&places, 1, true).await.is_none(), "two were given back, and one is still too many for them");
        taken.clear();
        for one in waiting {
            assert!(tokio::time::timeout(Duration::from_secs(5), one).await.is_ok(), "one after the other");
        }
    }
}
