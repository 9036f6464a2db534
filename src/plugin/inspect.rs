//! What a component is, without a configuration and without running it.

use serde::Serialize;

use super::load::{self, CONTRACT, LoadError, SIZE_MAX};
use super::load::{Problem, hex};
use super::{Engine, HostConfig};

/// What there is to say of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// Of the octets, in hex.
    pub sha256: String,
    /// Octets.
    pub size: u64,
    /// The package line it was built for.
    pub contract: String,
    /// Hooks it exports.
    pub hooks: Vec<&'static str>,
    /// True if it exports `lifecycle`.
    pub lifecycle: bool,
    /// Interfaces it imports.
    pub imports: Vec<String>,
    /// Exports that mean nothing to the relay; build tools leave some.
    pub foreign_exports: Vec<String>,
    /// From the manifest.
    pub name: Option<String>,
    /// From the manifest.
    pub version: Option<String>,
    /// From the manifest: digest of the sources it was built from.
    pub sources: Option<String>,
}

/// Looks at a component. Compiles it: blocking.
///
/// # Errors
/// [`LoadError`], where the relay could not load it.
pub fn inspect(engine: &Engine, component: &[u8]) -> Result<Inspection, LoadError> {
    if component.len() as u64 > SIZE_MAX {
        return Err(LoadError::file(Problem::File("the file is larger than 64 MiB".to_owned())));
    }
    let compiled = load::compile(engine, component, load::digest_of(component), &HostConfig::default().compile);
    let compiled = compiled.map_err(LoadError::file)?;
    let manifest = compiled.manifest.clone().unwrap_or_default();
    let foreign = compiled.exports.iter().filter(|name| !name.starts_with("waypost:plugin/"));
    Ok(Inspection {
        sha256: hex(&compiled.digest),
        size: compiled.size,
        contract: format!("waypost:plugin@{CONTRACT}"),
        hooks: compiled.hooks.iter().map(|hook| hook.interface()).collect(),
        lifecycle: compiled.exports.iter().any(|name| name.starts_with("waypost:plugin/lifecycle@")),
        imports: compiled.imports.clone(),
        foreign_exports: foreign.cloned().collect(),
        name: manifest.name,
        version: manifest.version,
        sources: manifest.sources,
    })
}
