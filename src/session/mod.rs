//! The session: the server's half of the SMTP dialogue as a machine without I/O.
//!
//! Octets go in through `receive`, what is to be done comes out of `poll`, answers come back through `answer`.
//! May import `mail`, `smtp` and the types of `hooks`; must never touch a socket, a clock, the queue or tokio.

mod action;
mod config;

pub use action::{Action, Answer, Input, MessageAnswer, Question};
pub use config::{Config, Extensions, RelayRules};
