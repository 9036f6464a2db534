//! A made-up DNS: records from a table, the same for the relay's resolver and for the name server that sender
//! authentication asks. Nothing leaves the machine.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, MX, PTR, SOA, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record};
use parking_lot::Mutex;
use tokio::net::UdpSocket;

use crate::routing::{Answer, Lookup, Mx, RecordData, RecordKind, ResolveError, Resolver};

/// Aliases followed.
const ALIASES: usize = 8;

/// Seconds that every record holds.
const TTL: u32 = 60;

/// Octets of a question.
const QUESTION: usize = 4096;

/// What a name has.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Data(RecordKind, RecordData),
    /// The name exists, without records.
    Nothing,
    Failing,
    Silent,
}

/// The table. Cheap to clone; all clones see the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Arc<Mutex<BTreeMap<String, Vec<Entry>>>>);

impl Names {
    /// Replaces the table.
    pub(crate) fn set(&self, lines: &BTreeMap<String, Vec<String>>) -> Result<(), String> {
        let mut table = BTreeMap::new();
        for (name, records) in lines {
            let entry = |text: &String| entry(text).map_err(|why| format!("fakes.dns: {name}: {text:?} {why}"));
            let entries = records.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
            table.insert(name.trim_end_matches('.').to_ascii_lowercase(), entries);
        }
        *self.0.lock() = table;
        Ok(())
    }

    fn look(&self, name: &str, kind: RecordKind) -> Found {
        let mut name = name.trim_end_matches('.').to_ascii_lowercase();
        let table = self.0.lock();
        for _ in 0..ALIASES {
            let Some(entries) = table.get(&name) else { return Found::Error(ResolveError::NoSuchName) };
            if entries.contains(&Entry::Silent) {
                return Found::Silence;
            }
            if entries.contains(&Entry::Failing) {
                return Found::Error(ResolveError::Temporary("SERVFAIL".into()));
            }
            let of_kind = |entry: &Entry| match entry {
                Entry::Data(of, data) if *of == kind => Some(data.clone()),
                _ => None,
            };
            let records: Vec<_> = entries.iter().filter_map(of_kind).collect();
            if !records.is_empty() {
                return Found::Records(records);
            }
            let alias = entries.iter().find_map(|entry| match entry {
                Entry::Data(RecordKind::Cname, RecordData::Name(name)) => Some(name.to_string()),
                _ => None,
            });
            match alias {
                Some(alias) => name = alias,
                None => return Found::Error(ResolveError::NoData),
            }
        }
        Found::Error(ResolveError::Temporary("too many aliases".into()))
    }

    async fn found(&self, name: &str, kind: RecordKind) -> Result<Vec<RecordData>, ResolveError> {
        match self.look(name, kind) {
            Found::Records(records) => Ok(records),
            Found::Error(error) => Err(error),
            Found::Silence => std::future::pending().await,
        }
    }

    /// Answers on a port of loopback until the runtime ends.
    pub(crate) async fn serve(&self) -> std::io::Result<SocketAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, names) = (socket.local_addr()?, self.clone());
        tokio::spawn(async move {
            let mut buffer = vec![0; QUESTION];
            while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                let request = buffer.get(..len).and_then(|octets| Message::from_vec(octets).ok());
                let response = request.and_then(|request| names.answer(&request)?.to_vec().ok());
                if let Some(response) = response {
                    // Whoever asked asks again.
                    let _ = socket.send_to(&response, from).await;
                }
            }
        });
        Ok(address)
    }

    fn answer(&self, request: &Message) -> Option<Message> {
        let question = request.queries.first()?.clone();
        let mut response = Message::response(request.metadata.id, request.metadata.op_code);
        response.metadata.recursion_available = true;
        response.add_query(question.clone());
        let name = question.name().to_ascii();
        let kind = KINDS.iter().find(|(word, _)| *word == question.query_type().to_string()).map(|(_, kind)| *kind);
        let found = match kind {
            Some(kind) => self.look(&name, kind),
            None => Found::Error(ResolveError::NoData),
        };
        match found {
            Found::Silence => return None,
            Found::Records(records) => {
                for data in records.iter().filter_map(rdata) {
                    response.add_answer(Record::from_rdata(question.name().clone(), TTL, data));
                }
            }
            Found::Error(ResolveError::Temporary(_)) => response.metadata.response_code = ResponseCode::ServFail,
            Found::Error(error) => {
                if error == ResolveError::NoSuchName {
                    response.metadata.response_code = ResponseCode::NXDomain;
                }
                let root = Name::root();
                let soa = SOA::new(root.clone(), root.clone(), 1, 60, 60, 60, 60);
                response.add_authority(Record::from_rdata(root, TTL, RData::SOA(soa)));
            }
        }
        Some(response)
    }
}

