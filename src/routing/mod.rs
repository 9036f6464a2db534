//! Routing: from a recipient to a route, from a route's hop to targets.
//!
//! The table, and MX order (RFC 5321 section 5.1), are pure; `hickory.rs` and what is below it name the resolver's vendor.
//! May import `mail`, `hooks` types, `smtp` replies, `tls` for TLSA records, and `time`; never `queue` or `delivery`.

mod describe;
mod dns;
mod hickory;
mod mx;
mod refusal;
mod resolver;
mod selection;
mod table;
mod targets;
mod tlsa;

pub use describe::describe;
pub use dns::{Dns, Dnssec, Prefer};
pub use hickory::{Hickory, HickoryError};
pub use mx::exchangers;
pub use refusal::TargetError;
pub use resolver::{
    Answer, Exchangers, Fault, FaultKind, Host, Lookup, Mx, RecordData, RecordKind, ResolveError, Resolver,
    ReverseName, confirmed_name, reverse_name,
};
pub use selection::{Own, Selection};
pub use table::Table;
pub use targets::{Address, Found, Origin, Target, targets};
pub use tlsa::Tlsa;
