//! Why mail goes the way it goes: asked of the dispatcher that runs, or of a configuration alone.

use anyhow::Context as _;
use serde_json::Value;

use super::Inner;
use crate::admin::ExplainForm;
use crate::config::Settings;
use crate::delivery::{self, Question};
use crate::mail::Domain;
use crate::routing::Hickory;

/// Explains the way of mail as these settings and the DNS have it, without a relay.
///
/// # Errors
/// When the domain is none, or the DNS can't be asked.
pub async fn explain(settings: &Settings, about: ExplainForm) -> anyhow::Result<Value> {
    let question = question(about).map_err(anyhow::Error::msg)?;
    let resolver = Hickory::new(&settings.dns).context("setting up the resolver")?;
    let told = delivery::explain(&settings.delivery, &settings.routing, &resolver, &question).await;
    Ok(serde_json::to_value(told)?)
}

impl Inner {
    pub(super) async fn explained(&self, about: ExplainForm) -> Result<Value, Vec<String>> {
        let question = question(about).map_err(|why| vec![why])?;
        serde_json::to_value(self.dispatcher.explain(&question).await).map_err(|error| vec![error.to_string()])
    }

    pub(super) fn sites(&self) -> Result<Vec<Value>, Vec<String>> {
        let values = self.dispatcher.destinations().into_iter().map(serde_json::to_value).collect::<Result<_, _>>();
        values.map_err(|error| vec![error.to_string()])
    }
}

fn question(about: ExplainForm) -> Result<Question, String> {
    let ExplainForm { domain, sender, tenant } = about;
    let name = domain.rsplit_once('@').map_or(&*domain, |(_, name)| name);
    let domain = Domain::parse(name).map_err(|error| format!("{name:?} is no domain: {error}"))?;
    let null_sender = sender.is_some_and(|sender| matches!(&*sender, "" | "<>"));
    Ok(Question { domain, tenant, null_sender })
}
