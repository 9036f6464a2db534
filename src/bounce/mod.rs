//! Notices: who must be told what about which recipients, and the report they get (RFC 3461, RFC 3464).
//!
//! Pure: returns messages, sends nothing. The null reverse-path never gets one. May import `mail`, `smtp`, `hooks`
//! types and `time`; never `queue`.
