//! `auth-results` through real components.

use super::*;
use crate::authres::testing::{Dns, lines};
use crate::hooks::MessageFacts;
use crate::mail::Header;
use crate::plugin::testing::misbehaving;
use crate::store::Content;

/// From alice@example.org, as the client sent it.
fn at_message() -> Subject {
    let subject = subject();
    let message = Arc::new(MessageFacts {
        received_at: Timestamp::from_secs(1_795_473_062),
        header: Header::parse("From: alice@example.org\r\n".into()),
        separator: true,
        body: Content::Memory("Hi\r\n".into()),
    });
    subject.transaction.as_ref().unwrap().authentication.arrived(&message);
    Subject { message: Some(message), ..subject }
}

/// The code of a refusal; none for anything else.
fn code(verdict: &SessionVerdict) -> Option<u16> {
    match verdict {
        SessionVerdict::Reject(reply) => Some(reply.code),
        _ => None,
    }
}

async fn fixture(dns: &Dns) -> Fixture {
    let spf = misbehaving("spf-policy");
    let mut fixture = Fixture::new().with("a", &spf).with("b", &spf).with("dmarc", &misbehaving("dmarc-policy"));
    fixture.services.authenticator = Some(Arc::new(dns.authenticator()));
    fixture
}

#[tokio::test]
async fn plugins_decide_by_it_and_it_is_asked_for_once() {
    let dns = Dns::serve(lines(&[
        ("example.org", "v=spf1 ip4:192.0.2.1 -all"),
        ("_dmarc.example.org", "v=DMARC1; p=reject"),
        ("bad.example", "v=spf1 -all"),
    ]))
    .await;
    let set = fixture(&dns).await.build().await;
    let subject = at_message();
    let candidate = at_rcpt().candidate;
    let (subject, verdict) = set.rcpt(Subject { candidate: candidate.clone(), ..subject }).await;
    assert_eq!(code(&verdict), None);
    assert_eq!(dns.asked(), ["example.org TXT"], "two plugins, one question");
    let (subject, verdict) = set.message(Subject { candidate: None, ..subject }).await;
    assert!(matches!(verdict, MessageVerdict::Proceed), "{verdict:?}");
    assert_eq!(
        dns.asked().iter().filter(|name| !name.starts_with("_dmarc.")).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "SPF is known"
    );
    let header = subject.message.unwrap().header.block().clone();
    let field = Header::parse(header).first("authentication-results").unwrap().unfolded();
    assert_eq!(
        field,
        "mx.example.net; iprev=pass policy.iprev=192.0.2.1; spf=pass smtp.mailfrom=alice@example.org; dkim=none; \
         dmarc=pass (p=reject) header.from=example.org; arc=none"
    );

    let mut forged = at_message();
    let transaction = Arc::make_mut(forged.transaction.as_mut().unwrap());
    transaction.authentication = crate::hooks::SenderAuthentication::of(ReversePath(Some(mailbox("x", "bad.example"))));
    transaction.authentication.arrived(forged.message.as_ref().unwrap());
    let (forged, verdict) = set.rcpt(Subject { candidate, ..forged }).await;
    assert_eq!(code(&verdict), Some(550), "the client's reverse-path counts, not what became of it");
    let (_, verdict) = set.message(Subject { candidate: None, ..forged }).await;
    assert!(matches!(&verdict, MessageVerdict::Reject(reply) if reply.code == 550), "{verdict:?}");
}

#[tokio::test]
async fn where_it_can_not_be_known_the_plugin_is_told() {
    let dns = Dns::serve(Vec::new()).await;
    let with = fixture(&dns).await;
    let set = with.build().await;
    let without_client = Subject { session: None, ..at_message() };
    let (_, verdict) = set.message(without_client).await;
    assert!(matches!(&verdict, MessageVerdict::Reject(reply) if reply.code == 554), "{verdict:?}");

    let mut without = fixture(&dns).await;
    without.services.authenticator = None;
    let set = without.build().await;
    assert_eq!(code(&set.rcpt(at_rcpt()).await.1), Some(554));
    assert_eq!(dns.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_silent_name_server_costs_the_plugin_its_patience_and_not_its_call() {
    let dns = Dns::serve(lines(&[("example.org", "SILENCE")])).await;
    let mut fixture = fixture(&dns).await;
    let budget =
        crate::plugin::Budget { wall: std::time::Duration::from_millis(500), ..crate::plugin::Budget::of(Hook::Rcpt) };
    for plugin in fixture.config.plugins.values_mut() {
        plugin.budgets.insert(Hook::Rcpt, budget);
    }
    let set = fixture.build().await;
    let (_, verdict) = set.rcpt(at_rcpt()).await;
    assert!(matches!(verdict, SessionVerdict::Proceed), "temperror is not fail: {verdict:?}");
}
