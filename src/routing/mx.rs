//! The order of mail exchangers (RFC 5321 section 5.1). Pure over the resolver's answer; randomness is passed in.

use std::sync::Arc;

use super::targets::TargetError;
use super::{Mx, ResolveError};

/// Exchangers tried of one domain. Large domains list five or so; the rest is a mistake or a trap.
const EXCHANGERS_MAX: usize = 10;

/// The exchangers of `domain` in the order in which they are to be tried: by preference, equals shuffled, none that
/// would lead back to `own_host` (empty: not looked for). Without MX records, the domain itself.
///
/// # Errors
/// When the domain is to get no mail, or it is not known where.
pub fn exchangers(
    domain: &str,
    answer: Result<Vec<Mx>, ResolveError>,
    own_host: &str,
    random: &mut fastrand::Rng,
) -> Result<Vec<Arc<str>>, TargetError> {
    let mut records = match answer {
        Ok(records) => records,
        // The implicit MX.
        Err(ResolveError::NoData) => return Ok(vec![domain.into()]),
        Err(ResolveError::NoSuchName) => return Err(TargetError::no_such_domain(domain)),
        Err(error @ ResolveError::Temporary(_)) => return Err(TargetError::look_up(domain, &error)),
    };
    // RFC 7505 section 3: a null MX stands alone. Among others it is no exchanger at all.
    let any = !records.is_empty();
    records.retain(|mx| !matches!(&*mx.exchange, "" | "."));
    if records.is_empty() {
        return if any { Err(TargetError::null_mx(domain)) } else { Ok(vec![domain.into()]) };
    }
    if let Some(own) = records.iter().filter(|mx| same_host(&mx.exchange, own_host)).map(|mx| mx.preference).min() {
        // "the relay MUST ... eliminate all MX records with preference equal or higher than its own": they would hand
        // the message back.
        records.retain(|mx| mx.preference < own);
        if records.is_empty() {
            return Err(TargetError::loops_back(domain));
        }
    }
    // Shuffled, then sorted by a stable sort: equals stay shuffled, which spreads the load as section 5.1 demands.
    random.shuffle(&mut records);
    records.sort_by_key(|mx| mx.preference);
    let mut order: Vec<Arc<str>> = Vec::with_capacity(records.len().min(EXCHANGERS_MAX));
    for mx in records {
        if !order.iter().any(|known| same_host(known, &mx.exchange)) && order.len() < EXCHANGERS_MAX {
            order.push(mx.exchange);
        }
    }
    Ok(order)
}

fn same_host(a: &str, b: &str) -> bool {
    let (a, b) = (a.strip_suffix('.').unwrap_or(a), b.strip_suffix('.').unwrap_or(b));
    !b.is_empty() && a.eq_ignore_ascii_case(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(records: &[(u16, &str)], own: &str, seed: u64) -> Result<Vec<String>, (bool, String)> {
        let records = records.iter().map(|(p, x)| Mx { preference: *p, exchange: (*x).into() }).collect();
        answer(Ok(records), own, seed)
    }

    fn answer(answer: Result<Vec<Mx>, ResolveError>, own: &str, seed: u64) -> Result<Vec<String>, (bool, String)> {
        let order = exchangers("example.net", answer, own, &mut fastrand::Rng::with_seed(seed));
        order
            .map(|o| o.iter().map(ToString::to_string).collect())
            .map_err(|e| (e.permanent, e.reply.status.map(|s| format!("{} {s}", e.reply.code)).unwrap_or_default()))
    }

    fn refused(permanent: bool, code: &str) -> Result<Vec<String>, (bool, String)> {
        Err((permanent, code.to_owned()))
    }

    #[test]
    fn lower_preference_first_and_equals_in_any_order() {
        let records = [(20, "c"), (10, "a"), (10, "b"), (10, "A.")];
        let orders: Vec<_> = (0..32).map(|seed| ask(&records, "", seed).unwrap()).collect();
        assert!(orders.iter().all(|o| o.len() == 3 && o[2] == "c"), "{orders:?}");
        assert!(orders.iter().any(|o| o[0] == "b") && orders.iter().any(|o| o[0] != "b"), "{orders:?}");
    }

    #[test]
    fn what_no_mail_can_go_to() {
        assert_eq!(answer(Err(ResolveError::NoData), "", 1), Ok(vec!["example.net".to_owned()]), "implicit MX");
        assert_eq!(answer(Ok(vec![]), "", 1), Ok(vec!["example.net".to_owned()]));
        assert_eq!(answer(Err(ResolveError::NoSuchName), "", 1), refused(true, "550 5.1.2"));
        assert_eq!(answer(Err(ResolveError::Temporary("SERVFAIL".into())), "", 1), refused(false, "451 4.4.3"));
        assert_eq!(ask(&[(0, ".")], "", 1), refused(true, "556 5.1.10"));
        assert_eq!(ask(&[(0, "."), (5, "a")], "", 1), Ok(vec!["a".to_owned()]));
    }

    #[test]
    fn no_way_leads_back_to_us() {
        let records = [(10, "a"), (20, "us"), (20, "b"), (30, "c")];
        assert_eq!(ask(&records, "US", 1), Ok(vec!["a".to_owned()]));
        assert_eq!(ask(&records[1..], "us", 1), refused(true, "554 5.4.6"));
        assert_eq!(ask(&records, "other", 1).unwrap().len(), 4);
    }

    #[test]
    fn a_long_list_is_cut() {
        let names: Vec<String> = (0..40).map(|n| format!("mx{n}")).collect();
        let records: Vec<_> = names.iter().zip(0..).map(|(n, p)| (p, n.as_str())).collect();
        assert_eq!(ask(&records, "", 1).unwrap(), names[..EXCHANGERS_MAX]);
    }
}
