//! Against a name server in this process, with messages that are signed here.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail_auth::arc::ArcSealer;
use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::DkimSigner;
use mail_auth::{ArcOutput, AuthenticatedMessage, AuthenticationResults};
use tokio::time::Instant;

use super::testing::{Dns, Line, lines};
use super::*;
use crate::hooks::fixtures::{mailbox, subject};
use crate::hooks::{DmarcDisposition, MessageFacts, SpfIdentity};
use crate::mail::{Domain, Header, ReversePath};
use crate::store::{Content, Sled, Spool, Store};
use crate::time::Timestamp;

use AuthStatus::{Fail, Neutral, None as Nothing, Pass, Permerror, Policy, Softfail, Temperror};

/// A transaction of the client 192.0.2.1, which said EHLO client.example.
struct Mail {
    session: SessionFacts,
    about: Arc<SenderAuthentication>,
}

impl Mail {
    fn from(sender: Option<(&str, &str)>) -> Self {
        let session = (*subject().session.unwrap()).clone();
        let sender = ReversePath(sender.map(|(local, domain)| mailbox(local, domain)));
        Self { session, about: SenderAuthentication::of(sender) }
    }

    fn with(self, message: &str) -> Self {
        let (head, body) = message.split_once("\r\n\r\n").unwrap();
        self.with_content(&format!("{head}\r\n"), Content::Memory(body.to_owned().into()))
    }

    fn with_content(self, head: &str, body: Content) -> Self {
        let message = MessageFacts {
            received_at: Timestamp::from_secs(1_795_473_062),
            header: Header::parse(head.to_owned().into()),
            separator: true,
            body,
        };
        self.about.arrived(&Arc::new(message));
        self
    }

    fn case(&self) -> Case<'_> {
        Case { session: &self.session, about: &self.about, until: Instant::now() + Duration::from_secs(30) }
    }
}

/// A signer with a key of its own, and the line of DNS that says so.
struct Signer {
    key: Vec<u8>,
    domain: &'static str,
    selector: &'static str,
}

impl Signer {
    fn new(domain: &'static str, selector: &'static str) -> Self {
        Self { key: Ed25519Key::generate_pkcs8().unwrap(), domain, selector }
    }

    fn key(&self) -> Ed25519Key {
        Ed25519Key::from_pkcs8_der(&self.key).unwrap()
    }

    fn line(&self) -> Line {
        let public = BASE64.encode(self.key().public_key());
        (format!("{}._domainkey.{}", self.selector, self.domain), format!("v=DKIM1; k=ed25519; p={public}"))
    }

    /// The message with a signature on top.
    fn sign(&self, message: &str) -> String {
        let signer = DkimSigner::from_key(self.key()).domain(self.domain).selector(self.selector);
        let signature = signer.headers(["From", "To", "Subject"]).sign(message.as_bytes()).unwrap();
        format!("{}{message}", signature.to_header())
    }
}

const LETTER: &str =
    "From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: hello\r\n\r\nHi \t there\r\n\r\n";

#[tokio::test]
async fn spf_says_what_the_domain_published() {
    let many = (0..11).map(|n| format!("include:i{n}.many.example")).collect::<Vec<_>>().join(" ");
    let mut zone = lines(&[
        ("pass.example", "v=spf1 ip4:192.0.2.0/24 -all"),
        ("fail.example", "v=spf1 ip4:198.51.100.0/24 -all exp=why.fail.example"),
        ("why.fail.example", "not from %{i}, says %{d}\r\n250 ok"),
        ("soft.example", "v=spf1 ~all"),
        ("neutral.example", "v=spf1 ?all"),
        ("silent.example", "some other text"),
        ("broken.example", "v=spf1 ip4:not-an-address -all"),
        ("sick.example", "SERVFAIL"),
        ("asks-sick.example", "v=spf1 include:sick.example -all"),
        ("mx.pass.example", "v=spf1 mx -all"),
        ("mx.pass.example", "MX host.pass.example"),
        ("host.pass.example", "A 192.0.2.1"),
        ("client.example", "v=spf1 ip4:192.0.2.1 -all"),
    ]);
    zone.push(("many.example".to_owned(), format!("v=spf1 {many} -all")));
    zone.extend((0..11).map(|n| (format!("i{n}.many.example"), "v=spf1 ip4:198.51.100.1".to_owned())));
    let dns = Dns::serve(zone).await;
    let authenticator = dns.authenticator();
    for (domain, want) in [
        ("pass.example", Pass),
        ("mx.pass.example", Pass),
        ("fail.example", Fail),
        ("soft.example", Softfail),
        ("neutral.example", Neutral),
        ("silent.example", Nothing),
        ("nowhere.example", Nothing),
        ("[192.0.2.1]", Nothing),
        ("broken.example", Permerror),
        ("many.example", Permerror),
        ("sick.example", Temperror),
        ("asks-sick.example", Temperror),
    ] {
        let mail = Mail::from(Some(("alice", domain)));
        let outcome = authenticator.spf(&mail.case()).await;
        assert_eq!((outcome.status, &*outcome.domain, outcome.identity), (want, domain, SpfIdentity::MailFrom));
        let says = outcome.explanation.as_deref();
        assert_eq!(says, (want == Fail).then_some("not from 192.0.2.1, says fail.example??250 ok"), "{domain}");
    }
    let null = Mail::from(None);
    let outcome = authenticator.spf(&null.case()).await;
    assert_eq!((outcome.status, &*outcome.domain, outcome.identity), (Pass, "client.example", SpfIdentity::Helo));
    let mut local = Mail::from(Some(("alice", "pass.example")));
    local.session.client.address = "unix:/run/client".into();
    assert_eq!(authenticator.spf(&local.case()).await.status, Nothing, "no address, no statement about it");
}

