//! Where transcripts are played: a running relay for each distinct set of settings, all in front of one next hop.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use tempfile::TempDir;
use waypost::listen::{Credentials, Forms};

use super::hooks::Policy;
use super::script::Script;
use crate::harness::{Relay, Sink, component};
use crate::hostile::encode;

/// What the next hop offers. No SIZE: the octets that the trace field adds are nobody's business here.
const OFFERED: [&str; 9] = [
    "PIPELINING",
    "8BITMIME",
    "SMTPUTF8",
    "ENHANCEDSTATUSCODES",
    "DSN",
    "CHUNKING",
    "BINARYMIME",
    "MT-PRIORITY",
    "DELIVERBY 0",
];

/// What all relays share.
pub(super) struct World {
    /// The next hop of all of them.
    pub(super) sink: Sink,
    /// What answers their hooks.
    pub(super) policy: Policy,
    /// Trusts their certificate.
    pub(super) tls: Arc<ClientConfig>,
    folder: TempDir,
}

/// One relay.
pub(super) struct Ground {
    /// The process.
    pub(super) relay: Relay,
    clear: SocketAddr,
    implicit: Option<SocketAddr>,
}

impl World {
    /// Makes a certificate and a file of credentials: `ann`, whose secret is `secret`.
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let issued = rcgen::generate_simple_self_signed(["mx.example.net".to_owned()]).unwrap();
        let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        file("chain.pem", &issued.cert.pem());
        file("key.pem", &issued.signing_key.serialize_pem());
        file("credentials", &format!("{}\n", Credentials::line("ann", "secret", Forms::Argon2).unwrap()));
        let choosy = include_str!("../../components/choosy.wat");
        std::fs::write(folder.path().join("choosy.wasm"), encode(choosy)).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(issued.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = versions.with_root_certificates(roots).with_no_client_auth();
        Self { sink: Sink::start_offering(&OFFERED), policy: Policy::start(), tls: Arc::new(tls), folder }
    }

    /// A relay with the settings of this key.
    pub(super) fn ground(&self, key: &[String]) -> Ground {
        let relay = Relay::start_whole(&self.config(key));
        let implicit = (!is_set(key, "no-extensions")).then(|| relay.listener("implicit"));
        Ground { clear: relay.listener("clear"), implicit, relay }
    }

    fn config(&self, key: &[String]) -> String {
        let value = |name: &str, default: &str| {
            let set = key.iter().find_map(|one| one.strip_prefix(name)?.strip_prefix('='));
            set.unwrap_or(default).to_owned()
        };
        let timeout = if is_set(key, TIMEOUT) { "1s" } else { "1m" };
        let listen = listen(key);
        let mut config = format!(
            "hostname = \"mx.example.net\"\n[process]\nallow-root = true\n[queue]\npath = \"DIR/spool\"\nmin-free = \"1 MiB\"\n\
             [admin]\nsocket = \"DIR/admin.sock\"\n[retry]\nfirst = \"1s\"\nlongest = \"1s\"\n\
             [routing]\ndefault = {{ hops = [\"smtp://{}\"], tls = \"off\" }}\n\
             [delivery]\nrecipients = 1000\n\
             [relay]\nnetworks = [\"{TRUSTED}\", \"192.0.2.0/24\"]\ndomains = [\"example.net\", \".example.org\"]\n\
             [limits]\nper-client = 1000\ncommand-timeout = \"{timeout}\"\ndata-timeout = \"{timeout}\"\n\
             [smtp]\nmax-message-size = {}\nmax-header-size = {}\nmax-recipients = 100\nmax-transactions = {}\n\
             max-errors = {}\nmax-hops = 5\nmax-line-length = {}\nmax-hold = \"1h\"\ngreet-delay = \"{}\"\n[listeners.clear]\naddress = \"127.0.0.1:0\"\n{listen}\n",
            self.sink.address(),
            value("max-message-size", "65536"),
            value("max-header-size", "1024"),
            value("max-transactions", "5"),
            value("max-errors", "6"),
            value("max-line", "2000"),
            value("greet-delay", "0s"),
        );
        if !is_set(key, "no-extensions") {
            let folder = self.folder.path().display();
            config.push_str(&format!(
                "[listeners.implicit]\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\n{listen}\n\
                 [tls]\ncertificate = \"{folder}/chain.pem\"\nkey = \"{folder}/key.pem\"\n\
                 [auth]\ncredentials = \"{folder}/credentials\"\n"
            ));
        }
        if is_set(key, ANSWERS) {
            config.push_str(&self.policy.tables(component("http-policy").to_str().unwrap()));
        }
        if is_set(key, RELAY) {
            let choosy = self.folder.path().join("choosy.wasm");
            config.push_str(&format!("[plugins.choosy]\npath = {choosy:?}\norder = -1\ngrants.relay = true\n"));
        }
        config
    }
}

