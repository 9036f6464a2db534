//! What a test says of the world around its plugin, and what it can look up afterwards. Decides nothing.

use super::{World, serial, text, wrong};
use crate::auth_results::{ArcOutcome, DkimOutcome, DmarcOutcome, SpfOutcome};
use crate::native::dns;
use crate::native::http::{Answer, Fault, Server};
use crate::native::mail::Mail;
use crate::native::state::Bucket;
use crate::raw_kv::Entry;
use crate::{Endpoint, EsmtpParam, Identity, PastAttempt, Protocol, Recipient, RecipientOutcome, Route, TlsInfo};

/// The client and its mail.
impl World {
    /// Its address; or `unix:` and a path.
    pub fn client(mut self, address: &str) -> Self {
        let port = if address.starts_with("unix:") { 0 } else { 49_152 };
        self.state.subject.session.client = Endpoint { address: address.to_owned(), port };
        self
    }

    /// Its forward-confirmed reverse name.
    pub fn client_name(mut self, name: &str) -> Self {
        self.state.subject.session.client_name = Some(name.to_owned());
        self
    }

    /// The listener it connected to.
    pub fn listener(mut self, name: &str) -> Self {
        self.state.subject.session.listener = name.to_owned();
        self
    }

    /// It has said EHLO.
    pub fn ehlo(mut self, name: &str) -> Self {
        self.state.subject.session.helo = Some(name.to_owned());
        self.state.subject.session.protocol = Protocol::Esmtp;
        self
    }

    /// It has authenticated, with PLAIN.
    pub fn identity(self, name: &str) -> Self {
        self.identity_with(name, &[])
    }

    /// The same, with attributes from the back end.
    pub fn identity_with(mut self, name: &str, attributes: &[(&str, &str)]) -> Self {
        self.state.subject.session.identity = Some(Identity {
            mechanism: "PLAIN".to_owned(),
            name: name.to_owned(),
            acts_as: None,
            attributes: attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        });
        self
    }

    /// The relay's own rules let it relay anywhere.
    pub fn relay_client(mut self) -> Self {
        self.state.subject.session.may_relay = true;
        self
    }

    /// What protects the connection.
    pub fn tls(mut self, tls: TlsInfo) -> Self {
        self.state.subject.session.tls = Some(tls);
        self
    }

    /// The reverse-path; empty, or `<>`, is the null sender.
    pub fn sender(mut self, sender: &str) -> Self {
        self.state.subject.transaction.sender = text::sender(sender);
        self
    }

    /// A parameter of MAIL, e.g. `SIZE=1000`.
    pub fn sender_param(mut self, param: &str) -> Self {
        let (keyword, value) = param.split_once('=').map_or((param, None), |(keyword, value)| (keyword, Some(value)));
        let transaction = &mut self.state.subject.transaction;
        match keyword {
            "SIZE" => transaction.declared_size = value.and_then(|size| size.parse().ok()),
            "SMTPUTF8" => transaction.smtputf8 = true,
            _ => {}
        }
        let param = EsmtpParam { keyword: keyword.to_owned(), value: value.map(str::to_owned) };
        transaction.sender_params.push(param);
        self
    }

    /// One more recipient, already accepted; the first one has the index 0.
    pub fn recipient(mut self, recipient: &str) -> Self {
        let mailbox = text::mailbox(recipient);
        let transaction = &mut self.state.subject.transaction;
        let index = transaction.next_index;
        transaction.next_index += 1;
        transaction.recipients.push(Recipient { index, original: mailbox.clone(), mailbox, params: Vec::new() });
        self
    }

    /// The message, for hooks that are not handed one.
    pub fn content(mut self, message: &str) -> Self {
        self.state.subject.mail = Mail::parse(message);
        self
    }

    /// A note that this plugin has left with the connection.
    pub fn note(mut self, key: &str, value: &str) -> Self {
        self.state.subject.session.notes.insert((String::new(), key.to_owned()), value.to_owned());
        self
    }

    /// A note of another plugin; grants `notes-of` it.
    pub fn note_of(mut self, plugin: &str, key: &str, value: &str) -> Self {
        self.state.services.notes_of.insert(plugin.to_owned());
        self.state.subject.session.notes.insert((plugin.to_owned(), key.to_owned()), value.to_owned());
        self
    }

    /// An annotation that this plugin has left with the message.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.state.subject.transaction.annotations.insert((String::new(), key.to_owned()), value.to_owned());
        self
    }

    /// An annotation of another plugin; grants `notes-of` it.
    pub fn annotation_of(mut self, plugin: &str, key: &str, value: &str) -> Self {
        self.state.services.notes_of.insert(plugin.to_owned());
        self.state.subject.transaction.annotations.insert((plugin.to_owned(), key.to_owned()), value.to_owned());
        self
    }
}

