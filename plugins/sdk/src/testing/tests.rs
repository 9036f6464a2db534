//! The test kit, tried with plugins that use what there is.

use std::cell::RefCell;

use super::*;
use crate::auth_results::{SpfOutcome, Status};
use crate::log::Level;
use crate::rate_limits::Quota;
use crate::{
    BodyKind, BounceEdit, Cached, Checked, ErrorCode, HostError, Identity, Mailbox, Message, NextHop, OWN, OutcomeKind,
    ResultAction, Settings, Stage, context, dns, log, metrics, rate_limits, raw_kv, reply, system,
};

/// Refuses the mailboxes of its table, counts and keeps notes.
struct Unread;

#[derive(Debug)]
struct Table {
    unread: Vec<String>,
}

#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Written {
    unread: Vec<String>,
}

static SETTINGS: Cached<Table> = Cached::new();

impl Settings for Table {
    fn read(document: &str) -> Result<Checked<Self>, Vec<String>> {
        Checked::from_table(document, |written: Written, errors, warnings| {
            if written.unread.iter().any(String::is_empty) {
                errors.push("unread: an empty name".to_owned());
            }
            if written.unread.is_empty() {
                warnings.push("unread: nobody is refused".to_owned());
            }
            Self { unread: written.unread }
        })
    }
}

impl Lifecycle for Unread {
    fn validate_config(document: &str) -> Result<Vec<String>, Vec<String>> {
        Table::read(document).map(|checked| checked.warnings)
    }
}

impl OnRcpt for Unread {
    fn on_rcpt(candidate: Recipient) -> Outcome<SessionVerdict> {
        let settings = SETTINGS.get()?;
        let transaction = context::current_transaction()?;
        transaction.set_annotation("last", &candidate.mailbox.to_string())?;
        metrics::add("asked", 1, &[("domain".to_owned(), candidate.mailbox.domain.clone())])?;
        if settings.unread.contains(&candidate.mailbox.local_part) {
            log::write(Level::Info, "refused", &[("who".to_owned(), candidate.mailbox.local_part)]);
            return Ok(reply::reject(550, (5, 7, 1), "nobody reads that mailbox"));
        }
        if candidate.mailbox.local_part == "moved" {
            let mailbox = Mailbox { local_part: "new".to_owned(), domain: candidate.mailbox.domain };
            transaction.rewrite_recipient(candidate.index, &mailbox)?;
        }
        if candidate.mailbox.local_part == "broken" {
            return Err("told to break".to_owned());
        }
        Ok(SessionVerdict::Proceed)
    }
}

const UNREAD: &str = r#"{"unread": ["no-reply"]}"#;

#[test]
fn a_hook_runs_whole() {
    let mut world = World::new().config(UNREAD).sender("ann@example.org");
    let run = world.rcpt::<Unread>("no-reply@example.com");
    assert_eq!(run.verdict, Ok(reply::reject(550, (5, 7, 1), "nobody reads that mailbox")));
    assert_eq!(run.refusal(), "550 5.7.1 nobody reads that mailbox");
    assert_eq!(run.edits, ["annotate last=no-reply@example.com"]);
    assert_eq!(run.log, ["info refused who=no-reply"]);
    assert_eq!(run.counters.get("asked{domain=example.com}"), Some(&1));
    let run = world.rcpt::<Unread>("moved@example.com");
    assert_eq!(run.edits[1], "rewrite-recipient moved@example.com new@example.com");
    assert_eq!(world.recipient_texts(), ["new@example.com"]);
}

#[test]
fn a_hook_that_fails_changes_nothing() {
    let mut world = World::new().annotation("last", "nobody");
    let run = world.rcpt::<Unread>("broken@example.com");
    assert_eq!(run.verdict, Err("told to break".to_owned()));
    assert!(run.edits.is_empty());
    assert_eq!(world.annotation_text("last").as_deref(), Some("nobody"));
    assert!(world.recipient_texts().is_empty());
}

