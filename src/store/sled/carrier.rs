//! When the carrier works: every half second, sooner when much has gathered; and the committer's wait when far too
//! much has.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Most mail is gone within this time, and then costs the database nothing.
const EVERY: Duration = Duration::from_millis(500);

/// Octets over the database that call for the carrier at once.
const MUCH: usize = 8 << 20;

/// Octets over the database that make the committer wait for the carrier.
const TOO_MUCH: usize = 16 << 20;

/// The carrier's clock.
#[derive(Default)]
pub(super) struct Carrier {
    state: Mutex<State>,
    wake: Condvar,
    done: Condvar,
}

#[derive(Default)]
struct State {
    wanted: bool,
    closing: bool,
    rounds: u64,
}

/// Tells of the end of a thread.
#[derive(Default)]
pub(super) struct Ending {
    over: Mutex<bool>,
    told: Condvar,
}

impl Carrier {
    /// Until the next round; true for the last one.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.state.lock();
        let until = Instant::now() + EVERY;
        while !state.wanted && !state.closing && !self.wake.wait_until(&mut state, until).timed_out() {}
        state.wanted = false;
        state.closing
    }

    /// A round is over.
    pub(super) fn carried(&self) {
        self.state.lock().rounds += 1;
        self.done.notify_all();
    }

    /// Calls the carrier when `held` octets are much, and waits for it when they are too much: memory is bounded.
    pub(super) fn make_room(&self, held: usize) {
        if held < MUCH {
            return;
        }
        let mut state = self.state.lock();
        state.wanted = true;
        self.wake.notify_one();
        // Two rounds: the one under way may have begun before the last writes. A closed store carries no more.
        let enough = state.rounds + 2;
        while held >= TOO_MUCH && state.rounds < enough && !state.closing {
            state.wanted = true;
            self.wake.notify_one();
            self.done.wait(&mut state);
        }
    }

    /// One more round, and the end.
    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.wake.notify_all();
        self.done.notify_all();
    }
}

impl Ending {
    /// The thread ends now.
    pub(super) fn tell(&self) {
        *self.over.lock() = true;
        self.told.notify_all();
    }

    /// Waits for it; false where it does not come in time.
    pub(super) fn comes_before(&self, until: Instant) -> bool {
        let mut over = self.over.lock();
        while !*over && !self.told.wait_until(&mut over, until).timed_out() {}
        *over
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    /// Until the carrier is called; fails where somebody who should wait for it went on.
    fn called(carrier: &Carrier, went_on: &mpsc::Receiver<()>) {
        while !carrier.state.lock().wanted {
            assert!(went_on.try_recv().is_err(), "did not wait");
            std::thread::yield_now();
        }
    }

    /// A committer that has too much, on a thread of its own; tells when it goes on.
    fn overloaded(carrier: &Arc<Carrier>) -> (std::thread::JoinHandle<()>, mpsc::Receiver<()>) {
        let (tell, went_on) = mpsc::channel();
        let committer = Arc::clone(carrier);
        let thread = std::thread::spawn(move || {
            committer.make_room(TOO_MUCH);
            tell.send(()).unwrap();
        });
        (thread, went_on)
    }

    #[test]
    fn much_calls_the_carrier_and_less_does_not() {
        let carrier = Carrier::default();
        carrier.make_room(MUCH - 1);
        assert!(!carrier.state.lock().wanted);
        carrier.make_room(TOO_MUCH - 1);
        assert!(carrier.state.lock().wanted);
    }

    #[test]
    fn too_much_waits_for_two_rounds() {
        let carrier = Arc::new(Carrier::default());
        let (thread, went_on) = overloaded(&carrier);
        for _ in 0..2 {
            called(&carrier, &went_on);
            assert!(!carrier.wait());
            assert!(went_on.try_recv().is_err(), "no round is over");
            carrier.carried();
        }
        went_on.recv().unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn a_store_that_closes_lets_the_committer_go() {
        let carrier = Arc::new(Carrier::default());
        let (thread, went_on) = overloaded(&carrier);
        called(&carrier, &went_on);
        carrier.close();
        went_on.recv().unwrap();
        thread.join().unwrap();
        assert!(carrier.wait(), "one last round");
    }
}
