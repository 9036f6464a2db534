//! Sender authentication: SPF, DKIM, DMARC and ARC, computed when somebody asks and remembered with the transaction.
//!
//! The only room that names mail-auth; what leaves it are the plain outcomes of [`crate::hooks`]. May import `mail`,
//! `hooks` and `store` (bodies). Must never hold a body in memory, wait without a bound, do a signature's arithmetic on a
//! worker, or let foreign text reach a field as it came.

pub(crate) mod body;
mod dmarc;
mod field;
mod signatures;
mod spf;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mail_auth::MessageAuthenticator;
use mail_auth::hickory_resolver::TokioResolver;
use mail_auth::hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use mail_auth::hickory_resolver::net::NetError;
use mail_auth::hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::hooks::{
    ArcOutcome, AuthStatus, DkimOutcome, DmarcOutcome, SenderAuthentication, SessionFacts, Signatures, SpfOutcome,
};
use crate::mail::Domain;

/// Answers kept, for as long as their TTL says; an answer is some hundred octets. The resolver keeps them, so mail-auth's
/// own caches are left out: they would hold the same once more, and parsing an answer again takes microseconds.
const CACHE: u64 = 8192;

/// Questions on their way over one TCP connection: past hickory's 32 a busy minute would be full of temporary errors.
const IN_FLIGHT: usize = 1024;

/// The longest that one check takes. RFC 7208 section 4.6.4 would grant SPF 20 s, but a client waits, and plugins together
/// have 30 s for a hook.
const LIMIT: Duration = Duration::from_secs(10);

/// Messages whose signatures are computed at the same time. Each takes a blocking thread and one chunk of its body, and
/// more than there are cores would only make all of them slower.
const AT_ONCE: usize = 4;

/// Octets of a foreign text that are kept: a domain name has at most 255.
const TEXT_MAX: usize = 255;

/// Computes. Cheap to clone; one per relay, so that all share its cache and its bounds.
#[derive(Clone)]
pub struct Authenticator {
    dns: MessageAuthenticator,
    host: Arc<str>,
    room: Arc<Semaphore>,
}

/// What is asked about, and how long there is patience.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Who the client is.
    pub session: &'a SessionFacts,
    /// What its transaction is about, and what is known of it.
    pub about: &'a SenderAuthentication,
    /// An answer later than this is of no use to who asks.
    pub until: Instant,
}

/// The name servers can't be used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the resolver for sender authentication can't be set up: {0}")]
pub struct SetupError(Arc<str>);

/// There can be no outcome.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Only its envelope is known.
    #[error("there is no message yet")]
    NoMessage,
    /// The spool failed.
    #[error("the message can't be read: {0}")]
    Unreadable(#[from] io::Error),
}

impl Authenticator {
    /// With the name servers of `/etc/resolv.conf`, for the host that its results will name. Blocking: reads files.
    ///
    /// # Errors
    /// When they can't be read or name no server.
    pub fn from_system(host: Arc<str>) -> Result<Self, SetupError> {
        let mut builder = TokioResolver::builder_tokio().map_err(SetupError::of)?;
        set(builder.options_mut());
        Ok(Self::with(builder.build().map_err(SetupError::of)?, host))
    }

