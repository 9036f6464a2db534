//! From a hop of a route to an open connection: look-up, then target after target until one lets us in.
//!
//! Must never show a credential to another host than its own (see [`super::trusted`], which a hop has passed), nor call a failure permanent while another
//! target or hop failed only for now, nor send over a connection that is less than what [`requirement`] asks for.

use std::sync::Arc;

use super::client::OpenError;
use super::connection::{Connection, Opening, is_implicit};
use super::dispatch::Dispatcher;
use super::egress::Egress;
use super::requirement::{
    Asked, Case, DaneFinding, Level, NameTrust, Refusal, Remembered, Requirement, StsFinding, requirement,
};
use super::tcp::seen_from;
use super::tls_report::{Meeting, Met, session};
use super::transmit::Mail;
use super::{Config, Credential};
use crate::hooks::{NextHop, Stage, TlsPolicy};
use crate::routing::{Address, Target, TargetError, Tlsa, targets};
use crate::smtp::{Reply, Status};
use crate::tls::Dane;
use crate::{sts, tlsrpt};

/// Why no transaction took place.
pub(super) struct Failure {
    pub(super) permanent: bool,
    pub(super) stage: Stage,
    pub(super) reply: Option<Reply>,
    pub(super) error: Option<Arc<str>>,
    pub(super) remote: Option<Arc<str>>,
    pub(super) hop: NextHop,
    /// No other target would do better, nor another hop, unless it is reached from another source.
    pub(super) last: bool,
    /// The source that is at fault, if it is not the host.
    pub(super) source: Option<Arc<str>>,
    pub(super) whose: Whose,
}

/// Who would fail in the same way. Others share the host: what is not its own fault must not be held against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Whoever goes to the host.
    Host,
    /// What goes this way: its domain can't be looked up, its policy does not take the host, its credential is refused.
    Way,
    /// This message, or nobody knows.
    Message,
    /// Nobody's: no connection may be opened for now.
    Nobody,
}

impl Whose {
    /// A host that is less than what is asked of it.
    fn by(case: &Case) -> Self {
        if case.asked == Asked::RequireTls { Self::Message } else { Self::Way }
    }

    /// A host that broke off.
    fn at(stage: Stage, needs: &Requirement, case: &Case) -> Self {
        match stage {
            Stage::Auth => Self::Way,
            // Without TLS, or with any, it would have let us in.
            Stage::Tls if needs.level != Level::Opportunistic => Self::by(case),
            _ => Self::Host,
        }
    }
}

impl Failure {
    /// What to say of two failures: the later, unless only the earlier leaves hope (unknown means temporary). Where one is of a
    /// source and one of a host, the first is nearer to why the mail waits: the first hop is what it is held against.
    pub(super) fn after(self, earlier: Option<Self>) -> Self {
        let other = |earlier: &Self| earlier.source.is_some() != self.source.is_some();
        earlier.filter(|earlier| !earlier.permanent && (self.permanent || other(earlier))).unwrap_or(self)
    }

    /// What went wrong, for those who are not tried because of it.
    fn why(&self) -> Arc<str> {
        match (&self.reply, &self.error) {
            (Some(reply), Some(error)) => format!("{reply} ({error})").into(),
            (Some(reply), None) => reply.to_string().into(),
            (None, error) => error.clone().unwrap_or_default(),
        }
    }
}

/// A name that the configuration does not know.
pub(super) fn misconfigured(text: String, hop: NextHop) -> Failure {
    // The cause is for the operator, who finds it in the log and in the queue; senders are not told of our settings.
    let reply = Reply::new(451, Status::new(4, 3, 5), "the relay does not know the way now");
    let (reply, error, stage) = (Some(reply), Some(text.into()), Stage::Queue);
    let whose = Whose::Message;
    Failure { permanent: false, stage, reply, error, remote: None, hop, last: false, source: None, whose }
}

/// A hop that is a host, names looked up.
pub(super) struct Host {
    pub(super) to: NextHop,
    pub(super) tls: TlsPolicy,
    /// A `[sources.NAME]`.
    pub(super) source: Option<Arc<str>>,
    pub(super) credential: Option<Credential>,
}

/// A connection, and what it is good for.
pub(super) struct Reached {
    pub(super) connection: Connection,
    /// To a host that has proved to be one of the domain's.
    pub(super) proven: bool,
    /// The recipient's policies were passed over, as the sender of this message wants it: not for other messages.
    pub(super) lax: bool,
}

impl Host {
    /// Why nothing is tried from its source now: it was found broken a moment ago.
    pub(super) fn resting(&self, dispatcher: &Dispatcher, hop: &NextHop) -> Option<Failure> {
        let source = self.source.clone()?;
        let (_, why) = dispatcher.sources().lock().trouble(&source, dispatcher.clock().now())?;
        let reply = Reply::new(451, Status::new(4, 3, 2), "the relay has no source to send from now");
        let (reply, error, source) = (Some(reply), Some(why), Some(source));
        let (stage, hop) = (Stage::Queue, hop.clone());
        let whose = Whose::Message;
        Some(Failure { permanent: false, stage, reply, error, remote: None, hop, last: false, source, whose })
    }

