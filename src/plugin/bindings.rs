//! What `bindgen!` makes of `wit/`: the world `everything`, so every import and every hook.
//!
//! Accessors are plain functions; only what may wait for a disk or a name server is async. Host resources are row numbers in
//! [`super::state::Rows`], never `ResourceTable` entries: a number is not given out twice within a store. Values can be
//! written down, for recordings.

wasmtime::component::bindgen!({
    path: "wit",
    world: "everything",
    imports: {
        "waypost:plugin/auth-results.spf": async | trappable,
        "waypost:plugin/auth-results.dkim": async | trappable,
        "waypost:plugin/auth-results.dmarc": async | trappable,
        "waypost:plugin/auth-results.arc": async | trappable,
        "waypost:plugin/auth-results.header-value": async | trappable,
        "waypost:plugin/messages.[method]body-reader.read": async | trappable,
        "waypost:plugin/messages.[method]body-writer.write": async | trappable,
        "waypost:plugin/messages.[method]body-writer.write-text": async | trappable,
        "waypost:plugin/messages.[method]body-writer.copy": async | trappable,
        "waypost:plugin/messages.[method]message.read-body": async | trappable,
        "waypost:plugin/messages.[method]message.replace-body": async | trappable,
        "waypost:plugin/dns.lookup": async | trappable,
        "waypost:plugin/dns.list-lookup": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    additional_derives: [serde::Serialize, serde::Deserialize],
    with: {
        "waypost:plugin/sessions.smtp-session": crate::plugin::state::marks::Session,
        "waypost:plugin/transactions.mail-transaction": crate::plugin::state::marks::Transaction,
        "waypost:plugin/messages.message": crate::plugin::state::marks::Message,
        "waypost:plugin/messages.body-reader": crate::plugin::state::marks::Reader,
        "waypost:plugin/messages.body-writer": crate::plugin::state::marks::Writer,
        "waypost:plugin/deliveries.delivery": crate::plugin::state::marks::Delivery,
    },
});
