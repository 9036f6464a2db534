//! What stands in a certificate: names, times, who it is for. Never decides whether to trust one.

use ring::digest::{SHA256, digest};
use x509_parser::prelude::{
    AttributeTypeAndValue, FromDer as _, GeneralName, SubjectPublicKeyInfo, X509Certificate, X509Name,
};
use x509_parser::public_key::PublicKey;

use crate::hooks::ClientCertificate;

/// Names of one kind that are told of a client's certificate.
const NAMES: usize = 100;

/// RFC 4514 section 3.
const SHORT: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// DNS names of subjectAltName in small letters, wildcards among them.
pub(super) fn dns_names(der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Vec::new() };
    names(&certificate, |name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    })
    .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
    .collect()
}

/// The public key of a certificate, as a whole SubjectPublicKeyInfo in DER.
pub(super) fn spki(der: &[u8]) -> Option<Vec<u8>> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    rest.is_empty().then(|| certificate.public_key().raw.to_vec())
}

/// True if this is a SubjectPublicKeyInfo and nothing else.
pub(super) fn is_spki(der: &[u8]) -> bool {
    SubjectPublicKeyInfo::from_der(der).is_ok_and(|(rest, _)| rest.is_empty())
}

/// The issuer's name, in DER.
pub(super) fn issuer(der: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.issuer().as_raw().to_vec())
}

/// The last common name of the subject.
pub(super) fn common_name(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let last = certificate.subject().iter_common_name().last()?;
    last.as_str().ok().map(str::to_owned)
}

/// What is inside a SEQUENCE in DER that stands alone.
pub(super) fn inside(der: &[u8]) -> Option<&[u8]> {
    let (head, rest) = der.split_first_chunk::<2>()?;
    let (length, content) = match head {
        [0x30, short @ ..=0x7f] => (usize::from(*short), rest),
        [0x30, 0x81] => rest.split_first().map(|(length, content)| (usize::from(*length), content))?,
        [0x30, 0x82] => rest
            .split_first_chunk::<2>()
            .map(|(length, content)| (usize::from(u16::from_be_bytes(*length)), content))?,
        _ => return None,
    };
    (content.len() == length).then_some(content)
}

/// What is wrong with a certificate's time, if anything is; `now` in seconds since 1970.
pub(super) fn untimely(der: &[u8], now: i64) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let (from, to) = (certificate.validity().not_before, certificate.validity().not_after);
    if now > to.timestamp() {
        return Some(format!("the certificate expired on {to}"));
    }
    (now < from.timestamp()).then(|| format!("the certificate is not valid before {from}"))
}

/// When it ends, if that is before this moment; in seconds since 1970.
pub(super) fn ends_before(der: &[u8], moment: i64) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let to = certificate.validity().not_after;
    (to.timestamp() < moment).then(|| to.to_string())
}

/// Why others may not take it, whoever signed it: a key that is too short, a signature that can be forged.
pub(super) fn weakness(der: &[u8]) -> Option<String> {
    /// MD5 and SHA-1 with RSA, SHA-1 with DSA and ECDSA.
    const FORGEABLE: [&str; 4] =
        ["1.2.840.113549.1.1.4", "1.2.840.113549.1.1.5", "1.2.840.10040.4.3", "1.2.840.10045.4.1"];
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    if let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed()
        && key.key_size() < 2048
    {
        return Some(format!("its RSA key has {} bits", key.key_size()));
    }
    let algorithm = certificate.signature_algorithm.algorithm.to_id_string();
    FORGEABLE.contains(&&*algorithm).then(|| "it is signed with SHA-1 or MD5, which can be forged".to_owned())
}

/// True if it was signed by its own key, false if by another's; none where it can't be read.
pub(super) fn common_issuer(der: &[u8]) -> Option<bool> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.subject().as_raw() == certificate.issuer().as_raw())
}

/// Subject, DNS names, and when it ends, in seconds since 1970; none where it can't be read.
pub(super) fn of_server(der: &[u8]) -> Option<(String, Vec<String>, i64)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let ends = certificate.validity().not_after.timestamp();
    Some((distinguished(certificate.subject()), dns_names(der).into_iter().take(NAMES).collect(), ends))
}

/// The facts of a certificate that a client showed. One that can't be read has its digest.
pub(super) fn of_client(der: &[u8], verified: bool) -> ClientCertificate {
    let sha256 = digest(&SHA256, der).as_ref().try_into().unwrap_or_default();
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return ClientCertificate { verified, sha256, ..ClientCertificate::default() };
    };
    let dns = names(&certificate, |name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    });
    let mail = names(&certificate, |name| match name {
        GeneralName::RFC822Name(name) => Some(*name),
        _ => None,
    });
    ClientCertificate {
        verified,
        subject: distinguished(certificate.subject()).into(),
        dns_names: dns.take(NAMES).map(Into::into).collect(),
        mailboxes: mail.take(NAMES).map(Into::into).collect(),
        sha256,
    }
}

