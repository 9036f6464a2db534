//! The local admin socket: requests of the command line, answered by the running relay through `Control`.
//!
//! May import `queue`'s plain types; imported by `app` (which implements `Control`) and `cli` (the client).
