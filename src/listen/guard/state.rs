//! Who is connected, what each client has taken, who is banned. Pure: the time is passed in.
//!
//! A client is its address; beside it its network is held to the same rules in larger measure, because whoever has one
//! address of a network (of IPv6 above all) often has many. Connections are counted exactly, and cost nothing
//! once they are gone; what was taken over time is in a bounded table.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::Shed;
use super::bans::Bans;
use super::flood::Flood;
use super::rate::{Bucket, Rate};
use super::table::{Passing, Table};
use crate::listen::Limits;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What a client takes over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Budget {
    /// New connections.
    Connections,
    /// Transactions.
    Messages,
    /// Recipients.
    Recipients,
}

/// What one client or network has taken. Kept small: there are many.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    connections: Bucket,
    messages: Bucket,
    recipients: Bucket,
    errors: Bucket,
}

impl Passing for Taken {
    fn over_at(&self) -> Duration {
        let all = [self.connections, self.messages, self.recipients, self.errors];
        all.into_iter().map(Bucket::full_at).max().unwrap_or_default()
    }
}

/// A client as the rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) client: IpNet,
    /// None where a network is one address.
    network: Option<IpNet>,
    pub(super) exempt: bool,
}

impl Seat {
    pub(super) fn of(client: IpAddr, limits: &Limits) -> Self {
        let client = client.to_canonical();
        let bits = if client.is_ipv4() { limits.network_v4 } else { limits.network_v6 };
        let network = IpNet::new(client, bits).map(|net| net.trunc()).ok();
        let own = IpNet::from(client);
        Self { client: own, network: network.filter(|net| *net != own), exempt: limits.exempts(client) }
    }

    /// Each with how many times a client's share it may have.
    fn keys(&self, limits: &Limits) -> impl Iterator<Item = (IpNet, u32)> + use<> {
        let network = self.network.map(|network| (network, limits.network_factor));
        std::iter::once((self.client, 1)).chain(network)
    }
}

/// All there is to know.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) in_all: usize,
    by_listener: HashMap<Arc<str>, usize>,
    /// Of clients and of networks.
    by_key: HashMap<IpNet, usize>,
    taken: Table<Taken>,
    pub(super) bans: Bans,
    pub(super) flood: Flood,
    stressed: bool,
    /// With fewer connections than this stress is over.
    calm_below: usize,
}

impl State {
    /// A place, unless all are taken.
    pub(super) fn enter(&mut self, listener: &Arc<str>, limits: &Limits) -> Result<(), Shed> {
        if self.in_all >= limits.connections {
            return Err(Shed::InAll);
        }
        self.in_all += 1;
        *self.by_listener.entry(listener.clone()).or_default() += 1;
        let percent = |share: usize| limits.connections.saturating_mul(share) / 100;
        self.stressed |= self.in_all > percent(limits.stress_at.into());
        self.calm_below = percent(usize::from(limits.stress_at) * 3 / 4);
        Ok(())
    }

    /// The place is for this client, unless a rule is against it.
    pub(super) fn seat(&mut self, client: IpAddr, limits: &Limits, now: Duration) -> Result<Seat, Shed> {
        let seat = Seat::of(client, limits);
        let open = |key: &IpNet| self.by_key.get(key).copied().unwrap_or_default();
        if !seat.exempt && self.is_banned(&seat, limits, now) {
            return Err(Shed::Banned);
        }
        if open(&seat.client) >= limits.per_client {
            return Err(Shed::ByClient);
        }
        let crowded = |network: &IpNet| limits.per_network > 0 && open(network) >= limits.per_network;
        if !seat.exempt && seat.network.as_ref().is_some_and(crowded) {
            return Err(Shed::ByNetwork);
        }
        if !self.spend(&seat, Budget::Connections, limits, now) {
            return Err(Shed::TooFast);
        }
        for (key, _) in seat.keys(limits) {
            *self.by_key.entry(key).or_default() += 1;
        }
        Ok(seat)
    }

    /// The place is free again.
    pub(super) fn leave(&mut self, listener: &Arc<str>, seat: Option<&Seat>) {
        self.in_all = self.in_all.saturating_sub(1);
        self.stressed &= self.in_all >= self.calm_below;
        if let Some(of_listener) = self.by_listener.get_mut(listener) {
            *of_listener = of_listener.saturating_sub(1);
        }
        if let Some(seat) = seat {
            self.unseat(seat);
        }
    }

    /// The place is no longer this client's.
    pub(super) fn unseat(&mut self, seat: &Seat) {
        for key in [Some(seat.client), seat.network].into_iter().flatten() {
            if let Some(open) = self.by_key.get_mut(&key) {
                *open = open.saturating_sub(1);
                if *open == 0 {
                    self.by_key.remove(&key);
                }
            }
        }
    }

