//! What is signed here verifies against a name server in this process; what was changed does not.

use super::key::Key;
use super::publish::compare;
use super::*;
use crate::authres::Case;
use crate::authres::testing::{Dns, Line};
use crate::hooks::fixtures::{mailbox, subject};
use crate::hooks::{AuthStatus, MessageFacts, SenderAuthentication};
use crate::mail::{Domain, ReversePath};
use crate::store::{Sled, Spool, Store};
use tokio::time::Instant;

use AuthStatus::{Fail, Pass};

const RSA: &str = include_str!("tests/rsa.pem");
const HEAD: &str = "From: Ann <ann@example.org>\r\nTO:   bob@example.net,\r\n\tcarl@example.net  \r\nSubject: a \t b\r\nsubject: \
                    gr\u{fc}\u{df}e\r\nX-Other: 1\r\nDate: Thu, 26 Nov 2026 12:00:00 +0000\r\n";
const BODY: &str = "Hello  \t there \r\n.\r\n..dots\r\n\r\n \r\nend\r\n\r\n\r\n";

/// Keys in a folder of their own.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rsa.pem"), RSA).unwrap();
        generate_ed25519(&folder.path().join("ed.pem")).unwrap();
        Self(folder)
    }

    fn key(&self, file: &str, domain: &str, selector: &str) -> KeyConfig {
        KeyConfig {
            name: selector.into(),
            domain: Domain::parse(domain).unwrap(),
            subdomains: false,
            selector: selector.into(),
            file: self.0.path().join(file),
            from: None,
            until: None,
            identity: None,
            fields: DEFAULT_FIELDS.iter().map(|name| Arc::from(*name)).collect(),
            over_sign: DEFAULT_OVER_SIGN.iter().map(|name| Arc::from(*name)).collect(),
            canonicalisation: Canonicalisation::default(),
            expires: None,
        }
    }

    fn both(&self) -> Vec<KeyConfig> {
        vec![self.key("rsa.pem", "example.org", "r"), self.key("ed.pem", "example.org", "e")]
    }

    fn line(&self, key: &KeyConfig) -> Line {
        let record = record_of_file(&key.file).unwrap();
        (published_name(&key.selector, key.domain.as_str()), record)
    }
}

fn signing(keys: &[KeyConfig], policy: Policy) -> Signing {
    Signing::with(Keys::load(&Config { policy, keys: keys.to_vec(), arc: None }).unwrap())
}

fn letter(head: &str, body: impl Into<Content>) -> Letter {
    let by = Author::Client { listener: "submission".into(), authenticated: true };
    Letter { header: Header::parse(head.to_owned().into()), body: body.into(), by, now: now() }
}

fn now() -> Timestamp {
    // Signatures are checked against the real time.
    crate::time::Clock::now(&crate::time::System)
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Memory(text.to_owned().into())
    }
}

/// What the relay's own verifier says of a message.
async fn verified(dns: &Dns, head: &str, body: impl Into<Content>) -> (Vec<AuthStatus>, AuthStatus) {
    let about = SenderAuthentication::of(ReversePath(Some(mailbox("ann", "example.org"))));
    let header = Header::parse(head.to_owned().into());
    about.arrived(&Arc::new(MessageFacts { received_at: now(), header, separator: true, body: body.into() }));
    let session = (*subject().session.unwrap()).clone();
    let case = Case { session: &session, about: &about, until: Instant::now() + Duration::from_secs(30) };
    let authenticator = dns.authenticator();
    let dkim = authenticator.dkim(&case).await.unwrap();
    (dkim.iter().map(|one| one.status).collect(), authenticator.arc(&case).await.unwrap().status)
}

fn text(fields: Bytes) -> String {
    String::from_utf8(fields.to_vec()).unwrap()
}

fn selectors(fields: &str) -> Vec<String> {
    let tags = fields.replace("\r\n", "");
    tags.split("; s=").skip(1).filter_map(|rest| rest.split(';').next()).map(str::to_owned).collect()
}

