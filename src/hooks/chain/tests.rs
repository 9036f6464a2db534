//! Chains of plugins that answer what the test says.

use std::sync::{Arc, Mutex};

use super::*;
use crate::hooks::fixtures::subject;
use crate::hooks::{Cost, Edit, Hook, MessageVerdict, NextHop, Route, SessionVerdict};
use crate::smtp::{Reply, Status};

fn binding(plugin: &str, on_failure: FailurePolicy, mandatory: bool) -> Binding {
    Binding {
        plugin: plugin.into(),
        version: "1".into(),
        digest: "".into(),
        on_failure,
        mandatory,
        scope: Scope::default(),
        relay: false,
    }
}

fn reject() -> SessionVerdict {
    SessionVerdict::Reject(Reply::new(550, Status::new(5, 7, 1), "no"))
}

const AT_RCPT: Round<'static> = Round { hook: Hook::Rcpt, generation: 1, listener: &|_| {} };

fn called<V>(outcome: Result<(V, Journal), CallError>) -> Called<V> {
    Called { outcome, cost: Cost::default() }
}

type Said = Result<SessionVerdict, CallError>;

/// Runs a chain in which each plugin says what is listed, and leaves a note as it does; returns who was asked.
async fn run(plugins: Vec<(Binding, Said)>) -> (Subject, SessionVerdict, Vec<String>) {
    let asked = Mutex::new(Vec::new());
    let links = plugins.iter().map(|(binding, said)| Link { binding, callee: (binding.plugin.clone(), said.clone()) });
    let (subject, verdict) = ask(AT_RCPT, subject(), links, |(name, said), _| {
        asked.lock().unwrap().push(name.to_string());
        let note = Edit::Note { key: "was".into(), value: "here".into() };
        async move { called(said.map(|verdict| (verdict, Journal { edits: vec![note], made: None }))) }
    })
    .await;
    (subject, verdict, asked.into_inner().unwrap())
}

fn noted(subject: &Subject, plugin: &str) -> bool {
    subject.session.as_ref().unwrap().notes.get(plugin, "was").is_some()
}

#[tokio::test]
async fn a_refusal_ends_the_chain_and_an_accept_spares_only_the_mandatory() {
    use FailurePolicy::Tempfail;
    let chain = |second: Said| {
        vec![
            (binding("a", Tempfail, false), Ok(SessionVerdict::Proceed)),
            (binding("b", Tempfail, false), second),
            (binding("c", Tempfail, false), Ok(reject())),
            (binding("d", Tempfail, true), Ok(SessionVerdict::Proceed)),
        ]
    };
    let (subject, verdict, asked) = run(chain(Ok(reject()))).await;
    assert_eq!((verdict, asked), (reject(), vec!["a".to_owned(), "b".into()]));
    assert!(noted(&subject, "a") && noted(&subject, "b"));
    let (_, verdict, asked) = run(chain(Ok(SessionVerdict::Accept))).await;
    assert_eq!((verdict, asked), (SessionVerdict::Accept, vec!["a".to_owned(), "b".into(), "d".into()]));
}

#[tokio::test]
async fn a_failure_leaves_no_edit_and_costs_what_the_policy_says() {
    let trap = || Err(CallError::Trap("unreachable".into()));
    for (policy, code) in
        [(FailurePolicy::Tempfail, Some(451)), (FailurePolicy::Reject, Some(550)), (FailurePolicy::Skip, None)]
    {
        let next = (binding("next", FailurePolicy::Tempfail, false), Ok(SessionVerdict::Proceed));
        let (subject, verdict, asked) = run(vec![(binding("bad", policy, false), trap()), next]).await;
        let told = match verdict {
            SessionVerdict::Tempfail(reply) | SessionVerdict::Reject(reply) => Some(reply.code),
            _ => None,
        };
        assert_eq!((told, asked.len()), (code, if code.is_some() { 1 } else { 2 }), "{policy:?}");
        assert!(!noted(&subject, "bad"));
    }
}

#[tokio::test]
async fn an_edit_that_does_not_fit_is_a_failure() {
    let binding = binding("bad", FailurePolicy::Tempfail, false);
    let links = [Link { binding: &binding, callee: () }].into_iter();
    let (subject, verdict) = ask(AT_RCPT, subject(), links, |(), _| async {
        let edits = vec![Edit::Tag("t".into()), Edit::RemoveRecipient { index: 9 }];
        called(Ok((MessageVerdict::Accept, Journal { edits, made: None })))
    })
    .await;
    assert!(matches!(verdict, MessageVerdict::Tempfail(reply) if reply.code == 451));
    assert!(subject.transaction.unwrap().tags.is_empty());
}