    /// Takes one from the budget of a client and of its network; false if there is none left, and then nothing is taken.
    pub(super) fn spend(&mut self, seat: &Seat, budget: Budget, limits: &Limits, now: Duration) -> bool {
        let rate = rate(budget, limits);
        if seat.exempt || !rate.is_limit() {
            return true;
        }
        let has = |(key, factor): (IpNet, u32)| {
            self.taken.get(&key).is_none_or(|taken| bucket(taken, budget).has(rate.times(factor), 1, now))
        };
        if !seat.keys(limits).all(has) {
            return false;
        }
        for (key, factor) in seat.keys(limits) {
            if let Some(taken) = self.taken.entry(key, limits.clients) {
                bucket_mut(taken, budget).take(rate.times(factor), 1, now);
            }
        }
        true
    }

    /// A client got something wrong. The ban that follows, if one does: whose, and how long.
    pub(super) fn err(
        &mut self,
        seat: &Seat,
        weight: u32,
        limits: &Limits,
        now: Duration,
    ) -> Option<(IpNet, Duration)> {
        let rate = Rate::new(limits.ban.errors, HOUR);
        if seat.exempt || !rate.is_limit() {
            return None;
        }
        let mut banned = None;
        for (key, factor) in seat.keys(limits) {
            let (rate, Some(taken)) = (rate.times(factor), self.taken.entry(key, limits.clients)) else { continue };
            taken.errors.take(rate, weight, now);
            if !taken.errors.has(rate, 0, now) {
                // Whoever comes back has paid for it.
                taken.errors = Bucket::default();
                banned = Some((key, self.bans.earn(key, &limits.ban, limits.clients, now)));
            }
        }
        banned
    }

    /// True if it is not served now.
    pub(super) fn is_banned(&self, seat: &Seat, limits: &Limits, now: Duration) -> bool {
        let client = seat.client.addr();
        let mut keys = [seat.client; 2];
        for (place, (key, _)) in keys.iter_mut().zip(seat.keys(limits)) {
            *place = key;
        }
        self.bans.holds(client, &keys, now)
    }

    /// True while places are scarce.
    pub(super) fn is_stressed(&self) -> bool {
        self.stressed
    }

    /// Connections of one listener.
    pub(super) fn of_listener(&self, listener: &str) -> usize {
        self.by_listener.get(listener).copied().unwrap_or_default()
    }
}

fn rate(budget: Budget, limits: &Limits) -> Rate {
    let amount = match budget {
        Budget::Connections => limits.connections_per_minute,
        Budget::Messages => limits.messages_per_minute,
        Budget::Recipients => limits.recipients_per_minute,
    };
    Rate::new(amount, MINUTE)
}

fn bucket(taken: &Taken, budget: Budget) -> Bucket {
    match budget {
        Budget::Connections => taken.connections,
        Budget::Messages => taken.messages,
        Budget::Recipients => taken.recipients,
    }
}

