//! The record at `_smtp._tls.DOMAIN` (RFC 8460 section 3): where a domain wants its reports. Pure.

use std::sync::Arc;

use crate::mail::Mailbox;

/// Destinations one domain can name. RFC 8460 sets no bound; each costs a message or a connection.
const DESTINATIONS_MAX: usize = 5;

/// Where a report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// By mail.
    Mail(Mailbox),
    /// Over HTTPS.
    Post {
        /// Host name.
        host: Arc<str>,
        /// If it is not the usual one.
        port: Option<u16>,
        /// Path and query.
        path: Arc<str>,
    },
}

/// What the TXT records ask for. Of several records, none counts; of the destinations, those that can't be read are passed
/// over.
pub fn destinations<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Vec<Destination> {
    let mut ours = records.into_iter().filter(|text| text.starts_with(b"v=TLSRPTv1;"));
    let (Some(only), None) = (ours.next(), ours.next()) else { return Vec::new() };
    let Ok(text) = std::str::from_utf8(only) else { return Vec::new() };
    let fields = text.split(';').skip(1).map(|field| field.trim_matches([' ', '\t']));
    let rua = fields.filter_map(|field| field.split_once('=')).find(|(name, _)| *name == "rua");
    let uris = rua.map(|(_, uris)| uris).unwrap_or_default().split(',');
    uris.filter_map(|uri| destination(uri.trim_matches([' ', '\t']))).take(DESTINATIONS_MAX).collect()
}

fn destination(uri: &str) -> Option<Destination> {
    let (scheme, rest) = uri.split_once(':')?;
    if scheme.eq_ignore_ascii_case("mailto") {
        // RFC 6068: header fields may follow; they are the mail program's business.
        let address = decoded(rest.split('?').next()?)?;
        let mailbox = Mailbox::parse(&address, false).ok()?;
        return (!mailbox.domain.as_str().is_empty()).then_some(Destination::Mail(mailbox));
    }
    if !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let uri: http::Uri = uri.parse().ok()?;
    let authority = uri.authority()?;
    // A password in a public record is a mistake, and not ours to send.
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return None;
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Some(Destination::Post {
        host: authority.host().to_ascii_lowercase().into(),
        port: authority.port_u16(),
        path: path.into(),
    })
}

/// Percent-encoding undone (RFC 3986 section 2.1).
fn decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        rest = others;
        if *first != b'%' {
            octets.push(*first);
            continue;
        }
        let (digits, others) = rest.split_at_checked(2)?;
        octets.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = others;
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(records: &[&str]) -> Vec<String> {
        let show = |destination: Destination| match destination {
            Destination::Mail(mailbox) => mailbox.to_string(),
            Destination::Post { host, port, path } => format!("{host} {port:?} {path}"),
        };
        destinations(records.iter().map(|text| text.as_bytes())).into_iter().map(show).collect()
    }

    #[test]
    fn destinations_are_read_from_one_good_record() {
        let table: [(&[&str], &[&str]); 13] = [
            // RFC 8460 section 3.1.
            (&["v=TLSRPTv1;rua=mailto:reports@example.com"], &["reports@example.com"]),
            (&["v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt"], &["reporting.example.com None /v1/tlsrpt"]),
            (
                &["v=TLSRPTv1; rua=mailto:a%2Bb@example.com, https://R.example:8443/x?y=z ;"],
                &["a+b@example.com", "r.example Some(8443) /x?y=z"],
            ),
            (&["v=TLSRPTv1; rua=mailto:a@example.com?subject=x,http://x.example/,ftp:x,a@b"], &["a@example.com"]),
            (&["v=TLSRPTv1; rua=https://u:p@x.example/"], &[]),
            (&["v=TLSRPTv1; x=y; rua=https://x.example"], &["x.example None /"]),
            (&["v=TLSRPTv1; rua=mailto:postmaster,mailto:@b,mailto:%zz@b"], &[]),
            (&["v=TLSRPTv1; rua=mailto:a@b.example", "v=TLSRPTv1; rua=mailto:c@d.example"], &[]),
            (&["v=spf1", "v=TLSRPTv1; rua=mailto:a@b.example"], &["a@b.example"]),
            (&["v=TLSRPTv2; rua=mailto:a@b.example"], &[]),
            (&["v=TLSRPTv1;"], &[]),
            (&["rua=mailto:a@b.example"], &[]),
            (&[], &[]),
        ];
        for (records, expected) in table {
            assert_eq!(read(records), expected, "{records:?}");
        }
        let many = format!("v=TLSRPTv1; rua={}", vec!["mailto:a@b.example"; 100].join(","));
        assert_eq!(read(&[&many]).len(), DESTINATIONS_MAX);
    }
}
