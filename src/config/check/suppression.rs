//! `[suppression]`.

use std::time::Duration;

use super::YEAR;
use crate::config::raw::Table;
use crate::smtp::Status;
use crate::suppression::{Config, Then};

const MINUTE: Duration = Duration::from_secs(60);

/// Reads the section.
pub(super) fn config(table: &Table<'_>) -> Config {
    let usual = Config::default();
    let status = |text: &str| {
        let help = || "write a permanent status, such as \"5.1.1\"".to_owned();
        match Status::take(text) {
            Some((status, "")) if status.class == 5 => Ok(status),
            _ => Err((format!("{text:?} is none"), help())),
        }
    };
    let statuses = match table.get("statuses") {
        Some(_) => table.array("statuses").iter().filter_map(|value| value.parsed(status)).collect(),
        None => usual.statuses,
    };
    let config = Config {
        then: table.choice("then", usual.then, &[("fail", Then::Fail), ("drop", Then::Drop)]),
        auto: table.bool("auto", usual.auto),
        statuses,
        keep: table.duration("keep", usual.keep, MINUTE..=YEAR),
    };
    table.finish();
    config
}
