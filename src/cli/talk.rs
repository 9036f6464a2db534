//! `waypost plugin run`: a session with a policy on the terminal.

use std::io::{IsTerminal as _, Write as _};

use super::Failure;
use super::args::Plugin;
use super::render::clean;
use super::workbench::workpiece;
use crate::kit::{Shown, Talk, talk as hold};

/// Holds it: standard input against the relay's session.
pub(super) async fn talk(command: Plugin) -> Result<(), Failure> {
    let Plugin::Run { plugin, scenario, client, client_name, identity, relay, domain } = command else {
        return Err(Failure::refused("waypost: no session is held by that"));
    };
    let project = workpiece(&plugin)?;
    let scenario = scenario.or_else(|| project.scenarios.first().cloned());
    let (is_terminal, colours) = (std::io::stdin().is_terminal(), std::io::stdout().is_terminal());
    if is_terminal {
        let from = scenario.as_ref().map_or_else(|| "no settings, no grants".to_owned(), |p| p.display().to_string());
        eprintln!("{} with {from}; type SMTP, QUIT ends it", clean(&project.name));
    }
    let (name, component) = (project.name.into(), project.component);
    let talk = Talk { name, component, scenario, client, client_name, identity, relay, domains: domain };
    let input = tokio::io::BufReader::new(tokio::io::stdin());
    let held = hold(&talk, super::compiler(), input, |shown| {
        // A terminal that is gone ends the session by its input.
        let _ = writeln!(std::io::stdout(), "{}", line(&shown, colours));
        let _ = std::io::stdout().flush();
    });
    held.await.map_err(|why| Failure::Unusable(clean(&why)))
}

/// `S:` is what the client sees; what it does not see is set apart.
fn line(shown: &Shown, colours: bool) -> String {
    let (mark, text, code) = match shown {
        Shown::Reply(text) => return format!("S: {}", clean(text)),
        Shown::Decided(text) => ("decided", text, "33"),
        Shown::Wrote(text) => ("wrote  ", text, "2"),
        Shown::Taken(text) => ("taken  ", text, "32"),
    };
    let lines: Vec<String> = text.lines().map(clean).collect();
    let text = format!("   {mark} {}", lines.join("\n           "));
    if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text }
}
