//! Where the API is listened for: the Unix socket, and the TCP listener if there is one.
//!
//! Of the Unix socket only the relay's own user and root are heard: it has mode 0600, and who is at the other end is asked
//! of the system, for those who connected while it was being made. On both doors few connections at a time, none kept open
//! idle for long, heads of requests bounded: a runaway script must not cost mail anything.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Config;
use super::http::{Api, Origin};

/// An operator, a monitor and a few consoles; the rest waits. For each of the doors.
const CONNECTIONS: usize = 64;
/// For the head of a request, and so between requests.
const IDLE: Duration = Duration::from_secs(60);
/// Octets of the head of a request: a filter with two thousand ids fits.
const HEAD: usize = 64 << 10;
/// A TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
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
struct Served {
    api: Arc<Api>,
    routes: Router,
}

async fn by_socket(listener: UnixListener, api: Served, shutdown: CancellationToken) {
    let mut door = Door::new(shutdown);
    while let Some((accepted, permit)) = door.next(|context| listener.poll_accept(context)).await {
        let peer = accepted.0.peer_cred().map(|peer| peer.uid());
        match peer {
            Ok(uid) if may_ask(uid) => door.spawn(accepted.0, Origin::Local(uid), api.clone(), permit),
            Ok(uid) => tracing::warn!(uid, "admin socket: not heard"),
            Err(error) => tracing::warn!(%error, "admin socket: who is there?"),
        }
    }
    door.close().await;
}

async fn by_network(network: Listening, api: Served, shutdown: CancellationToken) {
    let Listening { listener, only_tls } = network;
    let mut door = Door::new(shutdown);
    while let Some(((stream, peer), permit)) = door.next(|context| listener.poll_accept(context)).await {
        let (api, shutdown, address) = (api.clone(), door.shutdown.clone(), peer.ip());
        door.connections.spawn(async move {
            let acceptor = match api.api.acceptor() {
                Some(acceptor) => acceptor,
                None if only_tls => return,
                None => {
                    return converse(stream, Origin::Network { address, secure: false }, api, shutdown, permit).await;
                }
            };
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    converse(stream, Origin::Network { address, secure: true }, api, shutdown, permit).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, client = %address, "admin connection without TLS"),
                Err(_late) => {}
            }
        });
    }
    door.close().await;
}

/// Connections through one of the doors.
struct Door {
    permits: Arc<Semaphore>,
    connections: JoinSet<()>,
    shutdown: CancellationToken,
}

impl Door {
    fn new(shutdown: CancellationToken) -> Self {
        Self { permits: Arc::new(Semaphore::new(CONNECTIONS)), connections: JoinSet::new(), shutdown }
    }

    /// The next connection, once there is a place for it; none: it is over.
    async fn next<T>(
        &mut self,
        accept: impl Fn(&mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Option<(T, OwnedSemaphorePermit)> {
        loop {
            let accept = async {
                let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(io::Error::other)?;
                Ok::<_, io::Error>((poll_fn(&accept).await?, permit))
            };
            let accepted = tokio::select! {
                () = self.shutdown.cancelled() => return None,
                accepted = accept => accepted,
            };
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

    fn spawn<S>(&mut self, stream: S, origin: Origin, api: Served, permit: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.connections.spawn(converse(stream, origin, api, self.shutdown.clone(), permit));
    }

    async fn close(mut self) {
        while self.connections.join_next().await.is_some() {}
    }
}

/// Serves one connection to its end, or until `shutdown`, when what is under way is answered first.
async fn converse<S>(stream: S, origin: Origin, api: Served, shutdown: CancellationToken, permit: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let routes = TowerToHyperService::new(api.routes);
    let answer = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(origin);
        routes.call(request)
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(HEAD);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), answer));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "admin connection ended");
    }
    drop(permit);
}

fn may_ask(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}
