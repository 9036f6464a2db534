//! From a hop of a route to an open connection: look-up, then target after target until one lets us in.
//!
//! Must never show a credential to a host that it was not configured for, nor call a failure permanent while another
//! target or hop failed only for now.

use std::sync::Arc;

use super::client::OpenError;
use super::connection::{Connection, Opening};
use super::dispatch::Dispatcher;
use super::egress::Egress;
use super::{Config, Credential};
use crate::hooks::{NextHop, Stage, TlsPolicy};
use crate::routing::{Address, Target, TargetError, targets};
use crate::smtp::{Reply, Status};

/// Why no transaction took place.
pub(super) struct Failure {
    pub(super) permanent: bool,
    pub(super) stage: Stage,
    pub(super) reply: Option<Reply>,
    pub(super) error: Option<Arc<str>>,
    pub(super) remote: Option<Arc<str>>,
    pub(super) hop: NextHop,
    /// No other target or hop would do better.
    pub(super) last: bool,
    /// The source that is at fault, if it is not the host.
    pub(super) source: Option<Arc<str>>,
}

impl Failure {
    /// What to say of two failures: the later, unless only the earlier leaves hope (unknown means temporary).
    pub(super) fn after(self, earlier: Option<Self>) -> Self {
        earlier.filter(|earlier| self.permanent && !earlier.permanent).unwrap_or(self)
    }
}

/// A name that the configuration does not know.
pub(super) fn misconfigured(text: String, hop: NextHop) -> Failure {
    // The cause is for the operator, who finds it in the log and in the queue; senders are not told of our settings.
    let reply = Reply::new(451, Status::new(4, 3, 5), "the relay does not know the way now");
    let (reply, error, stage) = (Some(reply), Some(text.into()), Stage::Queue);
    Failure { permanent: false, stage, reply, error, remote: None, hop, last: false, source: None }
}

/// A hop that is a host, names looked up.
pub(super) struct Host {
    pub(super) to: NextHop,
    pub(super) tls: TlsPolicy,
    /// A `[sources.NAME]`.
    pub(super) source: Option<Arc<str>>,
    pub(super) credential: Option<Credential>,
}

impl Host {
    /// A connection to the first of its targets that lets us in, but for those already `tried` in this attempt.
    pub(super) async fn connect(
        &self,
        dispatcher: &Dispatcher,
        config: &Config,
        hop: NextHop,
        tried: &[Address],
    ) -> Result<Connection, Failure> {
        let found = match targets(dispatcher.resolver(), &self.to, config.mx_port, &config.selection).await {
            Ok(found) => found,
            Err(error) => return Err(Failure::lost(error, hop)),
        };
        // A host that could not be looked up might have taken what all others refuse.
        let mut failure = found.unresolved.map(|error| Failure::lost(error, hop.clone()));
        for target in found.targets.into_iter().filter(|target| !tried.contains(&target.address)) {
            match Connection::open(dispatcher.connector(), &target, &self.opening(config, &target)).await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    let source = self.source.clone().filter(|_| error.ours);
                    let failed = Failure { source, ..Failure::at(&target, error, hop.clone()) };
                    if failed.last {
                        return Err(failed);
                    }
                    failure = Some(failed.after(failure));
                }
            }
        }
        Err(failure.unwrap_or_else(|| {
            let error = Some(Arc::from("the next hop has no address"));
            let stage = Stage::Resolve;
            Failure { permanent: false, stage, reply: None, error, remote: None, hop, last: false, source: None }
        }))
    }

    fn opening(&self, config: &Config, target: &Target) -> Opening {
        let source = self.source.as_ref().and_then(|name| config.sources.get(name));
        let ehlo = source.and_then(|source| source.ehlo.as_ref());
        Opening {
            hostname: Arc::clone(ehlo.unwrap_or(&config.hostname)),
            tls: self.tls,
            credential: self.credential.clone(),
            source: match (&target.address, source) {
                (Address::Tcp(to), Some(source)) => source.egress(to),
                _ => Egress::default(),
            },
            timeouts: config.timeouts,
        }
    }
}

impl Failure {
    /// There is no way to the hop, or none to one of its hosts.
    fn lost(error: TargetError, hop: NextHop) -> Self {
        let (permanent, stage, reply) = (error.permanent, Stage::Resolve, Some(error.reply));
        Self { permanent, stage, reply, error: error.cause, remote: None, hop, last: false, source: None }
    }

    fn at(target: &Target, error: OpenError, hop: NextHop) -> Self {
        Self {
            permanent: error.permanent,
            stage: error.stage,
            reply: error.reply,
            error: error.error,
            remote: Some(Arc::clone(&target.host)),
            hop,
            // Another host is reached no better from there.
            last: !error.try_next_target || error.ours,
            source: None,
        }
    }
}