#[tokio::test]
async fn both_algorithms_verify_however_they_are_canonicalised() {
    let folder = Folder::new();
    let dns = Dns::serve(folder.both().iter().map(|key| folder.line(key)).collect()).await;
    for (relaxed_header, relaxed_body) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut keys = folder.both();
        for key in &mut keys {
            key.canonicalisation = Canonicalisation { relaxed_header, relaxed_body };
            key.expires = Some(Duration::from_secs(3600));
            key.identity = Some("ann@mail.example.org".into());
        }
        let signing = signing(&keys, Policy::default());
        for body in [BODY, "", "\r\n", "no end"] {
            let fields = text(signing.sign(letter(HEAD, body)).await.unwrap());
            assert_eq!(selectors(&fields), ["r", "e"]);
            assert!(fields.split("\r\n").all(|line| line.len() <= 80), "{fields}");
            let (dkim, _) = verified(&dns, &format!("{fields}{HEAD}"), body).await;
            assert_eq!(dkim, [Pass, Pass], "{relaxed_header} {relaxed_body} {body:?}\n{fields}");
        }
        let fields = text(signing.sign(letter(HEAD, BODY)).await.unwrap());
        let respaced = format!("{fields}{}", HEAD.replace("ann@example.org>", "ann@example.org>\r\n "));
        let expected = if relaxed_header { Pass } else { Fail };
        assert_eq!(verified(&dns, &respaced, BODY).await.0, [expected, expected]);
    }
}

#[tokio::test]
async fn what_is_signed_can_be_neither_changed_nor_added_to() {
    let folder = Folder::new();
    let keys = folder.both();
    let dns = Dns::serve(keys.iter().map(|key| folder.line(key)).collect()).await;
    let fields = text(signing(&keys, Policy::default()).sign(letter(HEAD, BODY)).await.unwrap());
    let cases = [
        (HEAD.to_owned(), BODY.to_owned(), Pass),
        (format!("Received: x\r\n{HEAD}X-Spam: no\r\n"), BODY.to_owned(), Pass),
        (HEAD.to_owned(), BODY.replace("end", "End"), Fail),
        (format!("From: eve@example.net\r\n{HEAD}"), BODY.to_owned(), Fail),
        (format!("{HEAD}Subject: another\r\n"), BODY.to_owned(), Fail),
        (format!("{HEAD}Reply-To: eve@example.net\r\n"), BODY.to_owned(), Fail),
        (HEAD.replace("bob@", "eve@"), BODY.to_owned(), Fail),
        (HEAD.replace("Date: Thu, 26", "Date: Fri, 27"), BODY.to_owned(), Fail),
    ];
    for (head, body, expected) in cases {
        assert_eq!(verified(&dns, &format!("{fields}{head}"), &*body).await.0, [expected, expected], "{head}");
    }
}

#[tokio::test]
async fn a_large_body_is_streamed_from_the_spool() {
    let folder = Folder::new();
    let store: Arc<dyn Store> = Arc::new(Sled::open(&folder.0.path().join("db"), 1 << 20).unwrap());
    let spool = Spool::open(&folder.0.path().join("spool"), 0, store).unwrap();
    let mut draft = spool.draft();
    for _ in 0..200 {
        draft.append("0123456789abcdef 0123456789abcdef\r\n".repeat(100).as_bytes()).await.unwrap();
    }
    let body = draft.finish().await.unwrap();
    assert!(matches!(body, Content::Spooled(_)));
    let keys = folder.both();
    let dns = Dns::serve(keys.iter().map(|key| folder.line(key)).collect()).await;
    let fields = text(signing(&keys, Policy::default()).sign(letter(HEAD, body.clone())).await.unwrap());
    assert_eq!(verified(&dns, &format!("{fields}{HEAD}"), body).await.0, [Pass, Pass]);
}

#[tokio::test]
async fn the_newest_key_in_force_signs_and_none_is_an_error() {
    let folder = Folder::new();
    let day = |n: i64| Some(Timestamp::from_secs(now().secs() + n * 86400));
    let mut keys: Vec<_> = ["old", "now", "next"].map(|s| folder.key("rsa.pem", "example.org", s)).into();
    (keys[0].until, keys[1].from, keys[1].until, keys[2].from) = (day(5), day(-1), day(10), day(9));
    let signing = signing(&keys, Policy::default());
    for (days, selector) in [(-2, "old"), (0, "now"), (8, "now"), (9, "next"), (20, "next")] {
        let letter = Letter { now: day(days).unwrap(), ..letter(HEAD, BODY) };
        assert_eq!(selectors(&text(signing.sign(letter).await.unwrap())), [selector], "{days}");
    }
    let mut only = folder.key("rsa.pem", "example.org", "a");
    only.until = day(-1);
    let error = super::tests::signing(&[only], Policy::default()).sign(letter(HEAD, BODY)).await.unwrap_err();
    assert!(matches!(error, SigningError::NoKeyInForce(domain) if &*domain == "example.org"));
}

