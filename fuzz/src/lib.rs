//! The pure rooms of the relay, compiled on their own: without the runtime, the store and the component engine a target is
//! built in seconds. The entries stand beside the code they attack (`fuzz_*`); a target only calls one.

#[path = "../../src/mail/mod.rs"]
pub mod mail;
#[path = "../../src/smtp/mod.rs"]
pub mod smtp;
#[path = "../../src/time.rs"]
pub mod time;
