//! `dns`: look-ups through the relay's resolver, so many in a call, below the zones that were granted.

use std::net::IpAddr;
use std::time::Duration;

use wasmtime::Result;

use super::super::state::State;
use super::wit::dns::{Answer, DnsError, Host, MxData, RecordData, RecordKind, SrvData};
use crate::routing::{self, FaultKind, ResolveError};

/// Octets of a name, and of one of its labels (RFC 1035 section 2.3.4; without the root).
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// Records of one answer, and their octets: what a zone's owner publishes must not fill a guest.
const RECORDS_MAX: usize = 100;
const OCTETS_MAX: usize = 64 << 10;

/// No look-up waits longer; one in a hook also leaves half of the hook's time to whoever asked.
const PATIENCE: Duration = Duration::from_secs(5);

/// Numbers handed to guests stay below this: some of their languages know no larger ones.
const NUMBER_MAX: u32 = i32::MAX.unsigned_abs();

/// In lower case, without a final dot. Underscores and slashes do occur in the DNS; what would need an escape does not.
fn name_of(text: &str) -> Result<String, DnsError> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        let good = |b: u8| b.is_ascii_graphic() && !b"\\\"();@$".contains(&b);
        (1..=LABEL_MAX).contains(&label.len()) && label.bytes().all(good)
    };
    if name.len() <= NAME_MAX && name.split('.').all(label) { Ok(name) } else { Err(DnsError::InvalidName) }
}

/// Where a list keeps what it says of an address (RFC 5782 section 2.1).
fn listed(address: IpAddr, zone: &str) -> String {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.{zone}")
        }
        IpAddr::V6(ip) => {
            let digits = ip.octets().into_iter().rev().map(|octet| format!("{:x}.{:x}.", octet & 15, octet >> 4));
            digits.chain([zone.to_owned()]).collect()
        }
    }
}

fn kind_of(kind: RecordKind) -> routing::RecordKind {
    match kind {
        RecordKind::A => routing::RecordKind::A,
        RecordKind::Aaaa => routing::RecordKind::Aaaa,
        RecordKind::Mx => routing::RecordKind::Mx,
        RecordKind::Txt => routing::RecordKind::Txt,
        RecordKind::Ptr => routing::RecordKind::Ptr,
        RecordKind::Cname => routing::RecordKind::Cname,
        RecordKind::Ns => routing::RecordKind::Ns,
        RecordKind::Srv => routing::RecordKind::Srv,
        RecordKind::Tlsa => routing::RecordKind::Tlsa,
    }
}

fn error_of(error: ResolveError) -> DnsError {
    match error {
        ResolveError::NoSuchName => DnsError::NoSuchName,
        ResolveError::NoData => DnsError::NoData,
        ResolveError::Temporary(fault) if fault.kind == FaultKind::Timeout => DnsError::TimedOut,
        ResolveError::Temporary(_) => DnsError::ServerFailure,
    }
}

/// A record, and about how many octets it has.
fn record(data: routing::RecordData) -> (RecordData, usize) {
    match data {
        routing::RecordData::Address(ip) => (RecordData::Address(ip.to_string()), 16),
        routing::RecordData::Name(name) => (RecordData::Name(name.to_string()), name.len()),
        routing::RecordData::Mx(mx) => {
            let size = mx.exchange.len();
            (RecordData::Mx(MxData { preference: mx.preference, exchange: mx.exchange.to_string() }), size)
        }
        routing::RecordData::Text(text) => {
            let text = String::from_utf8_lossy(&text).into_owned();
            let size = text.len();
            (RecordData::Txt(text), size)
        }
        routing::RecordData::Srv { priority, weight, port, target } => {
            (RecordData::Srv(SrvData { priority, weight, port, target: target.to_string() }), target.len())
        }
        routing::RecordData::Raw(octets) => {
            let size = octets.len();
            (RecordData::Raw(octets), size)
        }
    }
}

fn bounded(records: Vec<routing::RecordData>) -> Vec<RecordData> {
    let mut left = OCTETS_MAX;
    let fits = |(data, size): (RecordData, usize)| {
        left = left.checked_sub(size)?;
        Some(data)
    };
    records.into_iter().take(RECORDS_MAX).map(record).map_while(fits).collect()
}

