//! The architecture as ARCHITECTURE.md states it, against the sources: imports, vendors, sizes, pages.
//!
//! Reads text, not syntax trees: what it misses a reviewer sees, and what it finds is certain.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use waypost::hooks::Hook;

/// Longest file, tests not counted: CONTRIBUTING.md, rule 7.
const LINES: usize = 500;

/// A source file without its comments and without its tests.
struct Source {
    /// From the repository's root, with slashes.
    path: String,
    /// First path component below `src`, without `.rs`.
    module: String,
    text: String,
    code: String,
}

#[test]
fn each_module_imports_only_what_the_table_allows() {
    let table = table("| module | may import |");
    let sources = sources();
    let modules: BTreeSet<&str> =
        sources.iter().map(|s| &*s.module).filter(|m| !matches!(*m, "lib" | "main")).collect();
    let rows: BTreeSet<&str> = table.keys().map(|module| &**module).collect();
    assert_eq!(rows, modules, "the table's rows against the modules that exist");

    let mut wrong = Vec::new();
    for source in sources.iter().filter(|s| modules.contains(&*s.module)) {
        let allowed = &table[&source.module];
        for import in imports(&source.code) {
            if import != source.module && !allowed.contains("all") && !allowed.contains(&import) {
                wrong.push(format!("{} imports {import}", source.path));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "a new arrow is its own commit and edits ARCHITECTURE.md");
}

#[test]
fn no_module_climbs_out_through_super() {
    let mut wrong = Vec::new();
    for source in sources() {
        let inside = source.path.strip_prefix("src/").unwrap();
        let depth = inside.matches('/').count() - usize::from(inside.ends_with("/mod.rs"));
        let chain = format!("{}super::", "super::".repeat(depth));
        if source.code.contains(&chain) {
            wrong.push(source.path);
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "`super` leaves the module: write `crate::…`, so that the table sees it");
}

#[test]
fn each_vendor_lives_in_one_place() {
    let mut wrong = Vec::new();
    for (vendor, homes) in table("| crate | named only in |") {
        for source in sources() {
            let at_home = homes.iter().any(|home| source.path == *home || source.path.starts_with(&format!("{home}/")));
            let own_module = source.code.contains(&format!("mod {vendor};"));
            if !at_home && !own_module && names_crate(&source.code, &vendor) {
                wrong.push(format!("{} names {vendor}", source.path));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn pure_modules_do_no_io_and_read_no_clock() {
    const IMPURE: [&str; 9] = [
        "tokio::",
        "std::fs",
        "std::net::Tcp",
        "std::net::Udp",
        "std::os::unix",
        "SystemTime",
        "Instant::now",
        "std::env",
        "std::thread",
    ];
    let architecture = architecture();
    let line = architecture.lines().find(|line| line.starts_with("Pure modules: ")).expect("a line of pure modules");
    let pure: BTreeSet<String> = code_words(line);
    assert!(pure.len() > 3, "{pure:?}");
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|s| pure.contains(&s.module)) {
        wrong.extend(
            IMPURE.iter().filter(|word| source.code.contains(**word)).map(|word| format!("{}: {word}", source.path)),
        );
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for source in sources() {
        let lines = without_tests(&source.text).lines().count();
        if lines > LINES {
            wrong.push(format!("{} has {lines} lines", source.path));
        }
        if !source.text.starts_with("//!") {
            wrong.push(format!("{} does not open with what it is", source.path));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn nothing_is_left_for_later_and_no_lint_is_waived_without_a_reason() {
    const BANNED: [&str; 6] = ["TODO", "FIXME", "XXX", "#[allow", "#![allow", "unimplemented!"];
    let mut wrong = Vec::new();
    for source in sources() {
        wrong.extend(
            BANNED.iter().filter(|word| source.text.contains(**word)).map(|word| format!("{}: {word}", source.path)),
        );
        if source.code.contains("cfg!(test)") || source.code.contains("cfg(not(test))") {
            wrong.push(format!("{} behaves differently under test", source.path));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn each_hook_has_its_page() {
    const HEADINGS: [&str; 7] =
        ["## When", "## What is known", "## Verdicts", "## Order", "## Failure", "## Limits", "## Smallest example"];
    let mut wrong = Vec::new();
    for hook in Hook::ALL {
        let name = hook.interface().strip_prefix("on-").unwrap();
        let page = fs::read_to_string(root().join(format!("docs/hooks/{name}.md"))).unwrap_or_default();
        wrong
            .extend(HEADINGS.iter().filter(|h| !page.contains(**h)).map(|h| format!("docs/hooks/{name}.md lacks {h}")));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn each_plugin_has_the_same_name_everywhere() {
    let mut wrong = Vec::new();
    for name in plugin_names() {
        let rust = root().join(format!("plugins/{name}/Cargo.toml")).exists();
        for path in [
            format!("plugins/{name}/{}", if rust { "src/lib.rs" } else { "src/plugin.ts" }),
            format!("plugins/components/{name}.wasm"),
            format!("docs/plugins/{name}.md"),
        ] {
            if !root().join(&path).exists() {
                wrong.push(format!("{path} is missing"));
            }
        }
        let page = fs::read_to_string(root().join(format!("docs/plugins/{name}.md"))).unwrap_or_default();
        if !page.contains(&format!("[plugins.{name}]")) {
            wrong.push(format!("docs/plugins/{name}.md shows no [plugins.{name}]"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut wrong = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        // In a block of code, brackets and parentheses are no link.
        let text: String = text.split("\n```").step_by(2).collect();
        let folder = page.parent().unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next()) {
            if !target.is_empty()
                && !target.contains("://")
                && !target.starts_with("mailto:")
                && !folder.join(target).exists()
            {
                wrong.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn each_invariant_names_a_test_that_exists() {
    let architecture = architecture();
    let section = architecture.split("## Invariants").nth(1).expect("invariants").split("\n## ").next().unwrap();
    let tests: Vec<&str> = section.lines().filter_map(|line| line.split("Test: ").nth(1)).collect();
    assert!(tests.len() > 5, "{tests:?}");
    let rust = all_code();
    let mut wrong = Vec::new();
    for name in tests.iter().flat_map(|line| code_words(line)) {
        if !rust.contains(&format!("fn {name}(")) && !root().join(&name).exists() {
            wrong.push(name);
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// All sources and tests in one text.
pub(crate) fn all_code() -> String {
    let all = ["src", "tests"].iter().flat_map(|dir| files(&root().join(dir), "rs"));
    all.map(|file| fs::read_to_string(file).unwrap()).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn architecture() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

/// The table of ARCHITECTURE.md whose head starts so: the code words of the first column, each with those of the second.
fn table(head: &str) -> BTreeMap<String, BTreeSet<String>> {
    let text = architecture();
    let rows = text.lines().skip_while(|line| !line.starts_with(head)).skip(2).take_while(|line| line.starts_with('|'));
    let mut table = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').collect();
        for name in code_words(cells[1]) {
            assert!(table.insert(name.clone(), code_words(cells[2])).is_none(), "two rows for {name}");
        }
    }
    assert!(!table.is_empty(), "no table {head}");
    table
}

/// What stands in backticks.
fn code_words(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn sources() -> Vec<Source> {
    let source = |file: PathBuf| {
        let path = file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let module = path.split('/').nth(1).unwrap().trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&file).unwrap();
        let code = without_tests(&text)
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n");
        Source { path, module, text, code }
    };
    let is_test = |path: &PathBuf| path.ends_with("tests.rs") || path.components().any(|c| c.as_os_str() == "tests");
    files(&root().join("src"), "rs")
        .into_iter()
        .filter(|p| !is_test(&p.strip_prefix(root()).unwrap().into()))
        .map(source)
        .collect()
}

/// Up to the tests, which stand last (CONTRIBUTING.md, rule 6).
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text)
}

/// The crate's modules that a file names: `crate::a`, and each of `crate::{a::b, c}`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => found.extend(word(rest)),
            Some(group) => {
                let mut depth = 0;
                let mut part = String::new();
                for c in group.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => found.extend(word(&std::mem::take(&mut part))),
                        _ => {}
                    }
                    if !(c == ',' && depth == 0) {
                        part.push(c);
                    }
                }
                found.extend(word(&part));
            }
        }
    }
    found
}

fn word(text: &str) -> Option<String> {
    let word: String = text.trim_start().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

/// `vendor::` that is not a part of a longer path or word.
fn names_crate(code: &str, vendor: &str) -> bool {
    let path = format!("{vendor}::");
    code.match_indices(&path).any(|(at, _)| {
        let before = code[..at].chars().next_back().unwrap_or(' ');
        !(before.is_alphanumeric() || before == '_' || before == ':')
    })
}

/// The policies: what lies beside them, such as what they share, has no manifest.
fn plugin_names() -> Vec<String> {
    let Ok(entries) = fs::read_dir(root().join("plugins")) else { return Vec::new() };
    let policies = entries.map(Result::unwrap).filter(|e| e.path().join("waypost-plugin.toml").exists());
    policies.map(|e| e.file_name().into_string().unwrap()).collect()
}

fn pages() -> Vec<PathBuf> {
    let top =
        fs::read_dir(root()).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "md"));
    ["docs", "plugins", "examples"].iter().flat_map(|dir| files(&root().join(dir), "md")).chain(top).collect()
}

/// All files below a folder with this extension, in order.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for path in entries.map(|e| e.unwrap().path()) {
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}
