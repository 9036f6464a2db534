//! A plugin for the tests of the plugin host: on the delivery hooks and at HELO and AUTH, where no shipped plugin is.
//!
//! What it does is chosen by local parts and names, so that a test reads like a table. This file asks the relay and
//! answers; `rules` decides.

mod rules;

use waypost_plugin::{
    Attempt, AttemptVerdict, AuthVerdict, BounceVerdict, OnAuth, OnBounce, OnDeliveryAttempt, OnDeliveryResult, OnHelo,
    Outcome, RecipientDisposition, RecipientOutcome, SessionVerdict, config, context,
};

/// The plugin.
#[derive(Debug)]
pub struct Courier;

impl OnHelo for Courier {
    fn on_helo(name: String) -> Outcome<SessionVerdict> {
        let session = context::current_session()?;
        if let Some(before) = session.note(None, "helo")? {
            session.set_note("helo-before", &before)?;
        }
        session.set_note("helo", &name)?;
        Ok(rules::helo(&name))
    }
}

impl OnAuth for Courier {
    fn on_auth(attempt: Attempt) -> Outcome<AuthVerdict> {
        Ok(rules::auth(&attempt))
    }
}

impl OnDeliveryAttempt for Courier {
    fn on_delivery_attempt() -> Outcome<AttemptVerdict> {
        let delivery = context::current_delivery()?;
        let recipients = delivery.recipients();
        if let Some(path) = rules::return_path(delivery.sender().as_ref(), &recipients) {
            delivery.set_sender(Some(&path))?;
            delivery.prepend_header("X-Attempt", &(delivery.attempt() + 1).to_string())?;
        }
        rules::attempt(&recipients, config::get("elsewhere").as_deref())
    }
}

impl OnDeliveryResult for Courier {
    fn on_delivery_result(outcomes: Vec<RecipientOutcome>) -> Outcome<Vec<RecipientDisposition>> {
        let delivery = context::current_delivery()?;
        delivery.set_annotation("outcomes", &rules::summary(&outcomes))?;
        rules::dispositions(&delivery.recipients(), &outcomes, config::get("elsewhere").as_deref())
    }
}

impl OnBounce for Courier {
    fn on_bounce(failed: Vec<RecipientOutcome>) -> Outcome<BounceVerdict> {
        let delivery = context::current_delivery()?;
        let summary = delivery.annotation(None, "outcomes")?;
        Ok(rules::bounce(delivery.sender().as_ref(), failed.len(), summary.as_deref()))
    }
}

waypost_plugin::export!(Courier: on_helo, on_auth, on_delivery_attempt, on_delivery_result, on_bounce);
