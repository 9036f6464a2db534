//! The schema and the default configuration are made of what the code asks for and what the reference says of it. With
//! `WAYPOST_BLESS` set they are written anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::super::raw::{self, Shape};
use super::super::{check, parse};
use super::reference::{Row, pattern, reference};
use super::{files, repository};

/// Forms of values that `full.toml` has no room for, since a key is there only once.
const MORE: [&str; 4] = [
    "hostname = 'a.example'\n[plugins.x]\npath = 'x'\non-failure = 'skip'\nbreaker = false\n",
    "hostname = 'a.example'\n[routing.domains]\n'a.example' = { hops = ['mx'], tls = 'verify', source = 's', credential = 'c', \
     lane = 'l', retry = 'r' }\n[destinations.d]\nroute = 'smtp://a'\n[routing]\ndefault = 'mx'\n",
    "hostname = 'a.example'\n[shaping]\nrules = [{ domain = ['a.example'], mx = 'a.example', source = ['s'], tenant = 't', \
     connections = 1 }]\nbackoff = [{ domain = ['a.example'], mx = ['a.example'], source = ['s'], tenant = ['t'], code = '421', \
     status = ['4.7.1'], divide = 2 }]\n",
    "hostname = 'a.example'\n[retry]\nwarn-after = '1h'\n[retry.x]\nwarn-after = 'never'\n[queue]\nheld-expire = 'never'\n\
     [tls]\ncertificate = 'c'\nkey = 'k'\nwatch = 'never'\n[dkim.x]\ndomain = 'a.example'\nselector = 's'\nkey-file = 'k'\n\
     expires = 'never'\n",
];

/// What the code takes for each key.
fn shapes() -> BTreeMap<String, BTreeSet<Shape>> {
    let full = fs::read_to_string(repository("tests/configs/full.toml")).unwrap();
    let mut shapes: BTreeMap<String, BTreeSet<Shape>> = BTreeMap::new();
    for text in std::iter::once(full.as_str()).chain(MORE) {
        let written = [raw::Written::new("x.toml", text)];
        let source = raw::Source::new(&written);
        let table = source.parse(&written).unwrap();
        check::settings(&raw::Table::root(&source, &table), &repository("tests/configs/full.toml"));
        for (key, more) in source.shapes() {
            shapes.entry(key).or_default().extend(more);
        }
        for key in source.asked() {
            shapes.entry(key).or_default();
        }
    }
    shapes
}

/// What the reference says, by the code's name of the key.
fn rows() -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    for row in reference() {
        for key in pattern(&row.section, &row.key) {
            let Row { section, key: name, value, default, why } = &row;
            let [section, name, value, default, why] = [section, name, value, default, why].map(Clone::clone);
            rows.insert(key, Row { section, key: name, value, default, why });
        }
    }
    rows
}

struct Maker {
    shapes: BTreeMap<String, BTreeSet<Shape>>,
    children: BTreeMap<String, BTreeSet<String>>,
    rows: BTreeMap<String, Row>,
}

impl Maker {
    fn new() -> Self {
        let shapes = shapes();
        let mut children: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for key in shapes.keys() {
            let mut rest = key.trim_end_matches("[]");
            while let Some((above, name)) = rest.rsplit_once('.') {
                children.entry(above.to_owned()).or_default().insert(name.to_owned());
                rest = above;
            }
            children.entry(String::new()).or_default().insert(rest.to_owned());
        }
        Self { shapes, children, rows: rows() }
    }

    fn table(&self, key: &str) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        let mut others = json!(false);
        for name in self.children.get(key).into_iter().flatten() {
            let below = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            if name == "NAME" {
                others = self.value(&below);
                continue;
            }
            if self.rows.get(&below).is_some_and(|row| row.default == "required") {
                required.push(name.clone());
            }
            properties.insert(name.clone(), self.value(&below));
        }
        let mut table = json!({ "type": "object", "properties": properties, "additionalProperties": others });
        if !required.is_empty() {
            table["required"] = json!(required);
        }
        table
    }

    fn value(&self, key: &str) -> Value {
        let shapes = self.shapes.get(key).cloned().unwrap_or_default();
        let has_children = self.children.contains_key(key.trim_end_matches("[]"));
        let words: BTreeSet<&String> = shapes
            .iter()
            .flat_map(|shape| if let Shape::Words(words) = shape { words.as_slice() } else { &[] })
            .collect();
        let mut forms = Vec::new();
        if shapes.contains(&Shape::Foreign) {
            forms.push(json!({ "type": "object" }));
        } else if shapes.contains(&Shape::Table) || shapes.contains(&Shape::Named) {
            forms.push(self.table(key.trim_end_matches("[]")));
        } else if shapes.is_empty() && has_children {
            forms.push(self.table(key));
        }
        for shape in &shapes {
            forms.extend(match shape {
                Shape::Text => Some(json!({ "type": "string" })),
                Shape::Flag => Some(json!({ "type": "boolean" })),
                Shape::Integer(least, most) => {
                    Some(json!({ "type": "integer", "minimum": *least as i64, "maximum": *most as i64 }))
                }
                Shape::Duration => Some(json!({ "type": "string", "pattern": "^ *([0-9]+ *([mM]?[sS]|[mMhHdD]) *)+$" })),
                Shape::Size => Some(json!({ "type": ["string", "integer"], "minimum": 0, "pattern": "^ *[0-9]+ *([kKmMgGtT][iI])?[bB] *$" })),
                Shape::List => Some(json!({ "type": "array", "items": self.value(&format!("{key}[]")) })),
                Shape::Words(_) | Shape::Table | Shape::Named | Shape::Foreign => None,
            });
        }
        if !words.is_empty() && !shapes.contains(&Shape::Text) {
            forms.push(json!({ "enum": words }));
        }
        let mut value = match forms.as_slice() {
            [] => json!({}),
            [one] => one.clone(),
            several => json!({ "anyOf": several }),
        };
        if let Some(row) = self.rows.get(key) {
            value["description"] = plain(&row.why).into();
            if let Some(default) = literal(&row.default) {
                value["default"] = default;
            }
        }
        value
    }
}