#[tokio::test]
async fn who_signs_is_found_by_the_from_field_and_for_whom_by_the_client() {
    let folder = Folder::new();
    let mut keys = vec![
        folder.key("rsa.pem", "example.org", "exact"),
        folder.key("rsa.pem", "example.com", "sub"),
        folder.key("rsa.pem", "deep.example.com", "deep"),
        folder.key("rsa.pem", "own.example", "own"),
    ];
    (keys[1].subdomains, keys[2].subdomains) = (true, true);
    let domain = |name: &str| Some(Domain::parse(name).unwrap());
    let with_own = Policy { also: domain("own.example"), fallback: domain("example.org"), ..Policy::default() };
    let cases: [(&str, &[&str], &[&str]); 14] = [
        ("ann@example.org", &["exact"], &["exact", "own"]),
        ("ann@EXAMPLE.Org", &["exact"], &["exact", "own"]),
        ("ann@sub.example.org", &[], &["exact", "own"]),
        ("ann@example.com", &["sub"], &["sub", "own"]),
        ("ann@x.example.com", &["sub"], &["sub", "own"]),
        ("ann@x.deep.example.com", &["deep"], &["deep", "own"]),
        ("ann@notexample.com", &[], &["exact", "own"]),
        ("ann@own.example", &["own"], &["own"]),
        ("nonsense", &[], &["exact", "own"]),
        // Whom the check of authors takes for the author.
        ("\"x@example.com\" <ann@example.org>", &["exact"], &["exact", "own"]),
        ("x@example.com\r\n <ann@example.org>", &["exact"], &["exact", "own"]),
        ("Us: (x@example.com) ann @ example . org, x@example.com;", &["exact"], &["exact", "own"]),
        ("=?utf-8?q?x=40example.com?= <ann@example.org>", &["exact"], &["exact", "own"]),
        ("<ann@example.com.>", &[], &["exact", "own"]),
    ];
    for (from, alone, all) in cases {
        let head = format!("From: {from}\r\n");
        for (policy, expected) in [(Policy::default(), alone), (with_own.clone(), all)] {
            let fields = signing(&keys, policy).sign(letter(&head, BODY)).await.unwrap();
            assert_eq!(selectors(&text(fields)), expected, "{from}");
        }
    }
    let is_signed = async |policy: Policy, by: Author, head: &str| {
        let letter = Letter { by, ..letter(head, BODY) };
        !signing(&keys, policy).sign(letter).await.unwrap().is_empty()
    };
    let client = |authenticated| Author::Client { listener: "mx".into(), authenticated };
    let from = "From: ann@example.org\r\n";
    let only = Policy { clients: Clients { authenticated: true, networks: false }, ..Policy::default() };
    assert!(is_signed(only.clone(), client(true), from).await && !is_signed(only, client(false), from).await);
    let elsewhere = Policy { listeners: Some(vec!["submission".into()]), ..Policy::default() };
    assert!(!is_signed(elsewhere.clone(), client(true), from).await);
    assert!(is_signed(elsewhere, Author::Relay, from).await, "reports come to no listener");
    assert!(!is_signed(Policy { relay_mail: false, ..Policy::default() }, Author::Relay, from).await);
    assert!(!is_signed(Policy::default(), client(true), "To: bob@example.net\r\n").await, "no From, no signature");
}

#[tokio::test]
async fn a_good_signature_of_ours_is_not_made_twice() {
    let folder = Folder::new();
    let (keys, again) = (folder.both(), Policy { again: true, ..Policy::default() });
    for (relaxed_header, relaxed_body) in [(true, true), (false, false)] {
        let mut keys = keys.clone();
        keys.iter_mut().for_each(|key| key.canonicalisation = Canonicalisation { relaxed_header, relaxed_body });
        let once = text(signing(&keys, Policy::default()).sign(letter(HEAD, BODY)).await.unwrap());
        let signed = format!("X-New: 1\r\n{once}{HEAD}");
        let second = signing(&keys, Policy::default());
        assert_eq!(selectors(&text(second.sign(letter(&signed, BODY)).await.unwrap())), Vec::<&str>::new());
        let twice = signing(&keys, again.clone()).sign(letter(&signed, BODY)).await.unwrap();
        assert_eq!(selectors(&text(twice)), ["r", "e"]);
        // What was changed on the way is signed anew.
        let changed = second.sign(letter(&signed, "another\r\n")).await.unwrap();
        assert_eq!(selectors(&text(changed)), ["r", "e"]);
        let changed = second.sign(letter(&signed.replace("Ann", "Eve"), BODY)).await.unwrap();
        assert_eq!(selectors(&text(changed)), ["r", "e"]);
    }
}

