//! rustls settings for both directions: certificates for listeners, verification for next hops.
//!
//! The only file that builds rustls configurations.