/// What listeners are told.
fn listen(key: &[String]) -> String {
    let told = [
        ("require-auth", "require-auth = true"),
        ("plaintext-auth", "allow-plaintext-auth = true"),
        ("no-extensions", "withhold = [\"DSN\"]"),
        ("no-pipelining", "withhold = [\"PIPELINING\"]"),
        ("binarymime", "offer = [\"BINARYMIME\"]"),
        ("normalise", "bare-line-ends = \"normalise\""),
        ("lenient", "strict-pipelining = false"),
        ("xclient", "xclient-from = [\"127.0.0.0/24\"]"),
        ("submission", "submission = true"),
        ("lmtp", "protocol = \"lmtp\""),
        ("proxy", "proxy-from = [\"127.0.0.0/24\"]"),
    ];
    told.iter().filter(|(setting, _)| is_set(key, setting)).map(|(_, line)| format!("{line}\n")).collect()
}

impl Ground {
    /// The listener for clear text, or for TLS at once.
    pub(super) fn address(&self, tls: bool) -> SocketAddr {
        if tls { self.implicit.unwrap() } else { self.clear }
    }
}

/// Clients of 192.0.2.0/24 come from here, all others from 127.0.0.0/24.
const TRUSTED: &str = "127.0.2.0/24";
/// Words that can't be in a transcript's settings: hooks are answered, time runs out, the relay is ended.
const ANSWERS: &str = "(answers)";
const TIMEOUT: &str = "(timeout)";
const DRAINING: &str = "(draining)";
/// A plugin may let strangers relay.
const RELAY: &str = "relay-asked";

fn is_set(key: &[String], setting: &str) -> bool {
    key.iter().any(|one| one == setting)
}

/// What a relay must be like for a transcript; those with the same key share one.
pub(super) fn key(script: &Script) -> Vec<String> {
    let of_connection = |one: &str| ["tls", "packets-matter", "real"].contains(&one) || one.starts_with("client=");
    let mut key: Vec<String> = script.settings.iter().filter(|one| !of_connection(one)).cloned().collect();
    if script.steps.iter().any(|step| step.word == "answer" && !is_own(script, &step.rest)) {
        key.push(ANSWERS.into());
    }
    if script.steps.iter().any(|step| step.word == "in" && step.rest == "timeout") {
        key.push(TIMEOUT.into());
    }
    // Its end is the end of a relay.
    if script.steps.iter().any(|step| step.word == "in" && step.rest == "draining") {
        key.push(format!("{DRAINING}={}", script.name));
    }
    key.sort();
    key
}

/// True for what the policy service need not be told. The relay knows `ann` by itself; who may relay is for the plugin
/// `choosy` to say, which accepts local parts that end in 5.
pub(super) fn is_own(script: &Script, answer: &str) -> bool {
    answer == "auth success ann" || answer == "rcpt accept" && script.is_set(RELAY)
}

/// The relays that these transcripts need, started side by side.
pub(super) fn all(world: &World, scripts: &[Script]) -> BTreeMap<Vec<String>, Ground> {
    let mut keys: Vec<_> = scripts.iter().map(key).collect();
    keys.sort();
    keys.dedup();
    std::thread::scope(|scope| {
        let started: Vec<_> = keys.into_iter().map(|key| scope.spawn(move || (world.ground(&key), key))).collect();
        started.into_iter().map(|one| one.join().unwrap()).map(|(ground, key)| (key, ground)).collect()
    })
}
