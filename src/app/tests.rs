//! What the relay does by itself when plugins trip or ripen.

use std::path::PathBuf;
use std::sync::LazyLock;

use super::*;
use crate::admin::Control as _;
use crate::plugin::Event;
use crate::telemetry::{self, Telemetry};

/// One for all tests of the process.
static LOG: LazyLock<Telemetry> = LazyLock::new(|| {
    let (format, output) = (telemetry::Format::Text, telemetry::Output::Stdout);
    telemetry::start(&telemetry::Config { format, level: "off".into(), output }, None).unwrap()
});

/// A relay in this process, with a plugin that has a stamp.
struct Rig {
    dir: tempfile::TempDir,
    app: App,
}

impl Rig {
    async fn start(stamp: &str, host: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), stamp, host);
        let settings = crate::config::load(&path).unwrap();
        let app = App::start(settings, path, LOG.file(), None, Activation::default()).await.unwrap();
        Self { dir, app }
    }

    /// Reloads with another stamp; the generation.
    async fn reload(&self, stamp: &str, host: &str) -> u64 {
        write(self.dir.path(), stamp, host);
        self.app.inner.reload("uid 0", Weakening::Refused).await.unwrap().generation
    }

    fn stamp(&self) -> String {
        let config = self.app.inner.in_force.plugin_config.load();
        config.plugins["policy"].config["stamp"].as_str().unwrap().to_owned()
    }

    async fn tripped(&self, generation: u64, plugin: &str) {
        self.app.inner.heed(Event::Tripped { generation, plugin: plugin.into() }).await;
    }
}

fn write(dir: &std::path::Path, stamp: &str, host: &str) -> PathBuf {
    let component = concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/components/header-policy.wasm");
    let text = format!(
        "hostname = \"relay.test\"\n[listeners.smtp]\naddress = \"127.0.0.1:0\"\n[queue]\nmin-free = \"1 MiB\"\n\
         [plugin-host]\n{host}\n[plugins.other]\npath = {component:?}\n\
         [plugins.policy]\npath = {component:?}\nconfig = {{ stamp = {stamp:?} }}\n{}",
        if stamp == "with a candidate" {
            format!("candidate = {{ path = {component:?}, config = {{ stamp = \"promoted\" }} }}\n")
        } else {
            String::new()
        }
    );
    let path = dir.join("waypost.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_trips_in_its_probation_is_taken_back_and_stays_away() {
    let rig = Rig::start("one", "").await;
    let first = rig.app.inner.in_force.plugins.load_full();
    let two = rig.reload("two", "").await;
    rig.tripped(two - 1, "policy").await;
    rig.tripped(two, "other").await;
    rig.tripped(two, "nobody").await;
    assert_eq!(rig.stamp(), "two", "an earlier set, and plugins that did not change");

    // As the plugins tell it.
    rig.app.inner.builder.services.events.tell(Event::Tripped { generation: two, plugin: "policy".into() });
    let taken_back = async {
        while rig.stamp() != "one" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), taken_back).await.unwrap();
    let listed = |set: &crate::plugin::PluginSet| set.list().into_iter().map(|p| p.sha256).collect::<Vec<_>>();
    let three = *rig.app.inner.generation.lock().await;
    assert_eq!((three, listed(&rig.app.inner.in_force.plugins.load())), (two + 1, listed(&first)));
    let audited = rig.app.inner.plugin_audit(1).await.unwrap();
    assert_eq!(audited[0]["by"], "automatic");
    assert!(audited[0]["what"].as_str().unwrap().contains("plugin policy tripped its breaker"), "{audited:?}");

    rig.tripped(three, "policy").await;
    assert_eq!(*rig.app.inner.generation.lock().await, three, "what served before is not taken back");
    rig.reload("two", "").await;
    assert_eq!(rig.stamp(), "one", "the configuration still says what failed");
    let five = rig.reload("five", "").await;
    assert_eq!(rig.stamp(), "five");
    rig.tripped(five, "policy").await;
    assert_eq!(rig.stamp(), "one", "and not `two`, which was taken back");
    rig.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_probation_and_without_a_past_nothing_is_taken_back() {
    let rig = Rig::start("one", "").await;
    rig.tripped(*rig.app.inner.generation.lock().await, "policy").await;
    assert_eq!(rig.stamp(), "one");
    let two = rig.reload("two", "probation = \"0s\"").await;
    rig.tripped(two, "policy").await;
    assert_eq!(rig.stamp(), "two");
    rig.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_has_earned_it_takes_over() {
    let rig = Rig::start("with a candidate", "").await;
    let generation = *rig.app.inner.generation.lock().await;
    let ripe = |generation| Event::Ripe { generation, plugin: "policy".into() };
    rig.app.inner.heed(ripe(generation + 1)).await;
    assert_eq!(rig.stamp(), "with a candidate", "of another set");
    rig.app.inner.heed(ripe(generation)).await;
    assert_eq!(rig.stamp(), "promoted");
    assert_eq!(rig.app.inner.in_force.plugin_config.load().plugins["policy"].candidate, None);
    rig.app.inner.heed(ripe(generation)).await;
    assert_eq!(*rig.app.inner.generation.lock().await, generation + 1, "once");
    rig.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_counted_for_tls_reports_survives_a_stop() {
    let reports = "[tlsrpt]\nenabled = true\norganisation = \"X\"\ncontact = \"a@relay.test\"\nfrom = \"a@relay.test\"";
    let rig = Rig::start("one", reports).await;
    let path = rig.app.inner.started.queue.path.join("db");
    let config = rig.app.inner.in_force.delivery.load().tls_out.reports.clone();
    let session = crate::tlsrpt::Session {
        domain: "there.test".into(),
        policy: crate::tlsrpt::PolicySeen::none(),
        host: "mx.there.test".into(),
        address: None,
        source: None,
        failure: None,
    };
    rig.app.counted.count(session, &config);
    rig.app.shutdown().await;
    let kept = Sled::open(&path, 1 << 20).unwrap().range("tlsrpt", &[0], &[0xff], 9).unwrap();
    assert!(matches!(&kept[..], [(key, _)] if key.ends_with(b"/there.test")), "{kept:?}");
}
