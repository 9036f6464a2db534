//! Who has a place at the network's door: a few for each address, and a limit for all.
//!
//! Half a request costs its sender nothing, so it must not cost others the door: whoever has all the places of its address
//! is turned away, and where all places are taken, the one goes that has kept the relay waiting longest.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// An operator, a monitor and a few consoles.
pub(super) const CONNECTIONS: usize = 64;
/// Of them for one address: a browser opens six, and two people and a monitor may come from one network.
pub(super) const SHARE: usize = 16;
/// For the head of a request, from its first octet, or from when the connection is there: a packet or two.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(10);
/// Between requests: scrapes and looks of a console are closer together.
pub(super) const IDLE: Duration = Duration::from_secs(60);

/// Places that are taken.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    last: u64,
    by_number: HashMap<u64, (IpAddr, Arc<Visit>)>,
}

/// One place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    visit: Arc<Visit>,
}

impl Places {
    /// A place for a client. None: it has its share, or everybody's request is being answered.
    pub(super) fn enter(self: &Arc<Self>, client: IpAddr, now: Instant) -> Option<Place> {
        let network = network_of(client);
        let mut taken = self.0.lock();
        if taken.by_number.values().filter(|(other, _)| *other == network).count() >= SHARE {
            return None;
        }
        if taken.by_number.len() >= CONNECTIONS {
            let waiting = taken.by_number.iter().filter_map(|(number, (_, visit))| Some((visit.waits()?, *number)));
            let (_, longest) = waiting.min()?;
            let (_, gone) = taken.by_number.remove(&longest)?;
            gone.leave.cancel();
        }
        taken.last += 1;
        let (number, visit) = (taken.last, Arc::new(Visit::begun(now)));
        taken.by_number.insert(number, (network, visit.clone()));
        Some(Place { places: self.clone(), number, visit })
    }
}

impl Place {
    /// The connection that has it.
    pub(super) fn visit(&self) -> Arc<Visit> {
        self.visit.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.0.lock().by_number.remove(&self.number);
    }
}

/// Whose places are counted together: who has one address of IPv6 has a whole /64 (RFC 6177).
fn network_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

/// A connection, and what is awaited of it.
#[derive(Debug)]
pub(super) struct Visit {
    phase: Mutex<Phase>,
    /// Since when it reads nothing of what it is told.
    unread: Mutex<Option<Instant>>,
    /// The phase is another one.
    changed: Notify,
    /// Somebody else needs the place.
    leave: CancellationToken,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The client is sending the head of a request, or shakes hands.
    Head(Instant),
    /// It has an answer, and says nothing.
    Idle(Instant),
    /// It is sending the rest of a request, for which the route has a time.
    Body(Instant),
    /// The relay is at work for it, or tells it something.
    Asking,
}

/// Who goes first where places are scarce: those who have asked nothing go before those who have not done their part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Waits {
    ForARequest(Instant),
    ForItsPart(Instant),
}

impl Visit {
    pub(super) fn begun(now: Instant) -> Self {
        let (phase, unread) = (Mutex::new(Phase::Head(now)), Mutex::default());
        Self { phase, unread, changed: Notify::new(), leave: CancellationToken::new() }
    }

    fn set(&self, phase: Phase) {
        *self.phase.lock() = phase;
        self.changed.notify_one();
    }

    /// The handshake is done, and the first request may come.
    pub(super) fn shaken(&self, now: Instant) {
        self.set(Phase::Head(now));
    }

    /// Octets came: of a request, where none is being answered.
    pub(super) fn heard(&self, now: Instant) {
        if matches!(*self.phase.lock(), Phase::Idle(_)) {
            self.set(Phase::Head(now));
        }
    }

    /// The head of a request is there, and it is worked on from here until what is returned is dropped. `rest`: more of it is to
    /// come.
    pub(super) fn asks(self: &Arc<Self>, rest: Rest, now: Instant) -> Asking {
        self.set(match rest {
            Rest::Comes => Phase::Body(now),
            Rest::None => Phase::Asking,
        });
        Asking(self.clone())
    }

    /// All of the request is there.
    pub(super) fn asked(&self) {
        if matches!(*self.phase.lock(), Phase::Body(_)) {
            self.set(Phase::Asking);
        }
    }

