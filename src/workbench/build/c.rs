//! C: bindings by this program, clang and wasi-libc for the rest.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{emptied, read};
use crate::workbench::contract::World;
use crate::workbench::tools::run;
use crate::workbench::{Project, Toolbox, WorkbenchError, component, generate};

/// wasi-sdk is whole: with it nothing else is needed.
const SDK: &str = "/opt/wasi-sdk";

/// Where Debian has the library.
const LIBRARY: &str = "/usr/lib/wasm32-wasi/libc.a";

const CLANGS: [&str; 8] = ["clang", "clang-21", "clang-20", "clang-19", "clang-18", "clang-16", "clang-15", "clang-14"];

pub(super) fn build(project: &Project, tools: &Toolbox) -> Result<Vec<u8>, WorkbenchError> {
    let folder = &project.folder;
    let clang = compiler(tools)?;
    let world = World::of(folder)?;
    let name = world.name.replace('-', "_");
    let bindings = emptied(folder.join("bindings"))?;
    generate::c(world, &bindings)?;
    let core = emptied(folder.join("build"))?.join("core.wasm");
    let mut command = Command::new(clang);
    command.args(["--target=wasm32-wasi", "-mexec-model=reactor", "-Oz", "-s", "-Wall", "-Ibindings"]);
    // What does not fit the contract's types is no mere warning.
    command.args([
        "-Werror=int-conversion",
        "-Werror=incompatible-pointer-types",
        "-Werror=implicit-function-declaration",
    ]);
    command.args(sources(folder)?);
    // The generated file is not the author's to mend, and the object holds the world.
    command.arg(format!("bindings/{name}.c")).arg(format!("bindings/{name}_component_type.o")).arg("-o").arg(&core);
    run(&mut command, folder, "compiling")?;
    component::encode(&read(&core)?)
}

/// Every `.c` file of the folder, in order.
fn sources(folder: &Path) -> Result<Vec<PathBuf>, WorkbenchError> {
    let entries = std::fs::read_dir(folder).map_err(|error| WorkbenchError::file(folder, &error))?;
    let names = entries.filter_map(Result::ok).map(|entry| PathBuf::from(entry.file_name()));
    let mut found: Vec<PathBuf> = names.filter(|name| name.extension().is_some_and(|kind| kind == "c")).collect();
    found.sort();
    if found.is_empty() {
        return Err(WorkbenchError::Failed(format!("{}: there is no .c file", folder.display())));
    }
    Ok(found)
}

fn compiler(tools: &Toolbox) -> Result<PathBuf, WorkbenchError> {
    let sdk = Path::new(SDK).join("bin/clang");
    if sdk.is_file() {
        return Ok(sdk);
    }
    let clang = tools.find(&CLANGS);
    if let Some(clang) = clang.filter(|_| Path::new(LIBRARY).is_file()) {
        return Ok(clang);
    }
    Err(WorkbenchError::Missing {
        what: "A plugin in C needs clang, wasm-ld and wasi-libc".to_owned(),
        looked_for: vec![
            sdk.display().to_string(),
            tools.looked_for(&["clang", "clang-14 to clang-21"]),
            LIBRARY.to_owned(),
        ],
        install: vec![
            "apt-get install clang lld wasi-libc libclang-rt-dev-wasm32      (Debian)".to_owned(),
            format!("wasi-sdk in {SDK}: https://github.com/WebAssembly/wasi-sdk/releases"),
        ],
    })
}
