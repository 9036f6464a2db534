//! The wire grammar of SMTP in both directions: commands, replies, lines, transparency.
//!
//! Pure: bytes in, values out. May import [`crate::mail`]; never tokio, never a clock. Everything here is fuzzed.

mod encode;
mod reader;
mod reply;
mod status;

pub use encode::{Encoder, Slices};
pub use reader::{ReplyError, ReplyReader};
pub use reply::Reply;
pub use status::Status;
