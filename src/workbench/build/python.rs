//! Python: componentize-py puts CPython and the project's modules into a component.

use std::process::Command;

use super::{emptied, read};
use crate::workbench::contract::World;
use crate::workbench::tools::run;
use crate::workbench::{Project, Toolbox, WorkbenchError};

pub(super) fn build(project: &Project, tools: &Toolbox) -> Result<Vec<u8>, WorkbenchError> {
    let folder = &project.folder;
    let name = "componentize-py";
    let found = tools.find_near(folder, ".venv/bin", name).or_else(|| tools.find_near(folder, "venv/bin", name));
    let componentize = found.ok_or_else(|| WorkbenchError::Missing {
        what: format!("A plugin in Python needs {name}"),
        looked_for: vec![
            format!("{}/.venv/bin/{name}, and in the folders above", folder.display()),
            tools.looked_for(&[name]),
        ],
        install: vec![
            "pip install componentize-py==0.25.1".to_owned(),
            format!(
                "(cd {} && python3 -m venv .venv && .venv/bin/pip install componentize-py==0.25.1)",
                folder.display()
            ),
        ],
    })?;
    let world = World::of(folder)?;
    let made = emptied(folder.join("build"))?.join("plugin.wasm");
    let mut command = Command::new(componentize);
    command.args(["-d", "wit", "-w", &world.name, "componentize", "--stub-wasi", "plugin", "-o"]).arg(&made);
    run(&mut command, folder, "making the component")?;
    read(&made)
}
