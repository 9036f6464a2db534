//! Bindings for the languages whose generators are part of this program: C and Go.

use std::path::Path;

use wit_bindgen_core::Files;

use super::WorkbenchError;
use super::contract::World;

/// Where Go's bindings look for what they share, and what takes its place: a package of the project.
const GO_SHARED: &str = "go.bytecodealliance.org/pkg/wit/";

/// Writes C's bindings of a world.
pub(super) fn c(mut world: World, into: &Path) -> Result<(), WorkbenchError> {
    let mut files = Files::default();
    let mut generator = wit_bindgen_c::Opts::default().build();
    let done = generator.generate(&mut world.resolve, world.id, &mut files);
    done.map_err(|error| failed("C", &error))?;
    for (name, content) in files.iter() {
        write(&into.join(name), content)?;
    }
    Ok(())
}

/// Writes Go's bindings of a world, as packages below `module`.
pub(super) fn go(mut world: World, module: &str, into: &Path) -> Result<(), WorkbenchError> {
    let mut files = Files::default();
    let options = wit_bindgen_go::Opts {
        // It would run a program that need not be there, for files that nobody edits.
        format: wit_bindgen_go::Format::False,
        pkg_name: Some(module.to_owned()),
        quiet: true,
        ..Default::default()
    };
    let done = options.build().generate(&mut world.resolve, world.id, &mut files);
    done.map_err(|error| failed("Go", &error))?;
    let shared = format!("{module}/wit/");
    for (name, content) in files.iter() {
        let text = String::from_utf8_lossy(content).replace(GO_SHARED, &shared);
        write(&into.join(name), text.as_bytes())?;
    }
    Ok(())
}

fn failed(language: &str, error: &dyn std::fmt::Display) -> WorkbenchError {
    WorkbenchError::Failed(format!("the bindings for {language} can't be made of wit/: {error:#}"))
}

/// Writes a file and the folders above it.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), WorkbenchError> {
    let wrong = |error: std::io::Error| WorkbenchError::file(path, &error);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(wrong)?;
    }
    std::fs::write(path, content).map_err(wrong)
}
