//! Plugins that behave and plugins that do not, in real components.

mod authentication;
mod compiling;
mod edits;
mod faults;
mod generations;
mod grants;
mod loading;
mod outgoing;
mod services;
mod signatures;
mod trials;
mod wasi;

use std::sync::Arc;

use super::testing::{Fixture, answering, saying};
use super::{Grants, PluginConfig};
use crate::hooks::fixtures::{mailbox, subject};
use crate::hooks::{
    AttemptVerdict, AuthAttempt, AuthVerdict, BounceVerdict, DeliveryFacts, FailurePolicy, Hook, Hooks, MessageVerdict,
    NextHop, Outcome, OutcomeKind, ResultAction, Route, RoutingPhase, RoutingVerdict, SessionVerdict, Stage, Subject,
};
use crate::mail::{Annotations, QueueId, Recipient, ReversePath};
use crate::time::Timestamp;

/// A subject for rcpt.
fn at_rcpt() -> Subject {
    let to = mailbox("dave", "example.net");
    let candidate = Recipient { index: 2, mailbox: to.clone(), original: to, params: Vec::new() };
    Subject { candidate: Some(candidate), ..subject() }
}

fn at_delivery() -> Subject {
    let subject = subject();
    let transaction = subject.transaction.unwrap();
    let delivery = DeliveryFacts {
        id: QueueId::from_u64(7),
        arrived: Timestamp::from_secs(1_795_473_060),
        attempts: 1,
        expires: Timestamp::from_secs(1_795_473_060 + 432_000),
        sender: ReversePath(Some(mailbox("alice", "example.org"))),
        recipients: transaction.recipients.as_slice().into(),
        message_size: 1234,
        route: Arc::new(Route::default()),
        hop: NextHop::Mx("example.com".into()),
        previous: Arc::new([]),
        history: Arc::new([]),
        remote: None,
        tls: None,
        annotations: Arc::new(Annotations::default()),
        prepended: Arc::new([]),
    };
    Subject { delivery: Some(Arc::new(delivery)), ..Subject::default() }
}

fn outcomes() -> Arc<[Outcome]> {
    let outcome = |recipient| Outcome {
        recipient,
        kind: OutcomeKind::Temporary,
        stage: Stage::Rcpt,
        reply: None,
        error: None,
        remote: None,
        remote_endpoint: None,
        at: Timestamp::from_secs(1_795_473_061),
    };
    Arc::new([outcome(0), outcome(1)])
}

fn attempt() -> AuthAttempt {
    AuthAttempt {
        mechanism: "PLAIN".into(),
        name: "ann".into(),
        acts_as: None,
        details: Vec::new(),
        secret: Some("s3cret".into()),
    }
}

/// A string in an answer at `at`, whose octets lie at `offset` of the answer.
fn string(answer: &mut Vec<u8>, at: usize, text: &str) {
    let offset = super::testing::AT + u32::try_from(answer.len()).unwrap();
    answer[at..at + 4].copy_from_slice(&offset.to_le_bytes());
    answer[at + 4..at + 8].copy_from_slice(&u32::try_from(text.len()).unwrap().to_le_bytes());
    answer.extend(text.as_bytes());
}

#[tokio::test]
async fn session_hooks_proceed_accept_and_refuse() {
    for hook in [Hook::Connect, Hook::Helo, Hook::Mail, Hook::Rcpt] {
        for (case, code) in [(0, 0), (1, 0), (2, 550), (3, 450), (4, 421)] {
            let set = Fixture::new().with("p", &answering(hook, &saying(case, code, "because"))).build().await;
            assert!(Hook::ALL.into_iter().all(|other| set.listens(other) == (other == hook)));
            let (_, verdict) = match hook {
                Hook::Connect => set.connect(subject()).await,
                Hook::Helo => set.helo(subject(), "client.example".into()).await,
                Hook::Mail => set.mail(subject()).await,
                _ => set.rcpt(at_rcpt()).await,
            };
            let said = match &verdict {
                SessionVerdict::Proceed => "proceed".to_owned(),
                SessionVerdict::Accept => "accept".to_owned(),
                SessionVerdict::Reject(r) | SessionVerdict::Tempfail(r) | SessionVerdict::Close(r) => r.to_string(),
            };
            let expected = ["proceed", "accept", "550 5.7.1 because", "450 4.7.1 because", "421 4.7.1 because"];
            assert_eq!(said, expected[usize::from(case)], "{hook:?}");
        }
    }
}

#[tokio::test]
async fn auth_fails() {
    let failing = Fixture::new().with("p", &answering(Hook::Auth, &saying(2, 535, "no"))).build().await;
    let (_, verdict) = failing.auth(subject(), attempt()).await;
    assert!(matches!(verdict, AuthVerdict::Failure(reply) if reply.code == 535));
}

/// `ok(success({mechanism, name, some(acts-as), [(tenant, one)]}))`: lets in whoever comes.
fn welcoming(name: &str, acts_as: &str) -> Vec<u8> {
    let mut answer = vec![0; 64];
    answer[4] = 1;
    string(&mut answer, 8, "PLAIN");
    string(&mut answer, 16, name);
    answer[24] = 1;
    string(&mut answer, 28, acts_as);
    answer[36..40].copy_from_slice(&(super::testing::AT + 48).to_le_bytes());
    answer[40] = 1;
    string(&mut answer, 48, "tenant");
    string(&mut answer, 56, "one");
    answering(Hook::Auth, &answer)
}

