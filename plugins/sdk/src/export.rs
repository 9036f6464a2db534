//! The export macro, and what every exported function does first.

use std::sync::Once;

/// A panic ends in a trap, of which the relay sees only an address: say why in the log before that. Cheap when done.
pub(crate) fn explain_panics() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            crate::log::write(crate::log::Level::Error, &info.to_string(), &[]);
        }));
    });
}

/// Exports the named hooks of a type: `export!(Plugin: on_rcpt, on_message);`. The names are those of the traits'
/// methods, and `lifecycle`.
#[macro_export]
macro_rules! export {
    ($type:ident: $($hook:ident),+ $(,)?) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            $($crate::export_hook!($type $hook);)+
        };
        // Natively too, a hook that is named has to be there.
        $($crate::implements_hook!($type $hook);)+
    };
}

/// One hook's export.
#[doc(hidden)]
#[macro_export]
macro_rules! export_hook {
    ($type:ident lifecycle) => { $crate::bindings::lifecycle::export_lifecycle!($type with_types_in $crate::bindings::lifecycle); };
    ($type:ident on_connect) => { $crate::bindings::connect::export_connect!($type with_types_in $crate::bindings::connect); };
    ($type:ident on_helo) => { $crate::bindings::helo::export_helo!($type with_types_in $crate::bindings::helo); };
    ($type:ident on_auth) => { $crate::bindings::auth::export_auth!($type with_types_in $crate::bindings::auth); };
    ($type:ident on_mail) => { $crate::bindings::mail::export_mail!($type with_types_in $crate::bindings::mail); };
    ($type:ident on_rcpt) => { $crate::bindings::rcpt::export_rcpt!($type with_types_in $crate::bindings::rcpt); };
    ($type:ident on_message) => { $crate::bindings::message::export_message!($type with_types_in $crate::bindings::message); };
    ($type:ident on_route) => { $crate::bindings::route::export_route!($type with_types_in $crate::bindings::route); };
    ($type:ident on_delivery_attempt) => { $crate::bindings::delivery_attempt::export_delivery_attempt!($type with_types_in $crate::bindings::delivery_attempt); };
    ($type:ident on_delivery_result) => { $crate::bindings::delivery_result::export_delivery_result!($type with_types_in $crate::bindings::delivery_result); };
    ($type:ident on_bounce) => { $crate::bindings::bounce::export_bounce!($type with_types_in $crate::bindings::bounce); };
    // The check that the type has the hook's trait says what is wrong with any other name.
    ($type:ident $other:ident) => {};
}

/// A compile-time check that the type has the hook's trait.
#[doc(hidden)]
#[macro_export]
macro_rules! implements_hook {
    ($type:ident lifecycle) => { $crate::implements_hook!(@ $type Lifecycle); };
    ($type:ident on_connect) => { $crate::implements_hook!(@ $type OnConnect); };
    ($type:ident on_helo) => { $crate::implements_hook!(@ $type OnHelo); };
    ($type:ident on_auth) => { $crate::implements_hook!(@ $type OnAuth); };
    ($type:ident on_mail) => { $crate::implements_hook!(@ $type OnMail); };
    ($type:ident on_rcpt) => { $crate::implements_hook!(@ $type OnRcpt); };
    ($type:ident on_message) => { $crate::implements_hook!(@ $type OnMessage); };
    ($type:ident on_route) => { $crate::implements_hook!(@ $type OnRoute); };
    ($type:ident on_delivery_attempt) => { $crate::implements_hook!(@ $type OnDeliveryAttempt); };
    ($type:ident on_delivery_result) => { $crate::implements_hook!(@ $type OnDeliveryResult); };
    ($type:ident on_bounce) => { $crate::implements_hook!(@ $type OnBounce); };
    ($type:ident $other:ident) => {
        compile_error!(concat!(
            "there is no hook `",
            stringify!($other),
            "`; there are lifecycle, on_connect, on_helo, on_auth, on_mail, on_rcpt, on_message, on_route, ",
            "on_delivery_attempt, on_delivery_result and on_bounce"
        ));
    };
    (@ $type:ident $trait:ident) => {
        const _: () = {
            const fn has<T: $crate::$trait>() {}
            has::<$type>();
        };
    };
}
