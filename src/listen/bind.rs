//! Sockets of listeners: bound, or taken from the service manager. Never accepts.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};

use super::activation::{Activated, Activation};
use super::config::{Address, Listener};
use super::stream::{Stream, local_client, unix_endpoint, unix_path};
use crate::hooks::Endpoint;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A bound socket that does not accept yet.
#[derive(Debug)]
pub struct Bound {
    name: Arc<str>,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix {
        socket: UnixListener,
        /// The relay's end of each connection.
        at: Endpoint,
        /// Removed with the listener.
        _made: Option<Made>,
    },
}

/// A socket file that this relay made, and removes.
#[derive(Debug)]
struct Made {
    path: PathBuf,
    identity: (u64, u64),
}

/// Who connected.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// None for a client that is in no network.
    pub(crate) ip: Option<IpAddr>,
    /// Its end of the connection.
    pub(crate) client: Endpoint,
    /// The relay's end where that is a Unix socket. Its file has another name while it is made, which is what the system goes
    /// on to tell.
    pub(crate) unix_end: Option<Endpoint>,
}

impl Bound {
    /// Takes the address of a listener; a name of the service manager's may stand for several sockets. Call within a tokio
    /// runtime.
    ///
    /// # Errors
    /// When the address can't be had; the error names it.
    pub fn bind(listener: &Listener, activation: &mut Activation) -> io::Result<Vec<Self>> {
        let failed = |error: io::Error| {
            let text = format!("listeners.{}: can't listen on {}: {error}", listener.name, listener.address);
            io::Error::new(error.kind(), text)
        };
        let sockets = match &listener.address {
            Address::Tcp(address) => tcp(*address, listener, activation).map(|socket| vec![Socket::Tcp(socket)]),
            Address::Unix(path, mode) => unix(path, *mode).map(|socket| vec![socket]),
            Address::Systemd(name) => handed(name, listener, activation),
        };
        let bound = |socket| Self { name: listener.name.clone(), socket };
        Ok(sockets.map_err(failed)?.into_iter().map(bound).collect())
    }

    /// Name of the listener.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where it listens, with the port it got; `unix:` and the path of a Unix socket.
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn address(&self) -> io::Result<String> {
        Ok(match &self.socket {
            Socket::Tcp(socket) => socket.local_addr()?.to_string(),
            Socket::Unix { at, .. } => at.address.to_string(),
        })
    }

    /// The next connection, and who made it.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        Ok(match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                let (ip, client) = (Some(peer.ip().to_canonical()), Endpoint::of(peer));
                (Stream::Tcp(stream), Peer { ip, client, unix_end: None })
            }
            Socket::Unix { socket, at, .. } => {
                let (stream, peer) = socket.accept().await?;
                let client = match (peer.as_pathname(), stream.peer_cred()) {
                    (None, Ok(user)) => local_client(user.uid()),
                    _ => unix_endpoint(&peer),
                };
                let peer = Peer { ip: None, client, unix_end: Some(at.clone()) };
                (Stream::Unix(stream), peer)
            }
        })
    }
}

/// Bound now, or already by whoever this process was before.
fn tcp(address: SocketAddr, listener: &Listener, activation: &mut Activation) -> io::Result<TcpListener> {
    match activation.take_ahead(&listener.name) {
        Ok(Some(Activated::Tcp(socket))) if address.port() == 0 || socket.local_addr()? == address => {
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket)
        }
        Ok(None) => TcpListener::from_std(bind_ahead(address)?),
        Ok(Some(_)) => Err(io::Error::other("the configuration was changed while the relay started: start it again")),
        Err(why) => Err(io::Error::other(why)),
    }
}

/// Binds a TCP address; nothing is accepted yet.
///
/// # Errors
/// The system's.
pub fn bind_ahead(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    // A restarted relay must get its port back while old connections linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Made under another name, closed to others, and only then put in place of what a dead relay left.
fn unix(path: &Path, mode: u32) -> io::Result<Socket> {
    make_way(path)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&socket2::SockAddr::unix(&new)?)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    let socket = UnixListener::from_std(socket.into())?;
    std::fs::rename(&new, path)?;
    let made = Made { path: path.to_owned(), identity: identity(path)? };
    Ok(Socket::Unix { socket, at: unix_path(path), _made: Some(made) })
}

/// Nothing but a socket that nobody listens on may be replaced.
fn make_way(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something is there that is no socket"));
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
    }
}

/// Device and inode.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

impl Drop for Made {
    fn drop(&mut self) {
        // Another relay may have put its own there since.
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// What the configuration could not be held to while nobody knew what the name stands for.
fn handed(name: &str, listener: &Listener, activation: &mut Activation) -> io::Result<Vec<Socket>> {
    let socket = |activated| match activated {
        Activated::Tcp(socket) => {
            let address = socket.local_addr()?;
            fits(listener, address).map_err(|text| io::Error::new(io::ErrorKind::InvalidInput, text))?;
            socket.set_nonblocking(true)?;
            Ok(Socket::Tcp(TcpListener::from_std(socket)?))
        }
        Activated::Unix(socket) => {
            socket.set_nonblocking(true)?;
            let socket = UnixListener::from_std(socket)?;
            let at = unix_endpoint(&socket.local_addr()?);
            Ok(Socket::Unix { socket, at, _made: None })
        }
    };
    let sockets = activation.take(name).map_err(|text| io::Error::new(io::ErrorKind::NotFound, text))?;
    sockets.into_iter().map(socket).collect()
}

/// What a TCP address forbids.
///
/// # Errors
/// What is wrong, for people.
pub fn fits(listener: &Listener, address: SocketAddr) -> Result<(), String> {
    if listener.session.lmtp && address.port() == 25 {
        return Err("LMTP is not for port 25 (RFC 2033 section 5)".to_owned());
    }
    if listener.relay && !listener.allow_everyone && !address.ip().to_canonical().is_loopback() {
        return Err(format!("relay = true lets whoever reaches {address} send through this relay to anybody"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[tokio::test]
    async fn a_socket_file_is_replaced_only_if_nobody_listens_and_removed_by_its_maker() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/smtp.sock");
        let first = unix(&path, 0o640).unwrap();
        assert_eq!(mode(&path), 0o640);
        assert_eq!(unix(&path, 0o660).err().map(|e| e.kind()), Some(io::ErrorKind::AddrInUse));
        drop(first);
        assert!(!path.exists(), "removed");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left by a dead one");
        let second = unix(&path, 0o666).unwrap();
        assert_eq!(mode(&path), 0o666);
        std::fs::rename(&path, path.with_extension("old")).unwrap();
        let third = unix(&path, 0o666).unwrap();
        drop(second);
        assert!(path.exists(), "that of another one stays");
        drop(third);
        std::fs::write(&path, "precious").unwrap();
        assert!(unix(&path, 0o666).unwrap_err().to_string().contains("no socket"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
