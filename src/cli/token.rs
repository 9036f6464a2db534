//! `waypost token`: a token for the admin API, shown once, and the lines of the configuration that let it in.

use std::io::Write;

use serde_json::json;

use super::Failure;
use crate::admin::{Role, make_token};

pub(super) fn token(name: &str, role: Role, as_json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let (token, hash) = make_token()?;
    let (hash, role) = (hash.text(), role.word());
    if as_json {
        let told = json!({ "name": name, "role": role, "token": token, "hash": hash });
        writeln!(out, "{told}")?;
        return Ok(());
    }
    writeln!(out, "The token, which is shown this once only:\n\n    {token}\n")?;
    writeln!(out, "Write into the configuration, and reload:\n")?;
    writeln!(out, "    [admin.tokens.{name}]\n    hash = \"{hash}\"\n    role = \"{role}\"")?;
    Ok(())
}
