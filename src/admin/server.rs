//! The relay's end of the admin socket.
//!
//! Only the relay's own user and root are heard: the socket has mode 0600, and who is at the other end is asked of the
//! system, for those who connected while it was being made. Few connections at a time, none kept open idle for long,
//! requests bounded: a runaway script must not cost mail anything.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt as _, BufReader, BufWriter};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Control, Done, Peer, Request, Response, Weakening, frame, queue, transfer};

/// An operator and a monitor need a few; the rest waits.
const CONNECTIONS: usize = 16;
/// Between requests.
const IDLE: Duration = Duration::from_secs(60);
/// For a message to come in, however large.
const IMPORT: Duration = Duration::from_secs(300);
/// Entries of one answer.
const PAGE: usize = 1000;
/// After a failed accept: descriptors have run out, and asking again at once would only burn CPU.
const PAUSE: Duration = Duration::from_millis(100);

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
}

/// Makes the socket at `path`, in place of one that a dead relay left. It is made under another name, closed to others,
/// and only then put in place. Call within a tokio runtime.
///
/// # Errors
/// When another relay answers there, or the system says no.
pub fn bind(path: &Path) -> Result<UnixListener, BindError> {
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
pub async fn serve(listener: UnixListener, control: Arc<dyn Control>, shutdown: CancellationToken) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        // Reap those that ended, so that the set does not grow.
        while connections.try_join_next().is_some() {}
        let (stream, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "admin socket: accept failed");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (control, shutdown) = (Arc::clone(&control), shutdown.clone());
        connections.spawn(async move {
            if let Err(error) = converse(stream, &*control, &shutdown).await {
                tracing::debug!(%error, "admin connection ended");
            }
            drop(permit);
        });
    }
    while connections.join_next().await.is_some() {}
}

async fn accept(
    listener: &UnixListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

async fn converse(stream: UnixStream, control: &dyn Control, shutdown: &CancellationToken) -> io::Result<()> {
    let peer = Peer(stream.peer_cred()?.uid());
    if !may_ask(peer) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (from, to) = stream.into_split();
    let (mut from, mut to) = (BufReader::new(from), BufWriter::new(to));
    loop {
        let request = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            read = tokio::time::timeout(IDLE, frame::read(&mut from, frame::REQUEST_MAX)) => match read {
                Err(_idle) => return Ok(()),
                Ok(request) => request,
            },
        };
        match request {
            Ok(None) => return Ok(()),
            Ok(Some(Request::QueueImport { record, content })) => {
                let import = transfer::import((record, content), peer, control, &mut from, &mut to);
                tokio::time::timeout(IMPORT, import).await.map_err(|_late| io::ErrorKind::TimedOut)??;
            }
            Ok(Some(request)) => answer(request, peer, control, &mut to).await?,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let why = format!("not a request: {error}");
                frame::write(&mut to, &Response::Refused(vec![why])).await?;
                return to.flush().await;
            }
            Err(error) => return Err(error),
        }
        to.flush().await?;
    }
}

fn may_ask(peer: Peer) -> bool {
    peer.0 == 0 || peer.0 == rustix::process::geteuid().as_raw()
}

async fn answer(
    request: Request,
    peer: Peer,
    control: &dyn Control,
    to: &mut BufWriter<OwnedWriteHalf>,
) -> io::Result<()> {
    if let Request::QueueCat { id } = &request {
        return queue::cat(id, control, to).await;
    }
    if let Request::QueueExport { id } = &request {
        return transfer::export(id, control, to).await;
    }
    let (items, last) = match perform(request, peer, control).await {
        Ok((items, done)) => (items, Response::Done(done)),
        Err(reasons) => (Vec::new(), Response::Refused(reasons)),
    };
    for item in &items {
        frame::write(to, item).await?;
    }
    frame::write(to, &last).await
}

