//! Every metric of the relay: name, kind, labels, what it means, and where it is read.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::{Kind, Measure, Measures, Series};
use crate::pulse::{Observed, Refused};
use crate::queue::QuotaStatus;
use crate::time::Timestamp;

/// One metric. Its whole name has `waypost_` before it, the unit behind it, and `_total` where it is a counter.
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) unit: Option<&'static str>,
    pub(super) labels: &'static [&'static str],
    pub(super) about: &'static str,
    pub(super) read: fn(&Measures) -> Vec<Series>,
}

const SECONDS: Option<&str> = Some("seconds");
const BYTES: Option<&str> = Some("bytes");

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    about: &'static str,
    read: fn(&Measures) -> Vec<Series>,
) -> Metric {
    Metric { name, kind: Kind::Counter, unit: None, labels, about, read }
}

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    about: &'static str,
    read: fn(&Measures) -> Vec<Series>,
) -> Metric {
    Metric { name, kind: Kind::Gauge, unit: None, labels, about, read }
}

const fn durations(
    name: &'static str,
    labels: &'static [&'static str],
    about: &'static str,
    read: fn(&Measures) -> Vec<Series>,
) -> Metric {
    Metric { name, kind: Kind::Histogram, unit: SECONDS, labels, about, read }
}

impl Metric {
    const fn in_bytes(self) -> Self {
        Self { unit: BYTES, ..self }
    }

    const fn in_seconds(self) -> Self {
        Self { unit: SECONDS, ..self }
    }
}

