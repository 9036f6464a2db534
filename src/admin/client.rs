//! The command line's end of the admin API, by what can be asked; `client_http` has how.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde_json::Value;

use super::client_http::Connection;
use super::{
    BanStatus, Done, EventsForm, ExplainForm, HistoryForm, PluginChange, RecordingStatus, ReloadReport, Request,
    SetStatus, Status, StsForm, Summary, SuppressForm, WhyForm,
};

/// A connection to a running relay.
#[derive(Debug)]
pub struct Client {
    pub(super) connection: Connection,
    /// Where the relay is.
    pub(super) path: PathBuf,
}

/// Messages, and where to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In order of their ids.
    pub messages: Vec<Summary>,
    /// `after` of the next page; none: this was the last.
    pub next: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error("no relay answers at {0}: {1}")]
    NotReachable(PathBuf, io::Error),
    /// The relay said no.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
    /// The connection broke, or the answer makes no sense.
    #[error("the relay's answer broke off: {0}")]
    Broken(String),
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When no relay answers at the path.
    pub async fn connect(path: &Path) -> Result<Self, ClientError> {
        Ok(Self { connection: Connection::open(path).await?, path: path.to_owned() })
    }

    /// How the relay stands.
    ///
    /// # Errors
    /// When it can't be asked.
    pub async fn status(&mut self) -> Result<Status, ClientError> {
        match self.ask::<()>(&Request::Status).await? {
            (_, Done::Status(status)) => Ok(*status),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// Has it read configuration and plugins anew.
    ///
    /// # Errors
    /// What is wrong with them; the old ones keep serving.
    pub async fn reload(&mut self, allow_weaken: bool) -> Result<ReloadReport, ClientError> {
        match self.ask::<()>(&Request::Reload { allow_weaken }).await? {
            (_, Done::Reload(report)) => Ok(report),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// The longest bans in force, and how many there are.
    ///
    /// # Errors
    /// When it can't be asked.
    pub async fn bans(&mut self) -> Result<(Vec<BanStatus>, u64), ClientError> {
        match self.ask(&Request::BanList).await? {
            (bans, Done::Bans { in_force }) => Ok((bans, in_force)),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// Has a network not served for some seconds.
    ///
    /// # Errors
    /// When there are too many bans already.
    pub async fn ban(&mut self, network: IpNet, secs: u64) -> Result<(), ClientError> {
        self.change_bans(&Request::BanAdd { network, secs }).await
    }

    /// Has it served again.
    ///
    /// # Errors
    /// When it is not banned.
    pub async fn lift_ban(&mut self, network: IpNet) -> Result<(), ClientError> {
        self.change_bans(&Request::BanRemove { network }).await
    }

    async fn change_bans(&mut self, request: &Request) -> Result<(), ClientError> {
        match self.ask::<()>(request).await? {
            (_, Done::BansChanged) => Ok(()),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// Every plugin.
    ///
    /// # Errors
    /// When it can't be asked.
    pub async fn plugins(&mut self) -> Result<Vec<serde_json::Value>, ClientError> {
        match self.ask(&Request::Plugins).await? {
            (plugins, Done::Plugins) => Ok(plugins),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// What each plugin counted, or the one of this name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn plugin_metrics(&mut self, plugin: Option<String>) -> Result<Vec<Value>, ClientError> {
        match self.ask(&Request::PluginMetrics { plugin }).await? {
            (counted, Done::PluginMetrics) => Ok(counted),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// The trial of a plugin's candidate, and the last differences, oldest first.
    ///
    /// # Errors
    /// When there is no such plugin, or it has no candidate.
    pub async fn plugin_trial(&mut self, name: String) -> Result<(Value, Vec<Value>), ClientError> {
        match self.ask(&Request::PluginTrial { name }).await? {
            (differences, Done::Trial(trial)) => Ok((trial, differences)),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// Why mail goes the way it goes.
    ///
    /// # Errors
    /// When it can't be asked, or the domain is none.
    pub async fn explain(&mut self, about: ExplainForm) -> Result<serde_json::Value, ClientError> {
        match self.ask::<()>(&Request::Explain { about }).await? {
            (_, Done::Explained(told)) => Ok(told),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// What is known of a domain's MTA-STS policy.
    ///
    /// # Errors
    /// When it can't be asked, the domain is none, or policies are not looked for.
    pub async fn sts(&mut self, about: StsForm) -> Result<serde_json::Value, ClientError> {
        match self.ask::<()>(&Request::Sts { about }).await? {
            (_, Done::Sts(told)) => Ok(told),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// The sites that mail goes to.
    ///
    /// # Errors
    /// When it can't be asked.
    pub async fn destinations(&mut self) -> Result<Vec<serde_json::Value>, ClientError> {
        match self.ask(&Request::Destinations).await? {
            (sites, Done::Destinations) => Ok(sites),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// The suppression list: the entries that a request is about.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn suppress(&mut self, what: SuppressForm) -> Result<Vec<Value>, ClientError> {
        match self.ask(&Request::Suppress { what }).await? {
            (entries, Done::Suppressed) => Ok(entries),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// Messages that left the queue, and whether there is more that fits.
    ///
    /// # Errors
    /// When it can't be asked, or nothing is recorded.
    pub async fn history(&mut self, which: HistoryForm) -> Result<(Vec<Value>, bool), ClientError> {
        match self.ask(&Request::History { which }).await? {
            (messages, Done::History { more }) => Ok((messages, more)),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// What plugins decided, and whether there is more that fits.
    ///
    /// # Errors
    /// When it can't be asked, or nothing is recorded.
    pub async fn why(&mut self, which: WhyForm) -> Result<(Vec<serde_json::Value>, bool), ClientError> {
        match self.ask(&Request::Why { which }).await? {
            (decisions, Done::Decisions { more }) => Ok((decisions, more)),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// Every plugin, and the set they belong to.
    ///
    /// # Errors
    /// When it can't be asked.
    pub async fn plugin_status(&mut self) -> Result<(Vec<serde_json::Value>, SetStatus), ClientError> {
        match self.ask(&Request::PluginStatus).await? {
            (plugins, Done::PluginStatus(set)) => Ok((plugins, set)),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// The sets kept for a roll-back.
    ///
    /// # Errors
    /// When it can't be asked.
    pub async fn plugin_generations(&mut self) -> Result<Vec<serde_json::Value>, ClientError> {
        match self.ask(&Request::PluginGenerations).await? {
            (generations, Done::PluginGenerations) => Ok(generations),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// The last changes of plugins.
    ///
    /// # Errors
    /// When it can't be asked.
    pub async fn plugin_audit(&mut self, limit: usize) -> Result<Vec<serde_json::Value>, ClientError> {
        match self.ask(&Request::PluginAudit { limit }).await? {
            (entries, Done::PluginAudit) => Ok(entries),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// Changes the plugins that serve.
    ///
    /// # Errors
    /// Why they stay as they are.
    pub async fn plugin_change(
        &mut self,
        change: PluginChange,
        allow_weaken: bool,
    ) -> Result<ReloadReport, ClientError> {
        match self.ask::<()>(&Request::PluginChange { change, allow_weaken }).await? {
            (_, Done::PluginChange(report)) => Ok(report),
            (_, other) => Err(unexpected(&other)),
        }
    }

    /// Has calls of a plugin written down.
    ///
    /// # Errors
    /// When it is refused: no such plugin, or it is being recorded already.
    pub async fn record(
        &mut self,
        plugin: String,
        calls: u32,
        address: Option<String>,
    ) -> Result<RecordingStatus, ClientError> {
        self.recording(&Request::Record { plugin, calls, address }).await
    }

    /// Ends a recording.
    ///
    /// # Errors
    /// When there is none.
    pub async fn stop_recording(&mut self, plugin: String) -> Result<RecordingStatus, ClientError> {
        self.recording(&Request::StopRecording { plugin }).await
    }

    /// How mail flowed in the last ten minutes, and why recipients were put off; as `GET /api/v1/rates` answers.
    ///
    /// # Errors
    /// When it can't be asked.
    pub async fn rates(&mut self) -> Result<Value, ClientError> {
        self.connection.rates().await
    }

    /// What happens, as it happens, until `take` has enough or the relay stops. Each has its kind (`session`, `reception`,
    /// `delivery`, `plugin`, `audit`, or `lost` with a `count`) and its data, as `GET /api/v1/events` tells them.
    ///
    /// # Errors
    /// When it can't be asked, or `take` fails.
    pub async fn events(
        &mut self,
        which: &EventsForm,
        mut take: impl FnMut(&str, Value) -> io::Result<ControlFlow<()>>,
    ) -> Result<(), ClientError> {
        self.connection.events(which, &mut take).await
    }

    async fn recording(&mut self, request: &Request) -> Result<RecordingStatus, ClientError> {
        match self.ask::<()>(request).await? {
            (_, Done::Recording(recording)) => Ok(recording),
            (_, other) => Err(unexpected(&other)),
        }
    }
}

pub(super) fn unexpected(done: &Done) -> ClientError {
    ClientError::Broken(format!("not what was asked for: {done:?}"))
}
