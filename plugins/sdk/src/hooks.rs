//! One trait for each hook, and the bridge from it to the generated export.
//!
//! A hook that answers `Err` has failed: its edits are dropped and the operator's failure policy decides.

use crate::bindings;
use crate::export::explain_panics;
use crate::{
    Attempt, AttemptVerdict, AuthVerdict, BounceVerdict, Mailbox, MessageVerdict, Recipient, RecipientDisposition,
    RecipientOutcome, RoutingPhase, RoutingVerdict, SessionVerdict,
};

/// A verdict, or why there is none.
pub type Outcome<V> = Result<V, String>;

/// Optional: called off the mail path.
pub trait Lifecycle {
    /// Once per load, before any mail: warnings, or the errors that stop the load.
    ///
    /// # Errors
    /// What the operator has to mend, one line each.
    fn validate_config(document: &str) -> Result<Vec<String>, Vec<String>>;

    /// Once per load, after `validate_config`.
    ///
    /// # Errors
    /// Why the plugin can't work.
    fn self_test() -> Result<(), String> {
        Ok(())
    }

    /// Once per instance, before its first hook. Keep it cheap.
    ///
    /// # Errors
    /// Why the instance can't work.
    fn init() -> Result<(), String> {
        Ok(())
    }
}

impl<T: Lifecycle> bindings::lifecycle::exports::waypost::plugin::lifecycle::Guest for T {
    fn validate_config(document: String) -> Result<Vec<String>, Vec<String>> {
        explain_panics();
        <T as Lifecycle>::validate_config(&document)
    }

    fn self_test() -> Result<(), String> {
        explain_panics();
        <T as Lifecycle>::self_test()
    }

    fn init() -> Result<(), String> {
        explain_panics();
        <T as Lifecycle>::init()
    }
}

/// A trait with one method named after its hook, and its bridge.
macro_rules! hook {
    ($(#[$doc:meta])* $trait:ident, $function:ident, $module:ident, $interface:ident,
     ($($arg:ident: $type:ty),*) -> $verdict:ty) => {
        $(#[$doc])*
        pub trait $trait {
            /// Answers the hook.
            ///
            /// # Errors
            /// Why the plugin failed; the operator's failure policy then decides.
            fn $function($($arg: $type),*) -> Outcome<$verdict>;
        }

        impl<T: $trait> bindings::$module::exports::waypost::plugin::$interface::Guest for T {
            fn handle($($arg: $type),*) -> Outcome<$verdict> {
                explain_panics();
                <T as $trait>::$function($($arg),*)
            }
        }
    };
}

hook!(
    /// After accept, before the banner.
    OnConnect, on_connect, connect, on_connect, () -> SessionVerdict
);
hook!(
    /// HELO, EHLO or LHLO; `name` is its argument.
    OnHelo, on_helo, helo, on_helo, (name: String) -> SessionVerdict
);
hook!(
    /// A client offers proof of who it is.
    OnAuth, on_auth, auth, on_auth, (attempt: Attempt) -> AuthVerdict
);
hook!(
    /// MAIL; no sender is the null sender.
    OnMail, on_mail, mail, on_mail, (sender: Option<Mailbox>) -> SessionVerdict
);
hook!(
    /// Each RCPT; the candidate is not yet among the recipients.
    OnRcpt, on_rcpt, rcpt, on_rcpt, (candidate: Recipient) -> SessionVerdict
);
hook!(
    /// After the end of mail data, before the answer.
    OnMessage, on_message, message, on_message, () -> MessageVerdict
);
hook!(
    /// After the message hook, and again when the queue asks for a route.
    OnRoute, on_route, route, on_route, (phase: RoutingPhase, recipients: Vec<Recipient>) -> RoutingVerdict
);
hook!(
    /// Before a connection is chosen.
    OnDeliveryAttempt, on_delivery_attempt, delivery_attempt, on_delivery_attempt, () -> AttemptVerdict
);
hook!(
    /// After an attempt. Recipients not answered for are left to the relay's default.
    OnDeliveryResult, on_delivery_result, delivery_result, on_delivery_result,
    (outcomes: Vec<RecipientOutcome>) -> Vec<RecipientDisposition>
);
hook!(
    /// Before a bounce is made.
    OnBounce, on_bounce, bounce, on_bounce, (failed: Vec<RecipientOutcome>) -> BounceVerdict
);
