//! The wire grammar of SMTP in both directions: commands, replies, lines, transparency.
//!
//! Pure: bytes in, values out. May import [`crate::mail`]; never tokio, never a clock. Everything here is fuzzed.

pub mod command;
pub mod dot;
pub mod encode;
pub mod extension;
pub mod line;
mod path;
pub mod reader;
mod reply;
mod status;
pub mod text;
pub mod xtext;

pub use encode::{Encoder, Slices};
pub use extension::{Extension, Extensions};
pub use path::Path;
pub use reader::{ReplyError, ReplyReader};
pub use reply::Reply;
pub use status::Status;
