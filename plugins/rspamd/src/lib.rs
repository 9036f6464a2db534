//! Shows each message to an Rspamd and does what it says.
//!
//! This file asks the relay and the scanner; what the answer means is read in `answer`, what is done about it is decided
//! in `policy`, what the operator wants is in `settings`. A scanner that does not answer never lets mail be lost: the
//! settings say whether it waits or passes. Must never write content to the log.

mod answer;
mod policy;
mod settings;

use waypost_plugin::http::Request;
use waypost_plugin::{
    Cached, Lifecycle, MailTransaction, Message, MessageVerdict, OnMessage, Outcome, Settings as _, SmtpSession,
    config, context, log, metrics,
};

use answer::Answer;
use policy::{Client, Edit, Field};
use settings::{Larger, Settings};

/// The plugin.
#[derive(Debug)]
pub struct Rspamd;

static SETTINGS: Cached<Settings> = Cached::new();

/// Octets of the message that are read at once.
const CHUNK: u32 = 64 << 10;

/// Octets of an answer: a list of a thousand symbols.
const ANSWER_MAX: usize = 512 << 10;

impl Lifecycle for Rspamd {
    fn validate_config(document: &str) -> Result<Vec<String>, Vec<String>> {
        Settings::read(document).map(|checked| checked.warnings)
    }
}

impl OnMessage for Rspamd {
    fn on_message() -> Outcome<MessageVerdict> {
        let settings = SETTINGS.get()?;
        // Without a session the relay made or imported the message itself.
        let session = context::current_session().ok();
        if session.as_ref().is_some_and(|session| policy::skips(&client_of(session), settings)) {
            return Ok(MessageVerdict::Proceed);
        }
        let message = context::current_message()?;
        let transaction = context::current_transaction()?;
        let fields: Vec<Field> = message.headers().into_iter().map(|f| (f.index, f.name, f.value)).collect();
        if message.size() > settings.max_size && settings.larger == Larger::Skip {
            count("messages", ("action", "too large"));
            apply(&message, policy::unseen(&fields, "the message is too large"))?;
            return Ok(MessageVerdict::Proceed);
        }
        match ask(settings, session.as_ref(), &transaction, &message) {
            Ok(answer) => {
                note(&answer, &transaction)?;
                apply(&message, policy::edits(&fields, &answer, settings))?;
                Ok(policy::verdict(&answer, settings))
            }
            Err((kind, why)) => {
                count("failures", ("kind", kind));
                log::write(log::Level::Warn, &format!("no answer of rspamd: {why}"), &[]);
                let (verdict, edits) = policy::unavailable(&fields, settings);
                apply(&message, edits)?;
                Ok(verdict)
            }
        }
    }
}

/// One word for the metric, and why there is no answer.
type Failure = (&'static str, String);

fn ask(
    settings: &Settings,
    session: Option<&SmtpSession>,
    transaction: &MailTransaction,
    message: &Message,
) -> Result<Answer, Failure> {
    let reader = message.open_raw().map_err(|error| ("relay", error.into()))?;
    let size = message.size().min(settings.max_size);
    let request = described(settings, session, transaction).map_err(|why| ("relay", why))?;
    let sent = request.send_from(u64::from(size), |gone| {
        let left = u64::from(size).saturating_sub(gone);
        reader.read(CHUNK.min(u32::try_from(left).unwrap_or(CHUNK))).map_err(String::from)
    });
    let response = sent.map_err(|error| (error.kind(), error.to_string()))?;
    if response.status != 200 {
        return Err(("status", format!("it answered with status {}", response.status)));
    }
    Answer::read(&response.body).map_err(|why| ("bad-answer", why))
}

/// The request with what is known of the envelope: the fields of Rspamd's HTTP protocol.
fn described(
    settings: &Settings,
    session: Option<&SmtpSession>,
    transaction: &MailTransaction,
) -> Result<Request, String> {
    let mut request = Request::new("POST", &settings.url)
        .timeout_millis(settings.timeout_millis)
        .answer_max(ANSWER_MAX)
        .header("Content-Type", "message/rfc822")
        .header("Queue-Id", &transaction.id())
        .header("From", &policy::clean(&transaction.sender().map_or("<>".to_owned(), |sender| sender.to_string())));
    for recipient in transaction.recipients() {
        request = request.header("Rcpt", &policy::clean(&recipient.mailbox.to_string()));
    }
    if let Some(session) = session {
        request = from_session(request, session);
    }
    if let Some(id) = &settings.settings_id {
        request = request.header("Settings-ID", id);
    }
    if settings.send_password {
        request = request.header("Password", &config::secret("password")?);
    }
    Ok(request)
}

fn from_session(mut request: Request, session: &SmtpSession) -> Request {
    let address = session.client().address;
    // A local socket has no address.
    if !address.starts_with("unix:") {
        request = request.header("IP", &address);
    }
    if let Some(helo) = session.helo() {
        request = request.header("Helo", &policy::clean(&helo));
    }
    if let Some(name) = session.client_name() {
        request = request.header("Hostname", &policy::clean(&name));
    }
    if let Some(identity) = session.identity() {
        request = request.header("User", &policy::clean(&identity.name));
    }
    if let Some(tls) = session.tls() {
        request = request.header("TLS-Version", &tls.protocol).header("TLS-Cipher", &tls.cipher);
    }
    request
}

fn client_of(session: &SmtpSession) -> Client {
    Client {
        // Not an address: a local socket.
        address: session.client().address.parse().ok(),
        authenticated: session.identity().is_some(),
        may_relay: session.may_relay(),
    }
}

fn note(answer: &Answer, transaction: &MailTransaction) -> Result<(), String> {
    let (action, score) = (answer.action.name(), format!("{:.2}", answer.score));
    count("messages", ("action", action));
    // A metric that can't be kept is no reason to fail.
    let _ = metrics::observe("score", answer.score, &[]);
    transaction.set_annotation("action", action)?;
    transaction.set_annotation("score", &score)?;
    if answer.action.is_spam() {
        transaction.add_tag("spam")?;
    }
    let line = format!("rspamd says {action}: {}", policy::listed(&answer.symbols));
    let fields = [("score".to_owned(), score), ("required".to_owned(), format!("{:.2}", answer.required))];
    log::write(log::Level::Info, &line, &fields);
    Ok(())
}

fn apply(message: &Message, edits: Vec<Edit>) -> Result<(), String> {
    for edit in edits {
        match edit {
            Edit::Remove(index) => message.remove_header(index)?,
            Edit::Replace(index, value) => message.replace_header(index, &value)?,
            Edit::Prepend(name, value) => message.prepend_header(&name, &value)?,
        }
    }
    Ok(())
}

fn count(counter: &str, (key, value): (&str, &str)) {
    // A metric that can't be kept is no reason to fail.
    let _ = metrics::add(counter, 1, &[(key.to_owned(), value.to_owned())]);
}

waypost_plugin::export!(Rspamd: lifecycle, on_message);

#[cfg(test)]
mod tests;
