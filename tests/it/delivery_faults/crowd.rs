//! Many destinations of which most are dead: the others do not wait for them, nothing grows without bound, and a host that
//! comes back is not stormed.

use std::time::{Duration, Instant};

use super::{CONTENT, is_done};
use crate::harness::{Relay, wait_for};
use crate::network::{Network, Peer};

/// Destinations, and of them those that live.
const ALL: usize = 1000;
const ALIVE: usize = 100;

/// Messages for each.
const EACH: usize = 2;

/// How long the dead are waited for; the living do not wait so long.
const PATIENCE: Duration = Duration::from_secs(4);

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_hundred_living_destinations_do_not_wait_for_nine_hundred_dead() {
    let network = Network::new();
    let living: Vec<Peer> = (0..4).map(|n| network.host(&format!("living{n}.test"), "")).collect();
    let stalled = network.host("stalled.test", "banner: stall");
    let dead = [network.nobody().to_string(), network.silence().to_string()];
    let mut records = Vec::new();
    for n in 0..ALL {
        let address = match n % 10 {
            0 => living[n / 10 % 4].address().ip().to_string(),
            1 if n % 50 == 1 => stalled.address().ip().to_string(),
            kind => dead[kind % 2].clone(),
        };
        records.extend([format!("d{n}.test MX 10 mx.d{n}.test"), format!("mx.d{n}.test A {address}")]);
    }
    network.names.add_all(&records);
    let relay =
        network.relay_with(&format!("timeouts = {{ connect = \"{0}s\", greeting = \"{0}s\" }}\n", PATIENCE.as_secs()));
    let before = memory(&relay);
    let mut client = relay.smtp();
    // The dead first, so that all of them are in the way.
    let order = (0..ALL).filter(|n| n % 10 != 0).chain((0..ALL).filter(|n| n % 10 == 0));
    let all: Vec<String> = order.map(|n| format!("b@d{n}.test")).collect();
    for some in [&all, &all].into_iter().flat_map(|all| all.chunks(50)) {
        client.deliver("a@client.test", &some.iter().map(String::as_str).collect::<Vec<_>>(), CONTENT);
    }
    let begun = Instant::now();
    wait_for("the living get their mail", || (count(&living) >= ALIVE * EACH).then_some(()));
    let took = begun.elapsed();
    assert!(took < PATIENCE, "the living waited for {took:?}");
    let (sockets, grown) = (sockets(&relay), memory(&relay).saturating_sub(before));
    assert!(sockets < 2 * ALL, "{sockets} descriptors");
    assert!(grown < 128 << 20, "{grown} octets more than before");
    // What arrived is settled a moment later.
    wait_for("nobody is lost", || (waiting(&relay) == (ALL - ALIVE) * EACH).then_some(()));
    // The stalled one is well again: each message comes once.
    let back = ALL / 50 * EACH;
    stalled.recovers();
    stalled.has(back);
    let rest = (ALL - ALIVE) * EACH - back;
    wait_for("the rest waits", || (waiting(&relay) == rest).then_some(()));
    assert_eq!((count(&living), stalled.waiting()), (ALIVE * EACH, back), "each came once");
}

#[test]
fn a_host_that_comes_back_is_not_stormed() {
    let network = Network::new();
    // It is gone, and then back, but slow.
    let peer = network.host("mx.there.test", "connect x1: drop\nbanner: wait; usual");
    let relay = network.patient_relay(&format!(
        "connections = 10\n[routing.domains]\n\"there.test\" = \"smtp://{}\"\n",
        peer.address()
    ));
    let mut client = relay.smtp();
    for n in 0..25 {
        client.deliver("a@client.test", &[&format!("b{n}@there.test")], CONTENT);
    }
    // Until one got through, nobody else comes, however many wait.
    peer.meets(2);
    wait_for("the others wait for it", || {
        (relay.json(&["status"])["queue"]["leased"].as_u64() >= Some(20)).then_some(())
    });
    assert_eq!(peer.connections(), 2, "one looks whether it is there");
    let opened = Instant::now();
    peer.opens();
    peer.has(25);
    is_done(&relay);
    let at_once = peer.arrivals().iter().filter(|at| **at > opened && at.duration_since(opened) < SECOND).count();
    assert!(at_once <= 10 && peer.peak() <= 10, "{at_once} in a second, {} at once", peer.peak());
    assert_eq!(peer.waiting(), 25, "each came once");
}

fn count(peers: &[Peer]) -> usize {
    peers.iter().map(Peer::waiting).sum()
}

/// Recipients in the queue.
fn waiting(relay: &Relay) -> usize {
    relay.messages().iter().map(|message| message["waiting"].as_u64().unwrap() as usize).sum()
}

/// Descriptors that are open.
fn sockets(relay: &Relay) -> usize {
    std::fs::read_dir(relay.proc("fd")).unwrap().count()
}

/// Resident octets.
fn memory(relay: &Relay) -> u64 {
    let status = std::fs::read_to_string(relay.proc("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().split(' ').next().unwrap().parse::<u64>().unwrap() << 10
}
