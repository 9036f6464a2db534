//! What may be written on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::ban::Ban;
use super::config::Config;
use super::dkim::Dkim;
use super::explain::Explain;
use super::history::History;
use super::manual::Shell;
use super::queue_args::Queue;
use super::sts::Sts;
use super::suppress::Suppress;
use super::top::Top;
use super::trace::Trace;
use super::why::Why;
use super::workbench::New;
use crate::admin::Role;

/// Where the configuration is unless somebody says otherwise.
pub(super) const CONFIGURATION: &str = "/etc/waypost/waypost.toml";

const AFTER: &str = "Exit status: 0 done; 1 refused or failed, with the reasons on standard error; \
                     2 wrong usage; 3 no relay answers. See docs/commands.md.";

/// A programmable SMTP mail relay.
#[derive(Debug, Parser)]
#[command(name = "waypost", version, after_help = AFTER, disable_help_subcommand = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// The configuration; commands to a running relay only look up its socket there.
    #[arg(
        short,
        long,
        global = true,
        display_order = 100,
        value_name = "FILE",
        default_value = CONFIGURATION
    )]
    pub(super) config: PathBuf,
    /// The running relay's admin socket, instead of the one in the configuration.
    #[arg(long, global = true, display_order = 100, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    /// Print JSON: one object, or one array.
    #[arg(long, global = true, display_order = 100)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the relay, in the foreground.
    ///
    /// SIGHUP reloads, SIGTERM and SIGINT end it once the transactions under way are finished.
    Run,
    /// Check a configuration and its plugins, without touching a running relay.
    ///
    /// Reports everything that is wrong at once, and warns of what is unwise: an open relay, passwords in the clear, grants
    /// beyond need. Each with file, line, key, why, and what to do.
    Check(Check),
    /// Print the default configuration, its schema, or what is in force.
    #[command(subcommand)]
    Config(Config),
    /// Have the running relay read its configuration and plugins anew.
    ///
    /// All of it or nothing: when anything is wrong, the old settings keep serving and the reasons are printed.
    Reload(Weaken),
    /// Show how the running relay stands.
    Status,
    /// Show what the running relay does: flow, queue, deferrals, plugins; refreshed until q or Ctrl-C.
    Top(Top),
    /// Follow sessions, deliveries and decisions as they happen, until Ctrl-C.
    Trace(Trace),
    /// Look at the running relay's queue, and change what is in it.
    #[command(subcommand)]
    Queue(Queue),
    /// Save every message of the running relay's queue in a folder, a file each.
    ///
    /// Messages are saved one by one, each as it is at that moment; the relay goes on working meanwhile.
    Backup {
        /// The folder; it is made, or has to be empty.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Bring the messages of a backup back into the running relay's queue, with their ids.
    ///
    /// Those that are in the queue are left alone. What was delivered since the backup was made is delivered again.
    Restore {
        /// The folder.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Bring what an earlier version stored into the form of this one, while no relay runs.
    ///
    /// Not needed for an upgrade as such: older forms are read. Run it as the relay's user.
    Migrate {
        /// Count only, and write nothing.
        #[arg(long)]
        look: bool,
    },
    /// Look at the addresses and domains that nothing is sent to, and change them.
    #[command(subcommand)]
    Suppress(Suppress),
    /// Tell what became of messages that left the queue: outcomes, attempts, and what the next hop said.
    History(History),
    /// Look at who is not served, and change it until the relay restarts.
    #[command(subcommand)]
    Ban(Ban),
    /// Look at plugins, sign them, and change which of their versions serve.
    #[command(subcommand)]
    Plugin(Plugin),
    /// Make keys that sign mail, and see that they are published.
    #[command(subcommand)]
    Dkim(Dkim),
    /// Tell what plugins decided about a message, a session or an address, and why a mail went the way it did.
    ///
    /// Decisions are kept as `[plugin-host.decisions]` says, also those about mail that was refused.
    Why(Why),
    /// Tell why mail for a domain goes the way it goes: route, exchangers, TLS, limits and what set them, state.
    Explain(Explain),
    /// Show the policy that a domain publishes for those who send to it (MTA-STS), as the relay keeps it.
    Sts(Sts),
    /// List the sites that mail goes to, and how they stand.
    Destinations,
    /// Print what makes a shell complete commands.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write manual pages, one for each command.
    Man {
        /// The folder; it is made if need be.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Compile a component from standard input to standard output: the relay's own errand.
    #[command(hide = true)]
    CompileComponent {
        /// Most octets of address space.
        #[arg(long, value_name = "OCTETS")]
        memory: u64,
    },
    /// Take a message from standard input and hand it to the running relay, as programs use `sendmail`.
    ///
    /// When the relay is down, or can't take it now, the message waits in a folder (`[sendmail] folder`), from which the relay takes
    /// it. Linked as sendmail, mailq or newaliases, the program is that command.
    ///
    /// Arguments: -t recipients from To, Cc and Bcc; -i, -oi a lone dot is content; -f, -r ADDRESS sender; -F NAME; -bs SMTP on
    /// standard input and output; -bp, as mailq: the queue; -N, -R, -V as in RFC 3461; -v; recipients. Others of Postfix and Exim are
    /// ignored. -C is refused.
    ///
    /// Exit status, as in sysexits.h: 0 taken, or waits; 64 usage; 65 the message is no good; 67 no such recipient; 69 refused; 73, 74
    /// input or output; 75 try again.
    Sendmail {
        /// As for `sendmail`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Make a token for the admin API, and print it with the lines of the configuration that let it in.
    Token {
        /// Whose it is: what the audit calls whoever uses it.
        #[arg(value_parser = token_name)]
        name: String,
        /// What it may: hand mail in; look at all but content; also work the queue; also reload and change plugins.
        #[arg(long, value_enum)]
        role: RoleName,
    },
    /// Print a line for the file of credentials; reads the password from standard input.
    Password {
        /// The user name.
        #[arg(value_parser = user_name)]
        name: String,
        /// Only an argon2 hash: safest if the file is stolen, but clients have to send the password (PLAIN, LOGIN).
        #[arg(long, conflicts_with = "scram")]
        argon2: bool,
        /// Only a SCRAM verifier. Without either, both are printed.
        #[arg(long)]
        scram: bool,
    },
}

/// As in `[admin.tokens.NAME]`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RoleName {
    Inject,
    Read,
    Operate,
    Admin,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Inject => Self::Inject,
            RoleName::Read => Self::Read,
            RoleName::Operate => Self::Operate,
            RoleName::Admin => Self::Admin,
        }
    }
}

