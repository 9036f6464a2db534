//! Why mail goes the way it goes: asked of the dispatcher that runs, or of a configuration alone.

use anyhow::Context as _;
use serde_json::Value;

use super::Inner;
use crate::admin::{ExplainForm, StsForm};
use crate::config::Settings;
use crate::delivery::{self, Question};
use crate::mail::Domain;
use crate::routing::Hickory;
use crate::sts::Told;

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

    /// What is known of a domain's MTA-STS policy.
    pub(super) async fn policy(&self, about: StsForm) -> Result<Value, Vec<String>> {
        let domain = domain_of(&about.domain).map_err(|why| vec![why])?;
        let dispatcher = &self.dispatcher;
        let found =
            if about.refresh { dispatcher.fresh_policy(&domain).await } else { dispatcher.policy(&domain).await };
        let found = found.ok_or_else(|| vec!["MTA-STS is switched off ([mta-sts] enabled = false)".to_owned()])?;
        serde_json::to_value(Told::of(domain.as_str(), &found)).map_err(|error| vec![error.to_string()])
    }

    pub(super) fn sites(&self) -> Result<Vec<Value>, Vec<String>> {
        let values = self.dispatcher.destinations().into_iter().map(serde_json::to_value).collect::<Result<_, _>>();
        values.map_err(|error| vec![error.to_string()])
    }
}

fn question(about: ExplainForm) -> Result<Question, String> {
    let ExplainForm { domain, sender, tenant } = about;
    let domain = domain_of(&domain)?;
    let null_sender = sender.is_some_and(|sender| matches!(&*sender, "" | "<>"));
    Ok(Question { domain, tenant, null_sender })
}

/// Of an address, its domain.
fn domain_of(text: &str) -> Result<Domain, String> {
    let name = text.rsplit_once('@').map_or(text, |(_, name)| name);
    Domain::parse(name).map_err(|error| format!("{name:?} is no domain: {error}"))
}
