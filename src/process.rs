//! Who the relay runs as. Started as root and told a user, it binds what only root can, makes the folders it needs, and begins
//! anew as that user: the whole process is replaced, so that no thread and no memory of root's is left.
//!
//! Reads `/etc/passwd` and `/etc/group`; other sources of users are not asked. Must never go on as root where anybody else could
//! reach it, unless that was asked for, nor with more privileges than it said.

use std::fs::DirBuilder;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

use crate::listen::{self, Address, HANDED_OVER};

/// `[process]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Whom to become; none: whoever started it.
    pub user: Option<Arc<str>>,
    /// The group; none: the user's own.
    pub group: Option<Arc<str>>,
    /// Root may be the one who runs it.
    pub allow_root: bool,
}

/// A folder that the relay writes to, and the mode it is made with.
pub type Folder = (PathBuf, u32);

/// Whom to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    user: u32,
    group: u32,
}

/// The lowest descriptor that is handed over (sd_listen_fds(3)).
const FIRST: i32 = 3;

/// The only capability that a relay of another user may still have: that of binding ports below 1024.
const BIND_SERVICE: u64 = 1 << 10;

/// Returns in a process that may go on: as the user of the configuration, or as whoever started it; with what is unwise about
/// that. Call it first of all, before there are threads; as root with a user to become, it does not return unless something is
/// wrong. `api` is where else it listens.
///
/// # Errors
/// What is wrong and what to do, for people.
pub fn settle(
    config: &Config,
    listeners: &[listen::Listener],
    api: Option<SocketAddr>,
    folders: &[Folder],
) -> Result<Option<&'static str>, String> {
    let wanted = config.user.as_deref().map(|user| identity(user, config.group.as_deref())).transpose()?;
    let root = rustix::process::geteuid().is_root() || rustix::process::getuid().is_root();
    match wanted {
        Some(wanted) if root => Err(begin_anew(wanted, listeners, folders)),
        Some(wanted) => {
            let status = std::fs::read_to_string("/proc/self/status").map_err(|e| format!("/proc/self/status: {e}"))?;
            is_only(wanted, &status).map(|()| None)
        }
        None if root && !config.allow_root => match reached(listeners, api) {
            Some(how) => Err(format!(
                "the relay does not run as root where {how}: name a user for it, [process] user = \"waypost\", whom it \
                 becomes once the ports are bound, or say allow-root = true there"
            )),
            None => Ok(Some("the relay runs as root: for more than a trial name a user for it, [process] user")),
        },
        None => Ok(None),
    }
}

/// How somebody else could reach it, or why root would be needed: then it is more than a trial, as people make it in a container where
/// they are nobody else. A plugin can't get out of its sandbox and a message is no program; the day one of both is wrong, it must
/// not be root.
fn reached(listeners: &[listen::Listener], api: Option<SocketAddr>) -> Option<String> {
    let open = |address: &SocketAddr| !address.ip().is_loopback() || (1..1024).contains(&address.port());
    let listener = listeners.iter().find(|listener| match &listener.address {
        Address::Tcp(address) => open(address),
        Address::Unix(..) => false,
        // Whatever the service manager opened.
        Address::Systemd(_) => true,
    });
    let listener = listener.map(|listener| format!("[listeners.{}] listens on {}", listener.name, listener.address));
    listener.or_else(|| api.filter(open).map(|address| format!("[admin.http] listens on {address}")))
}

/// Gives only the reason why it did not come to it.
fn begin_anew(wanted: Identity, listeners: &[listen::Listener], folders: &[Folder]) -> String {
    let prepared = folders
        .iter()
        .try_for_each(|(path, mode)| make(path, *mode, wanted))
        .and_then(|()| bind(listeners, inherited()));
    let (names, _kept) = match prepared {
        Ok(prepared) => prepared,
        Err(why) => return why,
    };
    // Groups of root's are dropped too: std does setgroups, setgid and setuid, in this order, before it replaces the program.
    let error = Command::new("/proc/self/exe")
        .arg0(std::env::args_os().next().unwrap_or_else(|| "waypost".into()))
        .args(std::env::args_os().skip(1))
        .env("LISTEN_PID", std::process::id().to_string())
        .env("LISTEN_FDS", names.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"))
        .uid(wanted.user)
        .gid(wanted.group)
        .exec();
    format!("can't begin anew as user {}: {error}", wanted.user)
}

/// Names of the sockets that a service manager handed over.
fn inherited() -> Vec<String> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Vec::new();
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(str::to_owned);
    (0..number("LISTEN_FDS").unwrap_or_default().min(1024)).map(|_| names.next().unwrap_or_default()).collect()
}