enum Found {
    Records(Vec<RecordData>),
    Error(ResolveError),
    Silence,
}

impl Resolver for Names {
    fn mx<'a>(&'a self, domain: &'a str) -> Lookup<'a, Vec<Mx>> {
        Box::pin(async move {
            let found = self.found(domain, RecordKind::Mx).await?;
            let mx = |data| if let RecordData::Mx(mx) = data { Some(mx) } else { None };
            Ok(found.into_iter().filter_map(mx).collect())
        })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Lookup<'a, Vec<IpAddr>> {
        Box::pin(async move {
            let six = self.found(host, RecordKind::Aaaa).await;
            let four = self.found(host, RecordKind::A).await;
            let address = |data| if let RecordData::Address(ip) = data { Some(ip) } else { None };
            match (six, four) {
                (Err(error), Err(_)) => Err(error),
                (six, four) => {
                    let all = six.into_iter().flatten().chain(four.into_iter().flatten());
                    Ok(all.filter_map(address).collect())
                }
            }
        })
    }

    fn names<'a>(&'a self, ip: IpAddr) -> Lookup<'a, Vec<Arc<str>>> {
        Box::pin(async move {
            let found = self.found(&Name::from(ip).to_ascii(), RecordKind::Ptr).await?;
            let name = |data| if let RecordData::Name(name) = data { Some(name) } else { None };
            Ok(found.into_iter().filter_map(name).collect())
        })
    }

    fn records<'a>(&'a self, name: &'a str, kind: RecordKind) -> Lookup<'a, Answer> {
        Box::pin(async move {
            let records = self.found(name, kind).await?;
            Ok(Answer { records, ttl: TTL, secure: false })
        })
    }
}

const KINDS: [(&str, RecordKind); 9] = [
    ("A", RecordKind::A),
    ("AAAA", RecordKind::Aaaa),
    ("MX", RecordKind::Mx),
    ("TXT", RecordKind::Txt),
    ("PTR", RecordKind::Ptr),
    ("CNAME", RecordKind::Cname),
    ("NS", RecordKind::Ns),
    ("SRV", RecordKind::Srv),
    ("TLSA", RecordKind::Tlsa),
];

