//! DMARC: does what the From domain's policy asks for, and writes down what was found.
//!
//! This file asks the relay, which does the checking, and edits the message; `policy` decides, `settings` holds what the
//! operator wants. Results that claim to be ours are removed from every message, whoever sent it: nobody may vouch in
//! the relay's name.

mod policy;
mod settings;

use waypost_plugin::{
    Cached, ErrorCode, Lifecycle, Message, MessageVerdict, OnMessage, Outcome, Settings as _, SmtpSession,
    auth_results, context, log, metrics, reply,
};

use policy::{Decision, Findings, Reason, Status, Wish};
use settings::{Action, Client, Results, Settings};

/// The plugin.
#[derive(Debug)]
pub struct DmarcPolicy;

static SETTINGS: Cached<Settings> = Cached::new();

/// RFC 8601 section 2.2.
const RESULTS: &str = "Authentication-Results";

impl Lifecycle for DmarcPolicy {
    fn validate_config(document: &str) -> Result<Vec<String>, Vec<String>> {
        Settings::read(document).map(|checked| checked.warnings)
    }
}

impl OnMessage for DmarcPolicy {
    fn on_message() -> Outcome<MessageVerdict> {
        let settings = SETTINGS.get()?;
        let message = context::current_message()?;
        // Messages that the relay itself made have no session: there is nobody to hold to anything.
        let Ok(session) = context::current_session() else { return Ok(MessageVerdict::Proceed) };
        let ours = auth_results::header_value()?;
        if settings.results != Results::Leave {
            strip(&message, &ours, settings)?;
        }
        for field in message.headers_named(&settings.mark_header) {
            message.remove_header(field.index)?;
        }
        if settings.exempts(&client_of(&session)) {
            return Ok(MessageVerdict::Proceed);
        }
        let findings = findings(&session)?;
        let decision = policy::decide(&findings, settings);
        note(&findings, &decision)?;
        if settings.results == Results::Add {
            message.prepend_header(RESULTS, &ours)?;
        }
        verdict(&message, &findings, &decision, settings)
    }
}

/// Removes results that claim to be of this relay (RFC 8601 section 5).
fn strip(message: &Message, ours: &str, settings: &Settings) -> Result<(), String> {
    let own = policy::authserv_id(ours);
    for field in message.headers_named(RESULTS) {
        let id = policy::authserv_id(&field.value);
        // One without a name can be anybody's, so it is nobody's.
        if id.is_none() || id == own || id.is_some_and(|id| settings.authserv_ids.contains(&id)) {
            message.remove_header(field.index)?;
        }
    }
    Ok(())
}

fn client_of(session: &SmtpSession) -> Client {
    Client { authenticated: session.identity().is_some(), may_relay: session.may_relay() }
}

fn findings(session: &SmtpSession) -> Outcome<Findings> {
    let dmarc = auth_results::dmarc()?;
    let arc = auth_results::arc()?;
    let spf = match auth_results::spf() {
        Ok(spf) => status(spf.status),
        Err(error) if error.code == ErrorCode::Unavailable => Status::Unsure,
        Err(error) => return Err(error.into()),
    };
    let wish = match dmarc.disposition {
        auth_results::DmarcDisposition::None => Wish::None,
        auth_results::DmarcDisposition::Quarantine => Wish::Quarantine,
        auth_results::DmarcDisposition::Reject => Wish::Reject,
    };
    Ok(Findings {
        dmarc: status(dmarc.status),
        from_domain: dmarc.from_domain,
        wish,
        spf,
        sealer: arc.sealer.filter(|_| status(arc.status) == Status::Pass),
        address: session.client().address.parse().ok(),
        client_name: session.client_name(),
    })
}

fn status(status: auth_results::Status) -> Status {
    match status {
        auth_results::Status::Pass => Status::Pass,
        auth_results::Status::Fail => Status::Fail,
        auth_results::Status::Temperror => Status::Unsure,
        auth_results::Status::None
        | auth_results::Status::Neutral
        | auth_results::Status::Policy
        | auth_results::Status::Softfail
        | auth_results::Status::Permerror => Status::Open,
    }
}

fn note(findings: &Findings, decision: &Decision) -> Result<(), String> {
    let found = match findings.dmarc {
        Status::Pass => "pass",
        Status::Fail => "fail",
        Status::Unsure => "temperror",
        Status::Open => "none",
    };
    metrics::add("results", 1, &[("status".to_owned(), found.to_owned())])?;
    metrics::add("actions", 1, &[("action".to_owned(), decision.action.name().to_owned())])?;
    if let Some(exception) = decision.exception {
        metrics::add("overrides", 1, &[("why".to_owned(), exception.to_owned())])?;
    }
    if decision.action != Action::Proceed {
        let from = if findings.from_domain.is_empty() { "nobody" } else { &findings.from_domain };
        let exception = decision.exception.map(|exception| format!(", excepted by {exception}")).unwrap_or_default();
        let text = format!("{}: from {from}, {}{exception}", decision.action.name(), words(decision.reason));
        log::write(log::Level::Info, &text, &[]);
    }
    Ok(())
}

fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::Passed => "dmarc=pass",
        Reason::Dmarc => "dmarc=fail",
        Reason::BadFrom => "no single domain in From",
        Reason::Spf => "spf=fail",
        Reason::Unsure => "dmarc=temperror",
    }
}

fn verdict(
    message: &Message,
    findings: &Findings,
    decision: &Decision,
    settings: &Settings,
) -> Outcome<MessageVerdict> {
    let why = words(decision.reason);
    Ok(match decision.action {
        Action::Proceed => MessageVerdict::Proceed,
        Action::Mark => {
            let exception = decision.exception.map(|exception| format!("; exception={exception}")).unwrap_or_default();
            message.prepend_header(&settings.mark_header, &format!("{why}{exception}"))?;
            context::current_transaction()?.add_tag("dmarc-marked")?;
            MessageVerdict::Proceed
        }
        Action::Quarantine => MessageVerdict::Quarantine(format!("from {}: {why}", findings.from_domain)),
        Action::Tempfail => {
            reply::tempfail(451, (4, 7, 0), "the sender can't be authenticated now, please try again later")
        }
        Action::Reject => match decision.reason {
            Reason::BadFrom => {
                reply::reject(550, (5, 7, 1), "the From field has to name addresses of exactly one domain")
            }
            // RFC 7372 section 3.2.
            Reason::Spf => {
                reply::reject(550, (5, 7, 23), "the sender's domain says that this host may not send for it")
            }
            Reason::Dmarc | Reason::Passed | Reason::Unsure => {
                let mut reply = settings.reject.clone();
                for line in &mut reply.lines {
                    *line = line.replace("{domain}", &findings.from_domain);
                }
                MessageVerdict::Reject(reply)
            }
        },
    })
}

waypost_plugin::export!(DmarcPolicy: lifecycle, on_message);