/// In the order in which they are exposed.
pub(super) const ALL: &[Metric] = &[
    gauge("build_info", &["version"], "One; the version is in the label.", |m| {
        labelled([(vec![("version", m.status.version.clone())], Measure::Count(1))])
    }),
    gauge("uptime", &[], "Since the relay started.", |m| one(m.status.uptime_secs)).in_seconds(),
    gauge("generation", &[], "Grows with every reload and every change of plugins.", |m| one(m.status.generation)),
    gauge("ready", &[], "One while mail is taken, zero while the store refuses it.", |m| {
        one(m.status.store.refusing.is_none().into())
    }),
    gauge("connections", &["listener"], "Open connections.", |m| {
        let of = m.status.listeners.iter();
        labelled(of.map(|l| (vec![("listener", l.name.clone())], Measure::Count(l.connections))))
    }),
    gauge("connections_limit", &[], "limits.connections.", |m| one(m.status.load.connections_most)),
    gauge("stressed", &[], "One while places are scarce and deadlines short.", |m| one(m.status.load.stressed.into())),
    gauge("bans", &[], "Networks that are not served.", |m| one(m.status.load.banned)),
    counter("connections_shed", &["reason"], "Connections turned away.", |m| {
        let shed = m.status.load.shed.iter();
        labelled(shed.map(|(reason, count)| (vec![("reason", reason.clone())], Measure::Count(*count))))
    }),
    counter("sessions", &[], "Sessions begun.", |m| counted(&m.pulse.tally().sessions)),
    counter("tls_handshakes", &["outcome"], "TLS handshakes with clients.", |m| {
        let tally = m.pulse.tally();
        by("outcome", [("done", read(&tally.tls_in)), ("failed", read(&tally.tls_in_failed))])
    }),
    gauge("tls_certificate_expiry_timestamp", &["door", "name"], CERTIFICATES, certificates).in_seconds(),
    counter("messages_accepted", &[], "Messages answered 250, after the flush.", |m| {
        counted(&m.pulse.tally().accepted)
    }),
    counter("recipients_accepted", &[], "Their recipients.", |m| counted(&m.pulse.tally().accepted_recipients)),
    counter("messages_accepted", &[], "Their octets.", |m| counted(&m.pulse.tally().accepted_octets)).in_bytes(),
    counter("messages_discarded", &[], "Messages answered 250 that a plugin threw away.", |m| {
        counted(&m.pulse.tally().discarded)
    }),
    counter("refusals", &["reason"], REFUSALS, |m| {
        by("reason", Refused::ALL.map(|why| (why.word(), m.pulse.tally().refused(why))))
    }),
    durations("queue_accept_duration", &[], "From a whole message to that it is in the journal, flushed.", |m| {
        observed(m.pulse.tally().accepts.observed())
    }),
    gauge("store_free", &[], "Free on the file system of the queue.", |m| {
        m.status.store.free.map(one).unwrap_or_default()
    })
    .in_bytes(),
    gauge("queue_messages", &["state"], QUEUE, |m| {
        let queue = &m.status.queue;
        let held = queue.held;
        let waiting = queue.messages.saturating_sub(queue.leased).saturating_sub(held);
        by(
            "state",
            [("waiting", waiting), ("under-delivery", queue.leased), ("held", held), ("damaged", queue.damaged)],
        )
    }),
    gauge("queue", &[], "Content of all messages in the queue.", |m| one(m.status.queue.octets)).in_bytes(),
    gauge("queue_quota_values", &["quota"], "Values, such as tenants, that mail is queued of.", |m| {
        quotas(m, |quota| quota.values)
    }),
    counter("queue_quota_refusals", &["quota"], "Messages put off because of the quota.", |m| {
        quotas(m, |quota| quota.refused)
    }),
    counter("deliveries", &[], "Recipients delivered to a next hop.", |m| counted(&m.pulse.tally().delivered)),
    counter("deferrals", &[], "Recipients put off by an attempt, each time.", |m| counted(&m.pulse.tally().deferred)),
    counter("failures", &[], "Recipients given up.", |m| counted(&m.pulse.tally().failed)),
    counter("notices", &[], "Reports about deliveries that were queued.", |m| counted(&m.pulse.tally().notices)),
    durations("attempt_duration", &[], "Attempts at next hops.", |m| observed(m.pulse.tally().attempts.observed())),
    counter("attempts_tls", &["tls"], "Attempts that reached a next hop, by whether they were under TLS.", |m| {
        let tally = m.pulse.tally();
        by("tls", [("yes", read(&tally.tls_out)), ("no", read(&tally.plain_out))])
    }),
    gauge("destinations", &["state"], "Sites that mail goes to, by how they stand.", |m| {
        let mut states = std::collections::BTreeMap::<String, u64>::new();
        for site in &m.sites {
            *states.entry(text(site, "state")).or_default() += 1;
        }
        labelled(states.into_iter().map(|(state, count)| (vec![("state", state)], Measure::Count(count))))
    }),
    durations("dns_lookup_duration", &[], "Questions to name servers, with those answered from memory.", |m| {
        observed(m.pulse.tally().dns.observed())
    }),
    counter("dns_failures", &[], "Questions that nobody answered, or with a failure.", |m| {
        counted(&m.pulse.tally().dns_failures)
    }),
    durations("hook_duration", &["plugin", "hook"], "Calls of plugins, since this generation of them.", |m| {
        hooks(m, |hook| {
            let counts = hook.get("buckets").and_then(Value::as_array).cloned().unwrap_or_default();
            let counts: Vec<u64> = counts.iter().filter_map(Value::as_u64).collect();
            Measure::Durations(Observed::of(&counts, number(hook, "wall_us")))
        })
    }),
    counter("hook_cpu", &["plugin", "hook"], "CPU that calls of plugins took.", |m| {
        hooks(m, |hook| Measure::Seconds(seconds(number(hook, "cpu_us"))))
    })
    .in_seconds(),
    counter("hook_failures", &["plugin", "hook"], "Calls of plugins that failed.", |m| {
        hooks(m, |hook| Measure::Count(number(hook, "failures")))
    }),
    counter("plugin_failures", &["plugin", "kind"], "Calls of plugins that failed, by what went wrong.", |m| {
        let all = m.status.plugins.iter().flat_map(|plugin| {
            let kinds = plugin.get("failures").and_then(Value::as_object).cloned().unwrap_or_default();
            let name = text(plugin, "name");
            kinds.into_iter().map(move |(kind, count)| {
                let count = Measure::Count(count.as_u64().unwrap_or_default());
                (vec![("plugin", name.clone()), ("kind", kind)], count)
            })
        });
        labelled(all)
    }),
    gauge("plugin_serving", &["plugin", "state"], "One for each plugin; its state is in the label.", |m| {
        let all = m.status.plugins.iter();
        labelled(all.map(|p| (vec![("plugin", text(p, "name")), ("state", text(p, "state"))], Measure::Count(1))))
    }),
    gauge("plugin_breaker_open", &["plugin"], "One while its breaker is not closed.", |m| {
        let all = m.status.plugins.iter().filter(|p| p.get("breaker").is_some_and(Value::is_object));
        labelled(all.map(|p| {
            let open = p.get("breaker").is_some_and(|breaker| text(breaker, "state") != "closed");
            (vec![("plugin", text(p, "name"))], Measure::Count(open.into()))
        }))
    }),
    counter("decisions", &["outcome"], "Decisions of plugins that were written down, or lost.", |m| {
        by("outcome", [("written", m.status.decisions.written), ("lost", m.status.decisions.dropped)])
    }),
    counter("trace_spans", &["outcome"], "Spans that the receiver of traces took, or that were lost.", |m| {
        let traces = m.status.traces.map(|traces| by("outcome", [("sent", traces.sent), ("lost", traces.lost)]));
        traces.unwrap_or_default()
    }),
];

