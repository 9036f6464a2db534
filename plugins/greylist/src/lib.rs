//! Greylisting: a sender never seen before is asked to come back, which real mail servers do and most spam does not.
//!
//! This file asks the relay and writes to kv; what to do is decided in `policy`, what the operator wants in
//! `settings`. A refusal of kv is a failure of the plugin, never a reason to let mail through or to turn it away for good.

mod policy;
mod settings;

use waypost_plugin::{
    Cached, Lifecycle, OWN, OnRcpt, Outcome, Recipient, SessionVerdict, Settings as _, SmtpSession, context, reply,
    system,
};

use policy::{Client, Decision, Entry};
use settings::Settings;

/// The plugin.
#[derive(Debug)]
pub struct Greylist;

static SETTINGS: Cached<Settings> = Cached::new();

impl Lifecycle for Greylist {
    fn validate_config(document: &str) -> Result<Vec<String>, Vec<String>> {
        Settings::read(document).map(|checked| checked.warnings)
    }
}

impl OnRcpt for Greylist {
    fn on_rcpt(candidate: Recipient) -> Outcome<SessionVerdict> {
        let settings = SETTINGS.get()?;
        let session = context::current_session()?;
        let client = client_of(&session);
        if settings.exempts(&client, &candidate.mailbox.domain) {
            return Ok(SessionVerdict::Proceed);
        }
        let transaction = context::current_transaction()?;
        let sender = transaction.sender().map(|sender| sender.to_string()).unwrap_or_default();
        let key = policy::key(&client, &sender, &candidate.mailbox.to_string(), settings);
        let stored = OWN.get(&key)?;
        let entry = stored.as_ref().and_then(|stored| Entry::decode(&stored.value));
        let step = policy::judge(entry, system::now().seconds, settings);
        if let Some((entry, ttl)) = step.write {
            // Another connection may have been faster; what it wrote is as good.
            OWN.replace(&key, stored.as_ref().map(|s| s.version.as_str()), entry.encode().as_bytes(), Some(ttl))?;
        }
        match step.decision {
            Decision::ComeBackIn(seconds) => {
                Ok(reply::tempfail(451, (4, 7, 1), &format!("greylisted, please try again in {seconds} seconds")))
            }
            Decision::Passed { waited } => {
                transaction.set_annotation("greylist", &format!("passed after {waited} s"))?;
                Ok(SessionVerdict::Proceed)
            }
            Decision::Known => Ok(SessionVerdict::Proceed),
        }
    }
}

fn client_of(session: &SmtpSession) -> Client {
    Client {
        // Not an address: a local socket.
        address: session.client().address.parse().ok(),
        authenticated: session.identity().is_some(),
        may_relay: session.may_relay(),
    }
}

waypost_plugin::export!(Greylist: lifecycle, on_rcpt);