#[tokio::test]
async fn spf_is_asked_for_once() {
    let dns = Dns::serve(lines(&[("example.org", "v=spf1 -all")])).await;
    let authenticator = dns.authenticator();
    let mail = Mail::from(Some(("alice", "example.org")));
    let first = authenticator.spf(&mail.case()).await;
    assert_eq!(dns.asked(), ["example.org TXT"]);
    // Another resolver, so that only what the transaction remembers can help.
    assert_eq!(dns.authenticator().spf(&mail.case()).await, first);
    assert_eq!(dns.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn time_that_runs_out_is_a_temporary_error_and_not_remembered() {
    let dns = Dns::serve(lines(&[("example.org", "SILENCE"), ("s._domainkey.example.org", "SILENCE")])).await;
    let authenticator = dns.authenticator();
    let mail = Mail::from(Some(("alice", "example.org"))).with(&Signer::new("example.org", "s").sign(LETTER));
    let case = Case { until: Instant::now() + Duration::from_millis(20), ..mail.case() };
    assert_eq!(authenticator.spf(&case).await.status, Temperror);
    assert_eq!(authenticator.dmarc(&case).await.unwrap().status, Temperror);
    let dkim = authenticator.dkim(&Case { until: Instant::now() + Duration::from_millis(20), ..case }).await.unwrap();
    assert_eq!(dkim.iter().map(|d| d.status).collect::<Vec<_>>(), [Temperror]);
    assert!(
        mail.about.spf.get().is_none() && mail.about.signatures.get().is_none() && mail.about.dmarc.get().is_none()
    );
}

#[tokio::test]
async fn the_relay_itself_is_told_of_everything_and_in_time() {
    let sick = [("silent.example", "SILENCE"), ("s._domainkey.silent.example", "SILENCE")];
    let dns = Dns::serve(lines(&sick)).await;
    let authenticator = dns.authenticator().named("relay.example.net".into());
    let known = Mail::from(Some(("alice", "example.org"))).with(LETTER);
    assert_eq!(
        authenticator.results(&known.case(), std::future::ready(Some(Permerror))).await,
        "relay.example.net; iprev=permerror policy.iprev=192.0.2.1; spf=none smtp.mailfrom=alice@example.org; dkim=none; \
         dmarc=none header.from=example.org; arc=none"
    );
    let letter = LETTER.replace("example.org", "silent.example");
    let late = Mail::from(Some(("alice", "silent.example"))).with(&Signer::new("silent.example", "s").sign(&letter));
    let case = Case { until: Instant::now() + Duration::from_millis(100), ..late.case() };
    let value = authenticator.results(&case, std::future::pending()).await;
    assert!(value.starts_with("relay.example.net; iprev=temperror "), "{value}");
    assert!(value.contains("; spf=temperror smtp.mailfrom=alice@silent.example; dkim=temperror"), "{value}");
    assert!(value.contains("; dmarc=temperror"), "{value}");
    let unaddressed = authenticator.results(&known.case(), std::future::ready(None)).await;
    assert!(unaddressed.starts_with("relay.example.net; spf=none "), "{unaddressed}");
}

/// RFC 8463 appendix A: one message with an RSA and an Ed25519 signature.
const RFC8463: &str = include_str!("tests/rfc8463.eml");
const RFC8463_KEYS: [(&str, &str); 2] = [
    ("brisbane._domainkey.football.example.com", "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="),
    (
        "test._domainkey.football.example.com",
        "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16J\
         Yi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K\
         4w3QIDAQAB",
    ),
];

fn short(dkim: &[DkimOutcome]) -> Vec<(AuthStatus, &str, &str)> {
    dkim.iter().map(|d| (d.status, &*d.domain, &*d.selector)).collect()
}

#[tokio::test]
async fn the_signatures_of_the_standard_hold_and_changes_break_them() {
    let dns = Dns::serve(lines(&RFC8463_KEYS)).await;
    let authenticator = dns.authenticator();
    let message = RFC8463.replace('\n', "\r\n");
    let outcome = async |message: &str| {
        let mail = Mail::from(None).with(message);
        authenticator.dkim(&mail.case()).await.unwrap()
    };
    let both = |status| [(status, "football.example.com", "brisbane"), (status, "football.example.com", "test")];
    assert_eq!(short(&outcome(&message).await), both(Pass));
    assert_eq!(dns.asked().len(), 2, "each key once");
    assert_eq!(short(&outcome(&message.replace("hungry", "thirsty")).await), both(Fail), "another body");
    assert_eq!(short(&outcome(&message.replace("dinner", "supper")).await), both(Fail), "another field");
    assert_eq!(short(&outcome(LETTER).await), []);
}

#[tokio::test]
async fn each_signature_has_its_own_outcome() {
    let good = Signer::new("example.org", "good");
    let testing = Signer::new("list.example", "testing");
    let (lost, revoked, sick) =
        (Signer::new("example.org", "lost"), Signer::new("example.org", "revoked"), Signer::new("sick.example", "s"));
    let mut zone =
        lines(&[("revoked._domainkey.example.org", "v=DKIM1; p="), ("s._domainkey.sick.example", "SERVFAIL")]);
    zone.push(good.line());
    let (name, key) = testing.line();
    zone.push((name, format!("{key}; t=y")));
    let dns = Dns::serve(zone).await;
    let mut message = LETTER.to_owned();
    for signer in [&good, &testing, &lost, &revoked, &sick] {
        message = signer.sign(&message);
    }
    let partial = good.sign(LETTER).replacen("c=", "l=2; c=", 1);
    let partial = &partial[..partial.find("From:").unwrap()];
    let message = format!("DKIM-Signature: v=1; nonsense\r\n{partial}{message}");
    let mail = Mail::from(None).with(&message);
    let dkim = dns.authenticator().dkim(&mail.case()).await.unwrap();
    assert_eq!(
        short(&dkim),
        [
            (Temperror, "sick.example", "s"),
            (Permerror, "example.org", "revoked"),
            (Permerror, "example.org", "lost"),
            (Pass, "list.example", "testing"),
            (Pass, "example.org", "good"),
            (Neutral, "", ""),
            (Policy, "example.org", "good"),
        ]
    );
    let tested: Vec<_> = dkim.iter().filter(|d| d.testing).map(|d| &*d.selector).collect();
    assert_eq!(tested, ["testing"]);
}

#[tokio::test]
async fn signatures_beyond_the_tenth_cost_nothing() {
    let signer = Signer::new("example.org", "good");
    let dns = Dns::serve(vec![signer.line()]).await;
    let signed = signer.sign(LETTER);
    let signature = &signed[..signed.find("From:").unwrap()];
    let others: String = (0..90).map(|n| signature.replace("s=good", &format!("s=other{n}"))).collect();
    let mail = Mail::from(None).with(&format!("{others}{signed}"));
    let dkim = dns.authenticator().dkim(&mail.case()).await.unwrap();
    assert_eq!(dkim.len(), 10);
    assert!(dkim.iter().all(|d| d.status == Permerror), "the topmost");
    assert_eq!(dns.asked().len(), 10);
}

#[tokio::test]
async fn a_header_section_made_to_cost_time_costs_none() {
    let signer = Signer::new("example.org", "s");
    let dns = Dns::serve(vec![signer.line()]).await;
    let signed = signer.sign(LETTER);
    let signature = &signed[..signed.find("From:").unwrap()];
    let names = format!("\th={}", "a:".repeat(300));
    let fields = "b:\r\n".repeat(400_000);
    for message in [signature.replace("\th=", &names), format!("{signature}{fields}")] {
        let mail = Mail::from(None).with(&format!("{message}{LETTER}"));
        let dkim = dns.authenticator().dkim(&mail.case()).await.unwrap();
        assert_eq!(short(&dkim), [(Policy, "example.org", "s")]);
        assert_eq!(dns.asked(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_large_body_streams_from_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Sled::open(&dir.path().join("db"), 1 << 20).unwrap());
    let spool = Spool::open(&dir.path().join("spool"), 0, store).unwrap();
    let signer = Signer::new("example.org", "s");
    let dns = Dns::serve(vec![signer.line()]).await;
    let authenticator = dns.authenticator();
    let message = format!("{}{}", LETTER, "a line of twenty-five.\r\n".repeat(50_000));
    let signed = signer.sign(&message);
    let (head, body) = signed.split_once("\r\n\r\n").unwrap();
    for (body, want) in [(body.to_owned(), Pass), (format!("{body}and one more\r\n"), Fail)] {
        let mut draft = spool.draft();
        draft.append(body.as_bytes()).await.unwrap();
        let content = draft.finish().await.unwrap();
        assert!(matches!(content, Content::Spooled(_)));
        let mail = Mail::from(None).with_content(&format!("{head}\r\n"), content);
        assert_eq!(short(&authenticator.dkim(&mail.case()).await.unwrap()), [(want, "example.org", "s")]);
    }
}

#[tokio::test]
async fn dmarc_looks_at_alignment_and_policy() {
    let own = Signer::new("example.org", "s");
    let below = Signer::new("mail.strict.example", "s");
    let other = Signer::new("list.example", "s");
    let mut zone = lines(&[
        ("_dmarc.example.org", "v=DMARC1; p=reject; sp=quarantine"),
        ("_dmarc.strict.example", "v=DMARC1; p=quarantine; adkim=s; aspf=s"),
        ("_dmarc.relaxed.example", "v=DMARC1; p=none"),
        ("_dmarc.sick.example", "SERVFAIL"),
        ("bounce.relaxed.example", "v=spf1 ip4:192.0.2.1 -all"),
        ("bounce.strict.example", "v=spf1 ip4:192.0.2.1 -all"),
        ("strict.example", "v=spf1 ip4:192.0.2.1 -all"),
        ("sub.example.org", "A 192.0.2.1"),
    ]);
    zone.extend([own.line(), below.line(), other.line()]);
    let dns = Dns::serve(zone).await;
    let authenticator = dns.authenticator();
    let letter = |from: &str| LETTER.replace("alice@example.org", from);
    let table = [
        // Sender's domain, message; status, disposition, SPF aligned, DKIM aligned.
        ("other.example", own.sign(LETTER), Pass, DmarcDisposition::Reject, false, true),
        ("other.example", other.sign(LETTER), Fail, DmarcDisposition::Reject, false, false),
        ("other.example", LETTER.to_owned(), Fail, DmarcDisposition::Reject, false, false),
        ("other.example", letter("a@sub.example.org"), Fail, DmarcDisposition::Quarantine, false, false),
        ("bounce.relaxed.example", letter("a@relaxed.example"), Pass, DmarcDisposition::None, true, false),
        ("bounce.strict.example", letter("a@strict.example"), Fail, DmarcDisposition::Quarantine, false, false),
        ("strict.example", letter("a@Strict.Example"), Pass, DmarcDisposition::Quarantine, true, false),
        ("other.example", below.sign(&letter("a@strict.example")), Fail, DmarcDisposition::Quarantine, false, false),
        ("other.example", letter("a@nowhere.example"), Nothing, DmarcDisposition::None, false, false),
        ("other.example", letter("a@sick.example"), Temperror, DmarcDisposition::None, false, false),
    ];
    for (sender, message, status, disposition, spf_aligned, dkim_aligned) in table {
        let mail = Mail::from(Some(("alice", sender))).with(&message);
        let dmarc = authenticator.dmarc(&mail.case()).await.unwrap();
        let got = (dmarc.status, dmarc.disposition, dmarc.spf_aligned, dmarc.dkim_aligned);
        assert_eq!(got, (status, disposition, spf_aligned, dkim_aligned), "{sender}: {message}");
        assert_eq!(&*dmarc.from_domain, mail.about.signatures.get().unwrap().author.as_ref().unwrap().as_str());
    }
}

#[tokio::test]
async fn a_message_of_two_authors_has_no_author() {
    let dns = Dns::serve(lines(&[("_dmarc.example.org", "v=DMARC1; p=reject")])).await;
    let authenticator = dns.authenticator();
    for from in [
        "From: a@example.org, b@example.net\r\n",
        "From: a@example.net\r\nFrom: a@example.org\r\n",
        "From: nobody\r\n",
        "Subject: none\r\n",
    ] {
        let mail = Mail::from(None).with(&format!("{from}\r\nbody"));
        let dmarc = authenticator.dmarc(&mail.case()).await.unwrap();
        assert_eq!((dmarc.status, &*dmarc.from_domain), (Nothing, ""), "{from}");
    }
    let mail = Mail::from(None).with("From: a@example.org, b@EXAMPLE.org\r\n\r\nbody");
    assert_eq!(authenticator.dmarc(&mail.case()).await.unwrap().status, Fail);
    assert_eq!(mail.about.signatures.get().unwrap().author, Some(Domain::parse("example.org").unwrap()));
}

/// The message with one more ARC set, as `authenticator` sees its chain so far.
async fn seal(authenticator: &Authenticator, signer: &Signer, message: &str) -> String {
    let parsed = AuthenticatedMessage::parse(message.as_bytes()).unwrap();
    let results = AuthenticationResults::new("mx.list.example");
    let so_far: ArcOutput<'_> = authenticator.dns.verify_arc(&parsed).await;
    let sealer = ArcSealer::from_key(signer.key()).domain(signer.domain).selector(signer.selector);
    let set = sealer.headers(["From", "To", "Subject", "DKIM-Signature"]).seal(&parsed, &results, &so_far).unwrap();
    format!("{}{message}", set.to_header())
}

#[tokio::test]
async fn a_chain_of_seals_is_verified_as_a_whole() {
    let (author, list, forwarder) =
        (Signer::new("example.org", "s"), Signer::new("list.example", "s"), Signer::new("fwd.example", "s"));
    let dns = Dns::serve(vec![author.line(), list.line(), forwarder.line()]).await;
    let authenticator = dns.authenticator();
    let once = seal(&authenticator, &list, &author.sign(LETTER)).await;
    let twice = seal(&authenticator, &forwarder, &once).await;
    let outcome = async |message: &str| {
        let mail = Mail::from(None).with(message);
        let arc = dns.authenticator().arc(&mail.case()).await.unwrap();
        (arc.status, arc.sealer.map(|s| s.to_string()).unwrap_or_default())
    };
    let want = |status, sealer: &str| (status, sealer.to_owned());
    assert_eq!(outcome(LETTER).await, want(Nothing, ""));
    assert_eq!(outcome(&once).await, want(Pass, "list.example"));
    dns.asked();
    assert_eq!(outcome(&twice).await, want(Pass, "fwd.example"));
    let mut asked = dns.asked();
    asked.sort();
    let keys = ["s._domainkey.example.org TXT", "s._domainkey.fwd.example TXT", "s._domainkey.list.example TXT"];
    assert_eq!(asked, keys, "each key once, for DKIM and ARC");
    assert_eq!(outcome(&twice.replace("Hi", "Ho")).await, want(Fail, "fwd.example"));
    assert_eq!(outcome(&twice.replace("ARC-Message-Signature", "X-Gone")).await, want(Fail, "fwd.example"));
    assert_eq!(outcome(&twice.replace("i=1", "i=7")).await.0, Fail);
}

#[tokio::test]
async fn the_field_says_what_is_known_so_far() {
    let signer = Signer::new("example.org", "s");
    let mut zone = lines(&[("example.org", "v=spf1 -all"), ("_dmarc.example.org", "v=DMARC1; p=reject")]);
    zone.push(signer.line());
    let dns = Dns::serve(zone).await;
    let authenticator = dns.authenticator();
    let mail = Mail::from(Some(("alice", "example.org")));
    let start = "mx.example.net; iprev=pass policy.iprev=192.0.2.1; spf=fail smtp.mailfrom=alice@example.org";
    assert_eq!(authenticator.field(&mail.case()).await.unwrap(), start);
    assert!(matches!(authenticator.dkim(&mail.case()).await, Err(CheckError::NoMessage)));
    let mail = mail.with(&signer.sign(LETTER));
    assert_eq!(
        authenticator.field(&mail.case()).await.unwrap(),
        format!(
            "{start}; dkim=pass header.d=example.org header.s=s; dmarc=pass (p=reject) header.from=example.org; arc=none"
        )
    );
}