/// Binds what the listeners say, on descriptors that follow one another, to be handed over to ourselves.
fn bind(listeners: &[listen::Listener], mut names: Vec<String>) -> Result<(Vec<String>, Vec<OwnedFd>), String> {
    let mut kept = Vec::new();
    for listener in listeners {
        let Address::Tcp(address) = listener.address else { continue };
        let failed = |error: io::Error| format!("listeners.{}: can't listen on {address}: {error}", listener.name);
        let socket: TcpListener = listen::bind_ahead(address).map_err(failed)?;
        let least = FIRST + i32::try_from(names.len()).unwrap_or(i32::MAX - FIRST);
        let fd = fcntl_dupfd_cloexec(&socket, least).map_err(|error| failed(error.into()))?;
        fcntl_setfd(&fd, FdFlags::empty()).map_err(|error| failed(error.into()))?;
        // Whatever else is open in between, left by whoever started us.
        (least..fd.as_raw_fd()).for_each(|_| names.push(HANDED_OVER.to_owned()));
        names.push(format!("{HANDED_OVER}{}", listener.name));
        kept.push(fd);
    }
    Ok((names, kept))
}

/// Makes a folder and what is missing above it, for that user. What is there stays as it is.
fn make(path: &Path, mode: u32, owner: Identity) -> Result<(), String> {
    let missing: Vec<&Path> = path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).collect();
    for (at, folder) in missing.iter().enumerate().rev() {
        let failed = |error: io::Error| format!("making the folder {}: {error}", folder.display());
        DirBuilder::new().mode(if at == 0 { mode } else { 0o755 }).create(folder).map_err(failed)?;
        chown(folder, Some(owner.user), Some(owner.group)).map_err(failed)?;
    }
    Ok(())
}

/// That this process is that user's and no way leads back: all four user ids are, all four group ids, and no capability is left
/// but one that was meant.
fn is_only(wanted: Identity, status: &str) -> Result<(), String> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let all = |name: &str, id: u32| {
        let ids = field(name);
        ids.len() == 4 && ids.iter().all(|found| *found == id.to_string())
    };
    if !all("Uid", wanted.user) || !all("Gid", wanted.group) {
        let (user, group) = (wanted.user, wanted.group);
        let found = (field("Uid").join(" "), field("Gid").join(" "));
        return Err(format!(
            "[process] asks for user {user} and group {group}, and this process has {} and {}: start it as root, or as \
             that user",
            found.0, found.1
        ));
    }
    for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        let bits = field(name).first().and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(u64::MAX);
        if bits & !BIND_SERVICE != 0 {
            return Err(format!("this process has capabilities that a relay must not have ({name} {bits:016x})"));
        }
    }
    Ok(())
}

fn identity(user: &str, group: Option<&str>) -> Result<Identity, String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let found = identity_in(&read("/etc/passwd"), &read("/etc/group"), user, group)?;
    if found.user == 0 {
        return Err("[process] user is root: name another one, or leave it out and say allow-root = true".to_owned());
    }
    Ok(found)
}