#[test]
fn settings_are_each_worlds_own() {
    for (config, refused) in [(UNREAD, true), ("{}", false), (r#"{"unread": ["ann", "no-reply"]}"#, true)] {
        let mut world = World::new().config(config);
        let run = world.rcpt::<Unread>("no-reply@example.com");
        assert_eq!(*run.answer() != SessionVerdict::Proceed, refused, "{config}");
    }
    let mut wrong = World::new().config(r#"{"unred": []}"#);
    assert!(wrong.rcpt::<Unread>("a@example.com").verdict.unwrap_err().contains("unred"));
    assert_eq!(World::new().load::<Unread>(), Ok(vec!["unread: nobody is refused".to_owned()]));
    assert_eq!(World::new().config(r#"{"unread": [""]}"#).load::<Unread>(), Err(vec!["unread: an empty name".into()]));
}

#[test]
fn what_is_not_declared_is_not_counted() {
    let asked = |world: World| {
        let mut world = world;
        world.rcpt::<Unread>("ann@example.com").verdict
    };
    assert_eq!(asked(World::new().declares("asked", &["domain"])), Ok(SessionVerdict::Proceed));
    let no_label = asked(World::new().declares("asked", &[]));
    assert_eq!(no_label, Err("invalid argument: label `domain` of `asked` is not declared".to_owned()));
    assert!(asked(World::new().declares("other", &["domain"])).unwrap_err().contains("`asked` is not declared"));
}

thread_local! {
    static PROBE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// Runs whatever a test wants to run inside a hook.
struct Probe;

fn probe() {
    PROBE.take().unwrap()();
}

fn with(inside: impl FnOnce() + 'static) {
    PROBE.set(Some(Box::new(inside)));
}

fn code<T: std::fmt::Debug>(asked: Result<T, HostError>) -> ErrorCode {
    asked.unwrap_err().code
}

impl OnConnect for Probe {
    fn on_connect() -> Outcome<SessionVerdict> {
        probe();
        Ok(SessionVerdict::Proceed)
    }
}

impl OnHelo for Probe {
    fn on_helo(name: String) -> Outcome<SessionVerdict> {
        let session = context::current_session()?;
        assert_eq!((session.helo(), session.protocol()), (Some(name.clone()), Protocol::Esmtp));
        session.set_note("helo", &name)?;
        Ok(SessionVerdict::Proceed)
    }
}

impl OnAuth for Probe {
    fn on_auth(attempt: Attempt) -> Outcome<AuthVerdict> {
        match attempt.secret.as_deref() {
            Some("good") => Ok(AuthVerdict::Success(Identity {
                mechanism: attempt.mechanism,
                name: attempt.name,
                acts_as: None,
                attributes: vec![("tenant".to_owned(), "a".to_owned())],
            })),
            Some(_) => Ok(reply::reject(535, (5, 7, 8), "wrong")),
            None => Err("no secret".to_owned()),
        }
    }
}

impl OnMail for Probe {
    fn on_mail(sender: Option<Mailbox>) -> Outcome<SessionVerdict> {
        let transaction = context::current_transaction()?;
        assert_eq!(transaction.sender(), sender);
        assert_eq!(transaction.body_kind(), BodyKind::EightBitMime);
        let who = context::current_session()?.identity().map(|identity| identity.name).unwrap_or_default();
        transaction.set_annotation("who", &who)?;
        transaction.add_tag("seen")?;
        if sender.is_none() {
            transaction.set_sender(Some(&mailbox("postmaster@example.org")))?;
        }
        Ok(SessionVerdict::Proceed)
    }
}

impl OnRcpt for Probe {
    fn on_rcpt(_: Recipient) -> Outcome<SessionVerdict> {
        probe();
        Ok(SessionVerdict::Proceed)
    }
}

impl OnMessage for Probe {
    fn on_message() -> Outcome<MessageVerdict> {
        probe();
        Ok(MessageVerdict::Proceed)
    }
}

impl OnRoute for Probe {
    fn on_route(_: RoutingPhase, _: Vec<Recipient>) -> Outcome<RoutingVerdict> {
        probe();
        Ok(RoutingVerdict::Proceed)
    }
}

impl OnDeliveryAttempt for Probe {
    fn on_delivery_attempt() -> Outcome<AttemptVerdict> {
        probe();
        Ok(AttemptVerdict::Proceed)
    }
}

impl OnDeliveryResult for Probe {
    fn on_delivery_result(outcomes: Vec<RecipientOutcome>) -> Outcome<Vec<RecipientDisposition>> {
        probe();
        let later = |o: &RecipientOutcome| RecipientDisposition {
            recipient: o.recipient,
            action: ResultAction::RetryAfterSeconds(300),
        };
        Ok(outcomes.iter().filter(|o| o.kind == OutcomeKind::Temporary).map(later).collect())
    }
}

impl OnBounce for Probe {
    fn on_bounce(failed: Vec<RecipientOutcome>) -> Outcome<BounceVerdict> {
        probe();
        let preface = failed.first().and_then(|o| o.reply.as_ref()).map(|r| r.lines.join(" "));
        Ok(BounceVerdict::Edit(BounceEdit {
            preface,
            return_headers_only: true,
            redirect_to: None,
            options: Vec::new(),
        }))
    }
}

#[test]
fn a_session_goes_its_way() {
    let mut world = World::new().client("2001:db8::1").sender_param("BODY=8BITMIME").recipient("old@example.com");
    world.helo::<Probe>("mail.example.org").answer();
    assert_eq!(world.note_text("helo").as_deref(), Some("mail.example.org"));
    assert_eq!(world.auth::<Probe>("PLAIN", "ann", Some("bad")).refusal(), "535 5.7.8 wrong");
    assert!(world.auth::<Probe>("PLAIN", "ann", None).verdict.is_err());
    assert!(matches!(world.auth::<Probe>("PLAIN", "ann", Some("good")).answer(), AuthVerdict::Success(_)));
    let run = world.mail::<Probe>("");
    assert_eq!(run.edits, ["annotate who=ann", "tag seen", "set-sender postmaster@example.org"]);
    assert_eq!(world.sender_text(), "postmaster@example.org");
    assert!(world.recipient_texts().is_empty(), "another transaction");
    with(|| assert_eq!(context::current_transaction().unwrap().annotation(None, "who"), Ok(Some("ann".to_owned()))));
    world.rcpt::<Probe>("postmaster").answer();
    with(|| assert_eq!(context::current_session().unwrap().identity().unwrap().attributes.len(), 1));
    world.route::<Probe>().answer();
    assert_eq!(world.recipient_texts(), ["postmaster"]);
}

#[test]
fn nothing_is_granted_unasked() {
    with(|| {
        assert_eq!(code(raw_kv::get("own", "k")), ErrorCode::Denied);
        assert_eq!(dns::lookup("example.org", dns::RecordKind::A), Err(dns::DnsError::Denied));
        assert_eq!(code(crate::config::secret("token")), ErrorCode::Denied);
        let session = context::current_session().unwrap();
        assert_eq!(code(session.note(Some("other"), "k")), ErrorCode::Denied);
        assert_eq!(session.note(None, "k"), Ok(None));
    });
    World::new().connect::<Probe>().answer();
    with(|| {
        assert_eq!(raw_kv::get_text("shared", "k"), Ok(Some("v".to_owned())));
        assert_eq!(code(raw_kv::set_text("shared", "k", "w", None)), ErrorCode::Denied);
        assert_eq!(code(raw_kv::get("own", "k")), ErrorCode::Denied);
        assert_eq!(crate::config::secret("token"), Ok("s".to_owned()));
        assert_eq!(context::current_session().unwrap().note(Some("other"), "k"), Ok(Some("v".to_owned())));
    });
    let mut world = World::new().shared_kv("shared", "k", "v").read_only_kv("shared").secret("token", "s");
    world = world.note_of("other", "k", "v");
    world.connect::<Probe>().answer();
}

#[test]
fn facts_and_edits_have_their_hooks() {
    with(|| {
        assert_eq!(code(context::current_transaction()), ErrorCode::NotHere);
        assert_eq!(code(context::current_message()), ErrorCode::NotHere);
        assert_eq!(code(context::current_delivery()), ErrorCode::NotHere);
        assert_eq!(code(crate::auth_results::spf()), ErrorCode::NotHere);
    });
    World::new().connect::<Probe>().answer();
    with(|| {
        let transaction = context::current_transaction().unwrap();
        assert_eq!(code(transaction.set_sender(None)), ErrorCode::NotHere);
        assert_eq!(code(transaction.remove_recipient(0)), ErrorCode::NotHere);
        assert_eq!(code(transaction.rewrite_recipient(0, &mailbox("x@example.org"))), ErrorCode::NotFound);
        assert_eq!(code(transaction.rewrite_recipient(1, &mailbox("x@a b"))), ErrorCode::InvalidArgument);
        assert_eq!(code(transaction.add_tag("Bulk")), ErrorCode::InvalidArgument);
        assert_eq!(code(transaction.set_annotation("", "v")), ErrorCode::InvalidArgument);
        assert_eq!(code(transaction.set_annotation("k", &"v".repeat(16 * 1024))), ErrorCode::Exhausted);
        assert_eq!(code(context::current_message()), ErrorCode::NotHere);
        assert_eq!(crate::auth_results::spf().unwrap().status, Status::Pass);
        assert_eq!(code(crate::auth_results::dkim()), ErrorCode::NotHere);
    });
    let spf = SpfOutcome { status: Status::Pass, domain: "example.org".to_owned(), explanation: None };
    let mut world = World::new().recipient("ann@example.com").spf(spf);
    assert!(world.rcpt::<Probe>("bob@example.com").edits.is_empty());
    with(|| {
        assert_eq!(code(context::current_session()), ErrorCode::NotFound);
        let message = context::current_message().unwrap();
        assert_eq!(message.text("subject").as_deref(), Some("hello"));
        assert_eq!(code(message.prepend_header("X-A", "b")), ErrorCode::NotHere);
        assert_eq!(code(message.new_body()), ErrorCode::NotHere);
    });
    World::new().content("Subject: hello\n\nbody\n").route_from_queue::<Probe>().answer();
}

#[test]
fn a_message_is_read_as_it_came_and_edited_afterwards() {
    with(|| {
        let message = context::current_message().unwrap();
        assert_eq!(message.headers().len(), 3);
        assert_eq!(message.headers_named("x-spam")[0].index, 1);
        assert_eq!(message.raw_header(2).unwrap(), b" folded\r\n line");
        message.remove_header(1).unwrap();
        message.prepend_header("X-Seen", "yes").unwrap();
        message.replace_header(0, "[x] hello").unwrap();
        assert_eq!(code(message.remove_header(3)), ErrorCode::NotFound);
        assert_eq!(code(message.append_header("X:", "b")), ErrorCode::InvalidArgument);
        assert_eq!(code(message.append_header("X", "b\r\nY: c")), ErrorCode::InvalidArgument);
        assert_eq!(message.headers().len(), 3, "reading shows no edits");
        assert_eq!(message.read_body(2, 2).unwrap(), b"dy");
        assert_eq!(message.read_body(100, 2).unwrap(), b"");
        let reader = message.open_raw().unwrap();
        assert_eq!(reader.skip(9).unwrap(), 9);
        assert_eq!(reader.read(5).unwrap(), b"hello");
        let body = message.new_body().unwrap();
        body.write_text("first\r\n").unwrap();
        body.copy(0, 100).unwrap();
        assert_eq!(body.written(), 13);
        message.replace_body(body).unwrap();
        for _ in 0..3 {
            message.new_body().unwrap();
        }
        assert_eq!(code(message.new_body()), ErrorCode::Exhausted);
        context::current_transaction().unwrap().add_recipient(&mailbox("copy@Example.org")).unwrap();
    });
    let mut world = World::new().recipient("ann@example.com");
    let run = world.message::<Probe>("Subject: hello\nX-Spam: no\nX-Long: folded\n line\n\nbody\n");
    let expected = [
        "remove-header X-Spam",
        "prepend-header X-Seen: yes",
        "replace-header Subject: [x] hello",
        "replace-body",
        "add-recipient copy@example.org",
    ];
    assert_eq!(run.edits, expected);
    assert_eq!(run.body.as_deref(), Some(&b"first\r\nbody\r\n"[..]));
    let text = "X-Seen: yes\r\nSubject: [x] hello\r\nX-Long: folded\r\n line\r\n\r\nfirst\r\nbody\r\n";
    assert_eq!(world.message_text(), text);
    assert_eq!(world.recipient_texts(), ["ann@example.com", "copy@example.org"]);
}

#[test]
fn handles_die_with_their_call() {
    thread_local! {
        static KEPT: RefCell<Option<Message>> = const { RefCell::new(None) };
    }
    with(|| KEPT.set(context::current_message().ok()));
    let mut world = World::new();
    world.message::<Probe>("A: b\n\n").answer();
    with(|| assert_eq!(code(KEPT.take().unwrap().prepend_header("X", "y")), ErrorCode::NotHere));
    world.message::<Probe>("A: b\n\n").answer();
}

#[test]
fn kv_keeps_versions_and_times_to_live() {
    with(|| {
        assert_eq!(OWN.increment("n", 2, Some(60)), Ok(2));
        assert_eq!(OWN.increment("n", 3, Some(600)), Ok(5));
        assert_eq!(code(raw_kv::increment("own", "t", 1, None)), ErrorCode::InvalidArgument);
        assert_eq!(OWN.replace("n", None, b"9", None), Ok(false));
        let version = OWN.get("t").unwrap().unwrap().version;
        assert_eq!(OWN.replace("t", Some(&version), b"new", None), Ok(true));
        assert_eq!(OWN.replace("t", Some(&version), b"newer", None), Ok(false));
        assert_eq!(code(raw_kv::set("own", "", b"v", None)), ErrorCode::InvalidArgument);
        assert_eq!(code(raw_kv::set("own", "k", b"v", Some(0))), ErrorCode::InvalidArgument);
        assert_eq!(code(raw_kv::set("own", "k", &[0; 65_537], None)), ErrorCode::TooLarge);
        let page = raw_kv::keys("own", "", None, 1).unwrap();
        assert_eq!((page.keys, page.cursor.as_deref()), (vec!["n".to_owned()], Some("n")));
        let page = raw_kv::keys("own", "", page.cursor.as_deref(), 1).unwrap();
        assert_eq!((page.keys, page.cursor), (vec!["t".to_owned()], None));
    });
    let mut world = World::new().kv("t", "text");
    world.connect::<Probe>().answer();
    assert_eq!(world.kv_text("own", "n").as_deref(), Some("5"));
    world.advance(60);
    assert_eq!(world.kv_text("own", "n"), None);
    assert_eq!(world.kv_text("own", "t").as_deref(), Some("new"));
    with(|| assert_eq!(OWN.increment("n", 1, None), Ok(1)));
    world.connect::<Probe>().answer();
}

#[test]
fn names_and_lists_are_looked_up() {
    with(|| {
        assert_eq!(dns::list_lookup("192.0.2.99", "bl.example"), Ok(vec!["127.0.0.2".to_owned()]));
        assert_eq!(dns::list_lookup("192.0.2.98", "bl.example"), Ok(Vec::new()));
        assert_eq!(dns::list_lookup("2001:db8::5", "bl.example"), Ok(Vec::new()));
        let mx = dns::lookup("Example.ORG.", dns::RecordKind::Mx).unwrap();
        let exchange = dns::MxData { preference: 10, exchange: "mx.example.org".to_owned() };
        assert_eq!(mx.records, [dns::RecordData::Mx(exchange)]);
        assert_eq!(dns::lookup("example.org", dns::RecordKind::A), Err(dns::DnsError::NoData));
        assert_eq!(dns::lookup("other.example", dns::RecordKind::A), Err(dns::DnsError::NoSuchName));
        assert_eq!(dns::lookup("broken.example", dns::RecordKind::A), Err(dns::DnsError::ServerFailure));
        assert_eq!(dns::lookup("a..b", dns::RecordKind::A), Err(dns::DnsError::InvalidName));
    });
    let mut world = World::new()
        .dns("99.2.0.192.bl.example", "A 127.0.0.2")
        .dns("example.org", "MX 10 MX.example.org.")
        .dns("broken.example", "SERVFAIL");
    world.connect::<Probe>().answer();
}

#[test]
fn servers_are_made_up() {
    use crate::http::{Error, Request};
    with(|| assert!(matches!(Request::get("http://api.example/x").send(), Err(Error::Denied(_)))));
    World::new().connect::<Probe>().answer();
    with(|| {
        let request = Request::post("https://api.example/check?id=1", b"hello".to_vec()).header("X-A", "b");
        let answer = request.send().unwrap();
        assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("text/plain")));
        assert_eq!(answer.text(), "fine");
        assert!(matches!(Request::get("http://dead.example/").send(), Err(Error::Refused(_))));
        let small = Request::post("https://api.example/check", Vec::new()).answer_max(3).send();
        assert!(matches!(small, Err(Error::AnswerTooLarge)));
        let body = |at: u64| Ok(if at == 0 { b"abc".to_vec() } else { Vec::new() });
        assert!(matches!(Request::new("put", "http://dead.example/").send_from(9, body), Err(Error::Body(_))));
        assert!(matches!(Request::get("dead.example").send(), Err(Error::Invalid(_))));
    });
    let mut world = World::new()
        .http_with("POST https://api.example/check", 200, &[("Content-Type", "text/plain")], "fine")
        .http_fault("GET http://dead.example/", Fault::Refused);
    let run = world.connect::<Probe>();
    run.answer();
    let asked: Vec<&str> = run.requests.iter().map(|asked| asked.request.as_str()).collect();
    assert_eq!(asked[..2], ["POST https://api.example/check?id=1", "GET http://dead.example/"]);
    assert_eq!(run.requests[0].body, "hello");
    assert_eq!(run.requests[0].headers, [("X-A".to_owned(), "b".to_owned())]);
}

#[test]
fn time_passes_only_when_told_and_buckets_refill() {
    const QUOTA: Quota = Quota { burst: 2, refill: 1, period_millis: 60_000 };
    let take = || rate_limits::take("k", QUOTA, 1).unwrap();
    let mut world = World::new().clock("2026-11-26T12:00:00Z");
    with(move || {
        assert_eq!(system::now().seconds, 1_795_694_400);
        assert!(take().allowed && take().allowed);
        assert_eq!((take().allowed, take().retry_after_millis), (false, 60_000));
        assert_eq!(code(rate_limits::take("k", QUOTA, 3)), ErrorCode::InvalidArgument);
        assert_eq!(system::random_bytes(4).len(), 4);
    });
    world.connect::<Probe>().answer();
    world.advance(90);
    with(move || {
        assert!(take().allowed);
        assert_eq!(take().retry_after_millis, 30_000);
    });
    world.connect::<Probe>().answer();
}

#[test]
fn the_hooks_of_the_queue_see_the_attempt() {
    with(|| {
        let delivery = context::current_delivery().unwrap();
        assert_eq!((delivery.attempt(), delivery.message_size()), (2, 1000));
        assert_eq!(delivery.expires_at().seconds - delivery.queued_at().seconds, 7200 + 3600);
        let NextHop::Smtp(target) = delivery.hop() else { panic!("another hop") };
        assert_eq!((target.host.as_str(), target.port), ("mx.example.com", 25));
        delivery.set_sender(Some(&mailbox("verp+1@example.org"))).unwrap();
        delivery.prepend_header("X-Attempt", "3").unwrap();
        assert_eq!(delivery.annotation(None, "campaign"), Ok(Some("a".to_owned())));
        assert_eq!(code(context::current_session()), ErrorCode::NotHere);
    });
    let world = World::new().sender("ann@example.org").recipient("bob@example.com").recipient("eve@example.com");
    let world = world.attempt(2).queued_for(7200).expires_in(3600).size(1000).hop("smtp:mx.example.com:25");
    let mut world = world.annotation("campaign", "a");
    let run = world.delivery_attempt::<Probe>();
    assert_eq!(run.edits, ["set-sender verp+1@example.org", "prepend-header X-Attempt: 3"]);
    with(|| {
        let delivery = context::current_delivery().unwrap();
        assert_eq!(delivery.sender().unwrap(), mailbox("ann@example.org"), "for that attempt only");
        assert_eq!(code(delivery.prepend_header("X", "y")), ErrorCode::NotHere);
        delivery.set_annotation("seen", "yes").unwrap();
    });
    let outcomes = vec![
        outcome(0, OutcomeKind::Temporary, Stage::Rcpt, "451 4.7.1 greylisted"),
        outcome(1, OutcomeKind::Delivered, Stage::Done, "250 ok"),
    ];
    let run = world.delivery_result::<Probe>(outcomes.clone());
    let later = RecipientDisposition { recipient: 0, action: ResultAction::RetryAfterSeconds(300) };
    assert_eq!(run.verdict, Ok(vec![later]));
    with(|| assert_eq!(code(context::current_delivery().unwrap().set_annotation("k", "v")), ErrorCode::NotHere));
    let run = world.bounce::<Probe>(outcomes);
    let BounceVerdict::Edit(edit) = run.answer() else { panic!("another verdict") };
    assert_eq!(edit.preface.as_deref(), Some("greylisted"));
    assert_eq!(world.annotation_text("seen").as_deref(), Some("yes"));
}
