//! TypeScript and JavaScript: checked and bundled by npm's tools, run by the QuickJS that componentize-qjs puts in.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{emptied, read};
use crate::workbench::contract::World;
use crate::workbench::tools::run;
use crate::workbench::{Project, Toolbox, WorkbenchError};

pub(super) fn typescript(project: &Project, tools: &Toolbox) -> Result<Vec<u8>, WorkbenchError> {
    let folder = &project.folder;
    let check = tool(project, tools, "tsc")?;
    let bundle = tool(project, tools, "esbuild")?;
    let componentize = tool(project, tools, "componentize-qjs")?;
    let world = World::of(folder)?;
    run(Command::new(check).args(["--noEmit", "--project", "."]), folder, "checking the types")?;
    let build = emptied(folder.join("build"))?;
    let bundled = build.join("plugin.js");
    let mut command = Command::new(bundle);
    command.args(["src/plugin.ts", "--bundle", "--format=esm", "--target=es2022", "--log-level=warning"]);
    command.args(["--external:waypost:*", "--external:wasi:*"]).arg(format!("--outfile={}", bundled.display()));
    run(&mut command, folder, "bundling")?;
    let text = String::from_utf8_lossy(&read(&bundled)?).into_owned();
    check_exports(&text, world.exports().iter().map(|export| export.interface.as_str()))
        .map_err(|why| WorkbenchError::Failed(format!("{}: {why}", folder.join("src/plugin.ts").display())))?;
    component(folder, &componentize, &world, &build, &bundled)
}

pub(super) fn javascript(project: &Project, tools: &Toolbox) -> Result<Vec<u8>, WorkbenchError> {
    let folder = &project.folder;
    let componentize = tool(project, tools, "componentize-qjs")?;
    let world = World::of(folder)?;
    let script = folder.join("plugin.js");
    let text = String::from_utf8_lossy(&read(&script)?).into_owned();
    check_exports(&text, world.exports().iter().map(|export| export.interface.as_str()))
        .map_err(|why| WorkbenchError::Failed(format!("{}: {why}", script.display())))?;
    let build = emptied(folder.join("build"))?;
    component(folder, &componentize, &world, &build, &script)
}

/// A hook that the world names and the script does not would trap at the first mail; no tool says so earlier.
fn check_exports<'a>(script: &str, interfaces: impl Iterator<Item = &'a str>) -> Result<(), String> {
    // What comes from another module can't be seen here.
    if script.contains("export *") {
        return Ok(());
    }
    for interface in interfaces {
        let name = object(interface);
        let named = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
        if !script.split(&name).skip(1).any(named) {
            return Err(format!(
                "it exports no `{name}`, which wit/world.wit promises: add `export const {name} = {{ handle(…) {{…}} }};`, or \
                 remove the line of {interface} from the world"
            ));
        }
    }
    Ok(())
}

/// `on-rcpt` is `onRcpt`.
fn object(interface: &str) -> String {
    let mut name = String::new();
    let mut upper = false;
    for letter in interface.chars() {
        match letter {
            '-' => upper = true,
            _ if std::mem::take(&mut upper) => name.extend(letter.to_uppercase()),
            _ => name.push(letter),
        }
    }
    name
}

/// Without `--sync` it would need the async part of the component model, without `--stub-wasi` it would import WASI.
fn component(
    folder: &Path,
    componentize: &Path,
    world: &World,
    build: &Path,
    script: &Path,
) -> Result<Vec<u8>, WorkbenchError> {
    let made = build.join("plugin.wasm");
    let root = script.parent().unwrap_or(folder);
    let mut command = Command::new(componentize);
    command.args(["--sync", "--opt-size", "--stub-wasi", "-w", "wit", "-n", &world.name, "--module-root"]);
    command.arg(root).arg("-j").arg(script).arg("-o").arg(&made);
    run(&mut command, folder, "making the component")?;
    read(&made)
}

fn tool(project: &Project, tools: &Toolbox, name: &str) -> Result<PathBuf, WorkbenchError> {
    let below = "node_modules/.bin";
    if let Some(found) = tools.find_near(&project.folder, below, name)
        && tools.find(&["node"]).is_some()
    {
        return Ok(found);
    }
    let folder = project.folder.display();
    let mut install = vec![format!("(cd {folder} && npm install)")];
    if tools.find(&["node"]).is_none() || tools.find(&["npm"]).is_none() {
        install.insert(
            0,
            "Node 20 or later with npm, first: https://nodejs.org, or apt-get install nodejs npm".to_owned(),
        );
    }
    let near = format!("{folder}/{below}/{name}, and in the folders above");
    let looked_for = vec![near, tools.looked_for(&[name, "node"])];
    Err(WorkbenchError::Missing {
        what: format!("A plugin in {} needs node and {name}", project.language.name()),
        looked_for,
        install,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_that_the_world_promises_must_be_in_the_script() {
        for (script, interfaces, good) in [
            ("export const onRcpt = {", &["on-rcpt"][..], true),
            ("export { onRcpt, onDeliveryResult };", &["on-rcpt", "on-delivery-result"], true),
            ("export const onRcptLater = {", &["on-rcpt"], false),
            ("export const onRctp = {", &["on-rcpt"], false),
            ("export * from './hooks.js'", &["on-rcpt"], true),
            ("", &[], true),
        ] {
            assert_eq!(check_exports(script, interfaces.iter().copied()).is_ok(), good, "{script}");
        }
    }
}
