//! Logs through tracing: set up once, at start.
