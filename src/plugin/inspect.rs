//! What a component is, without a configuration and without running it.

use serde::Serialize;
use wasmparser::{Parser, Payload};

use super::load::{self, CONTRACT, LoadError, SIZE_MAX};
use super::load::{Problem, hex};
use super::manifest::{self, Asks};
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

/// What a component says of itself: read, not compiled, so at once even where compiling takes seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outline {
    /// From the manifest.
    pub name: Option<String>,
    /// From the manifest.
    pub version: Option<String>,
    /// From the manifest.
    pub description: Option<String>,
    /// The manifest says what it asks for. One that does not takes what it is granted.
    pub states_asks: bool,
    /// From the manifest: grants without which it is not loaded.
    pub required: Vec<String>,
    /// From the manifest: grants it can do without.
    pub optional: Vec<String>,
    /// Interfaces it imports.
    pub imports: Vec<String>,
    /// Interfaces it exports.
    pub exports: Vec<String>,
}

/// Grants that an import is good for, each by the interface, the ask it needs, and a beginning of asks that do as well.
const GUARDED: [(&str, &str, &str); 3] = [
    ("waypost:plugin/kv@", "kv", "kv-shared:"),
    ("waypost:plugin/dns@", "dns", "dns"),
    ("wasi:http/outgoing-handler@", "http", "http"),
];

impl Outline {
    /// Interfaces that it imports and whose every call is denied, since the manifest asks for no such grant; each with
    /// the ask that is missing. A manifest without asks takes what it is granted: then there are none.
    pub fn unasked(&self) -> Vec<(&str, &'static str)> {
        let asks = || self.required.iter().chain(&self.optional);
        let lacking = |import: &String| {
            let (_, ask, other) = GUARDED.into_iter().find(|(name, ..)| import.starts_with(name))?;
            let asked = asks().any(|word| word == ask || word.starts_with(other));
            (!asked).then_some(ask)
        };
        let imports = self.imports.iter().filter(|_| self.states_asks);
        imports.filter_map(|import| Some((import.as_str(), lacking(import)?))).collect()
    }
}

/// Reads what a component says of itself.
///
/// # Errors
/// It is no component, or its manifest can't be read.
pub fn outline(component: &[u8]) -> Result<Outline, LoadError> {
    let wrong = |why: String| LoadError::file(Problem::Component(why));
    load::check_kind(component).map_err(LoadError::file)?;
    let manifest = manifest::find(component).map_err(wrong)?.unwrap_or_default();
    let states_asks = manifest.asks.is_some();
    let Asks { required, optional } = manifest.asks.unwrap_or_default();
    let (name, version, description) = (manifest.name, manifest.version, manifest.description);
    let mut outline = Outline { name, version, description, states_asks, required, optional, ..Outline::default() };
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        let damaged = |error: wasmparser::BinaryReaderError| wrong(format!("the file is damaged: {error}"));
        match payload.map_err(damaged)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    outline.imports.push(import.map_err(damaged)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    outline.exports.push(export.map_err(damaged)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(outline)
}
