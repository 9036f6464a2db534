//! Which recipients go which way. Pure.

use waypost_plugin::{Assignment, NextHop, Recipient, Reply, Route, RouteGroup};

use crate::settings::Settings;

/// What the operator wrote for a domain.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// These hops; [`OWN_MX`] among them stands for the recipient's domain.
    Route {
        route: Route,
        /// Of the first hops, whose order is drawn for each message by these. Empty: the order is fixed.
        weights: Vec<u32>,
    },
    /// Nobody gets mail there.
    Fail(Reply),
}

/// The domain of an `mx` hop that the operator left open.
pub(crate) const OWN_MX: &str = "";

/// Groups recipients that go the same way, in the order of their first recipients. Who is not in the table is in no group.
/// `draw` returns a number below its argument, each as likely as the others.
pub(crate) fn groups(
    settings: &Settings,
    recipients: &[Recipient],
    draw: &mut impl FnMut(u32) -> u32,
) -> Vec<RouteGroup> {
    // Entry, and the domain where the route depends on it.
    let mut keys: Vec<(usize, &str)> = Vec::new();
    let mut groups: Vec<RouteGroup> = Vec::new();
    for recipient in recipients {
        let domain = recipient.mailbox.domain.as_str();
        // A bare postmaster is the relay's own, whatever `*` says.
        let Some((number, entry)) = (!domain.is_empty()).then(|| settings.find(domain)).flatten() else { continue };
        let key = (number, if depends_on_domain(entry) { domain } else { "" });
        let known = keys.iter().position(|other| *other == key).and_then(|at| groups.get_mut(at));
        if let Some(group) = known {
            group.recipients.push(recipient.index);
        } else {
            keys.push(key);
            groups.push(RouteGroup { recipients: vec![recipient.index], assignment: assignment(entry, domain, draw) });
        }
    }
    groups
}

fn is_own_mx(hop: &NextHop) -> bool {
    matches!(hop, NextHop::Mx(of) if of == OWN_MX)
}

fn depends_on_domain(entry: &Entry) -> bool {
    matches!(entry, Entry::Route { route, .. } if route.hops.iter().any(is_own_mx))
}

fn assignment(entry: &Entry, domain: &str, draw: &mut impl FnMut(u32) -> u32) -> Assignment {
    match entry {
        Entry::Fail(reply) => Assignment::Fail(reply.clone()),
        Entry::Route { route, weights } => {
            let mut route = route.clone();
            for hop in route.hops.iter_mut().filter(|hop| is_own_mx(hop)) {
                *hop = NextHop::Mx(domain.to_owned());
            }
            route.hops = ordered(route.hops, weights, draw);
            Assignment::Route(route)
        }
    }
}

/// Draws the order of the first hops: each next one by its share of the weights that are left. The others follow in theirs.
fn ordered(mut hops: Vec<NextHop>, weights: &[u32], draw: &mut impl FnMut(u32) -> u32) -> Vec<NextHop> {
    let mut weights = weights.to_vec();
    let backups = hops.split_off(weights.len().min(hops.len()));
    let mut order = Vec::with_capacity(hops.len() + backups.len());
    while hops.len() > 1 {
        let total = weights.iter().fold(0_u32, |sum, weight| sum.saturating_add(*weight));
        let mut point = draw(total.max(1));
        let fits = |weight: &u32| {
            let inside = point < *weight;
            point = point.saturating_sub(*weight);
            inside
        };
        let drawn = weights.iter().position(fits).unwrap_or(0);
        weights.remove(drawn);
        order.push(hops.remove(drawn));
    }
    order.extend(hops);
    order.extend(backups);
    order
}

#[cfg(test)]
mod tests {
    use waypost_plugin::{Mailbox, Settings as _};

    use super::*;

