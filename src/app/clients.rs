//! What DNS says of clients and of those who they say have written, for the reception, which asks nobody itself.
//!
//! Every answer comes within a bound: a name server must not keep a session.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::authres::{Authenticator, Case};
use crate::hooks::{AuthStatus, SessionFacts};
use crate::listen::{ClientNames, SenderResults};
use crate::routing::{Resolver, ReverseName, confirmed_name, reverse_name};

/// How long a client's name may take.
const NAME: Duration = Duration::from_secs(5);

/// How long all of a field may take: as one check of a plugin does.
const FIELD: Duration = Duration::from_secs(10);

/// The client's name is the first PTR name that leads back to its address (RFC 8601 section 2.7.3, "iprev").
pub(super) fn names(resolver: Arc<dyn Resolver>) -> Arc<ClientNames> {
    Arc::new(move |address| {
        let resolver = resolver.clone();
        Box::pin(async move { timeout(NAME, confirmed_name(&*resolver, address)).await.ok()?.ok()? })
    })
}

/// The value of a field of the relay's own.
pub(super) fn results(authenticator: Arc<Authenticator>, resolver: Arc<dyn Resolver>) -> Arc<SenderResults> {
    Arc::new(move |inquiry| {
        let (authenticator, resolver) = (authenticator.named(inquiry.host), resolver.clone());
        let (session, about) = (inquiry.session, inquiry.about);
        Box::pin(async move {
            let case = Case { session: &session, about: &about, until: Instant::now() + FIELD };
            authenticator.results(&case, iprev(&*resolver, &session)).await
        })
    })
}

/// What is known from the greeting is not looked up again. None: the client is at no address, or nobody knows at which.
async fn iprev(resolver: &dyn Resolver, session: &SessionFacts) -> Option<AuthStatus> {
    let address = session.client.address.parse().ok().filter(|address: &IpAddr| !address.is_unspecified())?;
    if session.client_name.is_some() {
        return Some(AuthStatus::Pass);
    }
    Some(match timeout(NAME, reverse_name(resolver, address)).await {
        Ok(Ok(ReverseName::Confirmed(_))) => AuthStatus::Pass,
        Ok(Ok(ReverseName::Unconfirmed)) => AuthStatus::Fail,
        Ok(Ok(ReverseName::Nameless)) => AuthStatus::Permerror,
        Ok(Err(_)) | Err(_) => AuthStatus::Temperror,
    })
}
