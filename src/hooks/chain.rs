//! The chain: plugins of one hook asked in order, their journals applied, their verdicts folded, failures turned into
//! the verdict that the operator's policy states. Pure over a `call` closure.

use std::sync::Arc;

/// What a failed call becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailurePolicy {
    /// 4yz (421 at connect); at the delivery hooks the relay's default applies.
    #[default]
    Tempfail,
    /// As if the plugin had said `proceed`.
    Skip,
    /// 5yz.
    Reject,
}

/// Who is bound to a hook.
#[derive(Clone, Debug)]
pub struct Binding {
    /// `[plugins.NAME]`.
    pub plugin: Arc<str>,
    /// From its manifest or file.
    pub version: Arc<str>,
    /// What a failure becomes.
    pub on_failure: FailurePolicy,
    /// Asked even after another plugin said `accept`.
    pub mandatory: bool,
}

/// One place in a chain: the binding and how to call it.
#[derive(Debug)]
pub struct Link<'a, C> {
    /// Whose.
    pub binding: &'a Binding,
    /// What the closure needs to call it.
    pub callee: C,
}

/// Why a call failed: a trap, a budget, a guest `err`, a verdict that does not fit. All one event to the policy; the
/// kinds differ in the log and the metrics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The guest trapped.
    #[error("trapped: {0}")]
    Trap(String),
    /// CPU budget.
    #[error("used up its CPU budget of {0} ms")]
    Cpu(u64),
    /// Wall budget.
    #[error("did not answer within {0} ms")]
    Wall(u64),
    /// The guest returned `err`.
    #[error("said: {0}")]
    Guest(String),
    /// A verdict or an edit that does not fit.
    #[error("answered what does not fit: {0}")]
    Invalid(String),
    /// No instance came free in time.
    #[error("no instance came free within {0} ms")]
    Busy(u64),
    /// The plugin could not be loaded.
    #[error("is not loaded: {0}")]
    NotLoaded(String),
}
