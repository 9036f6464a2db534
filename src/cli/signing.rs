//! `waypost plugin keygen`, `sign`, `verify`: signatures of components, without a relay.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::Failure;
use super::args::Common;
use crate::plugin;

/// A new key pair; prints the public key.
pub(super) fn keygen(common: &Common, file: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let public = plugin::keygen(file).map_err(Failure::refused)?;
    if common.json {
        return Ok(writeln!(out, "{}", json!({ "public_key": public, "private_key_file": file }))?);
    }
    Ok(writeln!(out, "{public}")?)
}

/// Signs a component; prints where the signature is.
pub(super) fn sign(common: &Common, key: &Path, component: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let signature = plugin::sign(key, component).map_err(Failure::refused)?;
    if common.json {
        return Ok(writeln!(out, "{}", json!({ "signature_file": signature }))?);
    }
    Ok(writeln!(out, "{}", signature.display())?)
}

/// Fails where the signature is not good.
pub(super) fn verify(common: &Common, key: &str, component: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    plugin::verify(key, component).map_err(Failure::refused)?;
    if common.json {
        return Ok(writeln!(out, "{}", json!({ "good": true }))?);
    }
    Ok(writeln!(out, "{}: good", component.display())?)
}
