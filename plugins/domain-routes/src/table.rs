//! Which recipients go which way. Pure.

use waypost_plugin::{Assignment, NextHop, Recipient, Reply, Route, RouteGroup};

use crate::settings::Settings;

/// What the operator wrote for a domain.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// These hops; [`OWN_MX`] among them stands for the recipient's domain.
    Route(Route),
    /// Nobody gets mail there.
    Fail(Reply),
}

/// The domain of an `mx` hop that the operator left open.
pub(crate) const OWN_MX: &str = "";

/// Groups recipients that go the same way, in the order of their first recipients. Who is not in the table is in no group.
pub(crate) fn groups(settings: &Settings, recipients: &[Recipient]) -> Vec<RouteGroup> {
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
            groups.push(RouteGroup { recipients: vec![recipient.index], assignment: assignment(entry, domain) });
        }
    }
    groups
}

fn is_own_mx(hop: &NextHop) -> bool {
    matches!(hop, NextHop::Mx(of) if of == OWN_MX)
}

fn depends_on_domain(entry: &Entry) -> bool {
    matches!(entry, Entry::Route(route) if route.hops.iter().any(is_own_mx))
}

fn assignment(entry: &Entry, domain: &str) -> Assignment {
    match entry {
        Entry::Fail(reply) => Assignment::Fail(reply.clone()),
        Entry::Route(route) => {
            let mut route = route.clone();
            for hop in route.hops.iter_mut().filter(|hop| is_own_mx(hop)) {
                *hop = NextHop::Mx(domain.to_owned());
            }
            Assignment::Route(route)
        }
    }
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
        let shown: Vec<_> = groups(&settings, &recipients).iter().map(shown).collect();
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
        assert!(groups(&settings, &[to(1, "elsewhere.example"), to(2, "notexample.org")]).is_empty());
    }

    #[test]
    fn a_star_takes_everybody_but_the_bare_postmaster() {
        let settings = Settings::read(r#"{"domains": {"*": "smtp://hub.example:2525"}}"#).unwrap().settings;
        let shown: Vec<_> =
            groups(&settings, &[to(1, "a.example"), to(2, ""), to(3, "[192.0.2.1]")]).iter().map(shown).collect();
        assert_eq!(shown, ["[1, 3] smtp hub.example"]);
    }
}