/// Names of one kind. RFC 5280 section 4.2.1.6 has them in ASCII; what is not, or has blanks or a NUL within, only wants to be
/// taken for another one.
fn names<'a>(
    certificate: &'a X509Certificate<'a>,
    kind: impl Fn(&'a GeneralName<'a>) -> Option<&'a str>,
) -> impl Iterator<Item = &'a str> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let all = extension.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    all.iter().filter_map(kind).filter(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic()))
}

/// RFC 4514 section 2: the last part first.
fn distinguished(name: &X509Name<'_>) -> String {
    let relative = name.iter().map(|relative| relative.iter().map(attribute).collect::<Vec<_>>().join("+"));
    let mut parts: Vec<String> = relative.collect();
    parts.reverse();
    parts.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    match (SHORT.iter().find(|(known, _)| *known == oid), attribute.as_str()) {
        (Some((_, short)), Ok(text)) => format!("{short}={}", escaped(text)),
        (short, _) => format!("{}=#{}", short.map_or(&*oid, |(_, short)| short), encoded(attribute)),
    }
}

/// RFC 4514 section 2.4; control characters too, so that the text stays on its line.
fn escaped(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => out.extend(['\\', c]),
            '#' if at == 0 => out.push_str("\\#"),
            ' ' if at == 0 || at == last => out.push_str("\\ "),
            c if c.is_control() => c.to_string().bytes().for_each(|b| out.push_str(&format!("\\{b:02X}"))),
            c => out.push(c),
        }
    }
    out
}

/// The value's DER in hexadecimal. Values are short of what would need a tag or a length of another form than these.
fn encoded(attribute: &AttributeTypeAndValue<'_>) -> String {
    let value = attribute.attr_value();
    let tag = (value.class() as u8) << 6 | u8::from(value.header.constructed()) << 5;
    let tag = tag | u8::try_from(value.tag().0 & 0x1f).unwrap_or_default();
    let content = value.as_bytes();
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    let head = match length {
        [0, low] if low < 0x80 => vec![tag, low],
        [0, low] => vec![tag, 0x81, low],
        [high, low] => vec![tag, 0x82, high, low],
    };
    head.iter().chain(content).map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType, date_time_ymd};

    use super::*;

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_subject_is_written_as_rfc_4514_says() {
        let mut name = DistinguishedName::new();
        name.push(DnType::CountryName, DnValue::PrintableString("SE".try_into().unwrap()));
        name.push(DnType::OrganizationName, "Å & Co, \"Post\"\n");
        name.push(
            DnType::CustomDnType(vec![1, 2, 840, 113549, 1, 9, 1]),
            DnValue::Ia5String("a@b".try_into().unwrap()),
        );
        name.push(DnType::CommonName, " #mx; ");
        let der = made(|params| params.distinguished_name = name);
        let facts = of_client(&der, true);
        assert_eq!(
            &*facts.subject,
            "CN=\\ #mx\\;\\ ,1.2.840.113549.1.9.1=#1603614062,O=Å & Co\\, \\\"Post\\\"\\0A,C=SE"
        );
        assert_eq!(facts.sha256.as_slice(), digest(&SHA256, &der).as_ref());
        assert!(facts.verified);
    }

    #[test]
    fn alternative_names_are_told_by_kind_and_odd_ones_are_left_out() {
        let der = made(|params| {
            let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
            params.subject_alt_names = vec![
                dns("MX.example.org"),
                dns("*.example.net"),
                dns("good.example\0.bad.example"),
                SanType::Rfc822Name("ann@example.org".try_into().unwrap()),
                SanType::IpAddress([192, 0, 2, 1].into()),
            ];
        });
        let facts = of_client(&der, false);
        assert_eq!(facts.dns_names, ["MX.example.org".into(), "*.example.net".into()]);
        assert_eq!(facts.mailboxes, ["ann@example.org".into()]);
        assert_eq!(dns_names(&der), ["mx.example.org", "*.example.net"]);
        let rubbish = of_client(b"rubbish", false);
        assert_eq!((&*rubbish.subject, rubbish.sha256 == [0; 32]), ("", false));
    }

    #[test]
    fn the_time_of_a_certificate_is_judged() {
        let der = made(|params| {
            params.not_before = date_time_ymd(2026, 1, 1);
            params.not_after = date_time_ymd(2026, 2, 1);
        });
        const JANUARY: i64 = 1_767_225_600;
        assert!(untimely(&der, JANUARY - 1).unwrap().contains("not valid before"));
        assert_eq!(untimely(&der, JANUARY + 86_400), None);
        assert_eq!(of_server(&der).unwrap().2, JANUARY + 31 * 86_400);
        assert!(untimely(&der, JANUARY + 32 * 86_400).unwrap().contains("expired on Feb"));
    }
}
