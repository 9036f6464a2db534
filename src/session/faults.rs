//! What the client got wrong so far, for whoever keeps count of clients over more than one connection.

use super::Session;

/// Counts of one session. They only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Commands, recipients and messages refused for good (5yz).
    pub refused: u32,
    /// What no mail client does: bare line ends, HTTP.
    pub violations: u32,
    /// Proofs that did not hold. Who fails with a password or a token is known to whoever was asked.
    pub proofs: u32,
}

impl Session {
    /// What was got wrong so far.
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// While it is strict, the first error closes the connection.
    pub fn be_strict(&mut self, strict: bool) {
        self.strict = strict;
    }

    /// A client that gets everything wrong is not a mail client.
    pub(super) fn count_error(&mut self) {
        self.errors += 1;
        self.faults.refused = self.faults.refused.saturating_add(1);
        if self.strict || self.errors >= self.config.max_errors {
            self.close_with("421 4.7.0 too many errors");
        }
    }

    /// Beyond an error: this is not mail, or mail that means to be read in two ways.
    pub(super) fn count_violation(&mut self) {
        self.faults.violations = self.faults.violations.saturating_add(1);
    }
}
