//! The real program with a configuration of its own, in a temporary folder.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{Sink, Smtp, wait_for};

/// A running relay. Killed when dropped; its log is shown if the test failed.
pub(crate) struct Relay {
    folder: TempDir,
    child: Child,
    address: SocketAddr,
}

/// Tables that tests have no reason to vary. Retries are quick, so that a test sees them.
const BASE: &str = r#"
hostname = "relay.test"

[listeners.smtp]
address = "127.0.0.1:0"

[relay]
networks = ["127.0.0.0/8"]
domains = []

[queue]
path = "DIR/spool"
min-free = "1 MiB"

[admin]
socket = "DIR/admin.sock"

[process]
allow-root = true

[retry]
first = "1s"
longest = "1s"

[delivery]
cool-down = "1s"
"#;

impl Relay {
    /// Starts with the base and these tables; `DIR` in them stands for the relay's own folder.
    pub(crate) fn start(tables: &str) -> Self {
        Self::start_with(BASE, tables)
    }

    /// As `start`, but trusting no network: any client is a stranger.
    pub(crate) fn start_for_strangers(tables: &str) -> Self {
        Self::start_with(
            &BASE.replace("[\"127.0.0.0/8\"]", "[]").replace("domains = []", "domains = [\"ours.test\"]"),
            tables,
        )
    }

    /// As `start`, but trusting this network alone.
    pub(crate) fn start_trusting(network: &str, tables: &str) -> Self {
        Self::start_with(&BASE.replace("127.0.0.0/8", network), tables)
    }

    /// As `start`, but leaving no next hop alone after a failure.
    pub(crate) fn start_insisting(tables: &str) -> Self {
        Self::start_with(&insisting(), tables)
    }

    /// As `start`, but with the listeners' sockets handed over as systemd does: one called `smtp`, one called `local`.
    pub(crate) fn start_activated(tables: &str, smtp: OwnedFd, local: OwnedFd) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_config(folder.path(), &format!("{}\n{tables}", BASE.replace("127.0.0.1:0", "systemd:smtp")));
        // Descriptors are numbered from 3 on, and the variables name the process: a shell becomes the relay.
        let script = "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=smtp:local; export LISTEN_PID LISTEN_FDS LISTEN_FDNAMES; \
                      exec 3<&0 4<&1; exec \"$0\" run --config \"$1\" </dev/null >>\"$2\" 2>&1";
        let mut command = Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_waypost")]);
        command.args([folder.path().join("waypost.toml"), folder.path().join("log")]);
        let (child, address) = spawn_by(folder.path(), command.stdin(smtp).stdout(local));
        Self { folder, child, address }
    }

    /// Everything goes to a sink.
    pub(crate) fn start_towards(sink: &Sink) -> Self {
        Self::start(&towards(sink))
    }

    /// As `start_insisting`, but believing this authority, and no other, about next hops.
    pub(crate) fn start_believing(authority: &Path, tables: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_config(folder.path(), &format!("{}\n{tables}", insisting()));
        let (child, address) = spawn_by(folder.path(), program(folder.path()).env("SSL_CERT_FILE", authority));
        Self { folder, child, address }
    }

    fn start_with(base: &str, tables: &str) -> Self {
        Self::start_whole(&format!("{base}\n{tables}"))
    }

    /// Starts with this configuration and nothing else; `DIR` as above.
    pub(crate) fn start_whole(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_config(folder.path(), config);
        let (child, address) = spawn(folder.path());
        Self { folder, child, address }
    }

    /// A new configuration, not yet read.
    pub(crate) fn rewrite(&self, tables: &str) {
        write_config(self.folder.path(), &format!("{BASE}\n{tables}"));
    }

    /// A client, past the greeting.
    pub(crate) fn smtp(&self) -> Smtp {
        Smtp::connect(self.address)
    }

    /// Where the listener of this name is met.
    pub(crate) fn listener(&self, name: &str) -> SocketAddr {
        let status = self.json(&["status"]);
        let listeners = status["listeners"].as_array().unwrap();
        let listener = listeners.iter().find(|listener| listener["name"] == name).unwrap();
        listener["address"].as_str().unwrap().parse().unwrap()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where a listener listens.
    pub(crate) fn address_of(&self, listener: &str) -> String {
        let status = self.json(&["status"]);
        let of = status["listeners"].as_array().unwrap().iter().find(|l| l["name"] == listener).unwrap();
        of["address"].as_str().unwrap().to_owned()
    }

    /// Where the relay keeps its things.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Runs a subcommand.
    pub(crate) fn command(&self, words: &[&str]) -> Output {
        command(self.folder.path(), words)
    }

    /// Runs a subcommand that must succeed, with `--json`; what it printed.
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let output = self.command(&[words, &["--json"]].concat());
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// How many messages are in the queue.
    pub(crate) fn queued(&self) -> usize {
        self.messages().len()
    }

    /// What is in the queue, as `queue list --json` prints it.
    pub(crate) fn messages(&self) -> Vec<Value> {
        let Value::Array(messages) = self.json(&["queue", "list"]) else { panic!("a list is one array") };
        messages
    }

    /// SIGHUP.
    pub(crate) fn hang_up(&self) {
        kill_process(self.pid(), Signal::HUP).unwrap();
    }

    /// SIGKILL, then a new process on the same folder.
    pub(crate) fn crash_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.restart();
    }

    /// SIGTERM; does not wait for what comes of it.
    pub(crate) fn drain(&self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
    }

    /// SIGTERM, which must end it with status 0.
    pub(crate) fn stop(&mut self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
        let status = wait_for("the relay ends", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }

    /// As `stop`, then a new process on the same folder.
    pub(crate) fn stop_and_restart(&mut self) {
        self.stop();
        self.restart();
    }

    /// A new process on the same folder, after `stop`.
    pub(crate) fn start_again(&mut self) {
        self.restart();
    }

    fn restart(&mut self) {
        self.child.wait().unwrap();
        (self.child, self.address) = spawn(self.folder.path());
    }

    /// A file of the process below /proc.
    pub(crate) fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.child.id()))
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Neither can fail in a way that matters here: the child is ours and may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the relay's log\n{}---", self.log());
        }
    }
}

