//! The shipped components at their hooks.