/// Of what changes which plugins serve.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Weaken {
    /// Also where mail would be checked less than before; the audit tells of it.
    #[arg(long)]
    pub(super) allow_weaken: bool,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Print the effective configuration, defaults included and secrets left out.
    #[arg(long, conflicts_with = "json")]
    pub(super) print: bool,
    /// Exit with 1 where something is unwise, too.
    #[arg(long)]
    pub(super) strict: bool,
    /// Ask no name server.
    #[arg(long)]
    pub(super) offline: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Plugin {
    /// List the running relay's plugins.
    List,
    /// Show what plugins counted: the counters and histograms that their manifests declare.
    Metrics {
        /// This plugin only.
        name: Option<String>,
    },
    /// Show how a plugin's candidate does: counts by hook, and the last answers that differ.
    Trial {
        /// The plugin's name.
        name: String,
    },
    /// Have the running relay write calls of a plugin down, to be replayed; prints where.
    ///
    /// Each call is written with the mail it is about, its content included, to a file in the relay's folder for plugins
    /// that only the relay's user can read. Recorded calls run in fresh instances.
    Record {
        /// `[plugins.NAME]`.
        name: String,
        /// So many, then it ends by itself.
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        calls: u32,
        /// Only those about this sender, recipient, domain or client's IP address.
        #[arg(long, value_name = "ADDRESS")]
        address: Option<String>,
        /// End the recording under way.
        #[arg(long, conflicts_with_all = ["calls", "address"])]
        stop: bool,
    },
    /// Run the calls of a recording against a component, without a relay, and show what is different.
    ///
    /// Exit status: 0 everything is as it was recorded; 1 something is different; 2 the recording or the component can't
    /// be used.
    Replay {
        /// What `waypost plugin record` wrote.
        recording: PathBuf,
        /// The component, a .wasm file.
        component: PathBuf,
        /// Its settings, in place of the recorded ones.
        #[arg(long, value_name = "JSON", value_parser = json)]
        settings: Option<serde_json::Value>,
    },
    /// Begin a plugin: a project that builds and passes its own test, in a folder named after it.
    New(New),
    /// Build a plugin project: its compiler, then the manifest into the component, which goes to dist/NAME.wasm.
    ///
    /// Compilers write to standard error. What is missing on this machine is told with the command that installs it.
    ///
    /// Exit status: 0 built; 1 the build failed; 2 wrong usage.
    Build {
        /// The project's folder.
        #[arg(value_name = "DIR", default_value = ".")]
        project: PathBuf,
    },
    /// Check a built plugin as a relay would: its manifest, its hooks, what it is granted, its settings.
    ///
    /// Settings and grants are those of the project's first scenario; with --config FILE, those of [plugins.NAME] in that
    /// relay's configuration.
    ///
    /// Exit status: 0 a relay would take it; 1 it would not.
    Check {
        /// The project's folder, or a component.
        #[arg(value_name = "DIR|FILE", default_value = ".")]
        target: PathBuf,
    },
    /// Look into a component, without a relay: its hooks, what it wants, its digest.
    Inspect {
        /// The component, a .wasm file.
        file: PathBuf,
    },
    /// Run a plugin's scenarios, without a mail server: dialogues and events against what is expected.
    ///
    /// Each case runs in the relay's own code with fresh instances, with warm ones, and shuffled. Exit status: 0 all passed;
    /// 1 some did not; 2 they can't be run.
    Test {
        /// The plugin's folder, or its component; its scenarios are all files of `scenarios`.
        #[arg(default_value = ".")]
        plugin: PathBuf,
        /// This file instead; may be given several times.
        #[arg(long, value_name = "FILE")]
        scenario: Vec<PathBuf>,
        /// Only cases whose name contains this.
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
        /// The order of the shuffled pass, as an earlier run printed it.
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
    },
    /// Measure a plugin by its scenarios: time by hook, warm and fresh, instructions, memory.
    ///
    /// Exit status: 0 measured; 1 dearer than the baseline; 2 it can't be measured.
    Bench {
        /// The plugin's folder, or its component.
        #[arg(default_value = ".")]
        plugin: PathBuf,
        /// This file instead of the folder's; may be given several times.
        #[arg(long, value_name = "FILE")]
        scenario: Vec<PathBuf>,
        /// Only cases whose name contains this.
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
        /// How often each case is repeated.
        #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        rounds: u32,
        /// What an earlier run printed with --json, to be compared with: instructions and memory, which are the same on
        /// every machine.
        #[arg(long, value_name = "FILE")]
        baseline: Option<PathBuf>,
        /// So many of a hundred may be more than the baseline.
        #[arg(long, value_name = "PERCENT", default_value_t = 10)]
        tolerance: u64,
    },
    /// Hold a session with a plugin on the terminal: type SMTP, see what it decides.
    ///
    /// The relay around it delivers nothing, asks no network, and takes this client for one that may send to anybody.
    Run {
        /// The plugin's folder, or its component.
        #[arg(default_value = ".")]
        plugin: PathBuf,
        /// Settings, grants and fakes of this scenario file; else of the folder's first.
        #[arg(long, value_name = "FILE")]
        scenario: Option<PathBuf>,
        /// The client's IP address.
        #[arg(long, value_name = "IP")]
        client: Option<String>,
        /// The client's confirmed name.
        #[arg(long, value_name = "NAME")]
        client_name: Option<String>,
        /// The client is authenticated as this.
        #[arg(long, value_name = "NAME")]
        identity: Option<String>,
        /// The client may send to anybody.
        #[arg(long)]
        relay: bool,
        /// Mail for this domain is taken from anybody, as that for example.com, .example and .test is.
        #[arg(long, value_name = "DOMAIN")]
        domain: Vec<String>,
    },
    /// Compare two versions of a plugin: what the newer one asks for, and what it decides otherwise about the same
    /// scenarios.
    ///
    /// Exit status: 0 nothing is different; 1 something is; 2 they can't be compared.
    Diff {
        /// The component that is known, or its folder.
        old: PathBuf,
        /// The other one.
        new: PathBuf,
        /// This scenario file instead of those of the new one; may be given several times.
        #[arg(long, value_name = "FILE")]
        scenario: Vec<PathBuf>,
    },
    /// Show what serves: state, version, generation, and what is in force in place of the configuration.
    Status {
        /// This plugin only, in full.
        name: Option<String>,
    },
    /// List the generations kept for a roll-back.
    Generations,
    /// Bring back an earlier generation of all plugins.
    ///
    /// It holds, over reloads and restarts, until the configuration of a plugin or the component it names changes.
    Rollback {
        /// Its number; else the last one that was not taken back itself.
        generation: Option<u64>,
        #[command(flatten)]
        weaken: Weaken,
    },
    /// Put a plugin's candidate in its place.
    Promote {
        /// The plugin.
        name: String,
        #[command(flatten)]
        weaken: Weaken,
    },
    /// End the trial of a plugin's candidate.
    DropCandidate {
        /// The plugin.
        name: String,
        #[command(flatten)]
        weaken: Weaken,
    },
    /// Try another component beside the one that serves.
    #[command(group = clap::ArgGroup::new("mode").required(true).args(["shadow", "canary"]))]
    Try {
        /// The plugin.
        name: String,
        /// The component.
        file: PathBuf,
        /// Ask it about the same, and do nothing it says.
        #[arg(long)]
        shadow: bool,
        /// Let it decide for so many of a hundred sessions.
        #[arg(long, value_name = "SHARE", value_parser = clap::value_parser!(u8).range(1..=100))]
        canary: Option<u8>,
        /// Its own settings, a JSON object; else it has the plugin's.
        #[arg(long, value_name = "JSON", value_parser = settings)]
        settings: Option<serde_json::Value>,
        #[command(flatten)]
        weaken: Weaken,
    },
    /// List the last changes of what serves, and who made them.
    Audit {
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Make a key to sign components with; prints the public key, for `plugin-host.signers`.
    Keygen {
        /// Where the private key goes; the file must not be there yet.
        file: PathBuf,
    },
    /// Sign a component: the signature goes beside it, as FILE.sig.
    Sign {
        /// The private key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The component.
        component: PathBuf,
    },
    /// Check the signature beside a component; exits with 1 if it is not good.
    Verify {
        /// The public key, in base64.
        #[arg(long, value_name = "KEY")]
        key: String,
        /// The component.
        component: PathBuf,
    },
}

fn settings(text: &str) -> Result<serde_json::Value, String> {
    match serde_json::from_str(text) {
        Ok(settings @ serde_json::Value::Object(_)) => Ok(settings),
        Ok(_) => Err("settings are a JSON object: {\"key\": \"value\"}".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn user_name(text: &str) -> Result<String, String> {
    let bad = text.is_empty() || text.starts_with('#') || text.trim() != text;
    if bad || text.chars().any(|c| c.is_control() || c == ':') {
        return Err("a name has no colon and no control characters, and does not begin with #".to_owned());
    }
    Ok(text.to_owned())
}

/// A name that can stand in `[admin.tokens.NAME]` as it is.
fn token_name(text: &str) -> Result<String, String> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let right = (1..=63).contains(&text.len()) && text.bytes().all(fits);
    right.then(|| text.to_owned()).ok_or_else(|| "lower case letters, digits and `-`".to_owned())
}
