//! Compiling in a process of its own: the same program, under limits, with nothing in its hands but the component.
//!
//! What an attacker can make of a compiler - gigabytes, minutes, a crash - happens there, at low priority, and ends as
//! one refused component. Blocking: never on the async workers.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use rustix::process::{Resource, Rlimit, Signal};
use sha2::{Digest as _, Sha256};

use super::cache::CODE_MAX;
use super::config::CompileConfig;
use super::engine;
use super::load::SIZE_MAX;

/// The hidden command that [`serve`] answers.
pub const COMMAND: &str = "compile-component";

/// Octets of a reason: a line and no more.
const REASON_MAX: u64 = 1000;

/// Octets after the code: its digest. Code that was cut off is not taken for whole.
const TRAILER: usize = 32;

/// How much nicer than the relay the compiler is: mail goes first.
const NICE: i32 = 10;

/// How to start the process.
#[derive(Clone, Debug)]
pub struct Compiler(PathBuf);

impl Compiler {
    /// By this program. Only for a program that answers [`COMMAND`].
    ///
    /// # Errors
    /// Where the system does not say which file it is.
    pub fn of_this_program() -> std::io::Result<Self> {
        // The link leads to this very program, also when an upgrade has put another one in its place.
        let link = Path::new("/proc/self/exe");
        Ok(Self(if link.exists() { link.to_owned() } else { std::env::current_exe()? }))
    }

    /// By another program, which answers [`COMMAND`].
    pub fn by(program: &Path) -> Self {
        Self(program.to_owned())
    }

    /// Compiles; the code, or why there is none.
    pub(crate) fn compile(&self, component: &[u8], limits: &CompileConfig) -> Result<Vec<u8>, String> {
        let mut child = Command::new(&self.0)
            .args([COMMAND, "--memory", &limits.memory.to_string()])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("the process that compiles can't be started: {e}"))?;
        let (output, said, status) = converse(&mut child, component, limits)?;
        let code = output.and_then(whole);
        match code {
            Some(code) if status.success() => Ok(code),
            _ => Err(reason(&said, status)),
        }
    }
}

/// Everything the process says until it ends, or is ended.
fn converse(
    child: &mut Child,
    component: &[u8],
    limits: &CompileConfig,
) -> Result<(Option<Vec<u8>>, String, ExitStatus), String> {
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else { return Err("it has no pipes".to_owned()) };
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // One that ended early says why elsewhere.
            let _ = stdin.write_all(component);
        });
        let said = scope.spawn(move || text(stderr));
        let (done, output) = mpsc::channel();
        scope.spawn(move || {
            let mut code = Vec::new();
            let read = stdout.take(CODE_MAX + TRAILER as u64).read_to_end(&mut code);
            // Nobody listens any more once the time is up.
            let _ = done.send(read.ok().map(|_| code));
        });
        let output = output.recv_timeout(limits.time);
        // It is over, or it has to be: whatever it still does is not waited for.
        let _ = child.kill();
        let status = child.wait().map_err(|e| format!("the process that compiles is lost: {e}"))?;
        let said = said.join().unwrap_or_default();
        match output {
            Ok(output) => Ok((output, said, status)),
            Err(_) => Err(format!(
                "it was not compiled within {} s: make it smaller, or raise plugin-host.compile.time",
                limits.time.as_secs()
            )),
        }
    })
}

fn text(from: impl Read) -> String {
    let mut said = Vec::new();
    // What can't be read is not said.
    let _ = from.take(REASON_MAX).read_to_end(&mut said);
    String::from_utf8_lossy(&said).trim().to_owned()
}

/// Without its trailer, if that fits.
fn whole(mut output: Vec<u8>) -> Option<Vec<u8>> {
    let trailer = output.split_off(output.len().checked_sub(TRAILER)?);
    (Sha256::digest(&output)[..] == trailer[..]).then_some(output)
}

fn reason(said: &str, status: ExitStatus) -> String {
    const HINT: &str = "it may need more than plugin-host.compile.memory allows";
    match (said.lines().next_back(), status.code()) {
        (Some(line), Some(1)) => line.to_owned(),
        (Some(line), _) => format!("the process that compiles ended with {status} ({line}): {HINT}"),
        (None, _) => format!("the process that compiles ended with {status}: {HINT}"),
    }
}

/// The other end: what the hidden command does. `memory` is the most address space it may have, in octets.
///
/// # Errors
/// Why there is no code, in one line.
pub fn serve(memory: u64, component: impl Read, mut code: impl Write) -> Result<(), String> {
    confine(memory).map_err(|e| format!("the limits of the process can't be set: {e}"))?;
    let mut octets = Vec::new();
    component.take(SIZE_MAX).read_to_end(&mut octets).map_err(|e| format!("the component can't be read: {e}"))?;
    let engine = engine::on_demand().map_err(|e| e.to_string())?;
    let compiled = engine.precompile_component(&octets).map_err(|e| one_line(&format!("{e:#}")))?;
    let trailer = Sha256::digest(&compiled);
    let written = code.write_all(&compiled).and_then(|()| code.write_all(&trailer)).and_then(|()| code.flush());
    written.map_err(|e| format!("the code can't be written: {e}"))
}

fn confine(memory: u64) -> rustix::io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none)?;
    rustix::process::setrlimit(Resource::As, Rlimit { current: Some(memory), maximum: Some(memory) })?;
    rustix::process::nice(NICE).map(|_| ())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
