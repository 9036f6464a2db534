//! What clients may take of the relay: places, rates, and how often they may be wrong; bans, floods and stress.
//!
//! The rules are in pure modules that are given the time (`rate`, `table`, `bans`, `flood`, `state`); this one puts a lock
//! and a clock around them. Admission has two steps, because behind a proxy the client's address is known only after
//! something was read: [`Guard::admit_peer`] takes a place, [`Permit::admit_client`] gives it to a client. A permit is
//! a place; dropping it gives it back. [`Permit::readmit`] gives it to the client that a front end names. Nothing here survives a restart: bans are for minutes or hours, and whoever
//! earned one earns it again. Must never wait, nor allocate for a command or for a connection that is turned away.

mod bans;
mod flood;
mod rate;
mod state;
mod table;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use parking_lot::Mutex;

pub use bans::BanInForce;
pub use flood::ShedCounts;

use super::Limits;
use flood::Tell;
use state::{Budget, Seat, State};

/// The guard. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Guard(Arc<Shell>);

#[derive(Debug)]
struct Shell {
    state: Mutex<State>,
    /// Of the state, for whoever does not want to take the lock.
    stressed: AtomicBool,
    started: Instant,
}

/// Why a connection is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shed {
    /// `limits.connections`.
    InAll,
    /// `limits.per-client`.
    ByClient,
    /// `limits.per-network`.
    ByNetwork,
    /// `limits.connections-per-minute`.
    TooFast,
    /// A ban.
    Banned,
    /// The store takes nothing until a restart.
    Store,
}

impl Shed {
    /// RFC 5321 section 3.8: 421 tells the client to come back.
    pub(crate) fn reply(self) -> &'static [u8] {
        match self {
            Self::InAll => b"421 4.3.2 Too many connections, try again later\r\n",
            Self::ByClient => b"421 4.7.0 Too many connections from your address\r\n",
            Self::ByNetwork => b"421 4.7.0 Too many connections from your network\r\n",
            Self::TooFast => b"421 4.7.0 Too many new connections, try again later\r\n",
            Self::Banned => b"421 4.7.0 Too many errors from your address, try again later\r\n",
            Self::Store => b"421 4.3.0 Mail can't be stored for now, try again later\r\n",
        }
    }

    /// The same without its line end.
    pub(crate) fn line(self) -> &'static str {
        std::str::from_utf8(self.reply()).unwrap_or_default().trim_end()
    }
}

/// What a client got wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A command or recipient that was refused for good (5yz).
    Refused,
    /// A failed AUTH.
    Auth,
    /// What no mail client does: bare line ends, HTTP.
    Violation,
    /// A handshake that failed.
    Tls,
}

impl Fault {
    /// What it costs of `limits.ban.errors`. A wrong address happens to the best; guessing passwords and smuggling do not. A
    /// handshake may fail for a certificate that the client does not like, and often does so twice.
    fn weight(self) -> u32 {
        match self {
            Self::Refused => 1,
            Self::Auth | Self::Violation => 10,
            Self::Tls => 2,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused commands",
            Self::Auth => "failed authentication",
            Self::Violation => "violations of the protocol",
            Self::Tls => "failed handshakes",
        }
    }
}

/// How reception stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Open connections.
    pub connections: usize,
    /// Turned away since the start.
    pub shed: ShedCounts,
    /// Bans in force.
    pub banned: usize,
    /// Places are scarce: deadlines are short.
    pub stressed: bool,
}

impl Guard {
    pub(crate) fn new() -> Self {
        let shell = Shell { state: Mutex::default(), stressed: AtomicBool::new(false), started: Instant::now() };
        Self(Arc::new(shell))
    }