/// Looks up names, as passwd(5) and group(5) have them; numbers stand for themselves.
fn identity_in(passwd: &str, groups: &str, user: &str, group: Option<&str>) -> Result<Identity, String> {
    let entry = |table: &str, name: &str| {
        let line = table.lines().find(|line| line.split(':').next() == Some(name));
        line.map(|line| line.split(':').skip(2).take(2).map(str::to_owned).collect::<Vec<_>>())
    };
    let number = |text: Option<&String>| text.and_then(|text| text.parse::<u32>().ok());
    let (id, own_group) = match (entry(passwd, user), user.parse::<u32>()) {
        (Some(fields), _) => (number(fields.first()), number(fields.get(1))),
        (None, Ok(id)) => (Some(id), None),
        (None, Err(_)) => return Err(format!("[process] user: there is no user {user:?} in /etc/passwd")),
    };
    let of_group = |name: &str| {
        let found = entry(groups, name).and_then(|fields| number(fields.first())).or_else(|| name.parse().ok());
        found.ok_or_else(|| format!("[process] group: there is no group {name:?} in /etc/group"))
    };
    let group = match group {
        Some(name) => of_group(name)?,
        None => own_group.ok_or_else(|| format!("[process] group is needed: {user} says nothing of one"))?,
    };
    Ok(Identity { user: id.ok_or_else(|| format!("/etc/passwd is damaged at {user:?}"))?, group })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwaypost:x:990:980:Relay:/var/lib/waypost:/usr/sbin/nologin\n";
    const GROUP: &str = "root:x:0:\nwaypost:x:980:\nssl-cert:x:110:waypost\n";

    #[test]
    fn users_and_groups_go_by_name_or_number() {
        let of = |user, group| identity_in(PASSWD, GROUP, user, group);
        assert_eq!(of("waypost", None), Ok(Identity { user: 990, group: 980 }));
        assert_eq!(of("waypost", Some("ssl-cert")), Ok(Identity { user: 990, group: 110 }));
        assert_eq!(of("1234", Some("56")), Ok(Identity { user: 1234, group: 56 }));
        assert!(of("1234", None).unwrap_err().contains("group is needed"));
        assert!(of("waypos", None).unwrap_err().contains("no user \"waypos\""));
        assert!(of("waypost", Some("none")).unwrap_err().contains("no group \"none\""));
    }

    #[test]
    fn whoever_could_become_root_again_is_refused() {
        let status = |uid: &str, gid: &str, cap: &str| {
            format!(
                "Name:\twaypost\nUid:\t{uid}\nGid:\t{gid}\nGroups:\t \nCapInh:\t0000000000000000\nCapPrm:\t{cap}\n\
                 CapEff:\t{cap}\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\n"
            )
        };
        let wanted = Identity { user: 990, group: 980 };
        let (ids, groups, none) = ("990\t990\t990\t990", "980\t980\t980\t980", "0000000000000000");
        assert_eq!(is_only(wanted, &status(ids, groups, none)), Ok(()));
        assert_eq!(is_only(wanted, &status(ids, groups, "0000000000000400")), Ok(()), "binding low ports is meant");
        assert!(is_only(wanted, &status("990\t990\t0\t990", groups, none)).is_err(), "a saved id leads back");
        assert!(is_only(wanted, &status(ids, "980\t0\t980\t980", none)).is_err());
        assert!(is_only(wanted, &status(ids, groups, "0000000000000080")).is_err(), "CAP_SETUID leads back");
        assert!(is_only(wanted, "").is_err());
    }

    #[test]
    fn root_is_for_trials_on_this_machine_alone() {
        let how = |addresses: &[&str], api: Option<&str>| {
            let lines = addresses.iter().enumerate().map(|(n, at)| format!("[listeners.l{n}]\naddress = '{at}'\n"));
            let text = format!("hostname = 'relay.test'\n{}", lines.collect::<String>());
            let settings = crate::config::parse(Path::new("f.toml"), &text).unwrap();
            reached(&settings.listen.listeners, api.map(|api| api.parse().unwrap()))
        };
        assert_eq!(how(&["127.0.0.1:2525", "[::1]:2525", "unix:/run/x.sock", "127.0.0.1:0"], None), None);
        assert_eq!(how(&["127.0.0.1:2525"], Some("127.0.0.1:8025")), None);
        for open in ["0.0.0.0:2525", "[::]:2525", "127.0.0.1:25", "192.0.2.1:2525", "systemd:smtp"] {
            assert!(how(&["127.0.0.1:2525", open], None).is_some_and(|how| how.contains("listeners.l1")), "{open}");
        }
        assert!(how(&[], Some("0.0.0.0:8025")).is_some_and(|how| how.contains("admin.http")));
    }

    #[test]
    fn missing_folders_are_made_and_others_left_alone() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        let folder = tempfile::tempdir().unwrap();
        let me = Identity { user: rustix::process::geteuid().as_raw(), group: rustix::process::getegid().as_raw() };
        let path = folder.path().join("lib/spool");
        make(&path, 0o700, me).unwrap();
        let made = std::fs::metadata(&path).unwrap();
        assert_eq!((made.permissions().mode() & 0o777, made.uid()), (0o700, me.user));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o750)).unwrap();
        make(&path, 0o700, me).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o750);
    }
}
