//! What is unwise about a configuration on this machine: files that others can read, a spool in memory, certificates that
//! end, name servers that do not answer. Changes nothing, and asks nobody but the resolver.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FsWord;
use rustix::process::{Resource, getrlimit};

use super::descriptors::wanted;
use crate::config::{Checked, ConfigError, Places, Settings};
use crate::plugin;
use crate::routing::{Hickory, ResolveError, Resolver as _};
use crate::time::{Clock as _, System};
use crate::tls;

/// How long the resolver has to answer: as long as a client would wait for it.
const ANSWER: Duration = Duration::from_secs(6);

/// Less than this beyond `queue.min-free`, and mail will soon be refused.
const ROOM: u64 = 512 << 20;

/// `f_type` of file systems in memory (statfs(2)).
const IN_MEMORY: [FsWord; 2] = [0x0102_1994, 0x8584_58f6];
/// Of NFS, SMB and CIFS, where a flush is a promise of somebody else.
const ELSEWHERE: [FsWord; 4] = [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42];

/// Whether other hosts are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The resolver is asked.
    Network,
    /// Nobody is.
    Machine,
}

/// All of it, in no order.
pub async fn surroundings(checked: &Checked, reach: Reach) -> Vec<ConfigError> {
    let owned = checked.clone();
    // Files are read and their systems asked: off the runtime's threads, since a disk may be slow.
    let looked = tokio::task::spawn_blocking(move || look(&owned.settings, &owned.places)).await;
    let mut found = looked.unwrap_or_default();
    if reach == Reach::Network {
        found.extend(resolver(&checked.settings, &checked.places).await);
    }
    found
}

fn look(settings: &Settings, places: &Places) -> Vec<ConfigError> {
    let mut found = secrets(settings, places);
    found.extend(certificates(settings, places));
    found.extend(keys(settings, places));
    found.extend(spool(settings, places));
    found.extend(machine(settings, places));
    found.extend(plugins(settings, places));
    found
}

/// Files that nobody else should read, or write.
fn secrets(settings: &Settings, places: &Places) -> Vec<ConfigError> {
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    for (at, one) in settings.listen.tls.iter().flat_map(|tls| tls.certificates.iter().enumerate()) {
        files.push((certificate_key(places, at, "key"), one.key.clone()));
    }
    let of_api = settings.admin.http.iter().filter_map(|http| http.certificate.as_ref());
    files.extend(of_api.map(|one| ("admin.http.key".to_owned(), one.key.clone())));
    files.extend(settings.signing.keys.iter().map(|key| (format!("dkim.{}.key-file", key.name), key.file.clone())));
    files.extend(settings.signing.arc.iter().map(|arc| ("arc.key-file".to_owned(), arc.file.clone())));
    files.extend(settings.listen.credentials.iter().map(|path| ("auth.credentials".to_owned(), path.clone())));
    for (name, plugin) in &settings.plugins.plugins {
        let each = plugin.grants.secrets.iter();
        files.extend(each.map(|(secret, path)| (format!("plugins.{name}.grants.secrets.{secret}"), path.clone())));
    }
    if let Some(inline) = places.keys().find(|key| key.starts_with("credentials.") && key.ends_with(".secret")) {
        files.push((inline.to_owned(), PathBuf::from(places.main())));
    }
    let mode = |path: &Path| std::fs::metadata(path).map(|found| found.mode()).unwrap_or_default();
    let judge = |(key, path): (String, PathBuf)| {
        let (problem, help) = match mode(&path) {
            mode if mode & 0o002 != 0 => ("write", "o-rw"),
            mode if mode & 0o004 != 0 => ("read", "o-r"),
            _ => return None,
        };
        let problem = format!("every user of this machine can {problem} {}", path.display());
        Some(places.finding(&key, problem, format!("chmod {help} {}", path.display())))
    };
    files.into_iter().filter_map(judge).collect()
}

/// Where the certificate of this place stands: `[tls]` itself has the first one, if it has any.
fn certificate_key(places: &Places, at: usize, key: &str) -> String {
    let first = usize::from(places.has("tls.certificate"));
    match at.checked_sub(first) {
        Some(at) => format!("tls.certificates[{at}].{key}"),
        None => format!("tls.{key}"),
    }
}

fn certificates(settings: &Settings, places: &Places) -> Vec<ConfigError> {
    let now = System.now().secs();
    let of_listeners = settings.listen.tls.iter().flat_map(|tls| {
        // A file that can't be read is a mistake, which was told as such.
        let remarks = tls::remarks(tls, Some(&settings.hostname), now).unwrap_or_default();
        remarks.into_iter().map(|remark| (certificate_key(places, remark.at, "certificate"), remark))
    });
    let of_api = settings.admin.http.iter().filter_map(|http| http.certificate.clone()).flat_map(|certificate| {
        let tls = tls::ServerSettings::of(certificate);
        // Operators may reach it by another name than the one that mail servers know.
        let remarks = tls::remarks(&tls, None, now).unwrap_or_default();
        remarks.into_iter().map(|remark| ("admin.http.certificate".to_owned(), remark))
    });
    of_listeners.chain(of_api).map(|(key, remark)| places.finding(&key, remark.problem, remark.help)).collect()
}

