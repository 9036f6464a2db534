//! Rust: cargo for `wasm32-unknown-unknown`. With rustup's target, or with Debian's compiler and the library's source.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::read;
use crate::workbench::tools::{output, run};
use crate::workbench::{Project, Toolbox, WorkbenchError, component};

const TARGET: &str = "wasm32-unknown-unknown";

/// The component, and the crate's version.
pub(super) fn build(project: &Project, tools: &Toolbox) -> Result<(Vec<u8>, Option<String>), WorkbenchError> {
    let folder = &project.folder;
    let cargo = tools.find(&["cargo"]).ok_or_else(|| missing(vec![tools.looked_for(&["cargo"])]))?;
    let compiler = Compiler::find(folder, tools)?;
    let package = Package::of(project, &cargo)?;
    let target = match compiler.source {
        // Another compiler must not undo what builds for this machine left there.
        Source::Debian => package.target.join("plugins"),
        Source::Rustup => package.target.clone(),
    };
    let mut command = Command::new(&cargo);
    command.args(["build", "--target", TARGET, "--lib", "--package", &package.name]);
    match package.profile {
        "release" => command.arg("--release"),
        profile => command.args(["--profile", profile]),
    };
    command.arg("--target-dir").arg(&target);
    compiler.equip(&mut command);
    run(&mut command, folder, "compiling")?;
    let core = target.join(TARGET).join(package.profile).join(format!("{}.wasm", package.library));
    Ok((component::encode(&read(&core)?)?, package.version))
}

fn missing(looked_for: Vec<String>) -> WorkbenchError {
    WorkbenchError::Missing {
        what: format!("A plugin in Rust needs cargo and the target {TARGET}"),
        looked_for,
        install: vec![
            format!("rustup target add {TARGET}      (rustup: https://rustup.rs)"),
            "apt-get install rustc-web rust-web-src lld      (Debian, beside rustup's cargo)".to_owned(),
        ],
    }
}

enum Source {
    Rustup,
    Debian,
}

/// What compiles for the target.
struct Compiler {
    source: Source,
    linker: Option<PathBuf>,
}

impl Compiler {
    fn find(folder: &Path, tools: &Toolbox) -> Result<Self, WorkbenchError> {
        let rustc = tools.find(&["rustc"]).ok_or_else(|| missing(vec![tools.looked_for(&["rustc"])]))?;
        let sysroot = PathBuf::from(output(Command::new(&rustc).args(["--print", "sysroot"]), folder)?);
        let library = sysroot.join("lib/rustlib").join(TARGET);
        if library.is_dir() {
            return Ok(Self { source: Source::Rustup, linker: None });
        }
        let mut looked_for = vec![library.display().to_string()];
        // RUSTC_BOOTSTRAP allows -Zbuild-std, which needs the compiler and the source of one version.
        let debian = Path::new("/usr/bin/rustc");
        let version =
            if debian.is_file() { output(Command::new(debian).arg("--version"), folder)? } else { String::new() };
        let number = version.split(' ').nth(1).unwrap_or("VERSION");
        let source = PathBuf::from(format!("/usr/src/rustc-{number}"));
        if !source.is_dir() {
            looked_for.push(format!("{} and {}", debian.display(), source.display()));
            return Err(missing(looked_for));
        }
        let verbose = output(Command::new(&rustc).arg("-vV"), folder)?;
        let host = verbose.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
        let own = sysroot.join("lib/rustlib").join(host).join("bin/rust-lld");
        let linker = if own.is_file() { Some(own.clone()) } else { tools.find(&["rust-lld", "wasm-ld"]) };
        if linker.is_none() {
            looked_for.push(format!("{}, {}", own.display(), tools.looked_for(&["wasm-ld"])));
            return Err(missing(looked_for));
        }
        Ok(Self { source: Source::Debian, linker })
    }

    fn equip(&self, command: &mut Command) {
        if let Source::Debian = self.source {
            command.args(["-Zbuild-std=std,panic_abort"]);
            command.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
        }
        if let Some(linker) = &self.linker {
            command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        // Panic messages name source files: the same ones on every machine. Those of the project are named from its folder
        // anyway, and its path among the flags would have every project build all it depends on anew.
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).unwrap_or_default();
        let flags = format!("--remap-path-prefix={}=registry", home.join("registry/src").display());
        command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", flags);
    }
}

/// What cargo says of the crate in the project's folder.
struct Package {
    name: String,
    version: Option<String>,
    library: String,
    target: PathBuf,
    profile: &'static str,
}

impl Package {
    fn of(project: &Project, cargo: &Path) -> Result<Self, WorkbenchError> {
        let folder = &project.folder;
        let manifest = folder.join("Cargo.toml");
        let wrong = |why: &str| WorkbenchError::Failed(format!("{}: {why}", manifest.display()));
        let told = output(Command::new(cargo).args(["metadata", "--no-deps", "--format-version", "1"]), folder)?;
        let told: Value = serde_json::from_str(&told).map_err(|error| wrong(&format!("cargo metadata: {error}")))?;
        let text = |of: &Value, key: &str| of.get(key).and_then(Value::as_str).map(str::to_owned);
        let list = |of: &Value, key: &str| of.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let own = list(&told, "packages")
            .into_iter()
            .find(|package| text(package, "manifest_path").is_some_and(|path| Path::new(&path) == manifest));
        let own = own.ok_or_else(|| wrong("cargo finds no package here"))?;
        let makes_a_module = |target: &Value| list(target, "crate_types").iter().any(|kind| kind == "cdylib");
        let library = list(&own, "targets").into_iter().find(makes_a_module);
        let library = library.and_then(|library| text(&library, "name"));
        let library = library.ok_or_else(|| {
            wrong("it makes no module for WebAssembly: add [lib] crate-type = [\"cdylib\", \"rlib\"]")
        })?;
        let root = text(&told, "workspace_root").unwrap_or_default();
        let has_profile = std::fs::read_to_string(Path::new(&root).join("Cargo.toml"))
            .is_ok_and(|text| text.lines().any(|line| line.trim() == "[profile.plugin]"));
        Ok(Self {
            name: text(&own, "name").unwrap_or_default(),
            version: text(&own, "version"),
            library: library.replace('-', "_"),
            target: text(&told, "target_directory").unwrap_or_else(|| "target".to_owned()).into(),
            profile: if has_profile { "plugin" } else { "release" },
        })
    }
}
