//! How long each step of a dialogue with a next hop may take (RFC 5321 section 4.5.3.2).
//!
//! Plain data. A limit is for the whole of a step: a reply that comes octet by octet takes as long as one that never comes.

use std::time::Duration;

use crate::hooks::Stage;

/// `[delivery.timeouts]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Opening the connection.
    pub connect: Duration,
    /// 220.
    pub greeting: Duration,
    /// The answers to EHLO, HELO, LHLO and STARTTLS.
    pub ehlo: Duration,
    /// The TLS handshake.
    pub tls: Duration,
    /// Each answer within AUTH.
    pub auth: Duration,
    /// The answers to MAIL and RSET.
    pub mail: Duration,
    /// The answer to RCPT.
    pub rcpt: Duration,
    /// The answer to DATA.
    pub data: Duration,
    /// A block of the message on its way out; commands as well.
    pub block: Duration,
    /// The answer to the end of the message.
    pub end: Duration,
    /// Saying QUIT and closing; the answer is not waited for.
    pub quit: Duration,
}

impl Default for Timeouts {
    /// RFC 5321 section 4.5.3.2 has the minimum of most. Connecting and the handshake it does not mention: where there
    /// are several addresses, a dead one must not hold the others up for long.
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Self {
            connect: Duration::from_secs(30),
            greeting: minutes(5),
            ehlo: minutes(5),
            tls: minutes(1),
            auth: minutes(5),
            mail: minutes(5),
            rcpt: minutes(5),
            data: minutes(2),
            block: minutes(3),
            end: minutes(10),
            quit: Duration::from_secs(2),
        }
    }
}

impl Timeouts {
    /// For the reply that is waited for at this stage.
    pub fn reply(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Queue | Stage::Resolve | Stage::Connect => self.connect,
            Stage::Greeting => self.greeting,
            Stage::Helo | Stage::Tls => self.ehlo,
            Stage::Auth => self.auth,
            Stage::Mail => self.mail,
            Stage::Rcpt => self.rcpt,
            Stage::Data => self.data,
            Stage::Answer | Stage::Done => self.end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_default_is_below_what_the_standard_asks_for() {
        let usual = Timeouts::default();
        for (stage, minutes) in
            [(Stage::Greeting, 5), (Stage::Mail, 5), (Stage::Rcpt, 5), (Stage::Data, 2), (Stage::Answer, 10)]
        {
            assert!(usual.reply(stage) >= Duration::from_secs(60 * minutes), "{stage:?}");
        }
        assert!(usual.block >= Duration::from_secs(180));
    }
}
