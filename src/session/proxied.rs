//! XCLIENT: a trusted front end says for which client it speaks, as Postfix documents it.
//!
//! The session then begins anew, as that client's: hook connect, banner, no greeting yet. From the next command on that is no
//! XCLIENT the words may be the client's own, passed on as they come: XCLIENT is not heard any more. Only peers that the
//! listener names are heard; what they say of a client is checked like what a client says of itself. What the front end proved
//! of itself must never pass for the client's.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::{Action, Session, State};
use crate::hooks::{Endpoint, Identity, Protocol, SessionFacts, TlsFacts};
use crate::mail::Annotations;
use crate::smtp::{Extension, Extensions, xtext};

/// What is understood, as EHLO announces it.
pub(super) const ATTRIBUTES: &str = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";

const VERB: &[u8] = b"XCLIENT";

/// The value for what a front end does not know.
const UNKNOWN: [&str; 2] = ["[UNAVAILABLE]", "[TEMPUNAVAIL]"];

impl Session {
    pub(super) fn xclient(&mut self, attributes: &[(&str, &str)]) {
        if !self.offers(Extension::Xclient) {
            return self.refuse("502 5.5.1 XCLIENT is not offered");
        }
        if !self.may_xclient {
            return self.refuse("550 5.7.0 XCLIENT is not for you");
        }
        if self.transaction.is_some() {
            return self.refuse("503 5.5.1 not within a transaction");
        }
        if self.is_out_of_turn() {
            return;
        }
        let mut facts = SessionFacts::clone(&self.facts);
        facts.helo = None;
        facts.protocol = Protocol::default();
        facts.identity = None;
        facts.client_name = None;
        // Hook connect said these of the front end, and is asked again.
        (facts.withheld, facts.notes) = (Extensions::default(), Annotations::default());
        facts.tls.iter_mut().for_each(disown);
        for (name, value) in attributes {
            if let Err(why) = set(&mut facts, name, value) {
                return self.refuse(&format!("501 5.5.4 {why}"));
            }
        }
        let address = facts.client.address.parse().ok();
        self.trusted = address.is_some_and(|address| self.config.relay.trusts(address));
        facts.may_relay = self.trusted || facts.identity.is_some();
        tracing::info!(client = %facts.client.address, "the peer speaks for another client");
        self.facts = Arc::new(facts);
        if attributes.iter().any(|(name, _)| name.eq_ignore_ascii_case("ADDR")) {
            self.actions.push_back(Action::Represent);
        }
        self.proxied = true;
        self.state = State::Start;
    }
}

impl Session {
    /// Before a line of the client's is acted on, whatever becomes of it: a front end that has named a client may only say
    /// more of it. Everything else may be that client's word, which must not be able to name another.
    pub(super) fn heed_line(&mut self, line: &[u8]) {
        let again = line.get(..VERB.len()).is_some_and(|verb| verb.eq_ignore_ascii_case(VERB));
        self.may_xclient &= !self.proxied || again;
    }

    /// The facts of a handshake that follows: whose it is, nobody knows.
    pub(super) fn own_tls(&self, mut tls: TlsFacts) -> TlsFacts {
        if self.proxied {
            disown(&mut tls);
        }
        tls
    }
}

/// The connection is under TLS, but with the front end: neither its certificate nor a binding to its channel proves anything
/// of the client (RFC 4422 appendix A, RFC 9266).
fn disown(tls: &mut TlsFacts) {
    (tls.client, tls.exporter) = (None, None);
}

/// One attribute; the error says what is wrong with it.
fn set(facts: &mut SessionFacts, name: &str, value: &str) -> Result<(), &'static str> {
    let value = xtext::decode(value).ok_or("a value is xtext")?;
    let known = (!UNKNOWN.iter().any(|unknown| unknown.eq_ignore_ascii_case(&value))).then_some(value);
    let text = || known.as_deref().filter(|text| is_name(text)).map(Arc::from);
    match name.to_ascii_uppercase().as_str() {
        "NAME" => facts.client_name = text(),
        "HELO" => facts.helo = text(),
        "ADDR" => facts.client.address = address(known.as_deref())?,
        "DESTADDR" => facts.server.address = address(known.as_deref())?,
        "PORT" => facts.client.port = port(known.as_deref())?,
        "DESTPORT" => facts.server.port = port(known.as_deref())?,
        "PROTO" => match known.as_deref() {
            Some(protocol) if protocol.eq_ignore_ascii_case("SMTP") => facts.protocol = Protocol::Smtp,
            Some(protocol) if protocol.eq_ignore_ascii_case("ESMTP") => facts.protocol = Protocol::Esmtp,
            None => {}
            Some(_) => return Err("PROTO is SMTP or ESMTP"),
        },
        "LOGIN" => {
            facts.identity = text().map(|name| Identity {
                mechanism: "XCLIENT".into(),
                name,
                acts_as: None,
                attributes: Vec::new(),
            });
        }
        _ => return Err("attribute not known"),
    }
    Ok(())
}

/// `192.0.2.1`, or `IPV6:2001:db8::1`. What is not known is an address of nobody.
fn address(value: Option<&str>) -> Result<Arc<str>, &'static str> {
    let Some(value) = value else { return Ok(Endpoint::of(([0, 0, 0, 0], 0).into()).address) };
    let tagged = value.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("IPV6:"));
    let v6 = || value.get(5..).unwrap_or_default().parse::<Ipv6Addr>().ok();
    let ip = if tagged { v6().map(Into::into) } else { value.parse::<Ipv4Addr>().ok().map(std::net::IpAddr::from) };
    ip.map(|ip| Endpoint::of((ip, 0).into()).address).ok_or("no IP address")
}

fn port(value: Option<&str>) -> Result<u16, &'static str> {
    value.map_or(Ok(0), |text| text.parse().map_err(|_| "no port"))
}

/// Names get into logs and fields.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 255 && !text.contains(|c: char| c.is_control() || c == ' ')
}