#[tokio::test]
async fn reports_are_signed_and_go_out_whatever_happens() {
    let folder = Folder::new();
    let keys = folder.both();
    let dns = Dns::serve(keys.iter().map(|key| folder.line(key)).collect()).await;
    let (head, body) = (Bytes::from(format!("{HEAD}\r\n")), Bytes::from_static(BODY.as_bytes()));
    let signed = signing(&keys, Policy::default()).sign_own(&head, &body, now()).await;
    let section = text(signed.clone());
    assert!(section.starts_with("DKIM-Signature:") && section.ends_with(&format!("{HEAD}\r\n")));
    assert_eq!(verified(&dns, section.strip_suffix("\r\n").unwrap(), BODY).await.0, [Pass, Pass]);
    let mut old = folder.key("rsa.pem", "example.org", "old");
    old.until = Some(Timestamp::from_secs(1));
    assert_eq!(signing(&[old], Policy::default()).sign_own(&head, &body, now()).await, head);
    assert_eq!(Signing::default().sign_own(&head, &body, now()).await, head);
}

#[tokio::test]
async fn a_header_section_made_to_be_costly_is_refused() {
    let folder = Folder::new();
    let head = format!("From: ann@example.org\r\n{}", "To: x@y.example\r\n".repeat(dkim::COVERED_MAX));
    let error = signing(&folder.both(), Policy::default()).sign(letter(&head, BODY)).await.unwrap_err();
    assert!(matches!(error, SigningError::TooManyFields(_)), "{error}");
}

#[tokio::test]
async fn chains_are_continued_and_a_broken_one_is_sealed_once() {
    let folder = Folder::new();
    for file in ["rsa.pem", "ed.pem"] {
        let key = folder.key(file, "relay.example", "arc");
        let dns = Dns::serve(vec![folder.line(&key)]).await;
        let (domain, selector) = (key.domain.clone(), key.selector.clone());
        let arc = ArcConfig { domain, selector, file: key.file.clone(), listeners: Some(vec!["mx".into()]) };
        let signing = Signing::with(Keys::load(&Config { arc: Some(arc), ..Config::default() }).unwrap());
        assert!(signing.seals("mx") && !signing.seals("submission") && !Signing::default().seals("mx"));
        let results = "mx.relay.example; spf=pass smtp.mailfrom=example.org; dkim=none; dmarc=none; arc=none";
        let seal = async |head: &str, chain| {
            let fields = signing.seal(letter(head, BODY), results.to_owned(), chain).await.unwrap();
            text(fields)
        };
        let mut head = HEAD.to_owned();
        let mut chain = Chain::None;
        for instance in 1..=3 {
            let set = seal(&head, chain).await;
            assert!(set.contains(&format!("ARC-Authentication-Results: i={instance}; mx.relay.example")), "{set}");
            let word = if instance == 1 { "none" } else { "pass" };
            assert!(set.replace("\r\n", "").contains(&format!("cv={word};")), "{set}");
            head = format!("Received: by {instance}\r\n{set}{head}");
            assert_eq!(verified(&dns, &head, BODY).await.1, Pass, "{head}");
            chain = Chain::Pass;
        }
        assert_eq!(verified(&dns, &head, "changed\r\n").await.1, Fail);
        assert_eq!(seal(&head, Chain::Unknown).await, "");
        assert_eq!(seal(&head, Chain::None).await, "", "a chain that is there can't be none");
        assert_eq!(seal(&head.replace("i=2", "i=7"), Chain::Pass).await, "", "sets are missing");
        let failed = seal(&head, Chain::Fail).await;
        assert!(failed.contains("i=4") && failed.contains("cv=fail"), "{failed}");
        assert_eq!(seal(&format!("{failed}{head}"), Chain::Fail).await, "");
        let full = head.replace("i=3", "i=50");
        assert_eq!(seal(&full, Chain::Pass).await + &seal(&full, Chain::Fail).await, "");
    }
}