/// Without the marks of the page: links and code.
fn plain(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        shown += before;
        let Some((name, after)) = link.split_once(']') else { return shown + "[" + link };
        match after.strip_prefix('(').and_then(|target| target.split_once(')')) {
            Some((_, after)) => {
                shown += name;
                rest = after;
            }
            None => {
                shown += &format!("[{name}]");
                rest = after;
            }
        }
    }
    (shown + rest).replace('`', "")
}

/// A default that is a value of TOML.
fn literal(default: &str) -> Option<Value> {
    let value = default.strip_prefix('`')?.strip_suffix('`').filter(|value| !value.contains('`'))?;
    let table: toml::Table = toml::from_str(&format!("x = {value}")).ok()?;
    serde_json::to_value(table.get("x")?).ok()
}

fn schema() -> String {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of the Waypost mail relay",
    });
    let whole = Maker::new().table("");
    for (key, value) in whole.as_object().unwrap() {
        schema[key] = value.clone();
    }
    serde_json::to_string_pretty(&schema).unwrap() + "\n"
}

/// The file is what was made, or is written anew.
fn held(path: &str, made: &str) {
    if std::env::var_os("WAYPOST_BLESS").is_some() {
        fs::write(repository(path), made).unwrap();
    }
    let held = fs::read_to_string(repository(path)).unwrap();
    assert!(made == held, "{path} is out of date: run this test with WAYPOST_BLESS=1");
}

#[test]
fn the_schema_is_what_the_code_takes() {
    held("src/config/generated/schema.json", &schema());
}

fn as_json(text: &str) -> Value {
    serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap()
}

#[test]
fn the_schema_takes_what_loads_and_refuses_keys_that_are_unknown() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let judge = jsonschema::validator_for(&schema).unwrap();
    let good = files("examples/configs").into_iter().chain(files("tests/configs/unwise"));
    for path in good.chain([repository("tests/configs/full.toml")]) {
        let value = as_json(&fs::read_to_string(&path).unwrap());
        let errors: Vec<_> = judge.iter_errors(&value).map(|e| format!("{} {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
    }
    for text in MORE {
        assert!(judge.is_valid(&as_json(text)), "{text}");
    }
    let full = as_json(&fs::read_to_string(repository("tests/configs/full.toml")).unwrap());
    let mut spoiled = 0;
    spoil(&full, &mut |bad, path| {
        assert!(!judge.is_valid(bad), "an unknown key in {path:?} is taken");
        spoiled += 1;
    });
    assert!(spoiled > 60, "{spoiled}");
    assert!(!judge.is_valid(&json!({})), "hostname is required");
}

/// Puts an unknown key into each table, one at a time; a table whose keys are names, or that is a plugin's own, is left out.
fn spoil(whole: &Value, judge: &mut impl FnMut(&Value, &str)) {
    let mut paths = Vec::new();
    fn walk(value: &Value, path: String, paths: &mut Vec<String>) {
        match value {
            Value::Object(entries) => {
                paths.push(path.clone());
                entries
                    .iter()
                    .for_each(|(key, value)| walk(value, format!("{path}/{}", key.replace('/', "~1")), paths));
            }
            Value::Array(elements) => {
                elements.iter().enumerate().for_each(|(at, value)| walk(value, format!("{path}/{at}"), paths));
            }
            _ => {}
        }
    }
    walk(whole, String::new(), &mut paths);
    let open = ["listeners", "destinations", "credentials", "sources", "pools", "lanes", "retry", "dkim", "plugins"];
    for path in paths {
        let last = path.rsplit('/').next().unwrap_or_default();
        let named = open.contains(&path.trim_start_matches('/'))
            || path.contains("/config")
            || ["domains", "members", "by-listener", "kv-shared", "secrets"].contains(&last)
            || path == "/plugin-host/kv";
        if named {
            continue;
        }
        let mut bad = whole.clone();
        bad.pointer_mut(&path).unwrap().as_object_mut().unwrap().insert("nonsense-key".into(), json!(1));
        judge(&bad, &path);
    }
}

/// For keys without a default: an example of `full.toml`.
fn example(full: &toml::Table, section: &str, key: &str) -> Option<String> {
    let mut value: &toml::Value = &toml::Value::Table(full.clone());
    let whole = value.clone();
    value = &whole;
    let section = if section == "The file itself" { "" } else { section };
    for part in section.trim_matches(['[', ']']).split('.').filter(|part| !part.is_empty()) {
        let has = |value: &&toml::Value| value.get(key).is_some();
        let next = |table: &toml::Table| {
            let found = match part {
                "NAME" => table.values().find(has).or_else(|| table.values().find(|value| value.is_table())),
                part => table.get(part),
            };
            found.cloned()
        };
        value = Box::leak(Box::new(match value {
            toml::Value::Table(table) => next(table)?,
            toml::Value::Array(list) => next(list.first()?.as_table()?)?,
            _ => return None,
        }));
    }
    let found = match value {
        toml::Value::Array(list) => list.iter().find_map(|element| element.get(key))?,
        table => table.get(key)?,
    };
    (!found.is_table()).then(|| found.to_string())
}

/// Comments of at most so many characters a line.
fn comment(text: &str) -> String {
    let mut shown = String::new();
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + word.len() > 110 {
            shown += &format!("{line}\n");
            line = String::from("#");
        }
        line += &format!(" {word}");
    }
    shown + &line + "\n"
}