async fn perform(request: Request, peer: Peer, control: &dyn Control) -> Result<(Vec<Response>, Done), Vec<String>> {
    let one = |why: String| vec![why];
    match request {
        Request::Status => Ok((Vec::new(), Done::Status(Box::new(control.status().await?)))),
        Request::Reload { allow_weaken } => {
            Ok((Vec::new(), Done::Reload(control.reload(peer, Weakening::of(allow_weaken)).await?)))
        }
        Request::QueueList { .. }
        | Request::QueueCount { .. }
        | Request::QueueSummary { .. }
        | Request::QueueShow { .. }
        | Request::QueueCommand { .. }
        | Request::QueueRuleAdd { .. }
        | Request::QueueRules
        | Request::QueueRuleLift { .. } => queue::perform(request, peer, control).await,
        Request::Explain { about } => Ok((Vec::new(), Done::Explained(control.explain(about).await?))),
        Request::Sts { about } => Ok((Vec::new(), Done::Sts(control.sts(about).await?))),
        Request::Destinations => {
            let sites = control.destinations().await?;
            Ok((sites.into_iter().map(Response::Item).collect(), Done::Destinations))
        }
        Request::BanList => {
            let (bans, in_force) = control.bans().await?;
            let item = |ban| serde_json::to_value(ban).map(Response::Item).map_err(|error| one(error.to_string()));
            Ok((bans.into_iter().map(item).collect::<Result<_, _>>()?, Done::Bans { in_force }))
        }
        Request::BanAdd { network, secs } => {
            control.ban(peer, network, secs).await?;
            Ok((Vec::new(), Done::BansChanged))
        }
        Request::BanRemove { network } => {
            control.lift_ban(peer, network).await?;
            Ok((Vec::new(), Done::BansChanged))
        }
        about_plugins => perform_on_plugins(about_plugins, peer, control).await,
    }
}

/// Those about plugins.
async fn perform_on_plugins(
    request: Request,
    peer: Peer,
    control: &dyn Control,
) -> Result<(Vec<Response>, Done), Vec<String>> {
    match request {
        Request::Plugins => {
            let plugins = control.plugins().await?;
            Ok((plugins.into_iter().map(Response::Item).collect(), Done::Plugins))
        }
        Request::PluginMetrics { plugin } => {
            let counted = control.plugin_metrics(plugin).await?;
            Ok((counted.into_iter().map(Response::Item).collect(), Done::PluginMetrics))
        }
        Request::PluginTrial { name } => {
            let (trial, differences) = control.plugin_trial(name).await?;
            Ok((differences.into_iter().map(Response::Item).collect(), Done::Trial(trial)))
        }
        Request::PluginStatus => {
            let (plugins, set) = control.plugin_status().await?;
            Ok((plugins.into_iter().map(Response::Item).collect(), Done::PluginStatus(set)))
        }
        Request::PluginGenerations => {
            let generations = control.plugin_generations().await?;
            Ok((generations.into_iter().map(Response::Item).collect(), Done::PluginGenerations))
        }
        Request::PluginAudit { limit } => {
            let entries = control.plugin_audit(limit.clamp(1, PAGE)).await?;
            Ok((entries.into_iter().map(Response::Item).collect(), Done::PluginAudit))
        }
        Request::PluginChange { change, allow_weaken } => {
            let report = control.plugin_change(peer, change, Weakening::of(allow_weaken)).await?;
            Ok((Vec::new(), Done::PluginChange(report)))
        }
        Request::Suppress { what } => {
            let entries = control.suppress(peer, what).await?;
            Ok((entries.into_iter().map(Response::Item).collect(), Done::Suppressed))
        }
        Request::History { which } => {
            let (messages, more) = control.history(which).await?;
            Ok((messages.into_iter().map(Response::Item).collect(), Done::History { more }))
        }
        Request::Why { which } => {
            let (decisions, more) = control.why(which).await?;
            Ok((decisions.into_iter().map(Response::Item).collect(), Done::Decisions { more }))
        }
        Request::Record { plugin, calls, address } => {
            Ok((Vec::new(), Done::Recording(control.record(plugin, calls, address).await?)))
        }
        Request::StopRecording { plugin } => Ok((Vec::new(), Done::Recording(control.stop_recording(plugin).await?))),
        other => Err(vec![format!("{other:?} is not about plugins")]),
    }
}
