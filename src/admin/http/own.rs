//! Routes that are no request of the relay: who one is, whether it lives, the document, the audit.

use std::sync::Arc;
use std::time::Instant;

use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::caller::{COOKIE, Caller, Origin, cookie};
use super::forms::{AuditQuery, LogInBody, SessionForm};
use super::input::Input;
use super::metrics::Measures;
use super::problem::Problem;
use super::route::Own;
use super::sessions::LIFE;
use super::{Api, Log, content, metrics, nobody, rates};
use crate::admin::Peer;
use crate::time::{Clock as _, System};

impl Api {
    pub(super) async fn own(
        self: &Arc<Self>,
        own: Own,
        input: &Input,
        origin: Origin,
        caller: Option<Caller>,
    ) -> Result<Response, Problem> {
        match own {
            Own::Health => Ok("alive\n".into_response()),
            Own::Ready => self.ready().await,
            Own::Metrics => self.metrics().await,
            Own::Document => Ok(json_text(self.document.to_string())),
            Own::LogIn => self.log_in(input, origin).await,
            Own::WhoAmI => {
                let caller = caller.ok_or_else(nobody)?;
                let csrf = caller.csrf.as_ref().map(ToString::to_string);
                Ok(axum::Json(SessionForm { name: caller.name(), role: caller.role, csrf }).into_response())
            }
            Own::LogOut => Ok(self.log_out(input, origin)),
            Own::Content => content::of(&*self.control, &input.part("id")).await,
            Own::Export => self.export(caller.ok_or_else(nobody)?).await,
            Own::Rates => Ok(self.told_rates().into_response()),
            Own::Events => self.events(input, caller.ok_or_else(nobody)?),
            Own::Inject => self.inject(input, origin, caller.ok_or_else(nobody)?).await,
            Own::Audit => {
                let AuditQuery { limit, mail } = input.query()?;
                let audit = self.log(if mail { Log::Mail } else { Log::Changes }).clone();
                let last = tokio::task::spawn_blocking(move || audit.last(limit.clamp(1, 1000))).await;
                let last = last.map_err(|error| Problem::busy(error.to_string()))?;
                Ok(axum::Json(json!({ "items": last })).into_response())
            }
        }
    }

    /// Whether mail is taken; tells nothing that whoever asks could not find out by sending some.
    async fn ready(&self) -> Result<Response, Problem> {
        if self.draining.is_cancelled() {
            return Err(Problem::busy("the relay is stopping"));
        }
        let status = self.control.status().await.map_err(|_| Problem::busy("the relay does not say how it is"))?;
        match status.store.refusing {
            Some(_) => Err(Problem::busy("the store takes no mail")),
            None => Ok("ready\n".into_response()),
        }
    }

    async fn metrics(&self) -> Result<Response, Problem> {
        let busy = |reasons: Vec<String>| Problem::busy(reasons.join("; "));
        let measures = Measures {
            status: self.control.status().await.map_err(busy)?,
            counted: self.control.plugin_metrics(None).await.map_err(busy)?,
            sites: self.control.destinations().await.map_err(busy)?,
            pulse: self.pulse.clone(),
        };
        let text = metrics::text(measures).map_err(|error| Problem::busy(error.to_string()))?;
        Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
    }

    fn told_rates(&self) -> axum::Json<rates::RatesForm> {
        let minute = u64::try_from(System.now().secs()).unwrap_or_default() / 60;
        let reasons = self.pulse.deferral_reasons(rates::REASONS, minute);
        axum::Json(self.rates.form(reasons))
    }

    async fn log_in(&self, input: &Input, origin: Origin) -> Result<Response, Problem> {
        let LogInBody { token } = input.body()?;
        let Origin::Network { address, secure } = origin else {
            return Err(Problem::new(StatusCode::CONFLICT, "whoever asks over the Unix socket is known already"));
        };
        let token = self.known(&token, address)?;
        let begun = self.sessions.lock().begin(token.name.clone(), token.hash, Instant::now());
        let (cookie, csrf) = begun.map_err(|error| Problem::busy(error.to_string()))?;
        let caller = Caller { peer: Peer::Token(token.name), role: token.role, csrf: Some(csrf.clone()) };
        let outcome = "done".to_owned();
        self.write_down(Log::Changes, &caller, "log-in", json!({ "client": address.to_string() }), outcome).await;
        let form = SessionForm { name: caller.name(), role: caller.role, csrf: Some(csrf.to_string()) };
        Ok(with_cookie(axum::Json(form).into_response(), &cookie, LIFE.as_secs(), secure))
    }

    fn log_out(&self, input: &Input, origin: Origin) -> Response {
        if let Some(cookie) = cookie(&input.headers) {
            self.sessions.lock().end(cookie);
        }
        let secure = matches!(origin, Origin::Network { secure: true, .. });
        with_cookie(StatusCode::NO_CONTENT.into_response(), "", 0, secure)
    }
}

fn with_cookie(mut response: Response, value: &str, secs: u64, secure: bool) -> Response {
    let secure = if secure { "; Secure" } else { "" };
    let field = format!("{COOKIE}={value}; Path=/; Max-Age={secs}; HttpOnly; SameSite=Strict{secure}");
    // Letters, digits and signs that stand in any field.
    if let Ok(field) = HeaderValue::try_from(field) {
        response.headers_mut().insert(header::SET_COOKIE, field);
    }
    response
}

fn json_text(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
