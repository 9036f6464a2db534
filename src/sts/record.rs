//! The record at `_mta-sts.DOMAIN` (RFC 8461 section 3.1). Pure.

use std::sync::Arc;

/// The id of the policy that the TXT records announce; none where the domain announces none. Of several records, or of one
/// that breaks the grammar, no id is taken: the domain counts as one without a policy.
pub fn policy_id<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Option<Arc<str>> {
    let mut ours = records.into_iter().filter(|text| text.starts_with(b"v=STSv1;"));
    let (Some(only), None) = (ours.next(), ours.next()) else { return None };
    let text = std::str::from_utf8(only).ok()?;
    let mut fields = text.split(';');
    // The version, which the filter has seen.
    fields.next()?;
    let mut id = None;
    let mut ended = false;
    for field in fields {
        let field = field.trim_matches([' ', '\t']);
        if std::mem::replace(&mut ended, field.is_empty()) {
            // Nothing comes behind the last delimiter.
            return None;
        }
        if field.is_empty() {
            continue;
        }
        let (name, value) = field.split_once('=')?;
        if !is_name(name) || !is_value(value) {
            return None;
        }
        if name == "id" && id.replace(value).is_some() {
            return None;
        }
    }
    let id = id?;
    let good = id.len() <= 32 && id.bytes().all(|b| b.is_ascii_alphanumeric());
    good.then(|| id.into())
}

/// Of a field: a letter or digit, then up to 31 of those and `_`, `-`, `.`.
pub(super) fn is_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    first && name.len() <= 32 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

fn is_value(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic() && b != b';' && b != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_good_record_makes_an_id() {
        let table: [(&[&str], Option<&str>); 19] = [
            // RFC 8461 section 3.1.
            (&["v=STSv1; id=20160831085700Z;"], Some("20160831085700Z")),
            (&["v=STSv1;id=a"], Some("a")),
            (&["v=STSv1; id=a"], Some("a")),
            (&["v=STSv1 ; id=a"], None),
            (&["v=STSv1;\tid=a ; x-y.z=b ;"], Some("a")),
            (&["v=spf1 -all", "v=STSv1; id=a;"], Some("a")),
            (&["v=STSv1; id=a;", "v=STSv1; id=b;"], None),
            (&["v=STSv1; id=a;", "v=STSv1; id=a;"], None),
            (&["v=STSv2; id=a;"], None),
            (&["V=STSv1; id=a;"], None),
            (&[" v=STSv1; id=a;"], None),
            (&["v=STSv1;"], None),
            (&["v=STSv1; id=;"], None),
            (&["v=STSv1; id=a-b;"], None),
            (&["v=STSv1; id=a; id=a;"], None),
            (&["v=STSv1; id=123456789012345678901234567890123;"], None),
            (&["v=STSv1; id=a;; x=y"], None),
            (&["v=STSv1; id=a; x"], None),
            (&[], None),
        ];
        for (records, expected) in table {
            let id = policy_id(records.iter().map(|text| text.as_bytes()));
            assert_eq!(id.as_deref(), expected, "{records:?}");
        }
        assert_eq!(policy_id([b"v=STSv1; id=\xff".as_slice()]), None);
    }
}
