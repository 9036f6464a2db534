//! The order of mail exchangers (RFC 5321 section 5.1). Pure over the resolver's answer; randomness is passed in.

use super::selection::same_host;
use super::{Mx, Selection, TargetError};

/// The exchangers of `domain` in the order in which they are to be tried: by preference, equals shuffled, none that would
/// lead back to the relay's own names, none that is left out. `notes` gets what was passed over, and why.
///
/// # Errors
/// When the domain is to get no mail, or none is left.
pub fn exchangers(
    domain: &str,
    mut records: Vec<Mx>,
    selection: &Selection,
    random: &mut fastrand::Rng,
    notes: &mut Vec<String>,
) -> Result<Vec<Mx>, TargetError> {
    // RFC 7505 section 3: a null MX stands alone. Among others it is no exchanger at all.
    let is_null = |mx: &Mx| matches!(&*mx.exchange, "" | ".");
    if records.iter().all(is_null) {
        return Err(TargetError::null_mx(domain));
    }
    if records.iter().any(is_null) {
        notes.push("a null MX among other exchangers says nothing (RFC 7505 section 3)".to_owned());
        records.retain(|mx| !is_null(mx));
    }
    if let Some(own) = records.iter().filter(|mx| selection.own.is_name(&mx.exchange)).map(|mx| mx.preference).min() {
        beyond(own, notes);
        records.retain(|mx| mx.preference < own);
        if records.is_empty() {
            return Err(TargetError::loops_back(domain));
        }
    }
    records.retain(|mx| {
        let skipped = selection.skips(&mx.exchange);
        if skipped {
            notes.push(format!("{} {} is left out: skip-hosts", mx.preference, mx.exchange));
        }
        !skipped
    });
    if records.is_empty() {
        return Err(TargetError::all_skipped(domain));
    }
    // Shuffled, then sorted by a stable sort: equals stay shuffled, which spreads the load as section 5.1 demands.
    random.shuffle(&mut records);
    records.sort_by_key(|mx| mx.preference);
    let mut order: Vec<Mx> = Vec::with_capacity(records.len().min(selection.max_hosts));
    for mx in records {
        if order.iter().any(|known| same_host(&known.exchange, &mx.exchange)) {
            continue;
        }
        if order.len() < selection.max_hosts {
            order.push(mx);
        } else {
            notes.push(format!("{} {} is left out: max-hosts", mx.preference, mx.exchange));
        }
    }
    Ok(order)
}

/// "The relay MUST ... eliminate all MX records with preference equal or higher than its own": they would hand the message
/// back (RFC 5321 section 5.1).
pub(super) fn beyond(own: u16, notes: &mut Vec<String>) {
    notes.push(format!("exchangers from preference {own} on lead back to this relay"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(own: &str) -> Selection {
        let own = crate::routing::Own { names: vec![own.into()], ..Default::default() };
        Selection { own, ..Selection::default() }
    }

    fn ask(records: &[(u16, &str)], selection: &Selection, seed: u64) -> Result<Vec<String>, (bool, String)> {
        let records = records.iter().map(|(p, x)| Mx { preference: *p, exchange: (*x).into() }).collect();
        let mut random = fastrand::Rng::with_seed(seed);
        exchangers("example.net", records, selection, &mut random, &mut Vec::new())
            .map(|order| order.iter().map(|mx| mx.exchange.to_string()).collect())
            .map_err(|e| (e.permanent, e.reply.status.map(|s| format!("{} {s}", e.reply.code)).unwrap_or_default()))
    }

    fn refused(permanent: bool, code: &str) -> Result<Vec<String>, (bool, String)> {
        Err((permanent, code.to_owned()))
    }

    #[test]
    fn lower_preference_first_and_equals_in_any_order() {
        let records = [(20, "c"), (10, "a"), (10, "b"), (10, "A.")];
        let orders: Vec<_> = (0..32).map(|seed| ask(&records, &selection(""), seed).unwrap()).collect();
        assert!(orders.iter().all(|o| o.len() == 3 && o[2] == "c"), "{orders:?}");
        assert!(orders.iter().any(|o| o[0] == "b") && orders.iter().any(|o| o[0] != "b"), "{orders:?}");
    }

    #[test]
    fn a_null_mx_refuses_alone_and_says_nothing_among_others() {
        assert_eq!(ask(&[(0, ".")], &selection(""), 1), refused(true, "556 5.1.10"));
        assert_eq!(ask(&[(0, "."), (10, "")], &selection(""), 1), refused(true, "556 5.1.10"));
        assert_eq!(ask(&[(0, "."), (5, "a")], &selection(""), 1), Ok(vec!["a".to_owned()]));
    }

    #[test]
    fn no_way_leads_back_to_us() {
        let records = [(10, "a"), (20, "us"), (20, "b"), (30, "c")];
        assert_eq!(ask(&records, &selection("US"), 1), Ok(vec!["a".to_owned()]));
        assert_eq!(ask(&records[1..], &selection("us"), 1), refused(true, "554 5.4.6"));
        assert_eq!(ask(&records, &selection("other"), 1).unwrap().len(), 4);
    }

    #[test]
    fn hosts_that_are_left_out_do_not_make_the_mail_come_back() {
        let selection = Selection { skip_hosts: [".test".into()].into(), ..Selection::default() };
        assert_eq!(ask(&[(10, "a.test"), (20, "b.example")], &selection, 1), Ok(vec!["b.example".to_owned()]));
        assert_eq!(ask(&[(10, "a.test")], &selection, 1), refused(false, "451 4.4.4"));
    }

    #[test]
    fn a_long_list_is_cut() {
        let names: Vec<String> = (0..40).map(|n| format!("mx{n}")).collect();
        let records: Vec<_> = names.iter().zip(0..).map(|(n, p)| (p, n.as_str())).collect();
        assert_eq!(ask(&records, &selection(""), 1).unwrap(), names[..10]);
    }
}
