//! Who asks, and whether they may: the Unix socket's peer, a bearer token, or a session of the console.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, Method, StatusCode, header};

use super::Api;
use super::problem::Problem;
use super::route::Access;
use crate::admin::{Peer, Role, Scrape, Token};

/// The console's cookie.
pub(super) const COOKIE: &str = "waypost_session";
/// Where a request of the console shows that it is no foreign page's.
pub(super) const CSRF: &str = "x-waypost-csrf";

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) enum Origin {
    /// The Unix socket, from this user.
    Local(u32),
    /// The TCP listener.
    Network {
        /// From here.
        address: IpAddr,
        /// Under TLS.
        secure: bool,
    },
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) peer: Peer,
    pub(super) role: Role,
    /// Of a session.
    pub(super) csrf: Option<Arc<str>>,
}

impl Caller {
    /// As the session's route tells it.
    pub(super) fn name(&self) -> String {
        match &self.peer {
            Peer::Token(name) => name.to_string(),
            user @ Peer::User(_) => user.to_string(),
        }
    }
}

impl Api {
    /// Who asks for this, if they may. None: nobody needs to be known for it.
    pub(super) fn admit(
        &self,
        access: Access,
        origin: Origin,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Option<Caller>, Problem> {
        let needed = match access {
            Access::Open => return Ok(None),
            Access::Metrics if self.in_force.load().metrics == Scrape::Open => return Ok(None),
            Access::Metrics => Role::Read,
            Access::Known => Role::Read,
            Access::Needs(role) => role,
        };
        let caller = self.who(origin, headers)?;
        // RFC 9110 section 9.2.1: these change nothing.
        let safe = method == Method::GET || method == Method::HEAD;
        if let Some(csrf) = caller.csrf.as_ref().filter(|_| !safe) {
            let shown = headers.get(CSRF).map(|value| value.as_bytes()).unwrap_or_default();
            if !bool::from(subtle::ConstantTimeEq::ct_eq(csrf.as_bytes(), shown)) {
                return Err(Problem::new(StatusCode::FORBIDDEN, format!("a session shows its csrf value in {CSRF}")));
            }
        }
        if !caller.role.may(needed) && access != Access::Known {
            let (has, needs) = (caller.role.word(), needed.word());
            return Err(Problem::new(StatusCode::FORBIDDEN, format!("this takes the role {needs}, not {has}")));
        }
        Ok(Some(caller))
    }

    fn who(&self, origin: Origin, headers: &HeaderMap) -> Result<Caller, Problem> {
        let address = match origin {
            Origin::Local(uid) => return Ok(Caller { peer: Peer::User(uid), role: Role::Admin, csrf: None }),
            Origin::Network { address, .. } => address,
        };
        if let Some(token) = bearer(headers) {
            let token = self.known(token, address)?;
            return Ok(Caller { peer: Peer::Token(token.name), role: token.role, csrf: None });
        }
        let nobody = || Problem::new(StatusCode::UNAUTHORIZED, "send Authorization: Bearer TOKEN, or log in");
        let session = cookie(headers).and_then(|cookie| self.sessions.lock().find(cookie, Instant::now()));
        let session = session.ok_or_else(nobody)?;
        // It ends with the token, and has the role that the token has now.
        let in_force = self.in_force.load();
        let token = in_force.tokens.iter().find(|token| token.name == session.token && token.hash == session.hash);
        let token = token.ok_or_else(nobody)?;
        Ok(Caller { peer: Peer::Token(token.name.clone()), role: token.role, csrf: Some(session.csrf) })
    }

    /// Whose token it is. Where an address failed too often, whoever fails again is told to wait; a good token is let in all
    /// the same, so that nobody is kept out by a neighbour: 256 bits are not guessed.
    pub(super) fn known(&self, shown: &str, address: IpAddr) -> Result<Token, Problem> {
        let now = Instant::now();
        let in_force = self.in_force.load();
        // Each is compared, in the same time, whichever it is.
        let found = in_force.tokens.iter().filter(|token| token.hash.is_of(shown)).count();
        let token = in_force.tokens.iter().find(|token| found > 0 && token.hash.is_of(shown)).cloned();
        token.ok_or_else(|| {
            if let Some(secs) = self.throttle.lock().wait(address, now) {
                let late = "too many failed authentications from this address";
                let late = Problem::new(StatusCode::TOO_MANY_REQUESTS, late);
                return Problem { retry_after: Some(secs), ..late };
            }
            self.throttle.lock().failed(address, now);
            tracing::warn!(target: "audit", client = %address, "the admin API was shown a token that is none");
            Problem::new(StatusCode::UNAUTHORIZED, "there is no such token")
        })
    }
}

/// What `Authorization` has to show; RFC 6750 section 2.1, the scheme in any case.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?;
    let (scheme, token) = value.to_str().unwrap_or_default().split_once(' ').unwrap_or_default();
    // Whatever else is there is a token that nobody has.
    Some(if scheme.eq_ignore_ascii_case("bearer") { token.trim() } else { "" })
}

/// The session's cookie.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let fields = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value).next()
}
