//! Next hops and name servers that do what they should not, and what becomes of the mail: nobody is lost, nobody gets it
//! twice but where no client can tell (RFC 1047), and the log says why it took longer.

mod crowd;
mod names;
mod partly;
mod steps;
mod talk;
mod trust;

use crate::harness::{Relay, wait_for};
use crate::network::{Network, Peer};

const CONTENT: &str = "From: <a@client.test>\r\nSubject: a test\r\n\r\n.dot\r\n..\r\nlast line\r\n";

/// A relay that knows the way to each domain, without a name server.
fn relay_knowing(network: &Network, ways: &[(String, &Peer)], tables: &str) -> Relay {
    let way = |(domain, peer): &(String, &Peer)| format!("\"{domain}\" = \"smtp://{}\"\n", peer.address());
    let ways: String = ways.iter().map(way).collect();
    network.relay_without_names(&format!("tls = \"opportunistic\"\n{tables}\n[routing.domains]\n{ways}"))
}

/// Waits until nothing is queued any more.
fn is_done(relay: &Relay) {
    wait_for("the queue is empty", || (relay.queued() == 0).then_some(()));
}

/// The lines of the log about a recipient, once there are some: a thread of its own writes it.
fn log_of(relay: &Relay, recipient: &str) -> Vec<String> {
    let field = format!("recipient={recipient} ");
    wait_for("a line of the log", || {
        let lines = relay.log().lines().filter(|line| line.contains(&field)).map(str::to_owned).collect::<Vec<_>>();
        (!lines.is_empty()).then_some(lines)
    })
}

/// What the log says of the first attempt.
fn first(relay: &Relay, recipient: &str) -> String {
    log_of(relay, recipient).swap_remove(0)
}

/// Rows without a test would be promises.
#[test]
fn each_row_of_the_table_has_a_test_that_exists() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/delivery.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what |")).collect();
    assert!(rows.len() > 50, "{} rows", rows.len());
    let tests = crate::house::all_code();
    let mut wrong = Vec::new();
    for row in rows {
        let shown = row.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap();
        let names: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        let missing = names.iter().filter(|name| !tests.contains(&format!("fn {name}(")) && !root.join(name).exists());
        wrong.extend(missing.map(|name| format!("no test {name}")));
        if names.is_empty() {
            wrong.push(format!("no test in {row}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
