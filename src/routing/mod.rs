//! Routing: from a recipient to a route, from a route's hop to targets.
//!
//! The table, and MX order (RFC 5321 section 5.1), are pure; `hickory.rs` is the only file that names the resolver's
//! vendor. May import `mail`, `hooks` types, `smtp` replies and `time`; never `queue` or `delivery`.

mod hickory;
mod mx;
mod resolver;
mod table;
mod targets;

pub use hickory::{Hickory, HickoryError};
pub use mx::exchangers;
pub use resolver::{
    Answer, Lookup, Mx, RecordData, RecordKind, ResolveError, Resolver, ReverseName, confirmed_name, reverse_name,
};
pub use table::Table;
pub use targets::{Address, Target, TargetError, targets, targets_from};