/// The table that sends everything to a sink.
pub(crate) fn towards(sink: &Sink) -> String {
    format!("[routing]\ndefault = {{ hops = [\"smtp://{}\"], tls = \"off\" }}\n", sink.address())
}

/// The shipped component of a plugin, for its `path`.
pub(crate) fn component(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/components").join(format!("{name}.wasm"));
    assert!(path.exists(), "{} belongs to the repository: make plugins", path.display());
    path
}

fn insisting() -> String {
    BASE.replace("cool-down = \"1s\"", "cool-down = \"0s\"")
}

fn write_config(folder: &Path, text: &str) {
    // Only where a path begins: a folder with a name made by chance may have these letters in it.
    let folder_text = folder.to_str().unwrap();
    let text = text.replace("\"DIR", &format!("\"{folder_text}")).replace(":DIR", &format!(":{folder_text}"));
    fs::write(folder.join("waypost.toml"), text).unwrap();
}

fn command(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_waypost"))
        .args(words)
        .arg("--config")
        .arg(folder.join("waypost.toml"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn spawn(folder: &Path) -> (Child, SocketAddr) {
    spawn_by(folder, &mut program(folder))
}

fn program(folder: &Path) -> Command {
    let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
    command.args(["run", "--config"]).arg(folder.join("waypost.toml"));
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command
}

fn spawn_by(folder: &Path, command: &mut Command) -> (Child, SocketAddr) {
    let mut child = command.spawn().unwrap();
    let address = wait_for("the relay listens", || {
        if let Some(status) = child.try_wait().unwrap() {
            let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
            panic!("the relay ended with {status}:\n{log}");
        }
        address_of(folder)
    });
    (child, address)
}

/// The first TCP listener's address, as the running relay states it: it listens on port 0 and only it knows.
fn address_of(folder: &Path) -> Option<SocketAddr> {
    let output = command(folder, &["status", "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).ok()?;
    status.get("listeners")?.as_array()?.iter().find_map(|l| l.get("address")?.as_str()?.parse().ok())
}
