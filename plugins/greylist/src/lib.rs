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

#[cfg(test)]
mod tests {
    use waypost_plugin::testing::World;

    use super::*;

    fn world() -> World {
        World::new().client("192.0.2.1").sender("ann@example.org").grant_kv().config(r#"{"delay-seconds": 60}"#)
    }

    #[test]
    fn a_stranger_waits_once() {
        let mut world = world();
        let first = world.rcpt::<Greylist>("bob@example.com");
        assert_eq!(first.refusal(), "451 4.7.1 greylisted, please try again in 60 seconds");
        world.advance(20);
        let hasty = world.rcpt::<Greylist>("bob@example.com");
        assert_eq!(hasty.refusal(), "451 4.7.1 greylisted, please try again in 40 seconds");
        world.advance(40);
        let passed = world.rcpt::<Greylist>("Bob@example.com");
        assert_eq!(passed.verdict, Ok(SessionVerdict::Proceed));
        assert_eq!(passed.edits, ["annotate greylist=passed after 60 s"]);
        let known = world.rcpt::<Greylist>("bob@example.com");
        assert_eq!((known.verdict, known.edits), (Ok(SessionVerdict::Proceed), Vec::new()));
        assert_eq!(world.kv_keys("own").len(), 1);
    }

    #[test]
    fn whoever_did_not_come_back_is_a_stranger_again() {
        let mut world = world().config(r#"{"delay-seconds": 60, "expiry-seconds": 90}"#);
        world.rcpt::<Greylist>("bob@example.com").refusal();
        world.advance(90);
        let late = world.rcpt::<Greylist>("bob@example.com");
        assert_eq!(late.refusal(), "451 4.7.1 greylisted, please try again in 60 seconds");
    }

    #[test]
    fn some_are_never_asked_to_wait() {
        let exempt = |world: World| {
            let mut world = world;
            let run = world.rcpt::<Greylist>("bob@example.com");
            assert_eq!(run.verdict, Ok(SessionVerdict::Proceed));
            assert!(world.kv_keys("own").is_empty(), "nothing is remembered of them");
        };
        exempt(world().identity("ann"));
        exempt(world().relay_client());
        exempt(world().config(r#"{"exempt-networks": ["192.0.2.0/24"]}"#));
        exempt(world().config(r#"{"exempt-domains": ["example.com"]}"#));
    }

    #[test]
    fn without_kv_the_plugin_fails() {
        let mut world = World::new().sender("ann@example.org");
        let run = world.rcpt::<Greylist>("bob@example.com");
        assert!(run.verdict.unwrap_err().starts_with("denied"));
    }
}
