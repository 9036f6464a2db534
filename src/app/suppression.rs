//! What operators do to the suppression list.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::Inner;
use crate::admin::{Peer, SuppressForm};
use crate::mail::Mailbox;
use crate::suppression::{Entry, SuppressionError};
use crate::time::Timestamp;

/// Entries of one answer.
const MOST: usize = 10_000;

/// Longest time that an entry is given.
const YEARS: u64 = 10 * 366 * 86_400;

fn said(error: SuppressionError) -> Vec<String> {
    vec![error.to_string()]
}

fn shown(entry: &Entry) -> Value {
    let Entry { pattern, tenant, reason, by, added, until } = entry;
    let until = until.map(Timestamp::rfc3339);
    json!({"pattern": pattern, "tenant": tenant, "reason": reason, "by": by, "added": added.rfc3339(), "until": until})
}

impl Inner {
    pub(super) async fn suppressed(&self, by: Peer, what: SuppressForm) -> Result<Vec<Value>, Vec<String>> {
        let list = &self.suppression;
        match what {
            SuppressForm::Add { address, tenant, reason, for_secs } => {
                let now = self.clock.now();
                if reason.chars().count() > 400 || reason.chars().any(char::is_control) {
                    return Err(vec!["a reason is one line of at most 400 characters".to_owned()]);
                }
                let until = for_secs.map(|secs| now.plus(Duration::from_secs(secs.min(YEARS))));
                let tenant = tenant.map(Arc::from);
                let (pattern, by, reason) = (Arc::from(address), Arc::from(by.to_string()), Arc::from(reason));
                let entry = Entry { pattern, tenant, reason, by, added: now, until };
                list.add(entry.clone()).await.map_err(said)?;
                tracing::warn!(target: "audit", pattern = &*entry.pattern, tenant = entry.tenant.as_deref(), by = &*entry.by,
                    reason = &*entry.reason, "suppressed");
                Ok(vec![shown(&entry)])
            }
            SuppressForm::Remove { address, tenant } => {
                if !list.remove(tenant.as_deref(), &address).await.map_err(said)? {
                    return Err(vec![format!("{address} is not on the list: `waypost suppress list` shows what is")]);
                }
                tracing::warn!(target: "audit", pattern = address, tenant, %by, "suppressed no more");
                Ok(Vec::new())
            }
            SuppressForm::List { contains, tenant, limit } => {
                let list = list.clone();
                let look = move || list.list(tenant.as_deref(), &contains, limit.clamp(1, MOST));
                let entries = tokio::task::spawn_blocking(look).await.map_err(|error| vec![error.to_string()])?;
                Ok(entries.iter().map(|entry| shown(entry)).collect())
            }
            SuppressForm::Check { address, tenant } => {
                let mailbox = Mailbox::parse(&address, true).map_err(|error| vec![format!("{address:?}: {error}")])?;
                Ok(list.check(tenant.as_deref(), &mailbox).iter().map(|entry| shown(entry)).collect())
            }
        }
    }
}
