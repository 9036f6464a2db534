//! Routes by a table of recipient domains that the plugin's settings hold.
//!
//! This file answers the hook; `table` finds the entry of each recipient, `settings` reads what the operator wrote. A
//! domain that is not in the table is left to the next plugin and to the relay's own routing, never refused.

mod settings;
mod table;

use waypost_plugin::{
    Cached, Lifecycle, OnRoute, Outcome, Recipient, RoutingPhase, RoutingVerdict, Settings as _, system,
};

use settings::Settings;

/// The plugin.
#[derive(Debug)]
pub struct DomainRoutes;

static SETTINGS: Cached<Settings> = Cached::new();

impl Lifecycle for DomainRoutes {
    fn validate_config(document: &str) -> Result<Vec<String>, Vec<String>> {
        Settings::read(document).map(|checked| checked.warnings)
    }
}

impl OnRoute for DomainRoutes {
    fn on_route(_phase: RoutingPhase, recipients: Vec<Recipient>) -> Outcome<RoutingVerdict> {
        let groups = table::groups(SETTINGS.get()?, &recipients, &mut draw);
        if groups.is_empty() { Ok(RoutingVerdict::Proceed) } else { Ok(RoutingVerdict::Assign(groups)) }
    }
}

/// A number below `below`. Of 64 random bits, so that no number is noticeably likelier than another.
fn draw(below: u32) -> u32 {
    let number = system::random_bytes(8).into_iter().fold(0_u64, |number, octet| number << 8 | u64::from(octet));
    u32::try_from(number % u64::from(below.max(1))).unwrap_or(0)
}

waypost_plugin::export!(DomainRoutes: lifecycle, on_route);

#[cfg(test)]
mod tests {
    use waypost_plugin::testing::World;
    use waypost_plugin::{Assignment, NextHop};

    use super::*;

    #[test]
    fn recipients_go_where_the_table_says() {
        let config =
            r#"{ "domains": { "example.org": "mx:mail.example.net", "old.example": { "fail": "550 5.1.2 gone" } } }"#;
        let world = World::new().config(config).recipient("ann@example.org");
        let mut world = world.recipient("bob@elsewhere.example").recipient("eve@old.example");
        let arrival = world.route::<DomainRoutes>();
        let RoutingVerdict::Assign(groups) = arrival.answer() else { panic!("{:?}", arrival.verdict) };
        assert_eq!(groups.iter().flat_map(|group| &group.recipients).collect::<Vec<_>>(), [&0, &2]);
        assert!(matches!(&groups[0].assignment, Assignment::Route(route)
            if route.hops == [NextHop::Mx("mail.example.net".to_owned())]));
        assert!(matches!(&groups[1].assignment, Assignment::Fail(reply) if reply.code == 550));
        assert_eq!(world.route_from_queue::<DomainRoutes>().verdict, arrival.verdict);
    }

    #[test]
    fn nobody_of_the_table_is_nobodys_business() {
        let mut world = World::new().config(r#"{ "domains": { "example.org": "mx" } }"#).recipient("a@example.com");
        assert_eq!(world.route::<DomainRoutes>().verdict, Ok(RoutingVerdict::Proceed));
    }
}
