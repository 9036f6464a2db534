//! The value of an Authentication-Results field (RFC 8601 section 2.2).
//!
//! Whatever of it comes from outside is written by [`push_value`]: no client, signer or name server can end a result, the
//! field or the line.

use crate::hooks::{
    ArcOutcome, AuthStatus, DkimOutcome, DmarcDisposition, DmarcOutcome, SessionFacts, SpfIdentity, SpfOutcome,
};
use crate::mail::ReversePath;

/// A value that grows result by result.
pub(super) struct Field(String);

impl Field {
    /// Says who checked.
    pub(super) fn new(host: &str) -> Self {
        let mut value = String::with_capacity(256);
        push_value(&mut value, host);
        Self(value)
    }

    /// Only the good news is known for sure: without a name nobody may have looked for one.
    pub(super) fn push_client(&mut self, session: &SessionFacts) {
        if session.client_name.is_some() {
            self.push_iprev(AuthStatus::Pass, session);
        }
    }

    /// RFC 8601 section 2.7.3.
    pub(super) fn push_iprev(&mut self, status: AuthStatus, session: &SessionFacts) {
        self.result("iprev", status);
        self.property("policy.iprev", &session.client.address);
    }

    pub(super) fn push_spf(&mut self, spf: &SpfOutcome, reverse_path: &ReversePath) {
        self.result("spf", spf.status);
        match (spf.identity, &reverse_path.0) {
            (SpfIdentity::MailFrom, Some(sender)) => {
                self.mailbox("smtp.mailfrom", &sender.local_part, sender.domain.as_str());
            }
            _ => self.property("smtp.helo", &spf.domain),
        }
    }

    pub(super) fn push_dkim(&mut self, dkim: &[DkimOutcome]) {
        if dkim.is_empty() {
            self.result("dkim", AuthStatus::None);
        }
        for signature in dkim {
            self.result("dkim", signature.status);
            self.property("header.d", &signature.domain);
            self.property("header.s", &signature.selector);
        }
    }

    pub(super) fn push_dmarc(&mut self, dmarc: &DmarcOutcome) {
        self.result("dmarc", dmarc.status);
        self.0.push_str(match (dmarc.status, dmarc.disposition) {
            (AuthStatus::Pass | AuthStatus::Fail, DmarcDisposition::None) => " (p=none)",
            (AuthStatus::Pass | AuthStatus::Fail, DmarcDisposition::Quarantine) => " (p=quarantine)",
            (AuthStatus::Pass | AuthStatus::Fail, DmarcDisposition::Reject) => " (p=reject)",
            _ => "",
        });
        self.property("header.from", &dmarc.from_domain);
    }

    /// RFC 8617 section 10.2.
    pub(super) fn push_arc(&mut self, arc: &ArcOutcome, session: &SessionFacts) {
        self.result("arc", arc.status);
        if arc.status != AuthStatus::None {
            self.property("smtp.remote-ip", &session.client.address);
        }
    }

    pub(super) fn into_value(self) -> String {
        self.0
    }

    fn result(&mut self, method: &'static str, status: AuthStatus) {
        self.0.push_str("; ");
        self.0.push_str(method);
        self.0.push('=');
        self.0.push_str(status.word());
    }

    /// Left out where there is nothing to say.
    fn property(&mut self, name: &'static str, value: &str) {
        if value.is_empty() {
            return;
        }
        self.name(name);
        push_value(&mut self.0, value);
    }

    fn mailbox(&mut self, name: &'static str, local_part: &str, domain: &str) {
        self.name(name);
        if is_bare(local_part) && is_bare(domain) {
            self.0.extend([local_part, "@", domain]);
        } else {
            push_value(&mut self.0, &format!("{local_part}@{domain}"));
        }
    }

    fn name(&mut self, name: &'static str) {
        self.0.push(' ');
        self.0.push_str(name);
        self.0.push('=');
    }
}

/// A token (RFC 2045 section 5.1) as it is, anything else as a quoted string; what is not printable ASCII is a `?`.
fn push_value(out: &mut String, value: &str) {
    if is_bare(value) {
        out.push_str(value);
        return;
    }
    out.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => out.push('?'),
        }
    }
    out.push('"');
}

