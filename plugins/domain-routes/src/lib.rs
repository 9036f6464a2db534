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
