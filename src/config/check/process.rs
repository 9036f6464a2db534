//! `[process]`.

use crate::config::raw::Table;
use crate::process::Config;

/// Reads the section.
pub(super) fn config(table: &Table<'_>) -> Config {
    let name = |key: &'static str| {
        table.parsed(key, |text| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
            let good = !text.is_empty() && text.bytes().all(plain);
            let help = "write a name as in /etc/passwd or /etc/group, or a number".to_owned();
            if good { Ok(text.into()) } else { Err((format!("{text:?} is no name"), help)) }
        })
    };
    let config = Config { user: name("user"), group: name("group"), allow_root: table.bool("allow-root", false) };
    if config.user.is_none()
        && let Some(value) = table.get("group")
    {
        value.wrong("goes with a user", "name the user as well: user = \"waypost\"");
    }
    if let (Some("root" | "0"), Some(value)) = (config.user.as_deref(), table.get("user")) {
        value.wrong("is root", "name another user, or leave it out and say allow-root = true");
    }
    table.finish();
    config
}
