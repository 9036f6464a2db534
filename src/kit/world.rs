//! The relay around a rehearsed plugin: engine, store, queue, clock, and what stands for the network. Mail comes in and
//! stays in the queue: nothing is delivered.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::names::Names;
use super::said::Decided;
use super::scenario::{Fakes, File};
use super::web::Servers;
use crate::authres::Authenticator;
use crate::config;
use crate::hooks::{Decision, Hooks, SessionFacts};
use crate::listen::{Credentials, Forms, Reception, Rules};
use crate::plugin::{Build, Compiler, Engine, Instances, Line, PluginSet, Services};
use crate::queue::Queue;
use crate::store::{Sled, Spool, Store};
use crate::time::{Clock, Manual, Timestamp};

/// Octets of the store's cache: a case has a handful of messages.
const CACHE: u64 = 8 << 20;

/// What the relay calls itself.
const HOSTNAME: &str = "relay.example";

/// What was heard since the last time.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub lines: Vec<Line>,
    pub decisions: Vec<Decided>,
}

/// All that the cases of a run share.
pub(crate) struct World {
    engine: Engine,
    pub folder: PathBuf,
    pub clock: Arc<Manual>,
    pub names: Names,
    pub servers: Servers,
    pub heard: Arc<Mutex<Heard>>,
    pub queue: Arc<Queue>,
    services: Services,
}

/// How a plugin is bound, in all that a set depends on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setup {
    /// `[plugins.NAME]`.
    pub plugin: toml::Table,
    /// Over the relay's configuration.
    pub configuration: toml::Table,
    pub fakes: Fakes,
    /// Domains that the relay takes mail for.
    pub domains: Vec<String>,
    pub listeners: Vec<String>,
}

/// A set of plugins in its relay.
pub(crate) struct Stage {
    pub set: Arc<PluginSet>,
    pub name: Arc<str>,
    reception: Reception,
}

impl World {
    /// Below an empty folder.
    pub(crate) async fn open(folder: &Path, compiler: Option<Compiler>) -> anyhow::Result<Self> {
        Self::open_with(folder, Engine::new()?.equipped(compiler, None)).await
    }

    /// For a component whose compiled code may be kept beside it.
    pub(crate) async fn open_for(component: &Path, folder: &Path, compiler: Option<Compiler>) -> anyhow::Result<Self> {
        Self::open_with(folder, Engine::new()?.equipped(compiler, super::kept(component).as_deref())).await
    }

    /// With an engine of its own kind.
    pub(crate) async fn open_with(folder: &Path, engine: Engine) -> anyhow::Result<Self> {
        let clock = Arc::new(Manual::new(Timestamp::default()));
        let path = folder.join("db");
        let store: Arc<dyn Store> = Arc::new(tokio::task::spawn_blocking(move || Sled::open(&path, CACHE)).await??);
        let config = crate::queue::Config {
            path: folder.to_owned(),
            min_free: 0,
            cache: CACHE,
            window: 1000,
            hot_bytes: CACHE,
            bounds: crate::queue::Bounds::default(),
            quotas: Vec::new(),
        };
        let queue = Queue::open(config, store.clone(), clock.clone()).await?;
        let (names, servers, heard) = (Names::default(), Servers::default(), Arc::<Mutex<Heard>>::default());
        let spool = Spool::open(&folder.join("plugins"), 0, store.clone())?;
        let mut services = Services::new(store, spool, clock.clone(), Arc::new(names.clone()), 50 << 20);
        let server = names.serve().await?;
        services.authenticator = Some(Arc::new(Authenticator::with_servers(&[server], HOSTNAME.into())?));
        let ear = heard.clone();
        let services =
            services.rehearsing(Arc::new(servers.clone()), Arc::new(move |line| ear.lock().lines.push(line)));
        Ok(Self { engine, folder: folder.to_owned(), clock, names, servers, heard, queue, services })
    }