    /// Puts the blame where it belongs. That a source fails is nothing to hops that are reached from others.
    fn blamed(dispatcher: &Dispatcher, failure: Failure) -> Failure {
        let Some(source) = &failure.source else { return failure };
        dispatcher.sources().lock().failed(source, &failure.why(), dispatcher.clock().now());
        Failure { last: false, ..failure }
    }

    /// A connection to the first of its targets that lets us in, but for those already `tried` in this attempt.
    pub(super) async fn connect(
        &self,
        dispatcher: &Dispatcher,
        mail: &Mail<'_>,
        hop: NextHop,
        tried: &[Address],
    ) -> Result<Reached, Failure> {
        let config = &**mail.config;
        let looking = targets(dispatcher.resolver(), &self.to, config.mx_port, &config.selection);
        let (found, policy) = tokio::join!(looking, self.policy(dispatcher, config));
        let found = found.map_err(|error| Failure::lost(error, hop.clone()))?;
        // A host that could not be looked up might have taken what all others refuse.
        let mut failure = found.unresolved.map(|error| Failure::lost(error, hop.clone()));
        for target in found.targets.into_iter().filter(|target| !tried.contains(&target.address)) {
            let (needs, case) = self.needs(dispatcher, mail, &target, &policy).await;
            if let Level::Refuse(refusal) = needs.level {
                self.tell(dispatcher, mail, &policy, (&target, &needs, &case, None), &Met::Refused(refusal));
                let refused = Failure::refused(&target, refusal, (&needs, &case), hop.clone());
                failure = Some(refused.after(failure));
                continue;
            }
            let how = self.opening(config, &target, needs);
            let opened = Box::pin(Connection::open(dispatcher.connector(), &target, &how)).await;
            remember(dispatcher, config, &target, &how.tls, &opened);
            let met = opened.as_ref().map_or_else(Met::Failed, Met::Open);
            self.tell(dispatcher, mail, &policy, (&target, &how.tls, &case, Some(&how.source)), &met);
            match opened {
                Ok(connection) => {
                    let proven = how.tls.named && how.tls.proves_host();
                    let lax = case.asked == Asked::NotRequired;
                    return Ok(Reached { connection, proven, lax });
                }
                Err(error) => {
                    let source = self.source.clone().filter(|_| error.ours);
                    let whose = Whose::at(error.stage, &how.tls, &case);
                    let failed = Failure { source, whose, ..Failure::at(&target, error, hop.clone()) };
                    if failed.last {
                        return Err(Self::blamed(dispatcher, failed));
                    }
                    failure = Some(failed.after(failure));
                }
            }
        }
        Err(failure.unwrap_or_else(|| {
            let error = Some(Arc::from("the next hop has no address"));
            let (stage, whose) = (Stage::Resolve, Whose::Way);
            Failure { permanent: false, stage, reply: None, error, remote: None, hop, last: false, source: None, whose }
        }))
    }

    /// The MTA-STS policy of the domain, where hosts are found by MX (RFC 8461 section 2): others the operator vouches for.
    async fn policy(&self, dispatcher: &Dispatcher, config: &Config) -> sts::Found {
        match &self.to {
            NextHop::Mx(domain) => dispatcher.wisdom().policy(domain, &config.tls_out).await,
            NextHop::Smtp { .. } | NextHop::Lmtp { .. } | NextHop::Named(_) => sts::Found::default(),
        }
    }

    /// Counts what happened for the domain's report. Reports themselves are not counted: each would cause the next.
    fn tell(
        &self,
        dispatcher: &Dispatcher,
        mail: &Mail<'_>,
        policy: &sts::Found,
        (target, needs, case, from): (&Target, &Requirement, &Case, Option<&Egress>),
        met: &Met<'_>,
    ) {
        let (NextHop::Mx(domain), Some(ledger)) = (&self.to, &dispatcher.wisdom().ledger) else { return };
        if mail.config.tls_out.reports.reporter.is_none() || mail.record.tags.iter().any(|tag| &**tag == tlsrpt::TAG) {
            return;
        }
        let source = from.and_then(|from| seen_from(from, &target.address));
        let meeting = Meeting { domain, target, source, case, needs, policy };
        if let Some(session) = session(&meeting, met) {
            ledger.count(session, &mail.config.tls_out.reports);
        }
    }

