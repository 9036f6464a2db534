//! A plugin's settings against the schema in its manifest. The only file that names the schema library.
//!
//! The schema is a stranger's: nothing is fetched for it, and one that would take long, or for ever, to apply is refused
//! before it is tried.

use std::collections::BTreeMap;

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

use super::instance::plain;
use super::load::Problem;

/// Mistakes told at a time, and characters of each.
const ERRORS_MAX: usize = 20;
const WORDS_MAX: usize = 200;

/// Subschemas behind references, each counted as often as it is referred to: below it, applying them takes no time.
const REFERRED_MAX: usize = 10_000;

/// References that follow one another.
const DEPTH_MAX: usize = 32;

/// Octets of one compiled pattern.
const PATTERN_MAX: usize = 256 << 10;

/// Applies a schema.
pub(crate) fn check(schema: &Value, settings: &Value) -> Result<(), Problem> {
    let validator = compile(schema).map_err(|why| {
        let why = plain(&why.chars().take(WORDS_MAX).collect::<String>());
        Problem::Component(format!("the config-schema in its manifest can't be used: {why}"))
    })?;
    let mut errors = validator.iter_errors(settings);
    let told: Vec<String> = errors
        .by_ref()
        .take(ERRORS_MAX)
        .map(|error| {
            let path = error.instance_path().to_string();
            let path: String = path.chars().take(WORDS_MAX).collect();
            // Without the values: some settings are nobody else's business.
            let words: String = error.masked().to_string().chars().take(WORDS_MAX).collect();
            plain(&format!("config{path}: {words}"))
        })
        .collect();
    if told.is_empty() {
        return Ok(());
    }
    let more = errors.count();
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    Err(Problem::Settings(format!("its settings do not fit its schema: {}{more}", told.join("; "))))
}

fn compile(schema: &Value) -> Result<Validator, String> {
    let mut weights = BTreeMap::new();
    weigh(schema, schema, true, &mut weights, &mut Vec::new())?;
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .offline()
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_MAX).dfa_size_limit(PATTERN_MAX))
        .build(schema)
        .map_err(|error| format!("{}: {error}", error.instance_path()))
}

/// How many subschemas references lead to, from `part` of the schema on. Refuses whatever leads out of the schema or back
/// to where it came from. What only looks like a reference, such as a key in an example, counts as one.
fn weigh<'a>(
    whole: &'a Value,
    part: &'a Value,
    top: bool,
    weights: &mut BTreeMap<&'a str, usize>,
    under_way: &mut Vec<&'a str>,
) -> Result<usize, String> {
    let mut weight = 0_usize;
    match part {
        Value::Object(entries) => {
            for (key, value) in entries {
                match (key.as_str(), value) {
                    ("$ref", Value::String(to)) => weight += 1 + follow(whole, to, weights, under_way)?,
                    ("$dynamicRef" | "$recursiveRef", Value::String(_)) => return Err(format!("it has a `{key}`")),
                    ("$id", Value::String(_)) if !top => return Err("it has an `$id` below its top".to_owned()),
                    _ => weight += weigh(whole, value, false, weights, under_way)?,
                }
            }
        }
        Value::Array(elements) => {
            for element in elements {
                weight += weigh(whole, element, false, weights, under_way)?;
            }
        }
        _ => {}
    }
    if weight > REFERRED_MAX {
        return Err("its references lead to too many subschemas".to_owned());
    }
    Ok(weight)
}