    /// Loads the plugin as the relay would.
    pub(crate) async fn stage(
        &self,
        name: &Arc<str>,
        component: &Path,
        setup: &Setup,
        instances: Instances,
    ) -> Result<Stage, String> {
        let text = self.configuration(name, component, setup)?;
        let path = self.folder.join("waypost.toml");
        let settings = config::parse(&path, &text).map_err(|errors| {
            let said = |error: &config::ConfigError| {
                let help = if error.help.is_empty() { String::new() } else { format!("; {}", error.help) };
                let key = error.key.strip_prefix(&format!("plugins.{name}.")).map_or(&*error.key, |key| key);
                format!("[plugin] {key}: {}{help}", error.problem)
            };
            errors.iter().map(said).collect::<Vec<_>>().join("\n")
        })?;
        let mut plugins = settings.plugins.clone();
        for plugin in plugins.plugins.values_mut() {
            plugin.instances = Some(instances);
            // What fails once on purpose must fail the same way again.
            plugin.breaker = None;
        }
        let built = PluginSet::build(&self.engine, &plugins, &self.services, 1, Build::Strict).await;
        let mut set = built
            .map_err(|errors| errors.iter().map(|error| error.problem.to_string()).collect::<Vec<_>>().join("\n"))?;
        let ear = self.heard.clone();
        set.tell(Box::new(move |decision: &Decision<'_>| ear.lock().decisions.push(Decided::of(decision))));
        let set = Arc::new(set);
        let credentials = match &settings.listen.credentials {
            Some(path) => {
                let errors = |errors: Vec<_>| super::lines(&errors);
                Some(Arc::new(Credentials::load(path).map_err(errors)?))
            }
            None => None,
        };
        let hooks: Arc<dyn Hooks> = set.clone();
        let rules = Rules { config: settings.listen, tls: None, credentials, senders: None, hooks };
        let clock: Arc<dyn Clock> = self.clock.clone();
        let nobody = Arc::new(|_| -> std::pin::Pin<Box<dyn Future<Output = Option<Arc<str>>> + Send>> {
            Box::pin(std::future::ready(None))
        });
        let rules = Arc::new(ArcSwap::from_pointee(rules));
        let reception = Reception::new(self.queue.clone(), rules, clock, nobody, CancellationToken::new());
        Ok(Stage { set, name: name.clone(), reception })
    }

    /// The relay's configuration with this plugin in it, as an operator would write it.
    fn configuration(&self, name: &str, component: &Path, setup: &Setup) -> Result<String, String> {
        let mut root = toml::Table::new();
        let text = |path: &Path| toml::Value::from(path.display().to_string());
        root.insert("hostname".into(), HOSTNAME.into());
        let accounts = self.accounts(&setup.fakes)?;
        let mut listener = table([("address", "127.0.0.1:0".into())]);
        if accounts.is_some() || self.asks_for_auth(setup) {
            listener.insert("allow-plaintext-auth".into(), true.into());
        }
        let listeners = setup.listeners.iter().map(|name| (name.clone(), listener.clone().into())).collect();
        root.insert("listeners".into(), toml::Value::Table(listeners));
        let domains: Vec<toml::Value> = setup.domains.iter().map(|domain| domain.as_str().into()).collect();
        root.insert("relay".into(), table([("domains", domains.into())]).into());
        root.insert("queue".into(), table([("path", text(&self.folder))]).into());
        root.insert("admin".into(), table([("socket", text(&self.folder.join("admin.sock")))]).into());
        if let Some(path) = accounts {
            root.insert("auth".into(), table([("credentials", text(&path))]).into());
        }
        let mut plugin = setup.plugin.clone();
        let absolute = std::path::absolute(component).map_err(|error| format!("{}: {error}", component.display()))?;
        plugin.insert("path".into(), text(&absolute));
        let shared = self.grants(&mut plugin, &setup.fakes)?;
        root.insert("plugins".into(), toml::Value::Table([(name.to_owned(), plugin.into())].into_iter().collect()));
        let host = table([("path", text(&self.folder.join("host"))), ("kv", toml::Value::Table(shared))]);
        root.insert("plugin-host".into(), host.into());
        lay(&mut root, &setup.configuration);
        toml::to_string(&root).map_err(|error| format!("[plugin]: {error}"))
    }

    /// A plugin that says who clients are is asked even where the relay has no accounts.
    fn asks_for_auth(&self, setup: &Setup) -> bool {
        setup.plugin.get("grants").and_then(|grants| grants.get("auth-secrets")).is_some()
    }

    fn accounts(&self, fakes: &Fakes) -> Result<Option<PathBuf>, String> {
        if fakes.accounts.is_empty() {
            return Ok(None);
        }
        let line = |(name, secret): (&String, &String)| Credentials::line(name, secret, Forms::Argon2);
        let lines = fakes.accounts.iter().map(line).collect::<Result<Vec<_>, _>>()?;
        self.write("accounts", &format!("{}\n", lines.join("\n"))).map(Some)
    }

    /// Grants in the forms that the configuration wants, secrets in files; the shared buckets that there have to be.
    fn grants(&self, plugin: &mut toml::Table, fakes: &Fakes) -> Result<toml::Table, String> {
        let mut shared = toml::Table::new();
        let Some(grants) = plugin.get_mut("grants").and_then(toml::Value::as_table_mut) else {
            return Ok(shared);
        };
        for key in ["kv", "dns"] {
            match grants.get(key) {
                Some(toml::Value::Boolean(true)) => drop(grants.insert(key.into(), toml::Table::new().into())),
                Some(toml::Value::Boolean(false)) => drop(grants.remove(key)),
                _ => {}
            }
        }
        if let Some(names) = grants.get("kv-shared").and_then(toml::Value::as_table) {
            shared.extend(names.keys().map(|name| (name.clone(), toml::Table::new().into())));
        }
        let mut files = toml::Table::new();
        for (name, secret) in &fakes.secrets {
            let path = self.write(&format!("secret-{}", files.len()), &format!("{secret}\n"))?;
            files.insert(name.clone(), path.display().to_string().into());
        }
        // Paths of a machine's own secrets make no sense elsewhere: only made-up ones are read.
        if let Some(named) = grants.get("secrets").and_then(toml::Value::as_table)
            && let Some(name) = named.keys().find(|name| !files.contains_key(*name))
        {
            return Err(format!("[plugin] grants.secrets.{name}: give it a value under [fakes.secrets]"));
        }
        if !files.is_empty() {
            grants.insert("secrets".into(), files.into());
        }
        Ok(shared)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }
}

impl Setup {
    /// Of a file, and of a case in it.
    pub(crate) fn of(file: &File, plugin: &toml::Table, fakes: &Fakes) -> Self {
        let mut own = file.plugin.clone();
        lay(&mut own, plugin);
        let mut all = file.fakes.clone();
        all.lay(fakes);
        // What a set is built from; the rest changes from case to case.
        let fakes = Fakes { secrets: all.secrets, accounts: all.accounts, ..Fakes::default() };
        Self {
            plugin: own,
            configuration: file.configuration.clone(),
            fakes,
            domains: Vec::new(),
            listeners: Vec::new(),
        }
    }
}

impl Stage {
    /// Serves one client of whom these facts are known.
    pub(crate) async fn serve(&self, stream: tokio::net::TcpStream, facts: SessionFacts) {
        let listener = facts.listener.clone();
        self.reception.rehearse(stream, &listener, facts).await;
    }
}

fn table<const N: usize>(entries: [(&str, toml::Value); N]) -> toml::Table {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Tables are merged, anything else is replaced.
pub(crate) fn lay(under: &mut toml::Table, over: &toml::Table) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => lay(under, over),
            _ => drop(under.insert(key.clone(), value.clone())),
        }
    }
}
