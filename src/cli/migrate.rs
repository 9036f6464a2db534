//! `waypost migrate`: brings what an earlier version stored into the form of this one, while no relay runs.
//!
//! The only command that opens the queue's files, and only where nobody else has them open.

use std::io::Write;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::json;

use super::args::Common;
use super::render::count;
use super::{Failure, socket};
use crate::admin::Client;
use crate::queue::{self, Migrated};
use crate::store::Sled;
use crate::{config, store};

/// Rewrites the records of older forms; with `look` it only counts them.
pub(super) async fn migrate(common: &Common, look: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let settings = config::load(&common.config)?;
    if Client::connect(&socket(common)?).await.is_ok() {
        return Err(Failure::refused("waypost: the relay is running: stop it first"));
    }
    let (path, cache) = (settings.queue.path.clone(), settings.queue.cache);
    owned(&path)?;
    queue::check_form(&path).map_err(|why| Failure::refused(format!("waypost: {why}")))?;
    let work = tokio::task::spawn_blocking(move || {
        let store = Sled::open(&path.join("db"), cache).map_err(|error| error.to_string())?;
        let store: &dyn store::Store = &store;
        queue::migrate(store, look).map_err(|error| error.to_string())
    });
    let done = work.await.map_err(|error| Failure::refused(error.to_string()))?;
    let migrated =
        done.map_err(|why| Failure::refused(format!("waypost: {}: {why}", settings.queue.path.display())))?;
    let Migrated { current, rewritten, damaged } = migrated;
    if common.json {
        return Ok(writeln!(out, "{}", json!({"current": current, "rewritten": rewritten, "damaged": damaged}))?);
    }
    let what = if look { "to be rewritten" } else { "rewritten" };
    writeln!(out, "{} in the form of this version, {rewritten} {what}", count(current, "message"))?;
    if damaged > 0 {
        writeln!(out, "{damaged} can't be read, and are left as they are")?;
    }
    Ok(())
}

/// What root writes here the relay could not write to later.
fn owned(folder: &Path) -> Result<(), Failure> {
    let facts =
        std::fs::metadata(folder).map_err(|error| Failure::refused(format!("{}: {error}", folder.display())))?;
    if facts.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let why = format!("{} belongs to user {}: run this as that user", folder.display(), facts.uid());
    Err(Failure::Unusable(why))
}