fn follow<'a>(
    whole: &'a Value,
    to: &'a str,
    weights: &mut BTreeMap<&'a str, usize>,
    under_way: &mut Vec<&'a str>,
) -> Result<usize, String> {
    let pointer = to.strip_prefix('#').filter(|pointer| pointer.is_empty() || pointer.starts_with('/'));
    // Percent signs would make another pointer of it.
    let target = pointer.filter(|pointer| !pointer.contains('%')).and_then(|pointer| whole.pointer(pointer));
    let target = target.ok_or_else(|| format!("the reference {to:?} leads nowhere in it (`#/$defs/NAME` would)"))?;
    if let Some(weight) = weights.get(to) {
        return Ok(*weight);
    }
    if under_way.contains(&to) {
        return Err(format!("the reference {to:?} leads back to itself"));
    }
    if under_way.len() >= DEPTH_MAX {
        return Err("its references lead to too many subschemas".to_owned());
    }
    under_way.push(to);
    let weight = weigh(whole, target, to == "#", weights, under_way)?;
    under_way.pop();
    weights.insert(to, weight);
    Ok(weight)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(schema: &Value, settings: &Value) -> String {
        check(schema, settings).map_or_else(|problem| problem.to_string(), |()| "good".to_owned())
    }

    #[test]
    fn settings_are_checked_and_all_mistakes_are_told_without_values() {
        let schema = json!({
            "type": "object",
            "required": ["delay"],
            "additionalProperties": false,
            "properties": {
                "delay": {"type": "integer", "minimum": 1},
                "hosts": {"type": "array", "items": {"$ref": "#/$defs/host"}},
            },
            "$defs": {"host": {"type": "string", "pattern": "^[a-z.]+$"}},
        });
        assert_eq!(said(&schema, &json!({"delay": 3, "hosts": ["a.b"]})), "good");
        let wrong = said(&schema, &json!({"delay": 0, "hosts": ["a", "S3CRET"], "dely": 1}));
        for words in ["config/delay: ", "config/hosts/1: ", "dely"] {
            assert!(wrong.contains(words), "{wrong}");
        }
        assert!(!wrong.contains("S3CRET"), "{wrong}");
        assert!(said(&schema, &json!({})).contains("\"delay\" is a required property"));
        let many = said(&schema, &json!({"delay": 1, "hosts": vec!["X"; 50]}));
        assert!(many.contains("and 30 more") && many.len() < 10_000, "{many}");
    }

    #[test]
    fn schemas_that_reach_out_or_never_end_are_refused() {
        let doubling = |n: usize| {
            let twice = |i: usize| {
                let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
                json!({"allOf": [next.clone(), next]})
            };
            let defs: serde_json::Map<String, Value> =
                (0..n).map(|i| (format!("d{i}"), twice(i))).chain([(format!("d{n}"), json!({}))]).collect();
            json!({"$ref": "#/$defs/d0", "$defs": defs})
        };
        let table = [
            (json!({"type": "no such type"}), "can't be used"),
            (json!({"$ref": "https://example.com/schema.json"}), "leads nowhere"),
            (json!({"$ref": "file:///etc/passwd"}), "leads nowhere"),
            (json!({"$ref": "other.json#/a"}), "leads nowhere"),
            (json!({"$ref": "#/$defs/none"}), "leads nowhere"),
            (json!({"$ref": "#"}), "back to itself"),
            (json!({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}), "back to itself"),
            (json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}}}), "back to itself"),
            (json!({"$dynamicRef": "#x"}), "$dynamicRef"),
            (json!({"properties": {"a": {"$id": "https://example.com/a", "$ref": "#"}}}), "`$id`"),
            (json!({"pattern": "(?=a)"}), "can't be used"),
            (json!({"pattern": "(((a{100}){100}){100}){100}"}), "can't be used"),
            (doubling(40), "too many"),
            (json!([]), "can't be used"),
        ];
        for (schema, words) in table {
            let told = said(&schema, &json!({}));
            assert!(told.contains("config-schema") && told.contains(words), "{schema}: {told}");
        }
        assert_eq!(said(&doubling(5), &json!({})), "good");
        assert_eq!(said(&json!(true), &json!({})), "good");
        assert_eq!(said(&json!({"$schema": "https://example.com/own"}), &json!({})), "good", "not looked at");
    }
}
