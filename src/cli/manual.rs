//! `waypost completions` and `waypost man`: made of the same description of the command line that reads it.

use std::io::Write;
use std::path::Path;

use clap::{Command, CommandFactory as _, ValueEnum};
use serde_json::json;

use super::Failure;
use super::args::{Cli, Common};

/// Shells that completions are made for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Shell {
    /// For a file in /usr/share/bash-completion/completions.
    Bash,
    /// For a file _waypost in a folder of fpath.
    Zsh,
    /// For a file in ~/.config/fish/completions.
    Fish,
}

/// Prints what makes a shell complete commands.
pub(super) fn completions(common: &Common, shell: Shell, out: &mut dyn Write) -> Result<(), Failure> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "waypost", &mut script);
    if common.json {
        return Ok(writeln!(out, "{}", json!({ "script": String::from_utf8_lossy(&script) }))?);
    }
    Ok(out.write_all(&script)?)
}

/// Writes a page for the program and one for each of its commands: `waypost.1`, `waypost-queue-list.1`.
pub(super) fn man(common: &Common, folder: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::refused(format!("waypost: {}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let pages = pages()?;
    for (name, text) in &pages {
        std::fs::write(folder.join(name), text).map_err(failed)?;
    }
    if common.json {
        let names: Vec<_> = pages.iter().map(|(name, _)| name).collect();
        return Ok(writeln!(out, "{}", json!({ "folder": folder, "pages": names }))?);
    }
    Ok(writeln!(out, "{} pages in {}", pages.len(), folder.display())?)
}

/// All pages by the names of their files.
pub(super) fn pages() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect(&command, &mut pages)?;
    Ok(pages)
}

fn collect(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    if command.is_hide_set() || command.get_name() == "help" {
        return Ok(());
    }
    // Once the command is built, that is all of its words.
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).source(concat!("waypost ", env!("CARGO_PKG_VERSION"))).render(&mut page)?;
    pages.push((format!("{name}.1"), page));
    command.get_subcommands().try_for_each(|below| collect(below, pages))
}
