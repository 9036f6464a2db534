//! The Sender Rewriting Scheme: a return path in our domain that leads back to the sender, for a while. Pure.
//!
//! `SRS0=tag=day=domain=local` is what the first forwarder makes; `SRS1=tag=first==tag=day=domain=local` what all
//! further ones make, so that addresses do not grow with each of them. The tag keeps others from making addresses of
//! their own: without it, this would be an open relay. The format is the common one, so that forwarders understand one another.

use waypost_plugin::Mailbox;

use crate::mac::{is_good, tag};

/// How addresses are made and judged.
#[derive(Debug)]
pub(crate) struct Scheme<'a> {
    /// The first makes tags, all are good.
    pub(crate) secrets: &'a [String],
    pub(crate) tag_length: usize,
    pub(crate) max_age_days: u32,
    /// What follows `SRS0`: `=`, `+` or `-`.
    pub(crate) separator: char,
}

/// Why an address is none that can be led back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It does not look like one.
    Malformed,
    /// Somebody else made it.
    Forged,
    Expired,
}

const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Days after which the time stamp begins anew: two digits of five bits.
const DAYS: i64 = 1024;

/// True for local parts in one of the two forms.
pub(crate) fn is_rewritten(local_part: &str) -> bool {
    after(local_part, "SRS0").is_some() || after(local_part, "SRS1").is_some()
}

/// What stands behind `SRS0` or `SRS1`, its separator included.
fn after<'a>(local_part: &'a str, form: &str) -> Option<&'a str> {
    let (start, rest) = local_part.split_at_checked(4)?;
    (start.eq_ignore_ascii_case(form) && rest.starts_with(['=', '+', '-'])).then_some(rest)
}

impl Scheme<'_> {
    /// The local part in our domain that stands for this sender; `now` is seconds since 1970.
    pub(crate) fn forward(&self, sender: &Mailbox, now: i64) -> String {
        let (local, domain) = (sender.local_part.as_str(), sender.domain.as_str());
        if let Some(rest) = after(local, "SRS0") {
            return self.shortcut(domain, rest);
        }
        // Already with a shortcut: that is kept, and gets a tag of ours.
        if let Some(rest) = after(local, "SRS1")
            && let Some((_, first)) = rest.get(1..).and_then(|rest| rest.split_once('='))
            && let Some((first_domain, rest)) = first.split_once('=')
        {
            return self.shortcut(first_domain, rest);
        }
        let day = stamp(now);
        let tag = self.tag(&[&day, domain, local]);
        format!("SRS0{}{tag}={day}={domain}={local}", self.separator)
    }

    /// `rest` begins with the separator that followed `SRS0` in the first forwarder's address.
    fn shortcut(&self, domain: &str, rest: &str) -> String {
        format!("SRS1{}{}={domain}={rest}", self.separator, self.tag(&[domain, rest]))
    }

    fn tag(&self, parts: &[&str]) -> String {
        self.secrets.first().map(|secret| tag(secret, parts, self.tag_length)).unwrap_or_default()
    }

    /// The address that a local part of our domain stands for.
    pub(crate) fn back(&self, local_part: &str, now: i64) -> Result<Mailbox, Refusal> {
        let mailbox =
            |local: &str, domain: &str| Mailbox { local_part: local.to_owned(), domain: domain.to_ascii_lowercase() };
        if let Some(rest) = after(local_part, "SRS0") {
            let mut parts = rest.get(1..).unwrap_or_default().splitn(4, '=');
            let (Some(tag), Some(day), Some(domain), Some(local)) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                return Err(Refusal::Malformed);
            };
            if !is_good(tag, self.secrets, &[day, domain, local]) {
                return Err(Refusal::Forged);
            }
            // Only now: who can't make tags is not told what is wrong with the rest.
            let age = age_days(day, now).ok_or(Refusal::Malformed)?;
            if age > i64::from(self.max_age_days) {
                return Err(Refusal::Expired);
            }
            return if domain.is_empty() || local.is_empty() {
                Err(Refusal::Malformed)
            } else {
                Ok(mailbox(local, domain))
            };
        }
        let rest = after(local_part, "SRS1").ok_or(Refusal::Malformed)?;
        let mut parts = rest.get(1..).unwrap_or_default().splitn(3, '=');
        let (Some(tag), Some(domain), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Refusal::Malformed);
        };
        if !is_good(tag, self.secrets, &[domain, rest]) {
            return Err(Refusal::Forged);
        }
        // Its age is judged by the first forwarder, who wrote it.
        let first = format!("SRS0{rest}");
        if domain.is_empty() || after(&first, "SRS0").is_none() {
            Err(Refusal::Malformed)
        } else {
            Ok(mailbox(&first, domain))
        }
    }
}

/// The day as two digits.
fn stamp(now: i64) -> String {
    let day = now.div_euclid(86_400).rem_euclid(DAYS);
    let digit = |value: i64| usize::try_from(value).ok().and_then(|value| DIGITS.get(value)).copied().unwrap_or(b'A');
    [digit(day >> 5), digit(day & 31)].map(char::from).iter().collect()
}