    /// A place for somebody who is not known yet, unless all are taken.
    pub(crate) fn admit_peer(&self, listener: &Arc<str>, limits: &Limits) -> Result<Permit, Shed> {
        let mut state = self.0.state.lock();
        state.enter(listener, limits)?;
        self.0.heed(&state);
        drop(state);
        Ok(Permit { guard: self.clone(), listener: listener.clone(), seat: None, ruled: true })
    }

    /// A place that no rule holds for.
    pub(crate) fn admit_anyway(&self, listener: &Arc<str>) -> Permit {
        let limits = Limits { connections: usize::MAX, stress_at: 100, ..Limits::default() };
        // There is no such number of connections.
        let _ = self.0.state.lock().enter(listener, &limits);
        Permit { guard: self.clone(), listener: listener.clone(), seat: None, ruled: false }
    }

    /// Tells the log that somebody is turned away. Call within a tokio runtime.
    pub(crate) fn turned_away(&self, why: Shed, client: &str, listener: &str) {
        let tell = self.0.state.lock().flood.shed(why, self.0.now());
        match tell {
            Tell::Now => tracing::info!(client, listener, ?why, "connection turned away"),
            Tell::Counted => {}
            Tell::Later => {
                let shell = self.0.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(flood::EVERY).await;
                    let shed = shell.state.lock().flood.summary(shell.now());
                    let ShedCounts { in_all, by_client, by_network, too_fast, banned, store } = shed;
                    let sum = shed.sum();
                    tracing::warn!(
                        sum,
                        in_all,
                        by_client,
                        by_network,
                        too_fast,
                        banned,
                        store,
                        "connections turned away in a second"
                    );
                });
            }
        }
    }

    /// True while places are scarce. Cheap.
    pub(crate) fn is_stressed(&self) -> bool {
        self.0.stressed.load(Ordering::Relaxed)
    }

    /// How reception stands.
    pub(crate) fn load(&self) -> Load {
        let state = self.0.state.lock();
        let (shed, banned) = (state.flood.counts(), state.bans.count(self.0.now()));
        Load { connections: state.in_all, shed, banned, stressed: state.is_stressed() }
    }

    /// Connections of one listener now.
    pub(crate) fn of(&self, listener: &str) -> usize {
        self.0.state.lock().of_listener(listener)
    }

    /// Bans in force, the longest first.
    pub(crate) fn bans(&self, most: usize) -> Vec<BanInForce> {
        let mut bans: Vec<_> = self.0.state.lock().bans.in_force(self.0.now()).collect();
        // Nobody waits for the lock while they are sorted.
        bans.sort_by_key(|ban| (std::cmp::Reverse(ban.left), ban.network));
        bans.truncate(most);
        bans
    }

    /// Bans a network for a time, by an operator's word. Connections that are open go on.
    ///
    /// # Errors
    /// Why not, in words.
    pub(crate) fn ban(&self, network: IpNet, time: Duration) -> Result<(), String> {
        self.0.state.lock().bans.set(network, time, self.0.now())
    }

    /// Ends a ban; false if there is none.
    pub(crate) fn lift(&self, network: &IpNet) -> bool {
        self.0.state.lock().bans.lift(network, self.0.now())
    }
}

impl Shell {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Passes on whether there is stress, and tells the log of a change.
    fn heed(&self, state: &State) {
        let stressed = state.is_stressed();
        if self.stressed.swap(stressed, Ordering::Relaxed) != stressed {
            let connections = state.in_all;
            if stressed {
                tracing::warn!(connections, "places are scarce: deadlines are short from now on");
            } else {
                tracing::info!(connections, "places are no longer scarce");
            }
        }
    }
}

/// One connection's place.
#[derive(Debug)]
pub(crate) struct Permit {
    guard: Guard,
    listener: Arc<str>,
    /// Whose it is. None: not known yet, or a client that no rule holds for.
    seat: Option<Seat>,
    /// False for a place that no rule holds for, whoever is named.
    ruled: bool,
}

