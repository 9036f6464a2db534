//! The HTTP API: routes over what the relay can be asked, for the Unix socket and for networks alike.
//!
//! `table` names every route with who may use it; all of them go through [`handle`], which finds out who asks, reads what came
//! with limits, has it done, and writes changes into the audit. Input never causes a 5xx other than 503, which says that there
//! is no room for it now. Must never show a token, nor the content of a message to whoever may only read.

mod answer;
mod caller;
mod compose;
mod console;
mod content;
mod document;
mod events;
mod forms;
mod idempotency;
mod inject;
mod input;
mod metrics;
mod own;
mod problem;
mod rates;
mod route;
mod sessions;
mod table;
#[cfg(test)]
mod tests;
mod throttle;
mod transfer;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{Extension, RawPathParams, Request as Came};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub(super) use caller::Origin;
pub(super) use problem::ProblemForm;
pub(super) use transfer::ImportedForm;

use super::audit::{Audit, Entry};
use super::perform::perform;
use super::{Config, Control, Done, PluginChange, Request, Role, Scrape, Token};
use crate::pulse::{Event, Kind, Pulse};
use crate::store::Store;
use crate::time::{Clock as _, System};
use crate::tls::{ClientCertificates, ServerSettings, Tls, TlsError};
use caller::Caller;
use idempotency::Idempotency;
use input::Input;
use problem::Problem;
use rates::Rates;
use route::{Act, Own, Route};
use sessions::Sessions;
use throttle::Throttle;

/// Beside the audit of changes.
const MAIL_AUDIT: &str = "audit-mail.jsonl";
/// Messages that are handed in at a time: each is in memory.
const INJECTING: usize = 8;

/// Exports and imports of the queue at a time: each reads, or writes, all of it.
const TRANSFERRING: usize = 2;

/// What holds for whoever asks over a network; replaced by a reload.
#[derive(Clone, Default)]
pub struct Terms {
    tokens: Vec<Token>,
    metrics: Scrape,
    tls: Option<(ServerSettings, Arc<Tls>)>,
}

impl std::fmt::Debug for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terms").field("tokens", &self.tokens.len()).finish_non_exhaustive()
    }
}

impl Terms {
    /// As the settings say. Blocking: reads the certificate.
    ///
    /// # Errors
    /// When the certificate can't be used.
    pub fn of(config: &Config) -> Result<Self, TlsError> {
        let certificate = config.http.as_ref().and_then(|http| http.certificate.clone());
        let tls = certificate.map(|certificate| {
            let settings = ServerSettings::of(certificate);
            Tls::load(&settings).map(|tls| (settings, Arc::new(tls)))
        });
        let metrics = config.http.as_ref().map(|http| http.metrics).unwrap_or_default();
        Ok(Self { tokens: config.tokens.clone(), metrics, tls: tls.transpose()? })
    }

    /// The certificate that is shown, and where it was read from; none: plain HTTP.
    pub fn tls(&self) -> Option<&(ServerSettings, Arc<Tls>)> {
        self.tls.as_ref()
    }

    /// The same, with what the certificate's files have now.
    pub fn with_certificate(&self, now: Arc<Tls>) -> Self {
        Self { tls: self.tls.clone().map(|(settings, _)| (settings, now)), ..self.clone() }
    }
}

/// What the API has around it.
#[derive(Default)]
pub struct Surroundings {
    /// Who may ask over networks.
    pub terms: Arc<ArcSwap<Terms>>,
    /// Where changes are written down; none: nowhere.
    pub audit: Option<PathBuf>,
    /// What happens.
    pub pulse: Pulse,
    /// Octets of the largest message that is taken.
    pub message_max: usize,
    /// Where answers are kept for those who ask again; none: nowhere.
    pub store: Option<Arc<dyn Store>>,
    /// The relay takes no more mail.
    pub draining: CancellationToken,
}

/// The API of a running relay.
pub struct Api {
    control: Arc<dyn Control>,
    in_force: Arc<ArcSwap<Terms>>,
    sessions: Mutex<Sessions>,
    throttle: Mutex<Throttle>,
    audit: Arc<Audit>,
    mail_audit: Arc<Audit>,
    pulse: Pulse,
    rates: Rates,
    message_max: usize,
    injecting: Semaphore,
    transferring: Arc<Semaphore>,
    idempotency: Arc<Idempotency>,
    draining: CancellationToken,
    document: Arc<str>,
}

impl Api {
    /// Answers for this relay.
    pub fn new(control: Arc<dyn Control>, around: Surroundings) -> Arc<Self> {
        Arc::new(Self {
            control,
            in_force: around.terms,
            sessions: Mutex::default(),
            throttle: Mutex::default(),
            mail_audit: Arc::new(Audit::new(around.audit.as_deref().map(|path| path.with_file_name(MAIL_AUDIT)))),
            audit: Arc::new(Audit::new(around.audit)),
            pulse: around.pulse,
            rates: Rates::default(),
            message_max: around.message_max,
            injecting: Semaphore::new(INJECTING),
            transferring: Arc::new(Semaphore::new(TRANSFERRING)),
            idempotency: Idempotency::new(around.store),
            draining: around.draining,
            document: document::text().into(),
        })
    }

    /// Of the network's door; none: plain HTTP.
    pub(super) fn acceptor(&self) -> Option<TlsAcceptor> {
        let in_force = self.in_force.load();
        in_force.tls().and_then(|(_, tls)| tls.acceptor(ClientCertificates::None).cloned())
    }

