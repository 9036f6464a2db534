//! From a request to what is asked of the relay, and to the answer: the same for everybody who asks.

use serde_json::Value;

use super::{Control, Done, Peer, Request, Weakening, queue};

/// Entries of one answer.
const PAGE: usize = 1000;

/// Why there is no answer, in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// What was asked can't be meant.
    Input(Vec<String>),
    /// What it is about is not there.
    Missing(Vec<String>),
    /// The relay does not do it.
    Relay(Vec<String>),
}

impl Refusal {
    /// Each of them.
    pub(super) fn reasons(&self) -> &[String] {
        match self {
            Self::Input(reasons) | Self::Missing(reasons) | Self::Relay(reasons) => reasons,
        }
    }
}

impl From<Vec<String>> for Refusal {
    fn from(reasons: Vec<String>) -> Self {
        Self::Relay(reasons)
    }
}

/// Items, and the rest.
pub(super) type Answer = Result<(Vec<Value>, Done), Refusal>;

/// Does what is asked, in the peer's name.
pub(super) async fn perform(request: Request, peer: &Peer, control: &dyn Control) -> Answer {
    let peer = peer.clone();
    match request {
        Request::Status => Ok((Vec::new(), Done::Status(Box::new(control.status().await?)))),
        Request::Reload { allow_weaken } => {
            Ok((Vec::new(), Done::Reload(control.reload(peer, Weakening::of(allow_weaken)).await?)))
        }
        Request::QueueList { .. }
        | Request::QueueCount { .. }
        | Request::QueueSummary { .. }
        | Request::QueueShow { .. }
        | Request::QueueCommand { .. }
        | Request::QueueRuleAdd { .. }
        | Request::QueueRules
        | Request::QueueRuleLift { .. } => queue::perform(request, peer, control).await,
        Request::Explain { about } => Ok((Vec::new(), Done::Explained(control.explain(about).await?))),
        Request::Sts { about } => Ok((Vec::new(), Done::Sts(control.sts(about).await?))),
        Request::Destinations => {
            let sites = control.destinations().await?;
            Ok((sites, Done::Destinations))
        }
        Request::BanList => {
            let (bans, in_force) = control.bans().await?;
            let item = |ban| serde_json::to_value(ban).map_err(|error| vec![error.to_string()]);
            Ok((bans.into_iter().map(item).collect::<Result<_, _>>()?, Done::Bans { in_force }))
        }
        Request::BanAdd { network, secs } => {
            control.ban(peer, network, secs).await?;
            Ok((Vec::new(), Done::BansChanged))
        }
        Request::BanRemove { network } => {
            control.lift_ban(peer, network).await?;
            Ok((Vec::new(), Done::BansChanged))
        }
        about_plugins => perform_on_plugins(about_plugins, peer, control).await,
    }
}

/// Those about plugins.
async fn perform_on_plugins(request: Request, peer: Peer, control: &dyn Control) -> Answer {
    match request {
        Request::Plugins => {
            let plugins = control.plugins().await?;
            Ok((plugins, Done::Plugins))
        }
        Request::PluginMetrics { plugin } => {
            let counted = control.plugin_metrics(plugin).await?;
            Ok((counted, Done::PluginMetrics))
        }
        Request::PluginTrial { name } => {
            let (trial, differences) = control.plugin_trial(name).await?;
            Ok((differences, Done::Trial(trial)))
        }
        Request::PluginStatus => {
            let (plugins, set) = control.plugin_status().await?;
            Ok((plugins, Done::PluginStatus(set)))
        }
        Request::PluginGenerations => {
            let generations = control.plugin_generations().await?;
            Ok((generations, Done::PluginGenerations))
        }
        Request::PluginAudit { limit } => {
            let entries = control.plugin_audit(limit.clamp(1, PAGE)).await?;
            Ok((entries, Done::PluginAudit))
        }
        Request::PluginChange { change, allow_weaken } => {
            let report = control.plugin_change(peer, change, Weakening::of(allow_weaken)).await?;
            Ok((Vec::new(), Done::PluginChange(report)))
        }
        Request::Suppress { what } => {
            let entries = control.suppress(peer, what).await?;
            Ok((entries, Done::Suppressed))
        }
        Request::History { which } => {
            let (messages, more) = control.history(which).await?;
            Ok((messages, Done::History { more }))
        }
        Request::Why { which } => {
            let (decisions, more) = control.why(which).await?;
            Ok((decisions, Done::Decisions { more }))
        }
        Request::Record { plugin, calls, address } => {
            Ok((Vec::new(), Done::Recording(control.record(plugin, calls, address).await?)))
        }
        Request::StopRecording { plugin } => Ok((Vec::new(), Done::Recording(control.stop_recording(plugin).await?))),
        other => Err(Refusal::Input(vec![format!("{other:?} is not about plugins")])),
    }
}