    const DOCUMENT: &str = r#"{
        "routes": {"inside": {"hops": ["smtp://mail.inside.example"], "tls": "verify"}},
        "domains": {
            "example.org": "route:inside", ".example.org": "route:inside",
            "direct.example": {"hops": ["mx"], "lane": "slow"}, ".direct.example": {"hops": ["mx"], "lane": "slow"},
            "old.example": {"fail": "550 5.1.2 moved away"}
        }
    }"#;

    fn to(index: u32, domain: &str) -> Recipient {
        let mailbox = Mailbox { local_part: "a".to_owned(), domain: domain.to_owned() };
        Recipient { index, original: mailbox.clone(), mailbox, params: Vec::new() }
    }

    fn shown(group: &RouteGroup) -> String {
        let way = match &group.assignment {
            Assignment::Fail(reply) => format!("fail {}", reply.code),
            Assignment::Route(route) => route
                .hops
                .iter()
                .map(|hop| match hop {
                    NextHop::Mx(domain) => format!("mx {domain}"),
                    NextHop::Smtp(target) => format!("smtp {}", target.host),
                    other => format!("{other:?}"),
                })
                .collect(),
        };
        format!("{:?} {way}", group.recipients)
    }

    #[test]
    fn recipients_that_go_one_way_are_one_group() {
        let settings = Settings::read(DOCUMENT).unwrap().settings;
        let recipients = [
            to(1, "example.org"),
            to(2, "elsewhere.example"),
            to(5, "a.example.org"),
            to(6, "direct.example"),
            to(7, "old.example"),
            to(8, "example.org"),
            to(9, "x.direct.example"),
            to(10, "y.direct.example"),
            to(11, "x.direct.example"),
            to(12, ""),
        ];
        let shown: Vec<_> = groups(&settings, &recipients, &mut |_| 0).iter().map(shown).collect();
        assert_eq!(
            shown,
            [
                "[1, 5, 8] smtp mail.inside.example",
                "[6] mx direct.example",
                "[7] fail 550",
                "[9, 11] mx x.direct.example",
                "[10] mx y.direct.example",
            ]
        );
    }

    #[test]
    fn strangers_are_left_to_the_relay() {
        let settings = Settings::read(DOCUMENT).unwrap().settings;
        assert!(groups(&settings, &[to(1, "elsewhere.example"), to(2, "notexample.org")], &mut |_| 0).is_empty());
    }

    #[test]
    fn a_star_takes_everybody_but_the_bare_postmaster() {
        let settings = Settings::read(r#"{"domains": {"*": "smtp://hub.example:2525"}}"#).unwrap().settings;
        let shown: Vec<_> = groups(&settings, &[to(1, "a.example"), to(2, ""), to(3, "[192.0.2.1]")], &mut |_| 0)
            .iter()
            .map(shown)
            .collect();
        assert_eq!(shown, ["[1, 3] smtp hub.example"]);
    }

    const POOL: &str = r#"{
        "routes": {"out": {"hops": [{"hop": "smtp://a.example", "weight": 6}, {"hop": "smtp://b.example", "weight": 3},
            {"hop": "smtp://c.example", "weight": 1}], "backups": ["smtp://d.example", "mx"], "credential": "hub"}},
        "domains": {"*": "route:out"}}"#;

    #[test]
    fn the_order_of_a_pool_is_drawn_and_its_backups_come_last() {
        let settings = Settings::read(POOL).unwrap().settings;
        for (draws, expected) in
            [([0, 0], "abcd"), ([5, 3], "acbd"), ([6, 0], "bacd"), ([8, 6], "bcad"), ([9, 0], "cabd"), ([9, 6], "cbad")]
        {
            let (mut draws, mut asked) = (draws.into_iter(), Vec::new());
            let mut draw = |below| {
                asked.push(below);
                draws.next().unwrap()
            };
            let groups = groups(&settings, &[to(1, "x.example"), to(2, "x.example")], &mut draw);
            let [group] = groups.as_slice() else { panic!("one group") };
            let Assignment::Route(route) = &group.assignment else { panic!("no route") };
            assert_eq!(route.credential.as_deref(), Some("hub"));
            let shown: String = route
                .hops
                .iter()
                .filter_map(|hop| if let NextHop::Smtp(target) = hop { target.host.chars().next() } else { None })
                .collect();
            assert_eq!(shown, expected);
            assert!(matches!(route.hops.last(), Some(NextHop::Mx(domain)) if domain == "x.example"));
            assert_eq!(asked[0], 10);
        }
    }

    #[test]
    fn hosts_get_their_share() {
        let settings = Settings::read(POOL).unwrap().settings;
        let mut first = [0; 3];
        for point in 0..10 {
            let groups = groups(&settings, &[to(1, "x.example")], &mut |below| point % below);
            let Assignment::Route(route) = &groups[0].assignment else { panic!("no route") };
            let NextHop::Smtp(target) = &route.hops[0] else { panic!("no host") };
            first["abc".find(&target.host[..1]).unwrap()] += 1;
        }
        assert_eq!(first, [6, 3, 1]);
    }
}
