//! Compiled code: in a process of its own, and kept where nobody else's is ever run.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::plugin::cache::Cache;
use crate::plugin::compiler::{self, Compiler};
use crate::plugin::load::{self, digest_of};
use crate::plugin::testing::ENGINE;
use crate::plugin::{CompileConfig, Engine, HostConfig};

const LIMITS: CompileConfig = CompileConfig { memory: 4 << 30, time: Duration::from_secs(120) };

/// One that no other test loads: what is in use is not compiled again.
fn unique(text: &str) -> Vec<u8> {
    answering(Hook::Rcpt, &saying(2, 550, text))
}

fn loads(engine: &Engine, component: &[u8]) -> bool {
    load::compile(engine, component, digest_of(component), &LIMITS).is_ok()
}

/// The only file in the cache below a folder.
fn kept(folder: &Path) -> PathBuf {
    let mut files: Vec<_> = fs::read_dir(folder.join("cache")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

#[test]
fn what_is_not_as_the_relay_left_it_is_compiled_anew() {
    let dir = tempfile::tempdir().unwrap();
    let engine = ENGINE.equipped(None, Some(dir.path()));
    let component = unique("kept");
    let digest = digest_of(&component);
    assert!(loads(&engine, &component));
    let path = kept(dir.path());
    let good = fs::read(&path).unwrap();
    let open = || Cache::open(dir.path(), ENGINE.wasmtime()).unwrap();
    assert!(open().read(&digest).is_some());

    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let other_dir = tempfile::tempdir().unwrap();
    assert!(loads(&ENGINE.equipped(None, Some(other_dir.path())), &unique("another's")));
    let foreign = fs::read(kept(other_dir.path())).unwrap();
    let damages = [
        ("a bit", flipped),
        ("its end", good[..good.len() - 1].to_vec()),
        ("all but a few octets", good[..20].to_vec()),
        ("nothing left", Vec::new()),
        ("more than there was", [&good[..], b"x"].concat()),
        ("code of another component, made by another relay", foreign),
    ];
    for (what, octets) in damages {
        fs::write(&path, octets).unwrap();
        assert!(open().read(&digest).is_none(), "{what} was believed");
        assert!(!path.exists(), "{what} was left there");
        assert!(loads(&engine, &component) && open().read(&digest).is_some(), "{what}: compiled and kept again");
    }

    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(open().read(&digest).is_none(), "others could have written it");
    assert!(loads(&engine, &component));

    fs::write(dir.path().join("key"), [7; 32]).unwrap();
    assert!(open().read(&digest).is_none(), "another key");
    assert!(loads(&ENGINE.equipped(None, Some(dir.path())), &component) && open().read(&digest).is_some());
    fs::write(dir.path().join("key"), "short").unwrap();
    assert!(loads(&ENGINE.equipped(None, Some(dir.path())), &component) && open().read(&digest).is_some());
    assert_eq!(fs::metadata(dir.path().join("key")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn code_of_one_component_or_engine_is_not_taken_for_anothers() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path(), ENGINE.wasmtime()).unwrap();
    cache.write(&[1; 32], b"code");
    let path = kept(dir.path());
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let swapped = path.with_file_name(name.replace(&"01".repeat(32), &"02".repeat(32)));
    fs::copy(&path, &swapped).unwrap();
    assert!(cache.read(&[2; 32]).is_none() && cache.read(&[1; 32]).is_some());

    let mut config = wasmtime::Config::new();
    let newer = wasmtime::Engine::new(config.epoch_interruption(false)).unwrap();
    let newer = Cache::open(dir.path(), &newer).unwrap();
    assert!(newer.read(&[1; 32]).is_none());
    newer.write(&[1; 32], b"other");
    let files: Vec<_> = fs::read_dir(dir.path().join("cache")).unwrap().map(|e| e.unwrap().path()).collect();
    let its = files.iter().find(|file| **file != path).unwrap();
    fs::copy(&path, its).unwrap();
    assert!(newer.read(&[1; 32]).is_none(), "under the newer one's name");

    cache.write(&[3; 32], b"code");
    cache.retain(&[[3; 32]].into());
    assert!(cache.read(&[1; 32]).is_none() && cache.read(&[3; 32]).is_some());
}

#[test]
fn without_a_folder_it_is_compiled_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("cache"), "in the way").unwrap();
    let component = unique("not kept");
    assert!(loads(&ENGINE.equipped(None, Some(dir.path())), &component));
    let dir = tempfile::tempdir().unwrap();
    let engine = ENGINE.equipped(None, Some(dir.path()));
    fs::remove_dir(dir.path().join("cache")).unwrap();
    assert!(loads(&engine, &component), "gone while it was in use");
}

#[test]
fn many_may_write_the_same_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let code = vec![5; 1 << 20];
    let cache = Cache::open(dir.path(), ENGINE.wasmtime()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let cache = Cache::open(dir.path(), ENGINE.wasmtime()).unwrap();
                for _ in 0..10 {
                    cache.write(&[9; 32], &code);
                }
            });
        }
    });
    assert_eq!(cache.read(&[9; 32]).map(|read| read == code), Some(true));
}

/// A program that is no compiler. Written by another process: a file that this one has open can't be run.
fn program(dir: &Path, script: &str) -> Compiler {
    let path = dir.join("program");
    let write = format!("cat > '{0}' && chmod 700 '{0}'", path.display());
    let mut shell = std::process::Command::new("sh");
    let mut child = shell.args(["-c", &write]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), format!("#!/bin/sh\n{script}\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    Compiler::by(&path)
}

#[test]
fn a_process_that_does_not_compile_is_a_refused_component() {
    let component = unique("never compiled");
    let limits = CompileConfig { time: Duration::from_millis(300), ..LIMITS };
    let cases = [
        ("cat >/dev/null; exec tail -f /dev/null", "not compiled within"),
        ("cat >/dev/null; echo 'a type is wrong' >&2; exit 1", "a type is wrong"),
        ("cat >/dev/null; kill -9 $$", "plugin-host.compile.memory"),
        ("cat", "ended with exit status: 0"),
        ("exec 0<&-; exit 3", "ended with exit status: 3"),
    ];
    for (script, words) in cases {
        let dir = tempfile::tempdir().unwrap();
        let limits = if words.contains("within") { &limits } else { &LIMITS };
        let said = program(dir.path(), script).compile(&component, limits).unwrap_err();
        assert!(said.contains(words), "{script}: {said}");
    }
    let nowhere = Compiler::by(Path::new("/nonexistent/waypost")).compile(&component, &LIMITS).unwrap_err();
    assert!(nowhere.contains("can't be started"), "{nowhere}");
}

#[test]
fn the_name_of_the_command_is_what_the_program_answers() {
    assert_eq!(compiler::COMMAND, "compile-component");
    assert_eq!(HostConfig::default().compile, LIMITS);
}
