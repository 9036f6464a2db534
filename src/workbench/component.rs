//! From a core module to a component, and the manifest into it. Pure.
//!
//! The manifest is one custom section at the top level (see the relay's side of it in `plugin`). Sections that name the
//! tools and paths of this machine are left out.

use wit_component::{ComponentEncoder, DecodedWasm, StringEncoding};
use wit_parser::WorldKey;

use super::WorkbenchError;
use super::contract::World;

/// Name of the manifest's section.
const SECTION: &str = "waypost:manifest";

/// How every component begins; a core module begins otherwise.
const COMPONENT: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];

/// A component of a core module that has its world in it. WASI's first version becomes its second.
///
/// # Errors
/// What of the module does not fit its world.
pub(super) fn encode(core: &[u8]) -> Result<Vec<u8>, WorkbenchError> {
    if core.starts_with(&COMPONENT) {
        return Ok(core.to_vec());
    }
    let adapter = wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;
    let mut encoder = ComponentEncoder::default();
    let ready = encoder.validate(true).module(core);
    let ready = ready.and_then(|encoder| encoder.adapter("wasi_snapshot_preview1", adapter));
    ready.and_then(|encoder| encoder.encode()).map_err(|error| {
        WorkbenchError::Failed(format!(
            "the compiled module makes no component: {error:#}\nIt must define every function of the hooks that it \
             exports, and link nothing that is neither in its world nor in WASI."
        ))
    })
}

/// A core module with its world put into it.
///
/// # Errors
/// It is no module.
pub(super) fn with_world(mut core: Vec<u8>, world: &World) -> Result<Vec<u8>, WorkbenchError> {
    let embedded =
        wit_component::embed_component_metadata(&mut core, &world.resolve, world.id, StringEncoding::UTF8, false);
    embedded.map_err(|error| WorkbenchError::Failed(format!("the compiled module can't be read: {error:#}")))?;
    Ok(core)
}

/// Interfaces of the contract that a component exports, in order, e.g. `on-rcpt`.
///
/// # Errors
/// It is no component.
pub(super) fn exports(component: &[u8]) -> Result<Vec<String>, WorkbenchError> {
    let no_component = |why: &dyn std::fmt::Display| WorkbenchError::Failed(format!("that is no component: {why}"));
    let decoded = wit_component::decode(component).map_err(|error| no_component(&format_args!("{error:#}")))?;
    let DecodedWasm::Component(resolve, world) = decoded else { return Err(no_component(&"it is a package of WIT")) };
    let keys: Vec<WorldKey> =
        resolve.worlds.get(world).map(|w| w.exports.keys().cloned().collect()).unwrap_or_default();
    let names = keys.iter().map(|key| resolve.name_world_key(key));
    let ours = names.filter_map(|name| {
        let (interface, _) = name.strip_prefix("waypost:plugin/")?.split_once('@')?;
        Some(interface.to_owned())
    });
    let mut found: Vec<String> = ours.collect();
    found.sort();
    Ok(found)
}

/// The component with this manifest, in place of any that it has.
///
/// # Errors
/// It is no component, or cut off.
pub(super) fn stamped(component: &[u8], manifest: &str) -> Result<Vec<u8>, WorkbenchError> {
    let broken = || WorkbenchError::Failed("the component is cut off, or none".to_owned());
    let mut rest = component.strip_prefix(&COMPONENT).ok_or_else(broken)?;
    let mut out = COMPONENT.to_vec();
    while let [kind, after @ ..] = rest {
        let (size, content) = number(after).ok_or_else(broken)?;
        let (content, behind) = content.split_at_checked(size).ok_or_else(broken)?;
        let whole = rest.get(..rest.len() - behind.len()).ok_or_else(broken)?;
        if *kind != 0 || !is_left_out(content) {
            out.extend_from_slice(whole);
        }
        rest = behind;
    }
    let mut section = leb(SECTION.len());
    section.extend_from_slice(SECTION.as_bytes());
    section.extend_from_slice(manifest.as_bytes());
    out.push(0);
    out.extend(leb(section.len()));
    out.extend(section);
    Ok(out)
}

fn is_left_out(custom: &[u8]) -> bool {
    let name = number(custom).and_then(|(size, rest)| rest.get(..size));
    name.is_some_and(|name| name == SECTION.as_bytes() || name == b"producers")
}

/// An unsigned LEB128 number, and what is behind it.
fn number(octets: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_u64;
    for (at, octet) in octets.iter().enumerate().take(5) {
        value |= u64::from(octet & 0x7f) << (7 * at);
        if octet & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, octets.get(at + 1..)?));
        }
    }
    None
}

fn leb(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        // Seven bits always fit.
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        if value == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_leb128() {
        for value in [0, 1, 127, 128, 300, 16_384, 70_000] {
            assert_eq!(number(&leb(value)), Some((value, &[][..])), "{value}");
        }
        assert_eq!(number(&[0x80]), None);
    }

    #[test]
    fn a_manifest_takes_the_place_of_the_one_before() {
        let plain = wat::parse_str("(component (core module) (component))").unwrap();
        let once = stamped(&plain, r#"{"name":"a"}"#).unwrap();
        let twice = stamped(&once, r#"{"name":"b"}"#).unwrap();
        assert_eq!(once.len(), twice.len());
        let text = String::from_utf8_lossy(&twice).into_owned();
        assert!(text.ends_with(r#"{"name":"b"}"#) && text.matches(SECTION).count() == 1, "{text}");
        assert_eq!(exports(&twice).unwrap(), Vec::<String>::new());
        assert!(stamped(&plain[..plain.len() - 1], "{}").is_err() && stamped(b"", "{}").is_err());
        assert!(encode(&wat::parse_str("(module)").unwrap()).is_ok());
        assert!(encode(b"rubbish").is_err());
    }
}
