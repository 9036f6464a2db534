//! What is unwise in a configuration that is right: an open relay, passwords in the clear, mail that can't come back.
//!
//! Pure: judged are the settings alone, never the machine; `app` looks at that. Advice refuses nothing, and each can be
//! followed by a change of the key that it names.

mod doors;
mod limits;
mod names;
mod networks;
mod outward;
mod paths;
mod plugins;
mod retry;
mod routes;

use super::raw::Places;
use super::{ConfigError, Settings};

/// What is being looked at, and what was found so far.
struct Advice<'a> {
    settings: &'a Settings,
    places: &'a Places,
    found: Vec<ConfigError>,
}

impl Advice<'_> {
    fn say(&mut self, key: &str, problem: impl Into<String>, help: impl Into<String>) {
        self.found.push(self.places.finding(key, problem, help));
    }
}

/// All of it, in no order.
pub(super) fn advise(settings: &Settings, places: &Places) -> Vec<ConfigError> {
    let mut advice = Advice { settings, places, found: Vec::new() };
    doors::advise(&mut advice);
    limits::advise(&mut advice);
    outward::advise(&mut advice);
    routes::advise(&mut advice);
    retry::advise(&mut advice);
    plugins::advise(&mut advice);
    names::advise(&mut advice);
    paths::advise(&mut advice);
    advice.found
}