/// Domains that have keys, and none today.
fn keys(settings: &Settings, places: &Places) -> Vec<ConfigError> {
    let now = System.now();
    let keys = &settings.signing.keys;
    let out = keys.iter().filter(|key| !keys.iter().any(|k| k.domain == key.domain && k.is_in_force(now)));
    let told = |key: &crate::signing::KeyConfig| {
        let problem = format!("no key of {} is in force today: its mail is not signed, or not taken", key.domain);
        places.finding(&format!("dkim.{}", key.name), problem, "mend from and until, or add a key")
    };
    out.map(told).collect()
}

fn spool(settings: &Settings, places: &Places) -> Vec<ConfigError> {
    let path = &settings.queue.path;
    // It is made at the start: what counts is where.
    let Some(there) = path.ancestors().find(|path| path.exists()) else { return Vec::new() };
    let mut found = Vec::new();
    if let Ok(system) = rustix::fs::statfs(there) {
        let kind = system.f_type;
        if IN_MEMORY.contains(&kind) {
            let problem = format!("{} is in memory: when the machine restarts, all mail in it is gone", path.display());
            found.push(places.finding(
                "queue.path",
                problem,
                "write a folder on a disk, such as /var/lib/waypost/spool",
            ));
        } else if ELSEWHERE.contains(&kind) {
            let problem = format!("{} is on a file server, whose word it then is that mail is safe", path.display());
            found.push(places.finding("queue.path", problem, "write a folder on a disk of this machine"));
        }
    }
    if let Ok(system) = rustix::fs::statvfs(there) {
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        if free < settings.queue.min_free.saturating_add(ROOM) {
            let problem = format!(
                "{} MiB are free there; below {} MiB mail is refused",
                free >> 20,
                settings.queue.min_free >> 20
            );
            found.push(places.finding("queue.path", problem, "make room, or put the queue on another disk"));
        }
    }
    found
}

fn machine(settings: &Settings, places: &Places) -> Vec<ConfigError> {
    let mut found = Vec::new();
    let needed = wanted(settings.listen.limits.connections.saturating_add(settings.delivery.max_connections));
    if let Some(most) = getrlimit(Resource::Nofile).maximum.filter(|most| *most < needed) {
        let problem = format!("takes {needed} file descriptors, and {most} may be had here");
        let help = "set LimitNOFILE in the service's unit, or lower limits.connections and delivery.max-connections";
        found.push(places.finding("limits.connections", problem, help));
    }
    let memory = settings.queue.cache.saturating_add(settings.queue.hot_bytes);
    if let Some(all) = physical_memory().filter(|all| memory > all / 2) {
        let problem = format!("cache and hot-bytes may take {} of {} MiB of memory", memory >> 20, all >> 20);
        found.push(places.finding("queue.cache", problem, "leave half of it to connections, plugins and the system"));
    }
    found
}

/// In octets.
fn physical_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// What the components themselves say of the grants.
fn plugins(settings: &Settings, places: &Places) -> Vec<ConfigError> {
    let mut found = Vec::new();
    for (name, config) in &settings.plugins.plugins {
        let Some(outline) = std::fs::read(&config.path).ok().and_then(|component| plugin::outline(&component).ok())
        else {
            continue;
        };
        let key = format!("plugins.{name}.grants");
        let granted = [
            ("dns", config.grants.dns.is_some(), "waypost:plugin/dns@"),
            ("kv", config.grants.kv.is_some(), "waypost:plugin/kv@"),
            ("http", config.grants.http.is_some(), "wasi:http/"),
        ];
        for (grant, granted, interface) in granted {
            let uses = outline.imports.iter().any(|import| import.starts_with(interface));
            if granted && !uses {
                let problem = "the component never uses it";
                found.push(places.finding(&format!("{key}.{grant}"), problem, "take it out"));
            }
            if !granted && outline.optional.iter().any(|ask| ask == grant) {
                let problem = format!("it asks for {grant}, and does less without");
                let lines = plugin::grant_lines(&[grant.to_owned()]).join(", ");
                found.push(places.finding(&key, problem, format!("add {lines}, if you want what it is for")));
            }
        }
    }
    found
}

/// Whether anybody answers, and knows this host.
async fn resolver(settings: &Settings, places: &Places) -> Vec<ConfigError> {
    let dns = settings.dns.clone();
    let Ok(Ok(resolver)) = tokio::task::spawn_blocking(move || Hickory::new(&dns)).await else { return Vec::new() };
    let asked = tokio::time::timeout(ANSWER, resolver.addresses(&settings.hostname)).await;
    let finding = match asked {
        Ok(Ok(addresses)) if !addresses.is_empty() => return Vec::new(),
        Ok(Ok(_) | Err(ResolveError::NoSuchName | ResolveError::NoData)) => {
            let problem =
                format!("the DNS has no address for {}: other servers refuse such a greeting", settings.hostname);
            places.finding("hostname", problem, "publish it, with a PTR record that leads back, or write another name")
        }
        Ok(Err(error)) => {
            let problem = format!("the name servers can't be asked: {error}");
            places.finding("dns.servers", problem, "no mail leaves without them: see /etc/resolv.conf, or name others")
        }
        Err(_) => {
            let problem = format!("no name server answered within {} s", ANSWER.as_secs());
            places.finding("dns.servers", problem, "no mail leaves without them: see /etc/resolv.conf, or name others")
        }
    };
    vec![finding]
}

#[cfg(test)]
mod tests;
