//! Routing: from a recipient to a route, from a route's hop to targets.
//!
//! The table, and MX order (RFC 5321 section 5.1), are pure; `hickory.rs` is the only file that names the resolver's
//! vendor. May import `mail`, `hooks` types and `time`; never `queue` or `delivery`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::hooks::Route;
use crate::mail::Domain;

/// Settings of `[routing]`: the relay's own routes, where no plugin decided.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// For recipients of exactly this domain; a leading dot means every subdomain. The most specific entry wins.
    pub domains: BTreeMap<Domain, Arc<Route>>,
    /// For everybody else; none: MX look-up of the recipient's domain.
    pub default: Option<Arc<Route>>,
}
