//! What the calls of a plugin count for, and where it stands.

/// What becomes of what a plugin does with the relay's services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It stays.
    Serving,
    /// Nothing of it may be seen outside: kv and rate limits go to a scratch of its own, HTTP is denied.
    Shadow,
}

/// One plugin's place in the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Of the set it belongs to.
    pub generation: u64,
    /// What its calls count for.
    pub role: Role,
    /// It is on trial beside the version that serves.
    pub candidate: bool,
}