fn default() -> String {
    let full: toml::Table =
        toml::from_str(&fs::read_to_string(repository("tests/configs/full.toml")).unwrap()).unwrap();
    let mut text = comment(
        "The configuration of Waypost: every key there is, with its default. Take the # away in front of a section and of \
         the keys in it that you change; where a key has no default, an example stands instead. More files, \
         waypost.d/*.toml, are read after this one, in the order of their names. `waypost check` tells what is wrong and \
         what is unwise; `waypost reload` puts changes into force.",
    );
    text += "\n";
    let mut section = String::new();
    for row in reference().into_iter().filter(|row| row.section != "A route as a table") {
        if row.section != section {
            section = row.section.clone();
            if section != "The file itself" {
                let name = section.replace("NAME", "example").replace("HOOK", "message");
                let list = ["tls.certificates", "shaping.rules", "shaping.backoff", "retry.rules", "retry.NAME.rules"];
                let header = if list.contains(&section.as_str()) { format!("[[{name}]]") } else { format!("[{name}]") };
                let _ = write!(text, "\n#{header}\n\n");
            }
        }
        text += &comment(&plain(&row.why));
        if row.key == "hostname" {
            text += "hostname = \"relay.example.org\"\n\n";
            continue;
        }
        text += &match (literal(&row.default), example(&full, &row.section, &row.key)) {
            (Some(_), _) if row.default.trim_matches('`') != "{}" => {
                format!("#{} = {}\n\n", row.key, row.default.trim_matches('`'))
            }
            (None, Some(value)) if row.default == "required" => format!("# An example:\n#{} = {value}\n\n", row.key),
            (None, Some(value)) => {
                format!("# Default: {}. An example:\n#{} = {value}\n\n", plain(&row.default), row.key)
            }
            _ => format!("# {}: a table of its own.\n\n", row.key),
        };
    }
    text.trim_end().to_owned() + "\n"
}

#[test]
fn the_default_configuration_has_every_key() {
    held("src/config/generated/default.toml", &default());
}

#[test]
fn the_default_configuration_loads_and_so_does_each_line_of_it() {
    let text = default();
    parse(Path::new("waypost.toml"), &text).unwrap();
    // Each section by itself, as somebody would who takes the marks away. Keys may contradict one another then; but there is
    // none that is unknown, and no value of another kind.
    let sections = text.split("\n#[").skip(1).map(|section| format!("[{section}"));
    let mut checked = 0;
    for section in sections {
        let is_line = |line: &&str| line.starts_with('[') || line.starts_with('#') && !line.starts_with("# ");
        let lines: Vec<_> = section.lines().filter(is_line).map(|line| line.trim_start_matches('#')).collect();
        let written = format!("hostname = 'a.example'\n{}", lines.join("\n"));
        toml::from_str::<toml::Table>(&written).unwrap_or_else(|error| panic!("{error}\n{written}"));
        for error in parse(Path::new("waypost.toml"), &written).err().unwrap_or_default() {
            let bad = ["no such key", "no TOML", "expected", "is not known", "is out of range"];
            assert!(!bad.iter().any(|bad| error.problem.contains(bad)), "{error}\n{written}");
        }
        checked += 1;
    }
    assert!(checked > 30, "{checked}");
}
