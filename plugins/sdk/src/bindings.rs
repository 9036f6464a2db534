//! Generated bindings: the imports once, and one module for each hook's export. No policy, nothing written by hand.
//!
//! A component has to export exactly what its world says, so one world with every hook would make every hook
//! mandatory. Here each hook has a world of its own; the linker joins those that `export!` names. They share the types
//! of `imports`. Plugins use what the crate's root re-exports, never these modules.

/// What the relay offers.
pub mod imports {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "waypost:plugin/imports",
        generate_all,
        pub_export_macro: true,
        // So that tests can compare what a hook answered.
        additional_derives: [PartialEq, Eq],
    });
}

/// One hook's export in a module of its own; `with` lists the interfaces whose types it shares.
macro_rules! hook {
    ($name:ident, $world:literal, $inline:literal, $export:literal, { $($shared:literal: $path:path),* $(,)? }) => {
        #[doc = $inline]
        pub mod $name {
            wit_bindgen::generate!({
                path: "../../wit",
                inline: $inline,
                world: $world,
                pub_export_macro: true,
                export_macro_name: $export,
                generate_all,
                additional_derives: [PartialEq, Eq],
                with: { $($shared: $path),* },
            });
        }
    };
}

hook!(
    lifecycle,
    "waypost:sdk/hook-lifecycle",
    "package waypost:sdk; world hook-lifecycle { export waypost:plugin/lifecycle@0.1.0; }",
    "export_lifecycle",
    {}
);
hook!(
    connect,
    "waypost:sdk/hook-connect",
    "package waypost:sdk; world hook-connect { export waypost:plugin/on-connect@0.1.0; }",
    "export_connect",
    {
        "waypost:plugin/types@0.1.0": crate::bindings::imports::waypost::plugin::types,
    }
);
hook!(
    helo,
    "waypost:sdk/hook-helo",
    "package waypost:sdk; world hook-helo { export waypost:plugin/on-helo@0.1.0; }",
    "export_helo",
    {
        "waypost:plugin/types@0.1.0": crate::bindings::imports::waypost::plugin::types,
    }
);
hook!(
    auth,
    "waypost:sdk/hook-auth",
    "package waypost:sdk; world hook-auth { export waypost:plugin/on-auth@0.1.0; }",
    "export_auth",
    {
        "waypost:plugin/types@0.1.0": crate::bindings::imports::waypost::plugin::types,
    }
);
hook!(
    mail,
    "waypost:sdk/hook-mail",
    "package waypost:sdk; world hook-mail { export waypost:plugin/on-mail@0.1.0; }",
    "export_mail",
    {
        "waypost:plugin/types@0.1.0": crate::bindings::imports::waypost::plugin::types,
    }
);
hook!(
    rcpt,
    "waypost:sdk/hook-rcpt",
    "package waypost:sdk; world hook-rcpt { export waypost:plugin/on-rcpt@0.1.0; }",
    "export_rcpt",
    {
        "waypost:plugin/types@0.1.0": crate::bindings::imports::waypost::plugin::types,
        "waypost:plugin/transactions@0.1.0": crate::bindings::imports::waypost::plugin::transactions,
    }
);
hook!(
    message,
    "waypost:sdk/hook-message",
    "package waypost:sdk; world hook-message { export waypost:plugin/on-message@0.1.0; }",
    "export_message",
    {
        "waypost:plugin/types@0.1.0": crate::bindings::imports::waypost::plugin::types,
    }
);
hook!(
    route,
    "waypost:sdk/hook-route",
    "package waypost:sdk; world hook-route { export waypost:plugin/on-route@0.1.0; }",
    "export_route",
    {
        "waypost:plugin/types@0.1.0": crate::bindings::imports::waypost::plugin::types,
        "waypost:plugin/transactions@0.1.0": crate::bindings::imports::waypost::plugin::transactions,
        "waypost:plugin/routing@0.1.0": crate::bindings::imports::waypost::plugin::routing,
    }
);
hook!(
    delivery_attempt,
    "waypost:sdk/hook-delivery-attempt",
    "package waypost:sdk; world hook-delivery-attempt { export waypost:plugin/on-delivery-attempt@0.1.0; }",
    "export_delivery_attempt",
    {
        "waypost:plugin/types@0.1.0": crate::bindings::imports::waypost::plugin::types,
        "waypost:plugin/transactions@0.1.0": crate::bindings::imports::waypost::plugin::transactions,
        "waypost:plugin/routing@0.1.0": crate::bindings::imports::waypost::plugin::routing,
        "waypost:plugin/deliveries@0.1.0": crate::bindings::imports::waypost::plugin::deliveries,
    }
);
hook!(
    delivery_result,
    "waypost:sdk/hook-delivery-result",
    "package waypost:sdk; world hook-delivery-result { export waypost:plugin/on-delivery-result@0.1.0; }",
    "export_delivery_result",
    {
        "waypost:plugin/types@0.1.0": crate::bindings::imports::waypost::plugin::types,
        "waypost:plugin/transactions@0.1.0": crate::bindings::imports::waypost::plugin::transactions,
        "waypost:plugin/routing@0.1.0": crate::bindings::imports::waypost::plugin::routing,
        "waypost:plugin/deliveries@0.1.0": crate::bindings::imports::waypost::plugin::deliveries,
    }
);
hook!(
    bounce,
    "waypost:sdk/hook-bounce",
    "package waypost:sdk; world hook-bounce { export waypost:plugin/on-bounce@0.1.0; }",
    "export_bounce",
    {
        "waypost:plugin/types@0.1.0": crate::bindings::imports::waypost::plugin::types,
        "waypost:plugin/transactions@0.1.0": crate::bindings::imports::waypost::plugin::transactions,
        "waypost:plugin/routing@0.1.0": crate::bindings::imports::waypost::plugin::routing,
        "waypost:plugin/deliveries@0.1.0": crate::bindings::imports::waypost::plugin::deliveries,
    }
);
