//! `auth-results`: SPF, DKIM, DMARC and ARC of what the client sent, once per transaction, whoever asks first.

use std::sync::Arc;

use tokio::time::Instant;
use wasmtime::Result;

use super::super::state::{State, error};
use super::wit::auth_results::{ArcOutcome, DkimOutcome, DmarcDisposition, DmarcOutcome, Host, SpfOutcome, Status};
use super::wit::types::{ErrorCode, HostError};
use crate::authres::{Authenticator, Case, CheckError};
use crate::hooks::{self, AuthStatus, Hook, SenderAuthentication, SessionFacts};

/// Where the envelope is known.
const FROM_MAIL: [Hook; 4] = [Hook::Mail, Hook::Rcpt, Hook::Message, Hook::Route];

/// Where the message is.
const WITH_MESSAGE: [Hook; 2] = [Hook::Message, Hook::Route];

/// What a check takes, held while it runs.
struct Asked {
    authenticator: Arc<Authenticator>,
    session: Arc<SessionFacts>,
    about: Arc<SenderAuthentication>,
    until: Instant,
}

impl Asked {
    fn case(&self) -> Case<'_> {
        Case { session: &self.session, about: &self.about, until: self.until }
    }
}

impl State {
    /// `not-here` without a client: away from these hooks, and at route when the queue asks.
    fn asked(&self, hooks: &[Hook]) -> Result<Asked, HostError> {
        self.only_at(hooks)?;
        let not_here = || error(ErrorCode::NotHere, "there is no client to ask about");
        let authenticator = self.shared.services.authenticator.clone();
        Ok(Asked {
            session: self.subject.session.clone().ok_or_else(not_here)?,
            about: self.subject.transaction.as_ref().ok_or_else(not_here)?.authentication.clone(),
            until: self.patience.unwrap_or_else(Instant::now),
            authenticator: authenticator
                .ok_or_else(|| error(ErrorCode::Unavailable, "sender authentication is not set up"))?,
        })
    }
}

impl State {
    async fn find_spf(&mut self) -> Result<SpfOutcome, HostError> {
        let asked = self.asked(&FROM_MAIL)?;
        let spf = asked.authenticator.spf(&asked.case()).await;
        Ok(SpfOutcome {
            status: status(spf.status),
            domain: spf.domain.to_string(),
            explanation: spf.explanation.as_deref().map(str::to_owned),
        })
    }

    async fn find_dkim(&mut self) -> Result<Vec<DkimOutcome>, HostError> {
        let asked = self.asked(&WITH_MESSAGE)?;
        let dkim = asked.authenticator.dkim(&asked.case()).await;
        let outcome = |d: hooks::DkimOutcome| DkimOutcome {
            status: status(d.status),
            domain: d.domain.to_string(),
            selector: d.selector.to_string(),
            testing: d.testing,
        };
        dkim.map(|dkim| dkim.into_iter().map(outcome).collect()).map_err(|e| refused(&e))
    }

    async fn find_dmarc(&mut self) -> Result<DmarcOutcome, HostError> {
        let asked = self.asked(&WITH_MESSAGE)?;
        let dmarc = asked.authenticator.dmarc(&asked.case()).await;
        let outcome = |d: hooks::DmarcOutcome| DmarcOutcome {
            status: status(d.status),
            from_domain: d.from_domain.to_string(),
            disposition: match d.disposition {
                hooks::DmarcDisposition::None => DmarcDisposition::None,
                hooks::DmarcDisposition::Quarantine => DmarcDisposition::Quarantine,
                hooks::DmarcDisposition::Reject => DmarcDisposition::Reject,
            },
            spf_aligned: d.spf_aligned,
            dkim_aligned: d.dkim_aligned,
        };
        dmarc.map(outcome).map_err(|e| refused(&e))
    }

    async fn find_arc(&mut self) -> Result<ArcOutcome, HostError> {
        let asked = self.asked(&WITH_MESSAGE)?;
        let arc = asked.authenticator.arc(&asked.case()).await;
        let outcome = |a: hooks::ArcOutcome| ArcOutcome {
            status: status(a.status),
            sealer: a.sealer.as_deref().map(str::to_owned),
        };
        arc.map(outcome).map_err(|e| refused(&e))
    }

    async fn find_header_value(&mut self) -> Result<String, HostError> {
        let asked = self.asked(&FROM_MAIL)?;
        asked.authenticator.field(&asked.case()).await.map_err(|e| refused(&e))
    }
}

impl Host for State {
    async fn spf(&mut self) -> Result<Result<SpfOutcome, HostError>> {
        self.charge()?;
        if let Some(answer) = self.played("auth-results.spf", &())? {
            return Ok(answer);
        }
        let answer = self.find_spf().await;
        self.note("auth-results.spf", &(), &answer);
        Ok(answer)
    }

    async fn dkim(&mut self) -> Result<Result<Vec<DkimOutcome>, HostError>> {
        self.charge()?;
        if let Some(answer) = self.played("auth-results.dkim", &())? {
            return Ok(answer);
        }
        let answer = self.find_dkim().await;
        self.note("auth-results.dkim", &(), &answer);
        Ok(answer)
    }

    async fn dmarc(&mut self) -> Result<Result<DmarcOutcome, HostError>> {
        self.charge()?;
        if let Some(answer) = self.played("auth-results.dmarc", &())? {
            return Ok(answer);
        }
        let answer = self.find_dmarc().await;
        self.note("auth-results.dmarc", &(), &answer);
        Ok(answer)
    }

    async fn arc(&mut self) -> Result<Result<ArcOutcome, HostError>> {
        self.charge()?;
        if let Some(answer) = self.played("auth-results.arc", &())? {
            return Ok(answer);
        }
        let answer = self.find_arc().await;
        self.note("auth-results.arc", &(), &answer);
        Ok(answer)
    }

    async fn header_value(&mut self) -> Result<Result<String, HostError>> {
        self.charge()?;
        if let Some(answer) = self.played("auth-results.header-value", &())? {
            return Ok(answer);
        }
        let answer = self.find_header_value().await;
        self.note("auth-results.header-value", &(), &answer);
        Ok(answer)
    }
}

fn status(status: AuthStatus) -> Status {
    match status {
        AuthStatus::None => Status::None,
        AuthStatus::Neutral => Status::Neutral,
        AuthStatus::Pass => Status::Pass,
        AuthStatus::Policy => Status::Policy,
        AuthStatus::Softfail => Status::Softfail,
        AuthStatus::Fail => Status::Fail,
        AuthStatus::Temperror => Status::Temperror,
        AuthStatus::Permerror => Status::Permerror,
    }
}

fn refused(why: &CheckError) -> HostError {
    match why {
        CheckError::NoMessage => error(ErrorCode::NotHere, why.to_string()),
        CheckError::Unreadable(cause) => {
            tracing::warn!(target: "plugin", %cause, "a message can't be read for sender authentication");
            error(ErrorCode::Unavailable, "the message can't be read now")
        }
    }
}
