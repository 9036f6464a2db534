//! Which of the relay's certificates a client gets: by the name it asks for, and by what it can verify.

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Certificates with the names they are for, in the order of the configuration.
#[derive(Debug)]
pub(super) struct ByName(pub(super) Vec<(Vec<String>, Arc<CertifiedKey>)>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let names: Vec<&[String]> = self.0.iter().map(|(names, _)| names.as_slice()).collect();
        let fitting = ranked(&names, hello.server_name());
        let certified = |at: &usize| self.0.get(*at).map(|(_, certified)| certified);
        // There may be one with RSA and one with ECDSA for the same name.
        let usable =
            |at: &&usize| certified(at).is_some_and(|c| c.key.choose_scheme(hello.signature_schemes()).is_some());
        fitting.iter().find(usable).or(fitting.first()).and_then(certified).cloned()
    }
}

/// The certificates that fit a name best come first: those with the name itself, then those with a wildcard for it. Where
/// none fits, or no name came, all of them as they stand.
fn ranked(certificates: &[&[String]], wanted: Option<&str>) -> Vec<usize> {
    let wanted = wanted.unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    let of = |fits: &dyn Fn(&String) -> bool| {
        let fitting = certificates.iter().enumerate().filter(|(_, names)| names.iter().any(fits));
        fitting.map(|(at, _)| at).collect::<Vec<_>>()
    };
    // RFC 6125 section 6.4.3: a wildcard stands for one whole label, the first.
    let above = wanted.split_once('.').map(|(_, above)| above).filter(|above| !above.is_empty());
    let exact = of(&|name| *name == wanted);
    let wild = of(&|name| name.strip_prefix("*.").is_some_and(|rest| Some(rest) == above));
    let fitting: Vec<_> = exact.into_iter().chain(wild).collect();
    if fitting.is_empty() { (0..certificates.len()).collect() } else { fitting }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_itself_comes_before_a_wildcard_and_the_first_where_nothing_fits() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let certificates =
            [names(&["mx.example.org"]), names(&["*.example.net", "example.net"]), names(&["a.example.net"]), vec![]];
        let certificates: Vec<&[String]> = certificates.iter().map(Vec::as_slice).collect();
        let table: [(Option<&str>, &[usize]); 9] = [
            (Some("mx.example.org"), &[0]),
            (Some("MX.Example.ORG."), &[0]),
            (Some("b.example.net"), &[1]),
            (Some("example.net"), &[1]),
            (Some("a.example.net"), &[2, 1]),
            (Some("b.a.example.net"), &[0, 1, 2, 3]),
            (Some("net"), &[0, 1, 2, 3]),
            (Some(""), &[0, 1, 2, 3]),
            (None, &[0, 1, 2, 3]),
        ];
        for (wanted, expected) in table {
            assert_eq!(ranked(&certificates, wanted), expected, "{wanted:?}");
        }
    }
}
