//! What a next hop says it can do (RFC 5321 section 2.2): the EHLO or LHLO reply, read.

use crate::smtp::Reply;

/// The extensions that matter to this client. Nothing is assumed of a server that only knows HELO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// SIZE (RFC 1870).
    pub size: bool,
    /// The limit that SIZE gave; none: no fixed one.
    pub size_limit: Option<u64>,
    /// CHUNKING and BINARYMIME (RFC 3030), both.
    pub binary: bool,
    /// CHUNKING.
    pub chunking: bool,
    /// BINARYMIME.
    pub binary_mime: bool,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// MT-PRIORITY (RFC 6710).
    pub mt_priority: bool,
    /// DELIVERBY (RFC 2852).
    pub deliver_by: bool,
    /// LIMITS (RFC 9422): transactions of one connection.
    pub mail_max: Option<u32>,
    /// LIMITS: recipients of one transaction.
    pub rcpt_max: Option<usize>,
    /// LIMITS: domains of the recipients of one transaction.
    pub rcpt_domain_max: Option<usize>,
    /// AUTH PLAIN (RFC 4616).
    pub auth_plain: bool,
    /// AUTH LOGIN.
    pub auth_login: bool,
    /// AUTH SCRAM-SHA-256 (RFC 7677).
    pub auth_scram: bool,
}

impl Capabilities {
    /// From a positive reply to EHLO or LHLO. The first line is a greeting and names no extension.
    pub fn of_ehlo(reply: &Reply) -> Self {
        let mut all = Self::default();
        for line in reply.lines.iter().skip(1) {
            all.add(line);
        }
        all.binary = all.chunking && all.binary_mime;
        all
    }

    fn add(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let Some(keyword) = words.next() else { return };
        match keyword.to_ascii_uppercase().as_str() {
            "PIPELINING" => self.pipelining = true,
            "8BITMIME" => self.eight_bit_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "STARTTLS" => self.starttls = true,
            "DSN" => self.dsn = true,
            "CHUNKING" => self.chunking = true,
            "BINARYMIME" => self.binary_mime = true,
            "REQUIRETLS" => self.require_tls = true,
            "MT-PRIORITY" => self.mt_priority = true,
            "DELIVERBY" => self.deliver_by = true,
            "SIZE" => {
                self.size = true;
                // RFC 1870 section 4: 0 is no fixed limit. A value that is no number says nothing.
                self.size_limit = words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
            }
            "LIMITS" => words.for_each(|limit| self.limit(limit)),
            "AUTH" => words.for_each(|mechanism| self.mechanism(mechanism)),
            // Servers older than RFC 2554 write AUTH=PLAIN, and new ones repeat it for old clients.
            other => {
                if let Some(first) = other.strip_prefix("AUTH=") {
                    self.mechanism(first);
                    words.for_each(|mechanism| self.mechanism(mechanism));
                }
            }
        }
    }

    /// `RCPTMAX=100` (RFC 9422 section 3). A limit of none would be no service: it is not one.
    fn limit(&mut self, text: &str) {
        let Some((name, value)) = text.split_once('=') else { return };
        let value = value.parse::<u32>().ok().filter(|most| *most > 0);
        let large = value.and_then(|most| usize::try_from(most).ok());
        match name.to_ascii_uppercase().as_str() {
            "MAILMAX" => self.mail_max = value,
            "RCPTMAX" => self.rcpt_max = large,
            "RCPTDOMAINMAX" => self.rcpt_domain_max = large,
            _ => {}
        }
    }

    fn mechanism(&mut self, name: &str) {
        self.auth_plain |= name.eq_ignore_ascii_case("PLAIN");
        self.auth_login |= name.eq_ignore_ascii_case("LOGIN");
        self.auth_scram |= name.eq_ignore_ascii_case("SCRAM-SHA-256");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Capabilities {
        Capabilities::of_ehlo(&Reply::bare(250, lines.iter().map(|l| (*l).into())))
    }

    #[test]
    fn extensions_are_found_in_any_case_and_only_where_they_stand() {
        let all = of(&["mx SIZE 5", "pipelining", "Size 1000", "8BITMIME", "SMTPUTF8", "STARTTLS", "DSN", "X-NEW y"]);
        let want = Capabilities {
            pipelining: true,
            eight_bit_mime: true,
            smtputf8: true,
            starttls: true,
            dsn: true,
            size: true,
            size_limit: Some(1000),
            ..Capabilities::default()
        };
        assert_eq!(all, want);
        assert_eq!(of(&["PIPELINING"]), Capabilities::default(), "the first line names the host");
        assert_eq!(of(&["mx", "PIPELININGS", "", "  "]), Capabilities::default());
    }

    #[test]
    fn what_has_control_characters_is_no_extension_that_anybody_knows() {
        let mut reader = crate::smtp::ReplyReader::default();
        let mut wire =
            &b"250-mx\r\n250-SIZE\0 1\r\n250-DSN\x7f\r\n250-\x1bCHUNKING\r\n250 LIMITS\tRCPTMAX=\x011\r\n"[..];
        let reply = reader.push(&mut wire).unwrap().unwrap();
        assert_eq!(Capabilities::of_ehlo(&reply), Capabilities::default());
    }

    #[test]
    fn limits_are_numbers_above_zero() {
        let all = of(&["mx", "LIMITS MAILMAX=1 rcptmax=100 RCPTDOMAINMAX=2 NEWMAX=7"]);
        assert_eq!((all.mail_max, all.rcpt_max, all.rcpt_domain_max), (Some(1), Some(100), Some(2)));
        let all = of(&["mx", "LIMITS MAILMAX=0 RCPTMAX= RCPTDOMAINMAX=many MAILMAX"]);
        assert_eq!((all.mail_max, all.rcpt_max, all.rcpt_domain_max), (None, None, None));
    }

    #[test]
    fn limits_and_mechanisms() {
        for (line, size, limit) in [("SIZE", true, None), ("SIZE 0", true, None), ("SIZE x", true, None)] {
            assert_eq!((of(&["mx", line]).size, of(&["mx", line]).size_limit), (size, limit), "{line}");
        }
        for (line, plain, login) in [
            ("AUTH PLAIN LOGIN", true, true),
            ("AUTH=LOGIN", false, true),
            ("auth=login plain", true, true),
            ("AUTH CRAM-MD5", false, false),
        ] {
            assert_eq!((of(&["mx", line]).auth_plain, of(&["mx", line]).auth_login), (plain, login), "{line}");
        }
    }
}