#[tokio::test]
async fn the_next_plugin_sees_the_edits_before_it() {
    let bindings = [binding("a", FailurePolicy::Skip, false), binding("b", FailurePolicy::Skip, false)];
    let seen = Mutex::new(Vec::new());
    let links = bindings.iter().map(|binding| Link { binding, callee: () });
    let (_, verdict): (_, SessionVerdict) = ask(AT_RCPT, subject(), links, |(), subject: Subject| {
        seen.lock().unwrap().push(subject.transaction.unwrap().tags.len());
        async { called(Ok((SessionVerdict::Proceed, Journal { edits: vec![Edit::Tag("t".into())], made: None }))) }
    })
    .await;
    assert_eq!((verdict, seen.into_inner().unwrap()), (SessionVerdict::Proceed, vec![0, 1]));
}

fn way(domain: &str) -> Assignment {
    Assignment::Route(Arc::new(Route { hops: vec![NextHop::Mx(domain.into())], ..Route::default() }))
}

#[tokio::test]
async fn route_groups_merge_and_the_first_assignment_wins() {
    let bindings = [
        binding("a", FailurePolicy::Skip, false),
        binding("b", FailurePolicy::Skip, false),
        binding("idle", FailurePolicy::Skip, false),
        binding("watch", FailurePolicy::Skip, true),
    ];
    let group =
        |recipients: &[u32], domain: &str| RouteGroup { recipients: recipients.into(), assignment: way(domain) };
    let said = [
        RoutingVerdict::Assign(vec![group(&[1], "one.example")]),
        RoutingVerdict::Assign(vec![group(&[0, 1], "two.example")]),
        RoutingVerdict::Assign(vec![group(&[0], "never.example")]),
        RoutingVerdict::Proceed,
    ];
    let asked = Mutex::new(Vec::new());
    let links = bindings.iter().zip(said).map(|(binding, callee)| Link { binding, callee });
    let round = Round { hook: Hook::Route, ..AT_RCPT };
    let (_, verdict) = ask_routes(round, subject(), links, |said, _, open| {
        asked.lock().unwrap().push(open.to_vec());
        async { called(Ok((said, Journal::default()))) }
    })
    .await;
    let expected = RoutingVerdict::Assign(vec![group(&[1], "one.example"), group(&[0], "two.example")]);
    assert_eq!(verdict, expected);
    assert_eq!(asked.into_inner().unwrap(), [vec![0, 1], vec![0], vec![]]);
}

#[tokio::test]
async fn each_recipients_first_action_wins() {
    let bindings = [
        binding("a", FailurePolicy::Skip, false),
        binding("b", FailurePolicy::Reject, false),
        binding("c", FailurePolicy::Skip, false),
    ];
    let on = |recipient, action| Disposition { recipient, action };
    let said = [
        Ok(vec![on(0, ResultAction::Proceed), on(1, ResultAction::RetryAfterSeconds(60))]),
        Err(CallError::Wall(2000)),
        Ok(vec![on(0, ResultAction::Forget("x".into())), on(1, ResultAction::Forget("y".into()))]),
    ];
    let links = bindings.iter().zip(said).map(|(binding, callee)| Link { binding, callee });
    let round = Round { hook: Hook::DeliveryResult, ..AT_RCPT };
    let (_, dispositions) = ask_results(round, Subject::default(), links, |said, _| async {
        called(said.map(|d| (d, Journal::default())))
    })
    .await;
    assert_eq!(dispositions, [on(0, ResultAction::Forget("x".into())), on(1, ResultAction::RetryAfterSeconds(60))]);
}

#[tokio::test]
async fn an_accept_opens_the_relay_only_by_whom_that_was_left_to() {
    use FailurePolicy::{Skip, Tempfail};
    let granted = |policy| Binding { relay: true, ..binding("granted", policy, false) };
    let ask_of = async |plugins: Vec<(Binding, Said)>| {
        let links = plugins.iter().map(|(binding, said)| Link { binding, callee: said.clone() });
        let subject = Subject { unauthorized: true, ..subject() };
        ask(AT_RCPT, subject, links, |said, _| async { called(said.map(|v| (v, Journal::default()))) }).await.1
    };
    let other = || (binding("other", Tempfail, false), Ok(SessionVerdict::Accept));
    assert_eq!(ask_of(vec![other()]).await, SessionVerdict::Proceed);
    assert_eq!(ask_of(vec![other(), (granted(Skip), Ok(SessionVerdict::Accept))]).await, SessionVerdict::Accept);
    assert_eq!(ask_of(vec![other(), (granted(Skip), Ok(SessionVerdict::Proceed))]).await, SessionVerdict::Proceed);
    let trap = || Err(CallError::Trap("unreachable".into()));
    assert_eq!(ask_of(vec![(granted(Skip), trap()), other()]).await, SessionVerdict::Proceed);
    assert!(matches!(ask_of(vec![(granted(Tempfail), trap())]).await, SessionVerdict::Tempfail(_)));
    assert_eq!(ask_of(vec![(granted(Skip), Ok(reject())), other()]).await, reject());
}
