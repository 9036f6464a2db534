//! From items and the rest to one JSON value: lists are `{"items": […]}` with what else there is beside them.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::admin::Done;

/// What goes over the wire.
pub(super) fn value(items: Vec<Value>, done: Done) -> Value {
    let list = |beside: Value| {
        let mut object = Map::new();
        object.insert("items".to_owned(), Value::Array(Vec::new()));
        if let Value::Object(beside) = beside {
            object.extend(beside);
        }
        object
    };
    let mut object = match done {
        Done::Status(status) => return whole(&status),
        Done::Reload(report) | Done::PluginChange(report) => return whole(&report),
        Done::Message(message) => return whole(&message),
        Done::Counted(counted) => return whole(&counted),
        Done::Changed(changed) => return whole(&changed),
        Done::Explained(told) | Done::Sts(told) => return told,
        Done::Rule(rule) => return whole(&rule),
        Done::Recording(recording) => return whole(&recording),
        Done::BansChanged => return json!({}),
        Done::Page { next, .. } => list(json!({ "next": next })),
        Done::Summed(next) => list(whole(&next)),
        Done::Bans { in_force } => list(json!({ "in_force": in_force })),
        Done::Trial(trial) => list(json!({ "trial": trial })),
        Done::PluginStatus(set) => list(json!({ "set": set })),
        Done::Decisions { more } | Done::History { more } => list(json!({ "more": more })),
        Done::Destinations
        | Done::Rules
        | Done::Plugins
        | Done::PluginMetrics
        | Done::PluginGenerations
        | Done::PluginAudit
        | Done::Suppressed => list(Value::Null),
    };
    object.insert("items".to_owned(), Value::Array(items));
    Value::Object(object)
}

/// Plain texts and numbers, which JSON always has room for.
fn whole(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