    /// With these name servers, over UDP and, for long answers, TCP.
    ///
    /// # Errors
    /// When they make no resolver.
    pub fn with_servers(servers: &[SocketAddr], host: Arc<str>) -> Result<Self, SetupError> {
        let servers = servers.iter().map(|server| {
            let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
            for connection in &mut connections {
                connection.port = server.port();
            }
            NameServerConfig::new(server.ip(), true, connections)
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        set(builder.options_mut());
        Ok(Self::with(builder.build().map_err(SetupError::of)?, host))
    }

    fn with(resolver: TokioResolver, host: Arc<str>) -> Self {
        Self { dns: MessageAuthenticator(resolver), host, room: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// SPF of the reverse-path as the client gave it, or of HELO's argument where that is the null one.
    pub async fn spf(&self, case: &Case<'_>) -> SpfOutcome {
        match self.spf_in_time(case).await {
            Some(known) => known.clone(),
            None => spf::Asked::of(case).outcome(AuthStatus::Temperror),
        }
    }

    /// DKIM of the message as the client sent it: one outcome for each signature, the first ten of them.
    ///
    /// # Errors
    /// [`CheckError`]
    pub async fn dkim(&self, case: &Case<'_>) -> Result<Vec<DkimOutcome>, CheckError> {
        Ok(self.signatures_in_time(case).await?.map_or_else(|| vec![late_dkim()], |known| known.dkim))
    }

    /// ARC of the message as the client sent it.
    ///
    /// # Errors
    /// [`CheckError`]
    pub async fn arc(&self, case: &Case<'_>) -> Result<ArcOutcome, CheckError> {
        Ok(self.signatures_in_time(case).await?.map_or_else(late_arc, |known| known.arc))
    }

    /// DMARC of the From field's domain.
    ///
    /// # Errors
    /// [`CheckError`]
    pub async fn dmarc(&self, case: &Case<'_>) -> Result<DmarcOutcome, CheckError> {
        Ok(self.dmarc_in_time(case).await?.unwrap_or_else(late_dmarc))
    }

    /// The value of an Authentication-Results field (RFC 8601): of all there is, which before the message has come is the
    /// client's name and SPF.
    ///
    /// # Errors
    /// [`CheckError::Unreadable`]
    pub async fn field(&self, case: &Case<'_>) -> Result<String, CheckError> {
        let mut field = field::Field::new(&self.host);
        field.push_client(case.session);
        field.push_spf(&self.spf(case).await, case.about.reverse_path());
        if case.about.message().is_some() {
            field.push_dkim(&self.dkim(case).await?);
            field.push_dmarc(&self.dmarc(case).await?);
            field.push_arc(&self.arc(case).await?, case.session);
        }
        Ok(field.into_value())
    }

    /// The same of a message that has come, for the relay itself, with what `iprev` finds out about the client's address; none
    /// where it has none. Whatever fails is a temporary error, and so is what takes longer than `case.until`.
    pub async fn results(&self, case: &Case<'_>, iprev: impl Future<Output = Option<AuthStatus>>) -> String {
        let iprev = async { timeout_at(case.end(), iprev).await.unwrap_or(Some(AuthStatus::Temperror)) };
        let (iprev, spf, signatures) = tokio::join!(iprev, self.spf(case), self.signatures_in_time(case));
        let signatures = signatures.unwrap_or_else(|error| {
            tracing::warn!(%error, "a message can't be read for sender authentication");
            None
        });
        let dmarc = match signatures {
            Some(_) => self.dmarc(case).await.ok(),
            None => None,
        };
        let signatures =
            signatures.unwrap_or_else(|| Signatures { author: None, dkim: vec![late_dkim()], arc: late_arc() });
        let mut field = field::Field::new(&self.host);
        if let Some(iprev) = iprev {
            field.push_iprev(iprev, case.session);
        }
        field.push_spf(&spf, case.about.reverse_path());
        field.push_dkim(&signatures.dkim);
        field.push_dmarc(&dmarc.unwrap_or_else(late_dmarc));
        field.push_arc(&signatures.arc, case.session);
        field.into_value()
    }

    /// The same one under another name of this host: a reload may change it.
    pub fn named(&self, host: Arc<str>) -> Self {
        Self { host, ..self.clone() }
    }

    /// None where time ran out. That is not remembered: whoever asks again has the answers that have come meanwhile in the
    /// resolver's cache, and perhaps more patience.
    async fn spf_in_time<'a>(&self, case: &Case<'a>) -> Option<&'a SpfOutcome> {
        if let Some(known) = case.about.spf.get() {
            return Some(known);
        }
        let check = spf::check(&self.dns, &self.host, case);
        let outcome = timeout_at(case.end(), check).await.ok()?;
        Some(case.about.spf.get_or_init(|| outcome))
    }

    /// As above; of signatures whose keys did not come in time, what is known of the others is told but not remembered.
    async fn signatures_in_time(&self, case: &Case<'_>) -> Result<Option<Signatures>, CheckError> {
        if let Some(known) = case.about.signatures.get() {
            return Ok(Some(known.clone()));
        }
        let message = case.about.message().ok_or(CheckError::NoMessage)?;
        let check = signatures::check(&self.dns, &self.room, message, case.end());
        Ok(match check.await? {
            signatures::Checked::Whole(found) => Some(case.about.signatures.get_or_init(|| found).clone()),
            signatures::Checked::InPart(found) => Some(found),
            signatures::Checked::Late => None,
        })
    }

    async fn dmarc_in_time(&self, case: &Case<'_>) -> Result<Option<DmarcOutcome>, CheckError> {
        if let Some(known) = case.about.dmarc.get() {
            return Ok(Some(known.clone()));
        }
        let (spf, signatures) = tokio::join!(self.spf_in_time(case), self.signatures_in_time(case));
        let (Some(spf), Some(signatures)) = (spf, signatures?) else { return Ok(None) };
        let check = dmarc::check(&self.dns, signatures.author.as_ref(), spf, &signatures.dkim);
        let Ok(outcome) = timeout_at(case.end(), check).await else { return Ok(None) };
        if case.about.signatures.get().is_none() {
            return Ok(Some(outcome));
        }
        Ok(Some(case.about.dmarc.get_or_init(|| outcome).clone()))
    }
}

impl Case<'_> {
    fn end(&self) -> Instant {
        self.until.min(Instant::now() + LIMIT)
    }
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator").field("host", &self.host).finish_non_exhaustive()
    }
}

impl SetupError {
    fn of(error: NetError) -> Self {
        Self(error.to_string().into())
    }
}

fn late_dkim() -> DkimOutcome {
    DkimOutcome { status: AuthStatus::Temperror, domain: "".into(), selector: "".into(), testing: false }
}

fn late_dmarc() -> DmarcOutcome {
    DmarcOutcome { status: AuthStatus::Temperror, ..DmarcOutcome::default() }
}

fn late_arc() -> ArcOutcome {
    ArcOutcome { status: AuthStatus::Temperror, sealer: None }
}

fn set(options: &mut ResolverOpts) {
    options.cache_size = CACHE;
    options.max_active_requests = IN_FLIGHT;
}

/// A foreign domain name in the relay's own form where it has one, so that names can be compared.
fn domain(text: &str) -> Arc<str> {
    Domain::parse(text).map_or_else(|_| plain(text, TEXT_MAX), |domain| domain.as_str().into())
}

/// Foreign text as printable ASCII, bounded: it goes to plugins, and from there into replies, logs and fields.
fn plain(text: &str, max: usize) -> Arc<str> {
    let shown = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    text.chars().take(max).map(shown).collect::<String>().into()
}