/// `A 192.0.2.1`, `MX 10 mx.example.org`, `SERVFAIL` …
fn entry(text: &str) -> Result<Entry, String> {
    match text {
        "SERVFAIL" => return Ok(Entry::Failing),
        "SILENCE" | "TIMEOUT" => return Ok(Entry::Silent),
        "NODATA" => return Ok(Entry::Nothing),
        _ => {}
    }
    let known = || {
        let kinds = KINDS.map(|(word, _)| word).join(", ");
        format!("is no record: write one of {kinds} and its data, or SERVFAIL, SILENCE or NODATA")
    };
    let (word, data) = text.split_once(' ').ok_or_else(known)?;
    let kind = KINDS.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind).ok_or_else(known)?;
    let parts: Vec<&str> = data.split_whitespace().collect();
    let name = |text: &str| -> Arc<str> { text.trim_end_matches('.').to_ascii_lowercase().into() };
    let number = |text: &str| text.parse::<u16>().map_err(|_| format!("has {text:?} where a number belongs"));
    let data = match (kind, parts.as_slice()) {
        (RecordKind::Txt, _) => RecordData::Text(data.as_bytes().to_vec()),
        (RecordKind::A | RecordKind::Aaaa, [address]) => {
            let ip: IpAddr = address.parse().map_err(|_| "has no IP address".to_owned())?;
            if ip.is_ipv4() != (kind == RecordKind::A) {
                return Err("has an address of the other family".to_owned());
            }
            RecordData::Address(ip)
        }
        (RecordKind::Mx, [preference, host]) => RecordData::Mx(Mx {
            preference: number(preference)?,
            exchange: if *host == "." { ".".into() } else { name(host) },
        }),
        (RecordKind::Ptr | RecordKind::Cname | RecordKind::Ns, [host]) => RecordData::Name(name(host)),
        (RecordKind::Srv, [priority, weight, port, target]) => RecordData::Srv {
            priority: number(priority)?,
            weight: number(weight)?,
            port: number(port)?,
            target: name(target),
        },
        (RecordKind::Tlsa, [octets]) => RecordData::Raw(octets.as_bytes().to_vec()),
        _ => return Err("has the wrong number of parts".to_owned()),
    };
    Ok(Entry::Data(kind, data))
}

/// As it goes over the wire; kinds that sender authentication never asks for have no form here.
fn rdata(data: &RecordData) -> Option<RData> {
    let name = |text: &str| Name::from_ascii(format!("{text}.")).ok();
    Some(match data {
        RecordData::Address(IpAddr::V4(ip)) => RData::A(A(*ip)),
        RecordData::Address(IpAddr::V6(ip)) => RData::AAAA(AAAA(*ip)),
        RecordData::Name(host) => RData::PTR(PTR(name(host)?)),
        RecordData::Mx(mx) => RData::MX(MX::new(mx.preference, name(&mx.exchange)?)),
        RecordData::Text(octets) => {
            // RFC 1035 section 3.3.14: strings of at most 255 octets, joined by whoever reads them.
            let parts = octets.chunks(255).map(|part| String::from_utf8_lossy(part).into_owned());
            RData::TXT(TXT::new(parts.collect()))
        }
        RecordData::Srv { .. } | RecordData::Raw(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(lines: &[(&str, &[&str])]) -> Names {
        let names = Names::default();
        let line = |(name, records): &(&str, &[&str])| {
            ((*name).to_owned(), records.iter().map(|record| (*record).to_owned()).collect())
        };
        names.set(&lines.iter().map(line).collect()).unwrap();
        names
    }

    #[tokio::test]
    async fn answers_are_those_of_the_table() {
        let names = names(&[
            ("Example.org.", &["MX 10 mx.example.org", "TXT v=spf1 -all"]),
            ("mx.example.org", &["CNAME host.example.org"]),
            ("host.example.org", &["A 192.0.2.1", "AAAA 2001:db8::1"]),
            ("1.2.0.192.in-addr.arpa", &["PTR host.example.org"]),
            ("broken.example", &["SERVFAIL"]),
        ]);
        assert_eq!(&*names.mx("example.org").await.unwrap()[0].exchange, "mx.example.org");
        assert_eq!(names.addresses("mx.example.org").await.unwrap().len(), 2);
        assert_eq!(names.names("192.0.2.1".parse().unwrap()).await.unwrap(), ["host.example.org".into()]);
        assert_eq!(names.addresses("nobody.example").await, Err(ResolveError::NoSuchName));
        assert_eq!(names.records("example.org", RecordKind::A).await, Err(ResolveError::NoData));
        assert!(matches!(names.mx("broken.example").await, Err(ResolveError::Temporary(_))));
    }

    #[test]
    fn what_is_no_record_is_said() {
        for (text, part) in
            [("A", "is no record"), ("A ::1", "other family"), ("MX ten x", "number"), ("SRV 1 2", "parts")]
        {
            assert!(entry(text).unwrap_err().contains(part), "{text}");
        }
    }
}