    /// What a target must be like, and what that follows from.
    async fn needs(
        &self,
        dispatcher: &Dispatcher,
        mail: &Mail<'_>,
        target: &Target,
        policy: &sts::Found,
    ) -> (Requirement, Case) {
        let asks = mail.asks_for_tls();
        let spare = self.credential.is_none() && !is_implicit(target) && !target.lmtp && !asks;
        let remembered = || dispatcher.wisdom().memory.of(&target.address, tokio::time::Instant::now());
        let mut case = Case {
            policy: self.tls,
            dane: self.dane(dispatcher, mail.config, target).await,
            sts: finding(policy, &target.host),
            name: match (&self.to, target.origin.named) {
                (NextHop::Mx(_), false) => NameTrust::Unproven,
                (NextHop::Mx(_), true) => NameTrust::Secure,
                _ => NameTrust::Configured,
            },
            // What LMTP takes has arrived; RFC 8689 is about SMTP.
            asked: Asked::of(mail.requires_tls() && !target.lmtp, false),
            memory: if spare { remembered() } else { Remembered::Nothing },
        };
        let found = requirement(&case);
        // The header section is only read where it could change something; REQUIRETLS goes before it.
        if found.discovered && !asks && case.asked == Asked::Nothing && mail.waives_tls(dispatcher).await {
            case.asked = Asked::NotRequired;
            return (requirement(&case), case);
        }
        (found, case)
    }

    /// What signed records say of the host's certificate (RFC 7672 section 2.2), where that can make a difference: not where
    /// there is to be no TLS, nor where the operator trusts authorities, nor for a host whose name anybody may have made up.
    async fn dane(&self, dispatcher: &Dispatcher, config: &Config, target: &Target) -> DaneFinding {
        let Address::Tcp(address) = &target.address else { return DaneFinding::Absent };
        let wanted = match self.tls {
            TlsPolicy::Off | TlsPolicy::Verify => false,
            TlsPolicy::Inherit | TlsPolicy::Opportunistic | TlsPolicy::Encrypt => config.selection.dane,
            TlsPolicy::Dane => true,
        };
        if !wanted || !target.origin.named || target.lmtp {
            return DaneFinding::Absent;
        }
        match dispatcher.resolver().tlsa(&target.host, address.port()).await {
            Ok(Tlsa::Insecure | Tlsa::None) => DaneFinding::Absent,
            Ok(Tlsa::Unusable) => DaneFinding::Unusable,
            Ok(Tlsa::Records { base, records }) => {
                let names = target.names(&base);
                DaneFinding::Records(Arc::new(Dane { records, names }))
            }
            Err(error) => {
                tracing::info!(host = &*target.host, %error, "TLSA records can't be looked up: the host is passed over");
                DaneFinding::Failed
            }
        }
    }

    fn opening(&self, config: &Config, target: &Target, tls: Requirement) -> Opening {
        let source = self.source.as_ref().and_then(|name| config.sources.get(name));
        let ehlo = source.and_then(|source| source.ehlo.as_ref());
        Opening {
            hostname: Arc::clone(ehlo.unwrap_or(&config.hostname)),
            tls,
            credential: self.credential.clone(),
            source: match (&target.address, source) {
                (Address::Tcp(to), Some(source)) => source.egress(to),
                _ => Egress::default(),
            },
            timeouts: config.timeouts,
        }
    }
}

fn finding(found: &sts::Found, host: &str) -> StsFinding {
    match found.policy() {
        Some(policy) => {
            let names_host = policy.names(host);
            match policy.mode {
                sts::Mode::Enforce => StsFinding::Enforce { names_host },
                sts::Mode::Testing => StsFinding::Testing { names_host },
                sts::Mode::None => StsFinding::Absent,
            }
        }
        None if found.is_unknown() => StsFinding::Unknown,
        None => StsFinding::Absent,
    }
}

/// Keeps in mind whether the host's TLS works.
fn remember(
    dispatcher: &Dispatcher,
    config: &Config,
    target: &Target,
    needs: &Requirement,
    opened: &Result<Connection, OpenError>,
) {
    let memory = &dispatcher.wisdom().memory;
    let broken = match opened {
        Ok(connection) if connection.tls().is_some() => return memory.succeeded(&target.address),
        Ok(connection) => connection.tls_fault().is_some(),
        Err(error) => error.fault.is_some(),
    };
    if broken && needs.level == Level::Opportunistic {
        memory.failed(&target.address, tokio::time::Instant::now(), config.tls_out.memory);
    }
}

impl Failure {
    /// There is no way to the hop, or none to one of its hosts.
    fn lost(error: TargetError, hop: NextHop) -> Self {
        let (permanent, stage, reply) = (error.permanent, Stage::Resolve, Some(error.reply));
        let (error, whose) = (error.cause, Whose::Way);
        Self { permanent, stage, reply, error, remote: None, hop, last: false, source: None, whose }
    }

    fn refused(target: &Target, refusal: Refusal, (needs, case): (&Requirement, &Case), hop: NextHop) -> Self {
        Self {
            permanent: refusal.is_permanent(),
            stage: Stage::Tls,
            reply: Some(refusal.reply()),
            error: Some(needs.because.into()),
            remote: Some(Arc::clone(&target.host)),
            hop,
            last: false,
            source: None,
            whose: Whose::by(case),
        }
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
            whose: Whose::Host,
        }
    }
}