    /// It reads nothing since then; none: it does.
    pub(super) fn reads_nothing(&self, since: Option<Instant>) {
        *self.unread.lock() = since;
    }

    fn waits(&self) -> Option<Waits> {
        match *self.phase.lock() {
            Phase::Head(since) | Phase::Idle(since) => Some(Waits::ForARequest(since)),
            Phase::Body(since) => Some(Waits::ForItsPart(since)),
            Phase::Asking => self.unread.lock().map(Waits::ForItsPart),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match *self.phase.lock() {
            Phase::Head(since) => Some(since + HEAD_TIME),
            Phase::Idle(since) => Some(since + IDLE),
            Phase::Body(_) | Phase::Asking => None,
        }
    }

    /// Returns when the connection has kept the relay waiting for too long, or its place is needed.
    pub(super) async fn over(&self) {
        loop {
            let late = async {
                match self.deadline() {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.leave.cancelled() => return,
                () = self.changed.notified() => {}
                () = late => return,
            }
        }
    }
}

/// What follows the head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// A body.
    Comes,
    /// Nothing.
    None,
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Asking(Arc<Visit>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.set(Phase::Idle(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn nobody_has_more_than_a_share() {
        let (places, now) = (Arc::new(Places::default()), Instant::now());
        for (own, alike, other) in
            [("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::ffff:0:0:1", "2001:db8:0:1::1")]
        {
            let mut held: Vec<_> = (0..SHARE).map(|_| places.enter(ip(own), now).unwrap()).collect();
            assert!(places.enter(ip(own), now).is_none() && places.enter(ip(alike), now).is_none(), "{own}");
            assert!(places.enter(ip(other), now).is_some(), "{other}");
            held.pop();
            assert!(places.enter(ip(alike), now).is_some(), "{own}: a place was given back");
        }
        assert_eq!(places.0.lock().by_number.len(), 0);
    }

    #[tokio::test]
    async fn where_all_places_are_taken_who_waited_longest_without_a_word_goes() {
        let (places, now) = (Arc::new(Places::default()), Instant::now());
        let second = Duration::from_secs(1);
        let clients = (0..CONNECTIONS).map(|n| ip(&format!("192.0.2.{}", n / SHARE)));
        let mut at = now;
        let held: Vec<_> = clients
            .map(|client| {
                at += second;
                places.enter(client, at).unwrap()
            })
            .collect();
        let answered = held[0].visit.asks(Rest::None, at);
        let late = places.enter(ip("198.51.100.1"), at).unwrap();
        assert!(held[1].visit.leave.is_cancelled() && !held[0].visit.leave.is_cancelled(), "one is being answered");
        let asking: Vec<_> = held.iter().chain([&late]).map(|place| place.visit.asks(Rest::None, at)).collect();
        assert!(places.enter(ip("198.51.100.2"), at).is_none(), "all are being answered");
        held[5].visit.reads_nothing(Some(at));
        let later = places.enter(ip("198.51.100.2"), at).unwrap();
        assert!(held[5].visit.leave.is_cancelled(), "who reads nothing makes room");
        let half = held[6].visit.asks(Rest::Comes, at);
        assert_eq!(held[6].visit.waits(), Some(Waits::ForItsPart(at)), "and who sends half a body");
        held[6].visit.asked();
        assert_eq!(held[6].visit.waits(), None);
        drop(half);
        let _asking = later.visit.asks(Rest::None, at);
        drop((answered, asking));
        assert!(places.enter(ip("198.51.100.3"), at).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_is_awaited_for_less_time_than_the_next_request() {
        let visit = Arc::new(Visit::begun(Instant::now()));
        let took = async |visit: &Visit| {
            let begun = Instant::now();
            visit.over().await;
            begun.elapsed().as_secs()
        };
        assert_eq!(took(&visit).await, HEAD_TIME.as_secs());
        drop(visit.asks(Rest::None, Instant::now()));
        assert_eq!(took(&visit).await, IDLE.as_secs());
        drop(visit.asks(Rest::None, Instant::now()));
        visit.heard(Instant::now());
        assert_eq!(took(&visit).await, HEAD_TIME.as_secs());
        let _asking = visit.asks(Rest::None, Instant::now());
        visit.heard(Instant::now());
        let patience = tokio::time::timeout(Duration::from_secs(9999), visit.over()).await;
        assert!(patience.is_err(), "an answer may take its time");
    }
}
