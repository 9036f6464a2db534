//! A real name server: hickory's, with the zones that a test makes, over UDP and TCP, and with the faults it asks for.
//!
//! The root zone has all names but those below `insecure.test`, which is delegated. Signed, its key is the trust anchor.

use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_server::Server;
use hickory_server::dnssec::NxProofKind;
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::proto::dnssec::crypto::Ed25519SigningKey;
use hickory_server::proto::dnssec::rdata::DNSKEY;
use hickory_server::proto::dnssec::{DnssecSigner, SigningKey as _};
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::tlsa::{CertUsage, Matching, Selector};
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, MX, NS, SOA, TLSA, TXT};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, MessageResponseBuilder, ZoneHandler, ZoneType};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::runtime::Handle;

use super::{Shared, record_type};

/// The zone without a signature.
const INSECURE: &str = "insecure.test";

/// Seconds that an answer may be kept.
const TTL: u32 = 2;

/// How a question is answered instead.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Not at all.
    Silence,
    /// By this code and no records.
    Code(ResponseCode),
    /// Over UDP by "too long", over TCP as usual.
    Truncate,
    /// By these records, unsigned.
    Lie(Vec<&'static str>),
    /// Every other time by SERVFAIL, first of all by it.
    Flap,
}

/// The name server.
pub(crate) struct Names {
    runtime: Handle,
    address: SocketAddr,
    key: Option<PrivatePkcs8KeyDer<'static>>,
    lines: Mutex<Vec<String>>,
    shared: Shared<State>,
    server: Mutex<Option<Server<Handler>>>,
}

#[derive(Default)]
struct State {
    /// By name, for all zones; and that of the root alone, which knows of the delegation.
    catalogs: Option<(Arc<Catalog>, Arc<Catalog>)>,
    faults: Vec<Rule>,
    asked: Vec<(String, RecordType, Protocol)>,
}

struct Rule {
    name: String,
    kind: Option<RecordType>,
    fault: Fault,
    hits: usize,
}

impl Names {
    pub(super) fn start(runtime: Handle, ip: Ipv4Addr, signed: bool) -> Self {
        let key = signed.then(|| Ed25519SigningKey::generate_pkcs8().unwrap());
        let (lines, server) = (Mutex::default(), Mutex::default());
        let mut names = Self { runtime, address: (ip, 0).into(), key, lines, shared: Shared::default(), server };
        names.publish();
        names.address = names.serve();
        names
    }

    /// Where it is asked.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A record: `there.test MX 10 mx.there.test`.
    pub(crate) fn add(&self, line: &str) {
        self.add_all(&[line]);
    }

    /// Many records.
    pub(crate) fn add_all(&self, lines: &[impl AsRef<str>]) {
        self.lines.lock().unwrap().extend(lines.iter().map(|line| line.as_ref().to_owned()));
        self.publish();
    }

    /// Questions about this name and all below it (`.`: all) are answered so; of one type, or of any.
    pub(crate) fn fault(&self, name: &str, kind: &str, fault: Fault) {
        let kind = (kind != "ANY").then(|| record_type(kind));
        self.shared.change(|state| state.faults.push(Rule { name: name.to_owned(), kind, fault, hits: 0 }));
    }

    /// All is answered as usual again.
    pub(crate) fn heal(&self) {
        self.shared.change(|state| state.faults.clear());
    }

    /// The process dies: nobody is there to be asked.
    pub(crate) fn die(&self) {
        if let Some(mut server) = self.server.lock().unwrap().take() {
            self.runtime.block_on(server.shutdown_gracefully()).unwrap();
        }
    }

    /// It is back where it was.
    pub(crate) fn revive(&self) {
        self.serve();
    }

    /// What was asked for so far: name, type, over TCP.
    pub(crate) fn asked(&self) -> Vec<(String, String, bool)> {
        let all = |state: &mut State| state.asked.clone();
        let all = self.shared.change(all);
        all.into_iter().map(|(name, kind, over)| (name, kind.to_string(), over == Protocol::Tcp)).collect()
    }

    /// The key of the root zone, as it is written in a zone file.
    pub(crate) fn trust_anchor(&self) -> String {
        format!(". 3600 IN DNSKEY {}", self.dnskey())
    }

    fn dnskey(&self) -> DNSKEY {
        let key = Ed25519SigningKey::from_pkcs8(self.key.as_ref().unwrap()).unwrap();
        DNSKEY::from_key(&key.to_public_key().unwrap())
    }

    /// Makes the zones anew.
    fn publish(&self) {
        let lines = self.lines.lock().unwrap();
        let below = |line: &&String| line.split(' ').next().is_some_and(|name| is_below(name, INSECURE));
        let (insecure, mut secure): (Vec<&String>, Vec<&String>) = lines.iter().partition(below);
        let delegation = format!("{INSECURE} NS ns.{INSECURE}");
        secure.push(&delegation);
        let root: Arc<dyn ZoneHandler> = Arc::new(self.zone(".", &secure, self.key.is_some()));
        let child: Arc<dyn ZoneHandler> = Arc::new(self.zone(INSECURE, &insecure, false));
        let catalog = |zones: &[(&str, &Arc<dyn ZoneHandler>)]| {
            let mut catalog = Catalog::new();
            zones.iter().for_each(|(at, zone)| catalog.upsert(name(at).into(), vec![Arc::clone(zone)]));
            Arc::new(catalog)
        };
        let both = (catalog(&[(".", &root), (INSECURE, &child)]), catalog(&[(".", &root)]));
        self.shared.change(|state| state.catalogs = Some(both));
    }