fn bucket_mut(taken: &mut Taken, budget: Budget) -> &mut Bucket {
    match budget {
        Budget::Connections => &mut taken.connections,
        Budget::Messages => &mut taken.messages,
        Budget::Recipients => &mut taken.recipients,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn smtp() -> Arc<str> {
        "smtp".into()
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let limits = Limits { connections: 3, per_client: 2, ..Limits::default() };
        let mut state = State::default();
        let enter = |state: &mut State, client: &str| {
            state.enter(&smtp(), &limits)?;
            state.seat(ip(client), &limits, at(0)).inspect_err(|_| state.leave(&smtp(), None))
        };
        let seats = [enter(&mut state, "192.0.2.1").unwrap(), enter(&mut state, "::ffff:192.0.2.1").unwrap()];
        assert_eq!(enter(&mut state, "192.0.2.1"), Err(Shed::ByClient));
        let third = enter(&mut state, "192.0.2.2").unwrap();
        assert_eq!(enter(&mut state, "192.0.2.3"), Err(Shed::InAll));
        assert_eq!(state.of_listener("smtp"), 3);
        seats.iter().chain([&third]).for_each(|seat| state.leave(&smtp(), Some(seat)));
        assert_eq!((state.in_all, state.of_listener("smtp")), (0, 0));
        assert!(state.by_key.is_empty(), "addresses of the past cost nothing");
    }

    #[test]
    fn a_network_has_its_own_bounds_and_the_exempt_have_none() {
        let mut limits =
            Limits { per_network: 2, exempt: vec!["198.51.100.0/24".parse().unwrap()], ..Limits::default() };
        let mut state = State::default();
        for client in ["192.0.2.1", "192.0.2.2"] {
            state.seat(ip(client), &limits, at(0)).unwrap();
        }
        assert_eq!(state.seat(ip("192.0.2.3"), &limits, at(0)), Err(Shed::ByNetwork));
        assert!(state.seat(ip("192.0.3.3"), &limits, at(0)).is_ok());
        for _ in 0..5 {
            assert!(state.seat(ip("198.51.100.1"), &limits, at(0)).is_ok());
        }
        for client in ["2001:db8::1", "2001:db8::2"] {
            state.seat(ip(client), &limits, at(0)).unwrap();
        }
        assert_eq!(state.seat(ip("2001:db8::ffff:3"), &limits, at(0)), Err(Shed::ByNetwork));
        limits.network_v6 = 128;
        assert!(state.seat(ip("2001:db8::ffff:3"), &limits, at(0)).is_ok());
    }

    #[test]
    fn rates_are_of_a_client_and_in_larger_measure_of_its_network() {
        let limits =
            Limits { connections_per_minute: 2, messages_per_minute: 3, network_factor: 2, ..Limits::default() };
        let mut state = State::default();
        let first = state.seat(ip("192.0.2.1"), &limits, at(0)).unwrap();
        state.seat(ip("192.0.2.1"), &limits, at(0)).unwrap();
        assert_eq!(state.seat(ip("192.0.2.1"), &limits, at(0)), Err(Shed::TooFast));
        state.seat(ip("192.0.2.2"), &limits, at(0)).unwrap();
        state.seat(ip("192.0.2.3"), &limits, at(0)).unwrap();
        assert_eq!(state.seat(ip("192.0.2.4"), &limits, at(0)), Err(Shed::TooFast), "the network's four are gone");
        assert!(state.seat(ip("192.0.2.4"), &limits, at(15)).is_ok());
        let messages = (0..5).filter(|_| state.spend(&first, Budget::Messages, &limits, at(0))).count();
        assert_eq!(messages, 3);
        assert!(state.spend(&first, Budget::Recipients, &limits, at(0)), "without a limit nothing is counted");
    }

    #[test]
    fn errors_past_the_budget_ban_a_client_and_many_clients_their_network() {
        let mut limits = Limits { network_factor: 3, ..Limits::default() };
        limits.ban.errors = 10;
        let mut state = State::default();
        let seat = Seat::of(ip("192.0.2.1"), &limits);
        for _ in 0..10 {
            assert_eq!(state.err(&seat, 1, &limits, at(0)), None);
        }
        assert_eq!(state.err(&seat, 1, &limits, at(0)), Some((seat.client, limits.ban.time)));
        assert_eq!(state.seat(ip("192.0.2.1"), &limits, at(599)), Err(Shed::Banned));
        assert!(state.seat(ip("192.0.2.2"), &limits, at(599)).is_ok());
        assert!(state.seat(ip("192.0.2.1"), &limits, at(600)).is_ok());
        let banned = (2..20).find_map(|n| {
            let neighbour = Seat::of(IpAddr::from([192, 0, 2, n]), &limits);
            state.err(&neighbour, 9, &limits, at(0))
        });
        assert_eq!(banned, Some(("192.0.2.0/24".parse().unwrap(), limits.ban.time)));
        assert_eq!(state.seat(ip("192.0.2.77"), &limits, at(1)), Err(Shed::Banned));
    }

    #[test]
    fn errors_are_forgiven_over_time_and_never_counted_against_the_exempt() {
        let mut limits = Limits { exempt: vec!["127.0.0.0/8".parse().unwrap()], ..Limits::default() };
        limits.ban.errors = 10;
        let mut state = State::default();
        let (seat, own) = (Seat::of(ip("192.0.2.1"), &limits), Seat::of(ip("127.0.0.1"), &limits));
        for hour in 0..10 {
            assert_eq!(state.err(&seat, 10, &limits, at(hour * 3600)), None);
        }
        assert!((0..100).all(|_| state.err(&own, 10, &limits, at(0)).is_none()));
    }

    #[test]
    fn stress_begins_above_one_mark_and_ends_below_another() {
        let limits = Limits { connections: 10, stress_at: 80, ..Limits::default() };
        let mut state = State::default();
        let mut stressed = Vec::new();
        for _ in 0..9 {
            state.enter(&smtp(), &limits).unwrap();
            stressed.push(state.is_stressed());
        }
        assert_eq!(stressed.iter().filter(|s| !**s).count(), 8);
        let calm_at = std::iter::repeat_with(|| {
            state.leave(&smtp(), None);
            (state.in_all, state.is_stressed())
        });
        assert_eq!(calm_at.take(9).find(|(_, stressed)| !stressed), Some((5, false)));
    }
}
