//! What an operator should know of the certificates that a relay shows: their time, their names, their strength. Judges
//! files, never a connection. Blocking.

use super::{ServerSettings, TlsError, certificate, pem};

/// Whoever renews certificates does so a month before; a fortnight leaves time to see why it did not happen.
const SOON: i64 = 14 * 86_400;

/// Something about the certificate at this place in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Of `ServerSettings::certificates`.
    pub at: usize,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub help: String,
}

/// What is to be said of all of them; one of them should be for `hostname`, if there is such a name; `now` in seconds since 1970.
///
/// # Errors
/// A file that can't be read, or that has no certificate.
pub fn remarks(settings: &ServerSettings, hostname: Option<&str>, now: i64) -> Result<Vec<Remark>, TlsError> {
    let mut found = Vec::new();
    let mut named = false;
    for (at, one) in settings.certificates.iter().enumerate() {
        let chain = pem::certificates(&one.chain)?;
        let leaf = chain.first().map(|leaf| &**leaf).unwrap_or_default();
        let mut say = |problem: String, help: &str| {
            let problem = format!("{}: {problem}", one.chain.display());
            found.push(Remark { at, problem, help: help.to_owned() });
        };
        if let Some(problem) = certificate::untimely(leaf, now) {
            say(problem, "renew it; whoever judges certificates delivers nothing here");
        } else if let Some(date) = certificate::ends_before(leaf, now + SOON) {
            say(format!("the certificate ends on {date}"), "renew it; see why that did not happen by itself");
        }
        if let Some(problem) = certificate::weakness(leaf) {
            say(problem, "make one with a new key: RSA of 2048 bits or more, or ECDSA");
        }
        if chain.len() == 1 && certificate::common_issuer(leaf) == Some(false) {
            let problem = "the certificate of the authority that signed it is not in the file".to_owned();
            say(problem, "put the whole chain into it, leaf first: many clients can't find the rest");
        }
        named |= hostname.is_some_and(|host| certificate::dns_names(leaf).iter().any(|name| is_for(name, host)));
    }
    if let Some(hostname) = hostname.filter(|_| !named && !settings.certificates.is_empty()) {
        let problem = format!("no certificate is for {hostname}, the name that this relay gives itself");
        let help = "get one for it, or set hostname to the name in the certificate".to_owned();
        found.push(Remark { at: 0, problem, help });
    }
    Ok(found)
}

/// RFC 6125 section 6.4.3: a wildcard stands for one whole label, the first.
fn is_for(name: &str, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    match name.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(_, above)| above == rest),
        None => name == host,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, Issuer, KeyPair, date_time_ymd};

    use super::*;
    use crate::tls::Certificate;

    const JUNE: i64 = 1_780_272_000; // 2026-06-01

    fn judged(name: &str, until: (i32, u8, u8), hostname: &str, own: bool) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chain.pem");
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        let key = KeyPair::generate().unwrap();
        let pem = if own {
            params.self_signed(&key).unwrap().pem()
        } else {
            let above = KeyPair::generate().unwrap();
            let mut authority = CertificateParams::new(Vec::new()).unwrap();
            authority.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
            params.signed_by(&key, &Issuer::new(authority, above)).unwrap().pem()
        };
        std::fs::write(&path, pem).unwrap();
        let settings = ServerSettings {
            certificates: vec![Certificate { chain: path.clone(), key: path }],
            authorities: None,
            minimum: crate::tls::Minimum::Tls12,
        };
        remarks(&settings, Some(hostname), JUNE).unwrap().into_iter().map(|remark| remark.problem).collect()
    }

    #[test]
    fn time_name_and_chain_are_judged() {
        assert_eq!(judged("mx.example.org", (2027, 1, 1), "mx.example.org", true), Vec::<String>::new());
        assert_eq!(judged("*.example.org", (2027, 1, 1), "MX.example.org", true), Vec::<String>::new());
        let cases = [
            ("mx.example.org", (2026, 5, 1), true, "expired on"),
            ("mx.example.org", (2026, 6, 8), true, "ends on"),
            ("other.example.org", (2027, 1, 1), true, "no certificate is for mx.example.org"),
            ("mx.example.org", (2027, 1, 1), false, "is not in the file"),
        ];
        for (name, until, own, expected) in cases {
            let said = judged(name, until, "mx.example.org", own);
            assert!(said.len() == 1 && said[0].contains(expected), "{expected}: {said:?}");
        }
    }

    #[test]
    fn wildcards_stand_for_one_label() {
        assert!(is_for("*.example.org", "a.example.org") && !is_for("*.example.org", "a.b.example.org"));
        assert!(!is_for("*.example.org", "example.org"));
    }
}