fn is_bare(value: &str) -> bool {
    let of_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&b);
    !value.is_empty() && value.bytes().all(of_token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::fixtures::{mailbox, subject};
    use crate::mail::HeaderEdit;

    const HOSTILE: &str = "a.example; dkim=pass header.d=bank.example\r\nX-Injected: yes\r\n\r\n\"(\\)\u{202e}\0";

    fn dkim(domain: &str, selector: &str) -> DkimOutcome {
        DkimOutcome { status: AuthStatus::Fail, domain: domain.into(), selector: selector.into(), testing: false }
    }

    /// Results by the rules of quoted strings: what a reader of the field would see.
    fn results(value: &str) -> Vec<String> {
        let (mut results, mut quoted, mut escaped) = (vec![String::new()], false, false);
        for c in value.chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                ';' if !quoted => results.push(String::new()),
                c => results.last_mut().unwrap().push(if quoted { '_' } else { c }),
            }
        }
        assert!(!quoted && !escaped, "{value}");
        results.iter().map(|r| r.trim().split(['=', ' ']).next().unwrap().to_owned()).collect()
    }

    #[test]
    fn all_results_in_one_value() {
        let session = subject().session.unwrap();
        let reverse_path = ReversePath(Some(mailbox("alice", "example.org")));
        let spf = SpfOutcome {
            status: AuthStatus::Softfail,
            domain: "example.org".into(),
            identity: SpfIdentity::MailFrom,
            explanation: None,
        };
        let mut field = Field::new("mx.example.net");
        field.push_client(&session);
        field.push_spf(&spf, &reverse_path);
        field.push_dkim(&[dkim("example.org", "s1"), dkim("", "")]);
        field.push_dmarc(&DmarcOutcome {
            status: AuthStatus::Fail,
            from_domain: "example.org".into(),
            disposition: DmarcDisposition::Reject,
            ..DmarcOutcome::default()
        });
        field.push_arc(&ArcOutcome { status: AuthStatus::Pass, sealer: None }, &session);
        assert_eq!(
            field.into_value(),
            "mx.example.net; iprev=pass policy.iprev=192.0.2.1; spf=softfail smtp.mailfrom=alice@example.org; \
             dkim=fail header.d=example.org header.s=s1; dkim=fail; dmarc=fail (p=reject) header.from=example.org; \
             arc=pass smtp.remote-ip=192.0.2.1"
        );

        let mut field = Field::new("mx.example.net");
        let helo = SpfOutcome { identity: SpfIdentity::Helo, domain: "[IPv6:2001:db8::1]".into(), ..spf };
        field.push_spf(&helo, &ReversePath(None));
        field.push_dkim(&[]);
        field.push_dmarc(&DmarcOutcome::default());
        field.push_arc(&ArcOutcome::default(), &session);
        assert_eq!(
            field.into_value(),
            "mx.example.net; spf=softfail smtp.helo=\"[IPv6:2001:db8::1]\"; dkim=none; dmarc=none; arc=none"
        );
    }

    #[test]
    fn nothing_foreign_breaks_out() {
        let mut session = (*subject().session.unwrap()).clone();
        session.client_name = Some(HOSTILE.into());
        session.client.address = HOSTILE.into();
        let sender = mailbox("alice", "example.org");
        let reverse_path = ReversePath(Some(crate::mail::Mailbox { local_part: HOSTILE.into(), ..sender }));
        let spf = |identity| SpfOutcome {
            status: AuthStatus::Fail,
            domain: HOSTILE.into(),
            identity,
            explanation: Some(HOSTILE.into()),
        };
        let mut field = Field::new("mx.example.net");
        field.push_client(&session);
        field.push_spf(&spf(SpfIdentity::MailFrom), &reverse_path);
        field.push_spf(&spf(SpfIdentity::Helo), &ReversePath(None));
        field.push_dkim(&[dkim(HOSTILE, HOSTILE)]);
        field.push_dmarc(&DmarcOutcome { from_domain: HOSTILE.into(), ..DmarcOutcome::default() });
        field.push_arc(&ArcOutcome { status: AuthStatus::Fail, sealer: Some(HOSTILE.into()) }, &session);
        let value = field.into_value();
        assert!(value.bytes().all(|b| matches!(b, b' '..=b'~')), "{value}");
        assert_eq!(results(&value), ["mx.example.net", "iprev", "spf", "spf", "dkim", "dmarc", "arc"]);
        let edit = HeaderEdit::Prepend { name: "Authentication-Results".into(), value: value.into() };
        assert_eq!(edit.check(), Ok(()));
    }
}