const CERTIFICATES: &str = "When a certificate ends, in seconds since 1970: of listeners (door `smtp`) or of the API (door `admin`), by its first \
     name; the earliest, where several have one.";

const REFUSALS: &str = "Refusals: permanent (5yz to a command, a recipient or a message), temporary (messages put off at the \
     end of the data), authentication, protocol (what no mail client does).";
const QUEUE: &str = "Messages in the queue; damaged ones are set aside and belong to none of the others.";

/// By door and name: the path says nothing to whoever watches, and may say too much to others.
fn quotas(m: &Measures, of: fn(&QuotaStatus) -> u64) -> Vec<Series> {
    let quotas = m.status.quotas.iter();
    labelled(quotas.map(|quota| (vec![("quota", quota.name.clone())], Measure::Count(of(quota)))))
}

fn certificates(m: &Measures) -> Vec<Series> {
    let mut ends = std::collections::BTreeMap::new();
    for one in &m.status.certificates {
        let name = one.names.first().unwrap_or(&one.subject).clone();
        let at = Timestamp::parse(&one.not_after).and_then(|at| u64::try_from(at.secs()).ok()).unwrap_or_default();
        ends.entry((one.door.clone(), name)).and_modify(|first: &mut u64| *first = at.min(*first)).or_insert(at);
    }
    labelled(ends.into_iter().map(|((door, name), at)| (vec![("door", door), ("name", name)], Measure::Count(at))))
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn counted(counter: &AtomicU64) -> Vec<Series> {
    one(read(counter))
}

fn one(count: u64) -> Vec<Series> {
    vec![(Vec::new(), Measure::Count(count))]
}

fn observed(observed: Observed) -> Vec<Series> {
    vec![(Vec::new(), Measure::Durations(observed))]
}

fn by<const N: usize>(label: &'static str, counts: [(&'static str, u64); N]) -> Vec<Series> {
    labelled(counts.map(|(value, count)| (vec![(label, value.to_owned())], Measure::Count(count))))
}

fn labelled(all: impl IntoIterator<Item = (Vec<(&'static str, String)>, Measure)>) -> Vec<Series> {
    let series = |(labels, measure): (Vec<(&'static str, String)>, Measure)| {
        (labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(), measure)
    };
    all.into_iter().map(series).collect()
}

/// One for each plugin and hook.
fn hooks(measures: &Measures, of: impl Fn(&Value) -> Measure) -> Vec<Series> {
    let mut all = Vec::new();
    for plugin in &measures.status.plugins {
        let name = text(plugin, "name");
        for hook in plugin.get("by_hook").and_then(Value::as_array).into_iter().flatten() {
            all.push((vec![("plugin", name.clone()), ("hook", text(hook, "hook"))], of(hook)));
        }
    }
    labelled(all)
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "microseconds beyond 2^53 are 285 years")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}
