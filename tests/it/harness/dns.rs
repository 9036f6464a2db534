//! A network of a test's own, with a name server in it: nothing that is asked for leaves the machine.

use std::net::UdpSocket;
use std::process::Command;
use std::thread;

use hickory_server::proto::op::{Message, ResponseCode};
use hickory_server::proto::rr::rdata::{A, PTR, SOA, TXT};
use hickory_server::proto::rr::{Name, RData, Record};

/// Set for the process that runs within.
const INSIDE: &str = "WAYPOST_OWN_NETWORK";

/// A loopback interface, and a resolver that asks there. 77: this machine has no such thing for us.
const ENTER: &str = "printf 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n' >\"$1\" && ip link set lo up && \
                     mount --bind \"$1\" \"$(readlink -f /etc/resolv.conf)\" || exit 77; exec \"$0\" --exact \"$2\" --nocapture";

/// Runs a test's body in namespaces of its own: the same test in another process of this program. Where the system allows none
/// of it, nothing is tested.
pub(crate) fn in_own_network(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "--net", "sh", "-c", ENTER]).arg(std::env::current_exe().unwrap());
    let output = command.arg(folder.path().join("resolv.conf")).arg(test).env(INSIDE, "yes").output();
    let said = output
        .as_ref()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr));
    match output.as_ref().map(|output| output.status.code()) {
        Ok(Some(0)) => assert!(said.unwrap().contains("1 passed"), "{test} is no test"),
        // What the test program says of a test that failed.
        Ok(Some(101)) => panic!("{}", said.unwrap()),
        status => eprintln!("{test} is skipped: no network of its own to be had: {status:?}"),
    }
}

/// Answers on port 53 for as long as the process lives. Names and what they have: `A 192.0.2.1`, `PTR a.example`, `SERVFAIL`,
/// or else the text of a TXT record. Other names do not exist.
pub(crate) fn serve_names(lines: Vec<(String, String)>) {
    let socket = UdpSocket::bind(("127.0.0.1", 53)).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let request = Message::from_vec(&buffer[..length]).unwrap();
            socket.send_to(&answer(&request, &lines).to_vec().unwrap(), from).unwrap();
        }
    });
}

fn answer(request: &Message, lines: &[(String, String)]) -> Message {
    let question = request.queries[0].clone();
    let name = question.name().to_ascii().to_ascii_lowercase();
    let name = name.trim_end_matches('.');
    let there: Vec<&str> = lines.iter().filter(|(owner, _)| owner == name).map(|(_, data)| &**data).collect();
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.recursion_available = true;
    response.add_query(question.clone());
    if there.contains(&"SERVFAIL") {
        response.metadata.response_code = ResponseCode::ServFail;
        return response;
    }
    for data in &there {
        let data = data_of(data);
        if data.record_type() == question.query_type() {
            response.add_answer(Record::from_rdata(question.name().clone(), 60, data));
        }
    }
    if response.answers.is_empty() {
        let root = Name::root();
        let soa = SOA::new(root.clone(), root.clone(), 1, 60, 60, 60, 60);
        response.add_authority(Record::from_rdata(root, 60, RData::SOA(soa)));
    }
    if there.is_empty() {
        response.metadata.response_code = ResponseCode::NXDomain;
    }
    response
}

fn data_of(data: &str) -> RData {
    match data.split_once(' ') {
        Some(("A", ip)) => RData::A(A(ip.parse().unwrap())),
        Some(("PTR", host)) => RData::PTR(PTR(Name::from_ascii(format!("{host}.")).unwrap())),
        _ => RData::TXT(TXT::new(vec![data.to_owned()])),
    }
}