#[test]
fn keys_that_are_no_good_are_named_with_what_to_do() {
    let folder = Folder::new();
    let path = |name: &str| folder.0.path().join(name);
    std::fs::write(path("empty.pem"), "").unwrap();
    std::fs::write(path("cert.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    std::fs::write(path("secret.pem"), "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END X-----\n").unwrap();
    std::fs::write(path("bad.pem"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    std::fs::write(path("short.pem"), include_str!("tests/rsa1024.pem")).unwrap();
    let names = ["absent.pem", "empty.pem", "cert.pem", "secret.pem", "bad.pem", "short.pem", "rsa.pem"];
    let keys = names.iter().map(|name| folder.key(name, "example.org", "s")).collect();
    let errors = Keys::load(&Config { keys, ..Config::default() }).unwrap_err();
    let shown: Vec<_> =
        errors.iter().map(|error| error.to_string().replace(&format!("{}/", path("").display()), "")).collect();
    let shown: Vec<_> = shown.iter().map(|line| line.rsplit_once('/').map_or(&**line, |(_, rest)| rest)).collect();
    insta::assert_snapshot!(shown.join("\n"));
    assert!(generate_ed25519(&path("ed.pem")).is_err(), "a key is never written over");
}

#[test]
fn a_record_that_is_not_as_it_should_be_is_told_apart() {
    let folder = Folder::new();
    let key = Key::load(&folder.key("ed.pem", "example.org", "s").file).unwrap();
    let rsa = Key::parse(RSA).unwrap();
    let record = key_record(&key);
    let good =
        |notes: usize| move |found: &Published| matches!(found, Published::Good { notes: n } if n.len() == notes);
    let wrong =
        |part: &'static str| move |found: &Published| matches!(found, Published::Wrong(why) if why.contains(part));
    type Test = Box<dyn Fn(&Published) -> bool>;
    let cases: Vec<(Vec<String>, Test)> = vec![
        (vec![record.clone()], Box::new(good(0))),
        (vec![format!("{record}; t=y:s; h=sha1:sha256; s=email")], Box::new(good(2))),
        (vec![record.replace("v=DKIM1; ", "")], Box::new(good(1))),
        (vec![], Box::new(wrong("no such record"))),
        (vec![record.clone(), record.clone()], Box::new(wrong("several"))),
        (vec![key_record(&rsa)], Box::new(wrong("k= is"))),
        (vec![record.replace("k=ed25519; ", "")], Box::new(wrong("k= is"))),
        (vec!["v=DKIM1; k=ed25519; p=".to_owned()], Box::new(wrong("revokes"))),
        (vec!["v=DKIM1; k=ed25519; p=AAAA".to_owned()], Box::new(wrong("another key"))),
        (vec!["v=DKIM1; k=ed25519; p=A".to_owned()], Box::new(wrong("base64"))),
        (vec![format!("{record}; h=sha1")], Box::new(wrong("sha256"))),
        (vec![format!("{record}; s=tlsrpt")], Box::new(wrong("s="))),
        (vec![record.replace("DKIM1", "DKIM2")], Box::new(wrong("v="))),
        (vec!["hello".to_owned()], Box::new(wrong("tags"))),
    ];
    for (texts, fits) in cases {
        let found = compare(&key, &texts);
        assert!(fits(&found), "{texts:?}: {found:?}");
    }
    assert_eq!(compare(&rsa, &[key_record(&rsa).replace("p=MII", "p= MI I")]), Published::Good { notes: vec![] });
}

#[test]
fn records_are_split_as_zone_files_want_them() {
    let rsa = Key::parse(RSA).unwrap();
    let lines = zone_lines("s._domainkey.example.org.", &key_record(&rsa));
    let strings: Vec<&str> = lines.split('"').skip(1).step_by(2).collect();
    assert!(strings.len() == 2 && strings.iter().all(|string| string.len() <= 255), "{lines}");
    assert_eq!(strings.concat(), key_record(&rsa));
    assert_eq!(zone_lines("a.", "v=DKIM1"), "a. IN TXT \"v=DKIM1\"");
}

#[test]
fn identities_selectors_and_fields_are_checked() {
    let domain = Domain::parse("example.org").unwrap();
    for good in ["@example.org", "ann@example.org", "@sub.EXAMPLE.org"] {
        assert!(check_identity(good, &domain).is_ok(), "{good}");
    }
    for bad in
        ["", "ann", "@example.com", "@notexample.org", "a;b@example.org", "a=b@example.org", "\u{e9}@example.org"]
    {
        assert!(check_identity(bad, &domain).is_err(), "{bad}");
    }
    for bad in ["", "a b", "a..b", "[192.0.2.1]", "b\u{fc}cher"] {
        assert!(check_selector(bad).is_err(), "{bad}");
    }
    assert!(check_selector("s2026.mail").is_ok() && check_field("X-Any").is_ok());
    for bad in ["", "a b", "a:b", "received", "ARC-Seal", "DKIM-Signature"] {
        assert!(check_field(bad).is_err(), "{bad}");
    }
}