/// The attempt, at the hooks of the queue.
impl World {
    /// Attempts made before this one.
    pub fn attempt(mut self, made: u32) -> Self {
        self.state.subject.delivery.attempt = made;
        self
    }

    /// How long the message has been queued, in seconds.
    pub fn queued_for(mut self, seconds: i64) -> Self {
        self.state.subject.delivery.queued_at = self.state.services.clock - seconds;
        self
    }

    /// In how many seconds it will be given up.
    pub fn expires_in(mut self, seconds: i64) -> Self {
        self.state.subject.delivery.expires_at = self.state.services.clock + seconds;
        self
    }

    /// The hop in question: `mx:example.com`, `smtp:mx.example.com:25`, `lmtp:HOST:PORT`, `lmtp:unix:/PATH` or `named:NAME`.
    pub fn hop(mut self, hop: &str) -> Self {
        let hop = text::hop(hop);
        self.state.subject.delivery.route = Route::over(vec![hop.clone()]);
        self.state.subject.delivery.hop = hop;
        self
    }

    /// Octets of the message, where there is none to be measured.
    pub fn size(mut self, octets: u32) -> Self {
        self.state.subject.delivery.size = Some(octets);
        self
    }

    /// Outcomes of the attempt before.
    pub fn previous(mut self, outcomes: Vec<RecipientOutcome>) -> Self {
        self.state.subject.delivery.previous = outcomes;
        self
    }

    /// The attempts before, as the queue remembers them.
    pub fn history(mut self, attempts: Vec<PastAttempt>) -> Self {
        self.state.subject.delivery.history = attempts;
        self
    }
}

/// The relay's services.
impl World {
    /// The operator's table, as JSON. Settings that were read before are read again.
    pub fn config(mut self, json: &str) -> Self {
        if let Err(error) = serde_json::from_str::<serde_json::Value>(json) {
            wrong(&format!("the settings are not JSON: {error}"));
        }
        self.state.services.config = json.to_owned();
        self.state.world = serial();
        self
    }

