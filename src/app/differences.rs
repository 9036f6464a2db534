//! What two configurations differ in, by the part of the relay that it concerns: what a reload puts into force, and what only
//! a restart does. Pure. A test walks all keys and sees that none is left out.

use std::fmt::Debug;

use crate::config::Settings;

/// What it takes to put a change into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// A reload.
    Reload,
    /// A restart: the running relay keeps what it has from its start.
    Restart,
}

/// Parts that differ, each with the section or key by which an operator knows it.
pub(super) fn differences(old: &Settings, new: &Settings) -> Vec<(&'static str, Takes)> {
    let sockets = |settings: &Settings| {
        settings.listen.listeners.iter().map(|l| (l.name.clone(), l.address.clone())).collect::<Vec<_>>()
    };
    let largest = |settings: &Settings| settings.listen.listeners.iter().map(|l| l.session.max_message_size).max();
    let http =
        |settings: &Settings| settings.admin.http.as_ref().map(|http| (http.address, http.certificate.is_some()));
    let queue = |settings: &Settings| crate::queue::Config { quotas: Vec::new(), ..settings.queue.clone() };
    let kinds = |settings: &Settings| crate::queue::kinds(&settings.queue.quotas);
    let restart = [
        ("listeners", sockets(old) != sockets(new)),
        // Plugins have been told how large a body they may write.
        ("smtp.max-message-size, for bodies that plugins write", largest(old) < largest(new)),
        ("queue", differ(&queue(old), &queue(new))),
        (
            "queue.quotas, for what no quota told mail apart by so far",
            !kinds(new).iter().all(|per| kinds(old).contains(per)),
        ),
        ("delivery.trust", old.delivery.tls_out.trust != new.delivery.tls_out.trust),
        ("mta-sts.cache", old.delivery.tls_out.sts.cache != new.delivery.tls_out.sts.cache),
        ("admin.socket", old.admin.socket != new.admin.socket),
        ("admin.http", http(old) != http(new)),
        ("log", differ(&old.log, &new.log)),
        ("process", old.process != new.process),
        ("sendmail", old.sendmail != new.sendmail),
        ("telemetry", old.traces != new.traces),
        ("plugin-host.path", old.plugins.host.path != new.plugins.host.path),
    ];
    let reload = [
        ("hostname", old.hostname != new.hostname),
        ("receiving", differ(&old.listen, &new.listen)),
        ("delivery", differ(&old.delivery, &new.delivery)),
        ("routing", differ(&old.routing, &new.routing)),
        ("quotas", old.queue.quotas != new.queue.quotas),
        ("signing", old.signing != new.signing),
        ("admin", differ(&old.admin, &new.admin)),
        ("dns", old.dns != new.dns),
        ("plugins", old.plugins.plugins != new.plugins.plugins),
        ("plugin-host", old.plugins.host != new.plugins.host),
        ("history", differ(&old.history, &new.history)),
        ("suppression", differ(&old.suppression, &new.suppression)),
    ];
    let restart = restart.into_iter().map(|(part, differs)| (part, differs, Takes::Restart));
    let reload = reload.into_iter().map(|(part, differs)| (part, differs, Takes::Reload));
    restart.chain(reload).filter(|(_, differs, _)| *differs).map(|(part, _, takes)| (part, takes)).collect()
}

/// Not all settings can be compared; all can be shown.
fn differ<T: Debug>(old: &T, new: &T) -> bool {
    format!("{old:?}") != format!("{new:?}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    fn full() -> String {
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/configs/full.toml")).unwrap()
    }

    fn parsed(table: &toml::Table) -> Option<Settings> {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/configs/full.toml"));
        parse(path, &table.to_string()).ok()
    }

    /// Paths of all keys, as the parts of each.
    fn keys(table: &toml::Table, above: &[String], found: &mut Vec<Vec<String>>) {
        for (key, value) in table {
            let path = [above, std::slice::from_ref(key)].concat();
            if let toml::Value::Table(below) = value {
                keys(below, &path, found);
            }
            found.push(path);
        }
    }

    fn without(table: &toml::Table, path: &[String]) -> toml::Table {
        let mut changed = table.clone();
        let (last, above) = path.split_last().unwrap();
        let mut at = &mut changed;
        for part in above {
            at = at.get_mut(part).unwrap().as_table_mut().unwrap();
        }
        at.remove(last);
        changed
    }

    #[test]
    fn no_key_changes_without_a_word() {
        let whole: toml::Table = toml::from_str(&full()).unwrap();
        let before = parsed(&whole).unwrap();
        let mut paths = Vec::new();
        keys(&whole, &[], &mut paths);
        let (mut told, mut needed) = (0, BTreeSet::new());
        for path in paths {
            // Without some keys there is no configuration.
            let Some(after) = parsed(&without(&whole, &path)) else { continue };
            if before.print() == after.print() {
                continue;
            }
            let found = differences(&before, &after);
            assert!(!found.is_empty(), "{path:?} changes and nobody says so");
            told += 1;
            needed.extend(found.iter().filter(|(_, takes)| *takes == Takes::Restart).map(|(part, _)| *part));
            let back = differences(&after, &before);
            needed.extend(back.iter().filter(|(_, takes)| *takes == Takes::Restart).map(|(part, _)| *part));
        }
        assert!(told > 200, "{told}");
        // The page says the same.
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operate.md")).unwrap();
        let section = page.split("## What a reload cannot change").nth(1).unwrap().split("\n## ").next().unwrap();
        let listed: BTreeSet<_> =
            section.lines().filter_map(|line| line.strip_prefix("- `")?.split('`').next()).collect();
        let keys: BTreeSet<_> = needed.iter().map(|part| part.split(',').next().unwrap()).collect();
        assert_eq!(keys, listed);
    }
}