#[tokio::test]
async fn only_who_sees_the_secret_says_who_a_client_is() {
    let proven = |acts_as: Option<&str>| AuthAttempt {
        mechanism: "SCRAM-SHA-256".into(),
        secret: None,
        acts_as: acts_as.map(Into::into),
        ..attempt()
    };
    let root = Some(("root", Some("boss")));
    for (secrets, policy, attempt, expected) in [
        (true, FailurePolicy::Tempfail, attempt(), Ok(root)),
        (false, FailurePolicy::Tempfail, attempt(), Err(454)),
        (false, FailurePolicy::Reject, attempt(), Err(554)),
        (false, FailurePolicy::Skip, attempt(), Ok(None)),
        // The name stands, with or without the grant; only what the client asked for is allowed.
        (false, FailurePolicy::Tempfail, proven(None), Ok(Some(("ann", None)))),
        (true, FailurePolicy::Tempfail, proven(Some("other")), Ok(Some(("ann", None)))),
        (false, FailurePolicy::Tempfail, proven(Some("boss")), Ok(Some(("ann", Some("boss"))))),
    ] {
        let grants = Grants { auth_secrets: secrets, ..Grants::default() };
        let config = PluginConfig { grants, on_failure: policy, ..PluginConfig::default() };
        let set = Fixture::new().with_config("p", &welcoming("root", "boss"), config).build().await;
        let row = format!("{secrets} {policy:?} {attempt:?}");
        let said = match set.auth(subject(), attempt).await.1 {
            AuthVerdict::Proceed => Ok(None),
            AuthVerdict::Success(who) => {
                assert_eq!(who.attributes, [("tenant".into(), "one".into())], "{row}");
                Ok(Some((who.name, who.acts_as)))
            }
            AuthVerdict::Failure(reply) | AuthVerdict::Tempfail(reply) => Err(reply.code),
        };
        let said = said.as_ref().map(|who| who.as_ref().map(|(name, acts_as)| (&**name, acts_as.as_deref())));
        assert_eq!(said, expected.as_ref().copied(), "{row}");
        let invalid = expected.is_err() || policy == FailurePolicy::Skip;
        assert_eq!(set.list()[0].failures.contains_key("invalid"), invalid, "{row}");
    }
}

#[tokio::test]
async fn messages_are_refused_discarded_and_held() {
    for (case, expected) in
        [(4, MessageVerdict::Discard("junk".into())), (5, MessageVerdict::Quarantine("junk".into()))]
    {
        let mut answer = vec![0; 28];
        answer[4] = case;
        string(&mut answer, 8, "junk");
        let set = Fixture::new().with("p", &answering(Hook::Message, &answer)).build().await;
        assert_eq!(set.message(subject()).await.1, expected);
    }
    let set = Fixture::new().with("p", &answering(Hook::Message, &saying(2, 554, "no"))).build().await;
    assert!(matches!(set.message(subject()).await.1, MessageVerdict::Reject(reply) if reply.code == 554));
}

#[tokio::test]
async fn routes_are_refused_and_assigned() {
    let set = Fixture::new().with("p", &answering(Hook::Route, &saying(3, 450, "later"))).build().await;
    let (_, verdict) = set.route(subject(), RoutingPhase::Arrival).await;
    assert!(matches!(verdict, RoutingVerdict::Tempfail(reply) if reply.code == 450));
    // ok(assign([])): a list of no groups.
    let mut answer = vec![0; 28];
    answer[4] = 1;
    let set = Fixture::new().with("p", &answering(Hook::Route, &answer)).build().await;
    assert_eq!(set.route(subject(), RoutingPhase::Requeue).await.1, RoutingVerdict::Proceed);
}

#[tokio::test]
async fn delivery_hooks_hold_retry_and_suppress() {
    // ok(hold-seconds(60))
    let mut answer = vec![0; 256];
    (answer[4], answer[8]) = (1, 60);
    let set = Fixture::new().with("p", &answering(Hook::DeliveryAttempt, &answer)).build().await;
    assert_eq!(set.delivery_attempt(at_delivery()).await.1, AttemptVerdict::HoldSeconds(60));

    // ok([{recipient: 1, retry-after-seconds(9)}])
    let mut answer = vec![0; 12];
    answer[4..8].copy_from_slice(&(super::testing::AT + 12).to_le_bytes());
    answer[8] = 1;
    let mut element = vec![0; 256];
    (element[0], element[4], element[8]) = (1, 1, 9);
    answer.extend(element);
    let set = Fixture::new().with("p", &answering(Hook::DeliveryResult, &answer)).build().await;
    let (_, dispositions) = set.delivery_result(at_delivery(), outcomes()).await;
    let made: Vec<_> = dispositions.iter().map(|d| (d.recipient, &d.action)).collect();
    assert_eq!(made, [(1, &ResultAction::RetryAfterSeconds(9))]);

    // ok(suppress("loop"))
    let mut answer = vec![0; 128];
    answer[4] = 2;
    string(&mut answer, 8, "loop");
    let set = Fixture::new().with("p", &answering(Hook::Bounce, &answer)).build().await;
    assert_eq!(set.bounce(at_delivery(), outcomes()).await.1, BounceVerdict::Suppress("loop".into()));
}
