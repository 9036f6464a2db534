//! Configuration: TOML as written (`raw`), checked into each module's own settings (`check`), all errors at once.
//!
//! May import the modules' `Config` types; imported only by `app` and `cli`. Never starts anything.