impl State {
    /// The one place where the grant is looked at: `name` lies in a granted zone, and a look-up is left.
    fn may_look_up(&mut self, name: &str) -> Result<(), DnsError> {
        let grant = self.shared.grants.dns.as_ref().ok_or(DnsError::Denied)?;
        let below = |zone: &str| name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if !grant.zones.is_empty() && !grant.zones.iter().any(|zone| below(zone)) {
            return Err(DnsError::Denied);
        }
        if self.lookups >= grant.lookups {
            return Err(DnsError::Denied);
        }
        self.lookups += 1;
        Ok(())
    }

    async fn ask_resolver(&mut self, name: &str, kind: routing::RecordKind) -> Result<routing::Answer, DnsError> {
        let patience = self.hook.map_or(PATIENCE, |hook| PATIENCE.min(self.shared.budget(hook).wall / 2));
        let resolver = self.shared.services.resolver.clone();
        match tokio::time::timeout(patience, resolver.records(name, kind)).await {
            Ok(answer) => answer.map_err(error_of),
            Err(_) => Err(DnsError::TimedOut),
        }
    }

    async fn dns_lookup(&mut self, name: &str, kind: RecordKind) -> Result<Answer, DnsError> {
        let name = name_of(name)?;
        self.may_look_up(&name)?;
        let answer = self.ask_resolver(&name, kind_of(kind)).await?;
        let ttl_seconds = answer.ttl.min(NUMBER_MAX);
        Ok(Answer { records: bounded(answer.records), ttl_seconds, secure: answer.secure })
    }

    /// Not to be listed is an answer too: an empty one.
    async fn dns_list_lookup(&mut self, address: &str, zone: &str) -> Result<Vec<String>, DnsError> {
        let address = address.parse().map_err(|_| DnsError::Other("that is no address".to_owned()))?;
        let zone = name_of(zone)?;
        let name = name_of(&listed(address, &zone))?;
        self.may_look_up(&zone)?;
        let answer = match self.ask_resolver(&name, routing::RecordKind::A).await {
            Err(DnsError::NoSuchName | DnsError::NoData) => return Ok(Vec::new()),
            answer => answer?,
        };
        let address = |data: &routing::RecordData| match data {
            routing::RecordData::Address(ip) => Some(ip.to_string()),
            _ => None,
        };
        Ok(answer.records.iter().filter_map(address).take(RECORDS_MAX).collect())
    }
}

impl Host for State {
    async fn lookup(&mut self, name: String, kind: RecordKind) -> Result<Result<Answer, DnsError>> {
        self.charge()?;
        let args = (&name, kind);
        if let Some(answer) = self.played("dns.lookup", &args)? {
            return Ok(answer);
        }
        let answer = self.dns_lookup(&name, kind).await;
        self.note("dns.lookup", &args, &answer);
        Ok(answer)
    }

    async fn list_lookup(&mut self, address: String, zone: String) -> Result<Result<Vec<String>, DnsError>> {
        self.charge()?;
        let args = (&address, &zone);
        if let Some(answer) = self.played("dns.list-lookup", &args)? {
            return Ok(answer);
        }
        let answer = self.dns_list_lookup(&address, &zone).await;
        self.note("dns.list-lookup", &args, &answer);
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let long = format!("{}.example", "x".repeat(64));
        let longest = format!("{}abc", "abcdefghi.".repeat(25));
        let longer = format!("{longest}d");
        let table = [
            ("Example.ORG.", Some("example.org")),
            ("_25._tcp.mx.example.org", Some("_25._tcp.mx.example.org")),
            ("1.0/25.2.0.192.in-addr.arpa", Some("1.0/25.2.0.192.in-addr.arpa")),
            ("org", Some("org")),
            ("", None),
            (".", None),
            ("a..b", None),
            (".a", None),
            ("a b", None),
            ("a\\.b", None),
            ("müller.example", None),
            ("a\0b", None),
            (&long, None),
            (&longest, Some(&longest)),
            (&longer, None),
        ];
        for (text, expected) in table {
            assert_eq!(name_of(text).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn lists_keep_addresses_backwards() {
        let at = |ip: &str| listed(ip.parse().unwrap(), "bl.example");
        assert_eq!(at("192.0.2.99"), "99.2.0.192.bl.example");
        assert_eq!(at("::ffff:192.0.2.99"), "99.2.0.192.bl.example");
        assert_eq!(at("2001:db8::5"), "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example");
    }

    #[test]
    fn answers_are_bounded() {
        let text = |size: usize| routing::RecordData::Text(vec![b'x'; size]);
        assert_eq!(bounded(vec![text(1); 500]).len(), RECORDS_MAX);
        assert_eq!(bounded(vec![text(30_000); 5]).len(), 2);
    }
}
