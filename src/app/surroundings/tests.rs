//! Each thing that is looked at, in a folder made for it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::config::examine;

/// Keys and problems of what is said about a configuration; files that it names are made first, with their modes.
async fn said(text: &str, files: &[(&str, u32)]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("waypost.toml");
    fs::write(&path, format!("hostname = 'relay.example.org'\n{text}")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    for (name, mode) in files {
        fs::write(dir.path().join(name), "x").unwrap();
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(*mode)).unwrap();
    }
    let checked = examine(&path).unwrap();
    let found = surroundings(&checked, Reach::Machine).await;
    let folder = format!("{}/", dir.path().display());
    found.iter().map(|finding| finding.to_string().replace(&folder, "")).collect()
}

fn has(said: &[String], start: &str) -> bool {
    said.iter().any(|line| line.starts_with(start))
}

#[tokio::test]
async fn files_that_others_can_read_are_told() {
    let text = "[auth]\ncredentials = 'accounts'\n[dkim.a]\ndomain = 'example.org'\nselector = 's'\nkey-file = 'k.pem'\n\
                [plugins.p]\npath = 'p.wasm'\ngrants = { secrets = { api = 'api' } }\n[tls]\ncertificate = 'c.pem'\nkey = 't.pem'\n\
                [admin.http]\naddress = '127.0.0.1:1'\ncertificate = 'c.pem'\nkey = 'a.pem'\n";
    let open =
        said(text, &[("accounts", 0o644), ("k.pem", 0o604), ("api", 0o666), ("t.pem", 0o644), ("a.pem", 0o644)]).await;
    for start in [
        "waypost.toml:3: auth.credentials: every user of this machine can read accounts; chmod o-r accounts",
        "waypost.toml:7: dkim.a.key-file: every user of this machine can read k.pem",
        "waypost.toml:10: plugins.p.grants.secrets.api: every user of this machine can write api; chmod o-rw api",
        "waypost.toml:13: tls.key: every user of this machine can read t.pem",
        "waypost.toml:17: admin.http.key: every user of this machine can read a.pem",
    ] {
        assert!(has(&open, start), "{start}: {open:#?}");
    }
    let closed =
        said(text, &[("accounts", 0o640), ("k.pem", 0o600), ("api", 0o600), ("t.pem", 0o640), ("a.pem", 0o640)]).await;
    assert!(!closed.iter().any(|line| line.contains("every user")), "{closed:#?}");
    let inline = said("[credentials.c]\nname = 'a'\nsecret = 'b'\n", &[]).await;
    assert!(has(&inline, "waypost.toml:4: credentials.c.secret: every user of this machine can read waypost.toml"));
}

#[tokio::test]
async fn what_the_machine_lacks_is_told() {
    let much = said("[limits]\nconnections = 1_000_000\n[delivery]\nmax-connections = 100_000\n", &[]).await;
    let most = getrlimit(Resource::Nofile).maximum;
    let short = most.is_some_and(|most| most < wanted(1_100_000));
    assert_eq!(has(&much, "waypost.toml:3: limits.connections: takes 1100512 file descriptors"), short, "{much:#?}");
    let cache = said("[queue]\ncache = '1 TiB'\nmin-free = '1 TiB'\n", &[]).await;
    assert!(has(&cache, "waypost.toml:3: queue.cache: cache and hot-bytes may take"), "{cache:#?}");
    assert!(cache.iter().any(|line| line.contains("queue.path") && line.contains("mail is refused")), "{cache:#?}");
    if fs::metadata("/dev/shm").is_ok() {
        let memory = said("[queue]\npath = '/dev/shm/waypost-spool'\n", &[]).await;
        assert!(memory.iter().any(|line| line.contains("is in memory")), "{memory:#?}");
    }
}

#[tokio::test]
async fn a_domain_without_a_key_for_today_is_told() {
    let key = "[dkim.a]\ndomain = 'example.org'\nselector = 's'\nkey-file = 'k.pem'\nuntil = '2020-01-01'\n";
    assert!(has(&said(key, &[]).await, "waypost.toml:2: dkim.a: no key of example.org is in force today"));
    let two = format!("{key}[dkim.b]\ndomain = 'example.org'\nselector = 't'\nkey-file = 'l.pem'\n");
    assert!(!said(&two, &[]).await.iter().any(|line| line.contains("in force")));
}

#[tokio::test]
async fn a_certificate_is_judged_where_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("waypost.toml");
    let own = rcgen::generate_simple_self_signed(vec!["other.example.org".to_owned()]).unwrap();
    fs::write(dir.path().join("c.pem"), own.cert.pem()).unwrap();
    let text = "hostname = 'relay.example.org'\n[[tls.certificates]]\ncertificate = 'c.pem'\nkey = 'k.pem'\n";
    fs::write(&path, text).unwrap();
    let found = surroundings(&examine(&path).unwrap(), Reach::Machine).await;
    let told = found.iter().find(|finding| finding.problem.contains("no certificate is for")).unwrap();
    assert_eq!((told.key.as_str(), told.line), ("tls.certificates[0].certificate", 3));
    let mut params = rcgen::CertificateParams::new(vec!["other.example.org".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let expired = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    fs::write(dir.path().join("c.pem"), expired.pem()).unwrap();
    let api = "[admin.http]\naddress = '127.0.0.1:1'\ncertificate = 'c.pem'\nkey = 'k.pem'\n";
    fs::write(&path, format!("hostname = 'relay.example.org'\n{api}")).unwrap();
    let found = surroundings(&examine(&path).unwrap(), Reach::Machine).await;
    let told: Vec<_> = found.iter().filter(|finding| finding.key == "admin.http.certificate").collect();
    assert!(told.len() == 1 && told[0].problem.contains("expired on"), "its name is the operators' affair: {found:#?}");
}

#[tokio::test]
async fn grants_that_a_component_never_uses_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("waypost.toml");
    let component = concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/components/greylist.wasm");
    let grants = "grants = { kv = {}, dns = {} }";
    fs::write(&path, format!("hostname = 'relay.example.org'\n[plugins.g]\npath = '{component}'\n{grants}\n")).unwrap();
    let found = surroundings(&examine(&path).unwrap(), Reach::Machine).await;
    let keys: Vec<_> =
        found.iter().map(|finding| finding.key.as_str()).filter(|key| key.starts_with("plugins.")).collect();
    assert_eq!(keys, ["plugins.g.grants.dns"]);
}

#[tokio::test]
async fn name_servers_that_do_not_answer_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("waypost.toml");
    // Nobody listens there: bound, and never read.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let dns = format!("[dns]\nservers = ['{}']\ntimeout = '1s'\nattempts = 1\n", silent.local_addr().unwrap());
    fs::write(&path, format!("hostname = 'relay.example.org'\n{dns}")).unwrap();
    let found = surroundings(&examine(&path).unwrap(), Reach::Network).await;
    assert!(found.iter().any(|finding| finding.key == "dns.servers" && finding.line == 3), "{found:#?}");
}