/// Days since the time stamp; none if it is no time stamp. One day ahead is not held against a clock.
fn age_days(stamp: &str, now: i64) -> Option<i64> {
    let digit =
        |b: u8| DIGITS.iter().position(|digit| *digit == b.to_ascii_uppercase()).and_then(|at| i64::try_from(at).ok());
    let mut octets = stamp.bytes();
    let (high, low) = (digit(octets.next()?)?, digit(octets.next()?)?);
    if octets.next().is_some() {
        return None;
    }
    let age = (now.div_euclid(86_400) - (high << 5 | low)).rem_euclid(DAYS);
    Some(if age == DAYS - 1 { 0 } else { age })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_474_200;

    fn scheme(secrets: &[String]) -> Scheme<'_> {
        Scheme { secrets, tag_length: 4, max_age_days: 21, separator: '=' }
    }

    fn mailbox(text: &str) -> Mailbox {
        let (local, domain) = text.rsplit_once('@').unwrap();
        Mailbox { local_part: local.to_owned(), domain: domain.to_owned() }
    }

    #[test]
    fn what_is_made_leads_back() {
        let secrets = ["secret".to_owned()];
        let scheme = scheme(&secrets);
        for sender in ["ann@example.org", "a=b=c@example.org", "Ann.O'Brien+x@sub.example.org", "srs0@example.org"] {
            let made = scheme.forward(&mailbox(sender), NOW);
            assert!(made.starts_with("SRS0="), "{made}");
            assert_eq!(scheme.back(&made, NOW).unwrap().to_string(), sender);
            // A system on the way changed the case of the tag.
            assert!(scheme.back(&made.to_lowercase(), NOW).is_ok(), "{made}");
        }
    }

    /// Computed by hand from the published description: HMAC-SHA1 of `aaexample.organn`, in base64, cut to four.
    #[test]
    fn addresses_are_those_that_others_make() {
        let secrets = ["secret".to_owned()];
        assert_eq!(scheme(&secrets).forward(&mailbox("ann@example.org"), 0), "SRS0=FXSM=AA=example.org=ann");
    }

    #[test]
    fn further_forwarders_make_a_shortcut_to_the_first() {
        let (one, two, three) = (["one".to_owned()], ["two".to_owned()], ["three".to_owned()]);
        let first = scheme(&one).forward(&mailbox("ann@example.org"), NOW);
        let second = scheme(&two).forward(&mailbox(&format!("{first}@one.example")), NOW);
        assert!(second.starts_with("SRS1=") && second.contains("=one.example=="), "{second}");
        let third = scheme(&three).forward(&mailbox(&format!("{second}@two.example")), NOW);
        assert_eq!(
            third.split_once("=one.example==").map(|(_, rest)| rest),
            second.split_once("=one.example==").map(|(_, rest)| rest)
        );
        // The bounce goes to the first forwarder at once, and from there to the sender.
        let back = scheme(&three).back(&third, NOW).unwrap();
        assert_eq!(back.to_string(), format!("{first}@one.example"));
        assert_eq!(scheme(&one).back(&back.local_part, NOW).unwrap().to_string(), "ann@example.org");
        let plus = Scheme { separator: '+', ..scheme(&one) }.forward(&mailbox("ann@example.org"), NOW);
        let second = scheme(&two).forward(&mailbox(&format!("{plus}@one.example")), NOW);
        assert_eq!(scheme(&two).back(&second, NOW).unwrap().local_part, plus);
    }

    #[test]
    fn what_others_made_is_refused() {
        let secrets = ["secret".to_owned()];
        let scheme = scheme(&secrets);
        let made = scheme.forward(&mailbox("ann@example.org"), NOW);
        for (local_part, expected) in [
            (made.replace("ann", "bob"), Refusal::Forged),
            (made.replace("example.org", "example.net"), Refusal::Forged),
            (made.replacen(&made[5..9], "AAAA", 1), Refusal::Forged),
            ("SRS0=AAAA=AA=example.org".to_owned(), Refusal::Malformed),
            ("SRS0".to_owned(), Refusal::Malformed),
            ("SRS0=".to_owned(), Refusal::Malformed),
            ("SRS1=AAAA=example.org".to_owned(), Refusal::Malformed),
            ("SRS1=AAAA=example.org==AAAA=AA=a=b".to_owned(), Refusal::Forged),
            ("ann".to_owned(), Refusal::Malformed),
            ("\u{e9}\u{e9}\u{e9}".to_owned(), Refusal::Malformed),
        ] {
            assert_eq!(scheme.back(&local_part, NOW).err(), Some(expected), "{local_part}");
        }
    }

    #[test]
    fn addresses_expire() {
        let secrets = ["secret".to_owned()];
        let scheme = scheme(&secrets);
        let made = scheme.forward(&mailbox("ann@example.org"), NOW);
        for (days, good) in [(0, true), (21, true), (22, false), (500, false), (-1, true), (-2, false), (1024, true)] {
            let said = scheme.back(&made, NOW + days * 86_400);
            assert_eq!(said.is_ok(), good, "after {days} days");
            assert!(good || said.err() == Some(Refusal::Expired));
        }
    }

    #[test]
    fn time_stamps_are_two_digits_of_base_32() {
        for (day, expected) in [(0, "AA"), (31, "A7"), (32, "BA"), (1023, "77"), (1024, "AA"), (12_345, "BZ")] {
            assert_eq!(stamp(day * 86_400), expected, "{day}");
            assert_eq!(age_days(expected, day * 86_400), Some(0));
        }
        for odd in ["", "A", "AAA", "A1", "\u{e9}"] {
            assert_eq!(age_days(odd, NOW), None, "{odd}");
        }
    }

    #[test]
    fn forms_are_told_from_names() {
        for (local_part, expected) in [
            ("SRS0=a", true),
            ("srs1+a", true),
            ("SRS0-a", true),
            ("SRS0", false),
            ("SRS0x", false),
            ("SRS2=a", false),
            ("", false),
        ] {
            assert_eq!(is_rewritten(local_part), expected, "{local_part}");
        }
    }
}
