//! The small language of the templates. Pure.
//!
//! `{{name}}` becomes a value. A line `{{#rcpt message}}` begins lines that stay if one of these flags is set, `{{^rcpt}}`
//! lines that stay if none is; `{{/}}` ends them. They nest. What is wrong with a template is found by its tests.

use std::collections::BTreeSet;

/// Values and flags.
#[derive(Debug, Default)]
pub(super) struct Filling<'a> {
    /// By name.
    pub values: Vec<(&'a str, String)>,
    /// Those that are set.
    pub flags: BTreeSet<&'a str>,
}

/// Fills a template.
///
/// # Errors
/// The line that makes no sense.
pub(super) fn fill(template: &str, filling: &Filling<'_>) -> Result<String, String> {
    let mut text = String::with_capacity(template.len());
    let mut open: Vec<bool> = Vec::new();
    for line in template.split_inclusive('\n') {
        let command = line.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
        let is_set = |flags: &str| flags.split(' ').any(|flag| filling.flags.contains(flag));
        match command.and_then(|command| command.split_at_checked(1)) {
            Some(("#", flags)) => open.push(is_set(flags)),
            Some(("^", flags)) => open.push(!is_set(flags)),
            Some(("/", "")) => {
                open.pop().ok_or_else(|| format!("nothing to end: {line}"))?;
            }
            _ if open.iter().all(|stays| *stays) => text.push_str(&values(line, filling)?),
            _ => {}
        }
    }
    if open.is_empty() { Ok(text) } else { Err("a block does not end".to_owned()) }
}

fn values(line: &str, filling: &Filling<'_>) -> Result<String, String> {
    let mut parts = line.split("{{");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").ok_or_else(|| format!("no }}}}: {line}"))?;
        let value = filling.values.iter().find(|(known, _)| *known == name);
        text.push_str(&value.ok_or_else(|| format!("there is no {{{{{name}}}}}"))?.1);
        text.push_str(rest);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_filled_in_and_blocks_stay_or_go() {
        let filling = Filling { values: vec![("name", "guard".into())], flags: ["rcpt"].into() };
        for (template, expected) in [
            ("a {{name}}{{name}} b\n", Ok("a guardguard b\n")),
            ("{{#rcpt}}\nx\n{{/}}\ny\n", Ok("x\ny\n")),
            ("{{#mail rcpt}}\nx\n{{/}}\n", Ok("x\n")),
            ("{{^rcpt}}\nx\n  {{#mail}}\nz\n  {{/}}\n{{/}}\ny", Ok("y")),
            ("{{#mail}}\n{{/}}\n{ {x} }}", Ok("{ {x} }}")),
            ("{{nobody}}", Err(())),
            ("{{name", Err(())),
            ("{{/}}\n", Err(())),
            ("{{#rcpt}}\n", Err(())),
        ] {
            assert_eq!(fill(template, &filling).map_err(|_| ()), expected.map(str::to_owned), "{template}");
        }
    }
}
