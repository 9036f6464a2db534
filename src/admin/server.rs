//! Where the API is listened for: the Unix socket, and the TCP listener if there is one.
//!
//! Of the Unix socket only the relay's own user and root are heard: it has mode 0600, and who is at the other end is asked
//! of the system, for those who connected while it was being made. On both doors few connections at a time, each with places
//! of its own, none kept open idle for long: a runaway script, or a stranger, must cost neither mail nor operators anything.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Config;
use super::converse::{Patient, converse};
use super::http::{Api, Origin};
use super::places::{CONNECTIONS, Places, Visit};

/// After a failed accept: descriptors have run out, and asking again at once would only burn CPU.
const PAUSE: Duration = Duration::from_millis(100);

/// What is listened on.
#[derive(Debug)]
pub struct Doors {
    socket: UnixListener,
    network: Option<Listening>,
}

/// The TCP listener.
#[derive(Debug)]
struct Listening {
    listener: TcpListener,
    /// Bound with a certificate: whatever a reload says, nothing is told here in clear.
    only_tls: bool,
}

impl Doors {
    /// Where the TCP listener really is.
    pub fn address(&self) -> Option<SocketAddr> {
        self.network.as_ref().and_then(|network| network.listener.local_addr().ok())
    }
}

/// Makes the socket, and the TCP listener where one is configured. Call within a tokio runtime.
///
/// # Errors
/// When another relay answers at the socket, or the system says no.
pub fn bind(config: &Config) -> Result<Doors, BindError> {
    let socket = bind_socket(&config.socket)?;
    let network = config.http.as_ref().map(|http| {
        let listener = std::net::TcpListener::bind(http.address);
        let listener = listener.and_then(|listener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        });
        let listener = listener.map_err(|error| BindError::Address(http.address, error))?;
        Ok(Listening { listener, only_tls: http.certificate.is_some() })
    });
    Ok(Doors { socket, network: network.transpose()? })
}

/// Why there is no admin socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another relay answers at that path.
    #[error("another relay answers at {0}: stop it, or give this one an [admin] socket of its own")]
    InUse(PathBuf),
    /// Something is there that is no socket.
    #[error("{0} is there and is no socket")]
    NotASocket(PathBuf),
    /// The system said no.
    #[error("admin socket {0}: {1}")]
    Io(PathBuf, io::Error),
    /// The system said no to the TCP listener.
    #[error("admin.http.address {0}: {1}")]
    Address(SocketAddr, io::Error),
}

/// Makes the socket at `path`, in place of one that a dead relay left. It is made under another name, closed to others,
/// and only then put in place.
fn bind_socket(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |error| BindError::Io(path.to_owned(), error);
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(BindError::InUse(path.to_owned()));
    }
    if std::fs::symlink_metadata(path).is_ok_and(|m| !std::os::unix::fs::FileTypeExt::is_socket(&m.file_type())) {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&new).map_err(failed)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)?;
    Ok(listener)
}

/// Answers requests until `shutdown`; those under way are answered first.
pub async fn serve(doors: Doors, api: Arc<Api>, shutdown: CancellationToken) {
    let Doors { socket, network } = doors;
    let (noting, until) = (api.clone(), shutdown.clone());
    let noted = async move { noting.note(&until).await };
    let api = Served { routes: api.router(), api };
    let by_socket = by_socket(socket, api.clone(), shutdown.clone());
    match network {
        Some(network) => {
            tokio::join!(noted, by_socket, by_network(network, api, shutdown));
        }
        None => {
            tokio::join!(noted, by_socket);
        }
    }
}

/// What is served at every door.
#[derive(Clone)]
pub(super) struct Served {
    api: Arc<Api>,
    pub(super) routes: Router,
}

/// The relay's own user: whoever comes when all places are taken waits for one.
async fn by_socket(listener: UnixListener, api: Served, shutdown: CancellationToken) {
    let (mut door, places) = (Door::new(shutdown), Arc::new(Semaphore::new(CONNECTIONS)));
    loop {
        let free = places.clone().acquire_owned();
        let Some(Ok(place)) = door.shutdown.run_until_cancelled(free).await else { break };
        let Some((stream, _)) = door.next(|context| listener.poll_accept(context)).await else { break };
        let uid = match stream.peer_cred().map(|peer| peer.uid()) {
            Ok(uid) if may_ask(uid) => uid,
            Ok(uid) => {
                tracing::warn!(uid, "admin socket: not heard");
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "admin socket: who is there?");
                continue;
            }
        };
        let (api, shutdown, visit) = (api.clone(), door.shutdown.clone(), Arc::new(Visit::begun(Instant::now())));
        door.connections.spawn(async move {
            let stream = Patient::new(stream, visit.clone());
            converse(stream, Origin::Local(uid), api, visit, shutdown).await;
            drop(place);
        });
    }
    door.close().await;
}

/// Strangers: whoever has its share, or comes when all are being answered, is turned away.
async fn by_network(network: Listening, api: Served, shutdown: CancellationToken) {
    let Listening { listener, only_tls } = network;
    let (mut door, places) = (Door::new(shutdown), Arc::new(Places::default()));
    while let Some((stream, peer)) = door.next(|context| listener.poll_accept(context)).await {
        let Some(place) = places.enter(peer.ip(), Instant::now()) else {
            tracing::debug!(client = %peer.ip(), "admin API: no place for another connection");
            continue;
        };
        let (api, shutdown) = (api.clone(), door.shutdown.clone());
        door.connections.spawn(async move {
            let visit = place.visit();
            let stream = Patient::new(stream, visit.clone());
            admitted(stream, peer.ip(), only_tls, api, visit, shutdown).await;
            drop(place);
        });
    }
    door.close().await;
}

/// Under TLS, where there is a certificate.
async fn admitted(
    stream: Patient<TcpStream>,
    address: IpAddr,
    only_tls: bool,
    api: Served,
    visit: Arc<Visit>,
    shutdown: CancellationToken,
) {
    let acceptor = match api.api.acceptor() {
        Some(acceptor) => acceptor,
        None if only_tls => return,
        None => return converse(stream, Origin::Network { address, secure: false }, api, visit, shutdown).await,
    };
    let shaken = tokio::select! {
        shaken = acceptor.accept(stream) => shaken,
        () = visit.over() => return,
        () = shutdown.cancelled() => return,
    };
    match shaken {
        Ok(stream) => {
            visit.shaken(Instant::now());
            converse(stream, Origin::Network { address, secure: true }, api, visit, shutdown).await;
        }
        Err(error) => tracing::debug!(%error, client = %address, "admin connection without TLS"),
    }
}

/// Connections through one of the doors.
struct Door {
    connections: JoinSet<()>,
    shutdown: CancellationToken,
}

impl Door {
    fn new(shutdown: CancellationToken) -> Self {
        Self { connections: JoinSet::new(), shutdown }
    }

    /// The next connection; none: it is over.
    async fn next<T>(&mut self, accept: impl Fn(&mut Context<'_>) -> Poll<io::Result<T>>) -> Option<T> {
        loop {
            let accepted = self.shutdown.run_until_cancelled(poll_fn(&accept)).await?;
            // Reap those that ended, so that the set does not grow.
            while self.connections.try_join_next().is_some() {}
            match accepted {
                Ok(accepted) => return Some(accepted),
                Err(error) => {
                    tracing::warn!(%error, "admin API: accept failed");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn close(mut self) {
        while self.connections.join_next().await.is_some() {}
    }
}

fn may_ask(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests;