    fn zone(&self, origin: &str, lines: &[&String], signed: bool) -> InMemoryZoneHandler {
        let proof = signed.then_some(NxProofKind::Nsec);
        let mut zone = InMemoryZoneHandler::empty(name(origin), ZoneType::Primary, AxfrPolicy::Deny, proof);
        let soa = SOA::new(name("ns.test"), name("postmaster.test"), 1, 60, 60, 60, TTL);
        zone.upsert_mut(Record::from_rdata(name(origin), TTL, RData::SOA(soa)), 1);
        zone.upsert_mut(Record::from_rdata(name(origin), TTL, RData::NS(NS(name("ns.test")))), 1);
        for line in lines {
            zone.upsert_mut(record(line), 1);
        }
        if signed {
            let key = Ed25519SigningKey::from_pkcs8(self.key.as_ref().unwrap()).unwrap();
            let signer = DnssecSigner::new(self.dnskey(), Box::new(key), name(origin), Duration::from_secs(86_400));
            zone.add_zone_signing_key_mut(signer).unwrap();
            zone.secure_zone_mut().unwrap();
        }
        zone
    }

    fn serve(&self) -> SocketAddr {
        let mut slot = self.server.lock().unwrap();
        assert!(slot.is_none(), "it lives");
        let mut server = Server::new(Handler(Arc::clone(&self.shared)));
        let address = self.runtime.block_on(async {
            let tcp = tokio::net::TcpListener::bind(self.address).await.unwrap();
            let address = tcp.local_addr().unwrap();
            server.register_socket(tokio::net::UdpSocket::bind(address).await.unwrap());
            server.register_listener(tcp, Duration::from_secs(30), 16);
            address
        });
        *slot = Some(server);
        address
    }
}

/// Answers from the zones, or as a rule has it.
struct Handler(Shared<State>);

impl Handler {
    fn fault_for(&self, asked: &str, kind: RecordType, over: Protocol) -> Option<Fault> {
        self.0.change(|state| {
            state.asked.push((asked.to_owned(), kind, over));
            let fits = |rule: &&mut Rule| is_below(asked, &rule.name) && rule.kind.is_none_or(|only| only == kind);
            let rule = state.faults.iter_mut().find(fits)?;
            rule.hits += 1;
            match &rule.fault {
                Fault::Flap if rule.hits % 2 == 1 => Some(Fault::Code(ResponseCode::ServFail)),
                Fault::Flap => None,
                Fault::Truncate if over == Protocol::Tcp => None,
                fault => Some(fault.clone()),
            }
        })
    }

    fn catalog(&self, kind: RecordType) -> Arc<Catalog> {
        let (all, root) = self.0.change(|state| state.catalogs.clone()).unwrap();
        // What is said of a zone cut stands in the zone above it (RFC 4035 section 3.1.4.1).
        if kind == RecordType::DS { root } else { all }
    }
}

// Written out as the trait's macro writes it.
impl RequestHandler for Handler {
    fn handle_request<'s, 'r, 'f, R, T>(
        &'s self,
        request: &'r Request,
        mut response: R,
    ) -> Pin<Box<dyn Future<Output = ResponseInfo> + Send + 'f>>
    where
        R: 'f + ResponseHandler,
        T: 'f + Time,
        's: 'f,
        'r: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let asked = request.request_info().unwrap().query.clone();
            let text = Name::from(asked.name()).to_ascii().to_ascii_lowercase();
            let text = text.trim_end_matches('.');
            let kind = asked.query_type();
            let mut metadata = Metadata::response_from_request(&request.metadata);
            metadata.authoritative = true;
            let answer = match self.fault_for(text, kind, request.protocol()) {
                None => return self.catalog(kind).handle_request::<R, T>(request, response).await,
                Some(Fault::Silence) => return Header { metadata, counts: HeaderCounts::default() }.into(),
                Some(Fault::Code(code)) => {
                    metadata.response_code = code;
                    Vec::new()
                }
                Some(Fault::Lie(lines)) => lines.iter().map(|line| record(line)).collect(),
                Some(Fault::Truncate | Fault::Flap) => {
                    metadata.truncation = true;
                    Vec::new()
                }
            };
            let builder = MessageResponseBuilder::from_message_request(request);
            response.send_response(builder.build(metadata, &answer, [], [], [])).await.unwrap()
        })
    }
}

/// True for the name itself and all names below it.
fn is_below(asked: &str, name: &str) -> bool {
    name == "." || asked == name || asked.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
}

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

fn record(line: &str) -> Record {
    let words: Vec<&str> = line.split(' ').collect();
    let data = match (words[1], &words[2..]) {
        ("A", [ip]) => RData::A(A(ip.parse::<Ipv4Addr>().unwrap())),
        ("AAAA", [ip]) => RData::AAAA(AAAA(ip.parse::<Ipv6Addr>().unwrap())),
        ("MX", [preference, host]) => RData::MX(MX::new(preference.parse().unwrap(), name(host))),
        ("CNAME", [host]) => RData::CNAME(CNAME(name(host))),
        ("NS", [host]) => RData::NS(NS(name(host))),
        ("TXT", text) => RData::TXT(TXT::new(vec![text.join(" ")])),
        ("TLSA", [usage, selector, matching, data]) => RData::TLSA(TLSA::new(
            CertUsage::from(usage.parse::<u8>().unwrap()),
            Selector::from(selector.parse::<u8>().unwrap()),
            Matching::from(matching.parse::<u8>().unwrap()),
            octets(data),
        )),
        _ => panic!("no record: {line}"),
    };
    Record::from_rdata(name(words[0]), TTL, data)
}

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}