impl Permit {
    /// Gives the place to a client, unless a rule is against it. To be called once.
    pub(crate) fn admit_client(&mut self, client: IpAddr, limits: &Limits) -> Result<(), Shed> {
        let mut state = self.guard.0.state.lock();
        self.seat = Some(state.seat(client, limits, self.guard.0.now())?);
        Ok(())
    }

    /// Gives the place to another client, or to one that nobody knows, unless a rule is against it; the one before has lost it
    /// either way.
    pub(crate) fn readmit(&mut self, client: Option<IpAddr>, limits: &Limits) -> Result<(), Shed> {
        if !self.ruled {
            return Ok(());
        }
        let mut state = self.guard.0.state.lock();
        if let Some(before) = self.seat.take() {
            state.unseat(&before);
        }
        if let Some(client) = client {
            self.seat = Some(state.seat(client, limits, self.guard.0.now())?);
        }
        Ok(())
    }

    /// The guard it is of.
    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// True if the client is held to no rates.
    pub(crate) fn is_exempt(&self) -> bool {
        self.seat.as_ref().is_none_or(|seat| seat.exempt)
    }

    /// Takes a transaction from the client's budget; false if there is none left.
    pub(crate) fn spend_message(&self, limits: &Limits) -> bool {
        limits.messages_per_minute == 0 || self.spend(Budget::Messages, limits)
    }

    /// Takes a recipient from the client's budget; false if there is none left.
    pub(crate) fn spend_recipient(&self, limits: &Limits) -> bool {
        limits.recipients_per_minute == 0 || self.spend(Budget::Recipients, limits)
    }

    fn spend(&self, budget: Budget, limits: &Limits) -> bool {
        let spend = |seat| self.guard.0.state.lock().spend(seat, budget, limits, self.guard.0.now());
        self.seat.as_ref().is_none_or(spend)
    }

    /// The client got something wrong, so many times; true if it is banned now, by this or before.
    pub(crate) fn err(&self, fault: Fault, times: u32, limits: &Limits) -> bool {
        let Some(seat) = self.seat.as_ref().filter(|seat| !seat.exempt && times > 0) else { return false };
        let now = self.guard.0.now();
        let mut state = self.guard.0.state.lock();
        let banned = state.err(seat, fault.weight().saturating_mul(times), limits, now);
        let is_banned = state.is_banned(seat, limits, now);
        drop(state);
        if let Some((network, time)) = banned {
            let (errors, reason) = (limits.ban.errors, fault.name());
            tracing::warn!(%network, ?time, rule = "limits.ban.errors", errors, reason, "banned");
        }
        is_banned
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.guard.0.state.lock();
        state.leave(&self.listener, self.seat.as_ref());
        self.guard.0.heed(&state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_changes_hands() {
        let limits = Limits { per_client: 1, ..Limits::default() };
        let (front, client) = ("192.0.2.1".parse().unwrap(), "198.51.100.1".parse().unwrap());
        let (guard, listener) = (Guard::new(), Arc::from("smtp"));
        let admitted = || {
            let mut permit = guard.admit_peer(&listener, &limits).unwrap();
            permit.admit_client(front, &limits).map(|()| permit)
        };
        let mut first = admitted().unwrap();
        assert_eq!(admitted().unwrap_err(), Shed::ByClient);
        first.readmit(Some(client), &limits).unwrap();
        let mut second = admitted().unwrap();
        assert_eq!(second.readmit(Some(client), &limits), Err(Shed::ByClient));
        assert!(second.is_exempt(), "it is nobody's now");
        first.readmit(None, &limits).unwrap();
        second.readmit(Some(client), &limits).unwrap();
        let mut free = guard.admit_anyway(&listener);
        free.readmit(Some(client), &limits).unwrap();
        assert_eq!(guard.load().connections, 3);
        drop((first, second, free));
        assert_eq!(guard.load().connections, 0);
        admitted().unwrap().readmit(Some(client), &limits).unwrap();
    }
}