    /// A secret that the operator granted.
    pub fn secret(mut self, name: &str, value: &str) -> Self {
        self.state.services.secrets.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The time, e.g. `2026-11-26T12:00:00Z`. Say it before `queued_for` and `expires_in`.
    pub fn clock(mut self, utc: &str) -> Self {
        let clock = text::instant(utc).unwrap_or_else(|| wrong(&format!("`{utc}` is no time as 2026-11-26T12:00:00Z")));
        let moved = clock - self.state.services.clock;
        self.state.services.clock = clock;
        self.state.subject.delivery.queued_at += moved;
        self.state.subject.delivery.expires_at += moved;
        self
    }

    /// Lets time pass.
    pub fn advance(&mut self, seconds: i64) {
        self.state.services.clock += seconds;
    }

    /// The time, in seconds since 1970.
    pub fn now(&self) -> i64 {
        self.state.services.clock
    }

    /// What `random-bytes` begins with.
    pub fn seed(mut self, seed: u64) -> Self {
        self.state.services.random = seed;
        self
    }

    /// Grants the plugin's own kv bucket.
    pub fn grant_kv(mut self) -> Self {
        self.state.services.buckets.entry("own".to_owned()).or_default();
        self
    }

    /// The same, with a value in it.
    pub fn kv(self, key: &str, value: &str) -> Self {
        self.shared_kv("own", key, value)
    }

    /// Grants a shared bucket for reading and writing, with a value in it.
    pub fn shared_kv(mut self, bucket: &str, key: &str, value: &str) -> Self {
        let services = &mut self.state.services;
        services.writes += 1;
        let entry =
            Entry { value: value.as_bytes().to_vec(), version: format!("{:x}", services.writes), expires_at: None };
        services.buckets.entry(bucket.to_owned()).or_default().entries.insert(key.to_owned(), entry);
        self
    }

    /// Grants a shared bucket for reading only; what was written to it stays.
    pub fn read_only_kv(mut self, bucket: &str) -> Self {
        self.state.services.buckets.entry(bucket.to_owned()).or_default().read_only = true;
        self
    }

    /// A value of a bucket (`own` is the plugin's), as text; none if it is not there, or has expired.
    pub fn kv_text(&self, bucket: &str, key: &str) -> Option<String> {
        let entry = self.state.services.buckets.get(bucket)?.entries.get(key)?;
        let there = entry.expires_at.is_none_or(|at| at.seconds > self.state.services.clock);
        there.then(|| String::from_utf8_lossy(&entry.value).into_owned())
    }

    /// The keys of a bucket (`own` is the plugin's), in order, with those that have expired.
    pub fn kv_keys(&self, bucket: &str) -> Vec<String> {
        let keys = |bucket: &Bucket| bucket.entries.keys().cloned().collect();
        self.state.services.buckets.get(bucket).map(keys).unwrap_or_default()
    }

    /// Grants dns; no name exists but those of [`World::dns`].
    pub fn grant_dns(mut self) -> Self {
        self.state.services.dns.get_or_insert_default();
        self
    }

    /// Grants dns, with a record: `A 127.0.0.2`, `MX 10 mx.example.org`, `TXT any words`; or `SERVFAIL`, or `TIMEOUT`.
    pub fn dns(mut self, name: &str, record: &str) -> Self {
        if !matches!(record, "SERVFAIL" | "TIMEOUT") && dns::parse(record).is_none() {
            wrong(&format!("`{record}` is no record such as `A 127.0.0.2`"));
        }
        let Ok(name) = dns::name_of(name) else { wrong(&format!("`{name}` is no name")) };
        self.state.services.dns.get_or_insert_default().entry(name).or_default().push(record.to_owned());
        self
    }

    /// A metric of the manifest, with its label keys. Once one is declared, nothing else can be counted.
    pub fn declares(mut self, metric: &str, labels: &[&str]) -> Self {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.state.services.declared.insert(metric.to_owned(), labels);
        self
    }

    /// Grants a server, with its answer to a request such as `POST https://example.com/path`; the query is compared only if
    /// it is written here. The first one that fits answers; a request that none fits panics. Without any, all are denied.
    pub fn http(self, request: &str, status: u16, body: &str) -> Self {
        self.http_with(request, status, &[], body)
    }

    /// The same, with fields.
    pub fn http_with(mut self, request: &str, status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let headers = headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned())).collect();
        let answer = Answer::Said { status, headers, body: body.to_owned() };
        self.state.services.servers.push(Server { request: request.to_owned(), answer });
        self
    }

    /// A server that does not answer.
    pub fn http_fault(mut self, request: &str, fault: Fault) -> Self {
        self.state.services.servers.push(Server { request: request.to_owned(), answer: Answer::Fault(fault) });
        self
    }

    /// Forgets the servers, so that others can answer the next call.
    pub fn forget_http(&mut self) {
        self.state.services.servers.clear();
    }

    /// What the relay finds out with SPF.
    pub fn spf(mut self, outcome: SpfOutcome) -> Self {
        self.state.services.auth.spf = Some(outcome);
        self
    }

    /// What it finds out with DKIM: an outcome for each signature.
    pub fn dkim(mut self, outcomes: Vec<DkimOutcome>) -> Self {
        self.state.services.auth.dkim = Some(outcomes);
        self
    }

    /// What it finds out with DMARC.
    pub fn dmarc(mut self, outcome: DmarcOutcome) -> Self {
        self.state.services.auth.dmarc = Some(outcome);
        self
    }

    /// What it finds out with ARC.
    pub fn arc(mut self, outcome: ArcOutcome) -> Self {
        self.state.services.auth.arc = Some(outcome);
        self
    }

    /// The Authentication-Results value that it would write.
    pub fn authentication_results(mut self, value: &str) -> Self {
        self.state.services.auth.header = Some(value.to_owned());
        self
    }

    /// Octets that a message may have: 32 MiB unless said otherwise.
    pub fn message_max(mut self, octets: usize) -> Self {
        self.state.services.message_max = octets;
        self
    }
}

/// What has become of the mail.
impl World {
    /// The message as the edits so far have left it: header section, separator and body.
    pub fn message_text(&self) -> String {
        String::from_utf8_lossy(&self.state.subject.mail.octets()).into_owned()
    }

    /// The reverse-path; `<>` for the null sender.
    pub fn sender_text(&self) -> String {
        self.state.subject.transaction.sender.as_ref().map_or_else(|| "<>".to_owned(), ToString::to_string)
    }

    /// The recipients' addresses, in order.
    pub fn recipient_texts(&self) -> Vec<String> {
        self.state.subject.transaction.recipients.iter().map(|recipient| recipient.mailbox.to_string()).collect()
    }

    /// An annotation that this plugin has left.
    pub fn annotation_text(&self, key: &str) -> Option<String> {
        self.state.subject.transaction.annotations.get(&(String::new(), key.to_owned())).cloned()
    }

    /// A note that this plugin has left.
    pub fn note_text(&self, key: &str) -> Option<String> {
        self.state.subject.session.notes.get(&(String::new(), key.to_owned())).cloned()
    }
}
