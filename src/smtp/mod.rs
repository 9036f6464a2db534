//! The wire grammar of SMTP in both directions: commands, replies, lines, transparency.
//!
//! Pure: bytes in, values out. May import [`crate::mail`]; never tokio, never a clock. Everything here is fuzzed.

pub mod command;
pub mod dot;
pub mod line;
mod path;
mod reply;
mod status;

pub use path::Path;
pub use reply::Reply;
pub use status::Status;