    /// Notes every few seconds how far the counts are, until `shutdown`.
    pub(super) async fn note(&self, shutdown: &CancellationToken) {
        let mut step = tokio::time::interval(rates::STEP);
        while shutdown.run_until_cancelled(step.tick()).await.is_some() {
            self.rates.note(System.now(), self.pulse.tally().totals());
        }
    }

    /// Every route. Whoever calls it tells with each request, in an extension, where it came from.
    pub(super) fn router(self: &Arc<Self>) -> Router {
        let mut router = Router::new();
        for route in table::routes() {
            let filter = MethodFilter::try_from(route.method.clone()).unwrap_or(MethodFilter::GET);
            let (api, path, route) = (self.clone(), route.path, Arc::new(route));
            let answer = move |Extension(origin): Extension<Origin>, parts: Parts, came: Came| async move {
                handle(&api, &route, origin, parts, came).await.unwrap_or_else(IntoResponse::into_response)
            };
            router = router.route(path, on(filter, answer));
        }
        console::routes(router)
            .fallback(|| async {
                Problem::new(StatusCode::NOT_FOUND, "there is no such route: see /api/v1/openapi.json")
            })
            .method_not_allowed_fallback(|| async {
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "not with this method: see /api/v1/openapi.json")
            })
            .layer(map_response(guarded))
    }
}

type Parts = Result<RawPathParams, RawPathParamsRejection>;

/// What every answer says to browsers, unless it said something else.
async fn guarded(mut response: Response) -> Response {
    const FIELDS: [(HeaderName, &str); 4] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    for (name, value) in FIELDS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

fn nobody() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "who asks?")
}

/// One request, whichever it is.
async fn handle(api: &Arc<Api>, route: &Route, origin: Origin, parts: Parts, came: Came) -> Result<Response, Problem> {
    let caller = api.admit(route.access, origin, came.method(), came.headers())?;
    let path = match &parts {
        Ok(parts) => parts.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        Err(RawPathParamsRejection::InvalidUtf8InPathParam(_)) => {
            return Err(Problem::input("the path is no UTF-8"));
        }
        Err(_) => Vec::new(),
    };
    let (head, body) = came.into_parts();
    if route.query.is_empty() && head.uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(Problem::input("this takes no query"));
    }
    if let Act::Import = route.act {
        let caller = caller.ok_or_else(nobody)?;
        return api.import(&head.headers, body, caller).await;
    }
    let limit = match route.act {
        // In JSON, files are in base64.
        Act::Own(Own::Inject) => api.message_max / 2 * 3 + input::BODY,
        _ => input::BODY,
    };
    let body = if route.bodies.is_empty() { Default::default() } else { input::read(body, limit).await? };
    let input = Input { path, uri: head.uri, headers: head.headers, body };
    match route.act {
        Act::Own(own) => api.own(own, &input, origin, caller).await,
        // Its body was not read here.
        Act::Import => Err(Problem::input("an import is read as it comes")),
        Act::Ask(make) => {
            let request = make(&input)?;
            // Whoever asks the relay has been found out: there is no open route that does.
            let caller = caller.ok_or_else(nobody)?;
            api.ask(route, request, &caller).await
        }
    }
}

/// Which audit. Mail that is handed in has one of its own: much of it must not drive out who changed what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Log {
    Changes,
    Mail,
}

impl Api {
    fn log(&self, which: Log) -> &Arc<Audit> {
        match which {
            Log::Changes => &self.audit,
            Log::Mail => &self.mail_audit,
        }
    }

    async fn ask(&self, route: &Route, request: Request, caller: &Caller) -> Result<Response, Problem> {
        let shown = (route.method != Method::GET).then(|| shown(&request));
        let done = perform(request, &caller.peer, &*self.control).await;
        if let Some(request) = shown {
            let outcome = match &done {
                Ok(_) => "done".to_owned(),
                Err(refusal) => format!("refused: {}", refusal.reasons().join("; ")),
            };
            self.write_down(Log::Changes, caller, route.id, request, outcome).await;
        }
        let (items, mut done) = done?;
        if let Done::Message(message) = &mut done
            && !caller.role.may(Role::Operate)
        {
            // The header section is content too.
            message.header.clear();
        }
        Ok(axum::Json(answer::value(items, done)).into_response())
    }

    /// Into the audit.
    async fn write_down(&self, log: Log, caller: &Caller, what: &str, request: serde_json::Value, outcome: String) {
        let entry = Entry {
            at: System.now().rfc3339(),
            by: caller.peer.to_string(),
            role: caller.role.word().to_owned(),
            what: what.to_owned(),
            request,
            outcome,
        };
        self.pulse.tell(Kind::Audit, || {
            let data = serde_json::to_value(&entry).unwrap_or_default();
            Event { data, ..Event::default() }
        });
        let audit = self.log(log).clone();
        let written = tokio::task::spawn_blocking(move || audit.write(entry)).await;
        if let Err(error) = written.map_err(std::io::Error::other).and_then(|written| written) {
            tracing::error!(target: "audit", %error, "the audit can't be written");
        }
    }
}

/// A request as the audit has it: settings of plugins may hold secrets.
fn shown(request: &Request) -> serde_json::Value {
    let mut request = request.clone();
    if let Request::PluginChange { change: PluginChange::Try { config: config @ Some(_), .. }, .. } = &mut request {
        *config = Some("left out".into());
    }
    serde_json::to_value(&request).unwrap_or_default()
}
