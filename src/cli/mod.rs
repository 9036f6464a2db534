//! The command line: one file for each subcommand. Prints for people, or JSON with `--json`.
//!
//! Exit status: 0 done; 1 refused or failed, with the reasons on standard error; 2 the command line makes no sense; 3 no
//! relay answers. `docs/commands.md` has them for people. May import `admin`'s client, `config`, `app`, `telemetry`, and for the
//! command that needs no relay `plugin` (a look into a component). Must never touch the queue's files, which the running relay owns,
//! but for `migrate`, which runs without one.

mod args;
mod backup;
mod ban;
mod bench;
mod check;
mod config;
mod diff;
mod dkim;
mod explain;
mod generations;
mod history;
mod manual;
mod migrate;
mod password;
mod plugin;
mod queue;
mod queue_args;
mod queue_change;
mod queue_show;
mod queue_summary;
mod reload;
mod render;
mod replay;
mod run;
mod sendmail;
mod signing;
mod status;
mod sts;
mod suppress;
mod talk;
mod test;
mod token;
mod top;
mod trace;
mod trial;
mod why;
mod workbench;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;

use crate::admin::{Client, ClientError};
use crate::config::ConfigError;
use crate::listen::Forms;
use crate::plugin::{Compiler, compile_for_relay};
use args::{Cli, Command, Common};

/// The whole program.
pub fn main() -> ExitCode {
    if let Some(code) = sendmail::by_name() {
        return code;
    }
    let cli = Cli::parse();
    if let Command::Sendmail { arguments } = &cli.command {
        return sendmail::run(&cli.common.config, arguments);
    }
    // Not locked: `run` stays in here as long as the relay lives, and its log goes to standard output.
    let mut out = io::BufWriter::new(io::stdout());
    let done = perform(cli, &mut out).and_then(|()| Ok(out.flush()?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough: `waypost queue list | head`.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            // What was printed before the failure comes first; if that can't be written, the failure still counts.
            let _ = out.flush();
            let _ = writeln!(io::stderr(), "{failure}");
            ExitCode::from(failure.code())
        }
    }
}

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Each on a line of its own.
    #[error("{}", render::lines(.0))]
    Refused(Vec<String>),
    /// What was given can't be used.
    #[error("waypost: {0}")]
    Unusable(String),
    /// Nobody to ask.
    #[error("{0}")]
    NotReachable(String),
    /// Standard output is gone.
    #[error("waypost: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Output(_) => 1,
            Self::Unusable(_) => 2,
            Self::NotReachable(_) => 3,
        }
    }

    fn refused(why: impl Into<String>) -> Self {
        Self::Refused(vec![why.into()])
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(reasons) => Self::Refused(reasons),
            ClientError::Broken(_) => Self::refused(error.to_string()),
            ClientError::NotReachable(_, ref cause) => {
                let hint = match cause.kind() {
                    io::ErrorKind::PermissionDenied => "Only the relay's own user and root may ask it: try sudo.",
                    _ => "Is it running? Name its configuration with --config FILE, or its socket with --socket PATH.",
                };
                Self::NotReachable(format!("waypost: {error}\n{hint}"))
            }
        }
    }
}

impl From<Vec<ConfigError>> for Failure {
    fn from(errors: Vec<ConfigError>) -> Self {
        Self::Refused(errors.iter().map(ToString::to_string).collect())
    }
}

fn perform(cli: Cli, out: &mut dyn Write) -> Result<(), Failure> {
    let common = cli.common;
    match cli.command {
        Command::Run => run::run(&common),
        // Its exit statuses are of another kind: see `main`.
        Command::Sendmail { .. } => Err(Failure::Unusable("sendmail is a program of its own".to_owned())),
        Command::Check(check) => wait(check::check(&common, &check, out)),
        Command::Config(what) => config::config(&common, &what, out),
        Command::Top(how) => wait(top::top(&common, how, out)),
        Command::Trace(which) => wait(trace::trace(&common, which, out)),
        Command::Completions { shell } => manual::completions(&common, shell, out),
        Command::Man { folder } => manual::man(&common, &folder, out),
        Command::Reload(weaken) => wait(reload::reload(&common, weaken.allow_weaken, out)),
        Command::Status => wait(status::status(&common, out)),
        Command::Queue(command) => wait(queue::queue(&common, command, out)),
        Command::Backup { folder } => wait(backup::backup(&common, &folder, out)),
        Command::Restore { folder } => wait(backup::restore(&common, &folder, out)),
        Command::Migrate { look } => wait(migrate::migrate(&common, look, out)),
        Command::Suppress(command) => wait(suppress::suppress(&common, command, out)),
        Command::History(which) => wait(history::history(&common, which, out)),
        Command::Ban(command) => wait(ban::ban(&common, command, out)),
        Command::Plugin(command) => wait(plugin::plugin(&common, command, out)),
        Command::Explain(about) => wait(explain::explain(&common, about, out)),
        Command::Sts(asked) => wait(sts::sts(&common, asked, out)),
        Command::Destinations => wait(explain::destinations(&common, out)),
        Command::Dkim(command) => wait(dkim::dkim(&common, command, out)),
        Command::Why(which) => wait(why::why(&common, which, out)),
        Command::Token { name, role } => token::token(&name, role.into(), common.json, out),
        Command::CompileComponent { memory } => {
            compile_for_relay(memory, io::stdin().lock(), io::stdout().lock()).map_err(Failure::refused)
        }
        Command::Password { name, argon2, scram } => {
            let forms = match (argon2, scram) {
                (true, _) => Forms::Argon2,
                (_, true) => Forms::Scram,
                _ => Forms::Both,
            };
            password::password(&common, &name, forms, out)
        }
    }
}

/// This program, which compiles for the relay. Without it components are compiled by the relay itself.
fn compiler() -> Option<Compiler> {
    let compiler = Compiler::of_this_program();
    if let Err(error) = &compiler {
        // Not in the log: there may be none yet.
        let _ = writeln!(io::stderr(), "waypost: components are compiled without limits: {error}");
    }
    compiler.ok()
}

/// Runs a command that asks and waits: one thread is plenty.
fn wait<F: Future<Output = Result<(), Failure>>>(command: F) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::refused(format!("waypost: no runtime: {error}")))?.block_on(command)
}

/// The relay's socket: as named, or as the configuration says.
fn socket(common: &Common) -> Result<PathBuf, Failure> {
    match &common.socket {
        Some(socket) => Ok(socket.clone()),
        None => Ok(crate::config::admin_socket(&common.config)?),
    }
}

async fn connect(common: &Common) -> Result<Client, Failure> {
    Ok(Client::connect(&socket(common)?).await?)
}

#[cfg(test)]
mod tests;
