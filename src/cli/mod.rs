//! The command line: one file for each subcommand. Prints for people, or JSON with `--json`.
//!
//! May import `admin`'s client, `config`, `app`.
