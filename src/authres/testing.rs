//! A name server of the tests' own, on a port of its own: it answers from a list, fails or keeps silent where it is told
//! to, and remembers what it was asked.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hickory_server::proto::op::{Message, ResponseCode};
use hickory_server::proto::rr::rdata::{A, MX, SOA, TXT};
use hickory_server::proto::rr::{Name, RData, Record};
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::Authenticator;

/// Serves for as long as it is held.
pub(crate) struct Dns {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

/// A name, and what is there: `A 192.0.2.1`, `MX b.example`, `SERVFAIL`, `SILENCE`, or else the text of a TXT record.
pub(crate) type Line = (String, String);

/// For lists in the code.
pub(crate) fn lines(lines: &[(&str, &str)]) -> Vec<Line> {
    lines.iter().map(|(name, data)| ((*name).to_owned(), (*data).to_owned())).collect()
}

impl Dns {
    pub(crate) async fn serve(lines: Vec<Line>) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let log = asked.clone();
        let serving = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
                let request = Message::from_vec(&buffer[..len]).unwrap();
                let question = &request.queries[0];
                log.lock().push(format!("{} {}", text(question.name()), question.query_type()));
                if let Some(response) = answer(&request, &lines) {
                    socket.send_to(&response.to_vec().unwrap(), from).await.unwrap();
                }
            }
        });
        Self { address, asked, serving }
    }

    /// Asks this server and nobody else.
    pub(crate) fn authenticator(&self) -> Authenticator {
        Authenticator::with_servers(&[self.address], "mx.example.net".into()).unwrap()
    }

    /// What it was asked since the last time: `name TYPE`, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock())
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn text(name: &Name) -> String {
    name.to_ascii().to_ascii_lowercase().trim_end_matches('.').to_owned()
}

fn answer(request: &Message, lines: &[Line]) -> Option<Message> {
    let question = request.queries[0].clone();
    let name = text(question.name());
    let there: Vec<&str> = lines.iter().filter(|(owner, _)| *owner == name).map(|(_, data)| &**data).collect();
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.recursion_available = true;
    response.add_query(question.clone());
    if there.contains(&"SILENCE") {
        return None;
    }
    if there.contains(&"SERVFAIL") {
        response.metadata.response_code = ResponseCode::ServFail;
        return Some(response);
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
    Some(response)
}

fn data_of(data: &str) -> RData {
    match data.split_once(' ') {
        Some(("A", ip)) => RData::A(A(ip.parse().unwrap())),
        Some(("MX", host)) => RData::MX(MX::new(10, Name::from_ascii(format!("{host}.")).unwrap())),
        _ => {
            let parts = data.as_bytes().chunks(255).map(|part| String::from_utf8(part.to_vec()).unwrap());
            RData::TXT(TXT::new(parts.collect()))
        }
    }
}
