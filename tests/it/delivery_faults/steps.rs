//! Each step of a dialogue, and what can go wrong there: once, then the next hop is well again.

use super::{CONTENT, is_done, log_of, relay_knowing};
use crate::network::{Network, Peer};

/// What becomes of a message.
enum Comes {
    /// In the first attempt.
    AtOnce,
    /// In the second; the log says this of the first.
    Later(&'static str),
    /// As `Later`, and it had come the first time already: nobody can know.
    Twice(&'static str),
}

use Comes::{AtOnce, Later, Twice};

/// What the next hop does, and what becomes of it.
const STEPS: &[(&str, &str, Comes)] = &[
    (
        "connect-drop",
        "connect x1: drop",
        Later("stage=Greeting reply=451 4.4.2 lost the connection waiting for the greeting"),
    ),
    ("connect-reset", "connect x1: reset", Later("reply=451 4.4.")),
    ("banner-stall", "banner x1: stall", Later("stage=Greeting reply=451 4.4.2 timed out waiting for the greeting")),
    ("banner-garbage", "banner x1: garbage", Later("stage=Greeting reply=451 4.4.2 the next hop broke the protocol")),
    ("banner-half", "banner x1: half; drop", Later("stage=Greeting reply=451 4.4.2 lost the connection")),
    ("banner-trickle", "banner x1: trickle 200", Later("stage=Greeting reply=451 4.4.2 timed out")),
    ("banner-endless", "banner x1: endless", Later("stage=Greeting reply=451 4.4.2 the next hop broke the protocol")),
    ("banner-long", "banner x1: long 9000", Later("stage=Greeting reply=451 4.4.2 the next hop broke the protocol")),
    ("banner-421", "banner x1: reply 421 4.3.2 busy", Later("stage=Greeting reply=421 4.3.2 busy")),
    ("banner-554", "banner x1: reply 554 5.7.1 go away", Later("stage=Greeting reply=554 5.7.1 go away")),
    ("banner-twice", "banner x1: twice", Later("the next hop broke the protocol")),
    ("banner-slowly", "banner: slowly", AtOnce),
    ("ehlo-stall", "ehlo x1: stall", Later("stage=Helo reply=451 4.4.2 timed out in EHLO")),
    ("ehlo-drop", "ehlo x1: drop", Later("stage=Helo reply=451 4.4.2 lost the connection in EHLO")),
    ("ehlo-garbage", "ehlo x1: garbage", Later("stage=Helo reply=451 4.4.2 the next hop broke the protocol in EHLO")),
    ("ehlo-half", "ehlo x1: half; reset", Later("stage=Helo reply=451 4.4.2 lost the connection in EHLO")),
    ("ehlo-endless", "ehlo x1: endless", Later("stage=Helo reply=451 4.4.2 the next hop broke the protocol in EHLO")),
    ("ehlo-451", "ehlo x1: reply 451 4.7.0 wait", Later("stage=Helo reply=451 4.7.0 wait")),
    ("ehlo-refused", "ehlo: reply 502 5.5.1 what?", AtOnce),
    ("ehlo-slowly", "ehlo: slowly", AtOnce),
    ("starttls-454", "certificate good\nstarttls: reply 454 4.7.0 not now", AtOnce),
    ("starttls-drop", "certificate good\nstarttls x1: drop", AtOnce),
    ("tls-drop", "certificate good\ntls x1: drop", AtOnce),
    ("tls-reset", "certificate good\ntls x1: reset", AtOnce),
    ("tls-garbage", "certificate good\ntls x1: read 1; garbage; drop", AtOnce),
    ("tls-stall", "certificate good\ntls x1: stall", AtOnce),
    ("tls-expired", "certificate expired", AtOnce),
    ("tls-other", "certificate other", AtOnce),
    ("mail-stall", "mail x1: stall", Later("stage=Mail reply=451 4.4.2 timed out in MAIL")),
    ("mail-drop", "mail x1: drop", Later("stage=Mail reply=451 4.4.2 lost the connection in MAIL")),
    ("mail-garbage", "mail x1: garbage", Later("stage=Mail reply=451 4.4.2 the next hop broke the protocol in MAIL")),
    ("mail-421", "mail x1: reply 421 4.3.2 going", Later("stage=Mail reply=421 4.3.2 going")),
    ("mail-451", "mail x1: reply 451 4.3.0 later", Later("stage=Mail reply=451 4.3.0 later")),
    ("mail-354", "mail x1: reply 354 what?", Later("stage=Mail reply=451 4.4.2 the next hop broke the protocol")),
    ("mail-slowly", "mail: slowly", AtOnce),
    ("rcpt-stall", "rcpt x1: stall", Later("stage=Rcpt reply=451 4.4.2 timed out in RCPT")),
    ("rcpt-reset", "rcpt x1: reset", Later("stage=Rcpt reply=451 4.4.2 lost the connection in RCPT")),
    ("rcpt-half", "rcpt x1: half; stall", Later("stage=Rcpt reply=451 4.4.2 timed out in RCPT")),
    ("rcpt-450", "rcpt x1: reply 450 4.2.1 greylisted", Later("stage=Rcpt reply=450 4.2.1 greylisted")),
    ("rcpt-552", "rcpt x1: reply 552 5.2.2 too many", Later("stage=Rcpt reply=552 5.2.2 too many")),
    ("rcpt-twice", "offer SIZE\nrcpt x1: twice", Later("the next hop broke the protocol")),
    ("data-stall", "data x1: stall", Later("stage=Data reply=451 4.4.2 timed out while the message was sent")),
    ("data-drop", "data x1: drop", Later("stage=Data reply=451 4.4.2 lost the connection while the message was sent")),
    ("data-451", "data x1: reply 451 4.3.0 no", Later("stage=Data reply=451 4.3.0 no")),
    ("data-250", "data x1: reply 250 2.0.0 ok", Later("stage=Data reply=451 4.4.2 the next hop broke the protocol")),
    ("body-drop", "body x1: read 30; drop", Later("stage=Answer reply=451 4.4.2 lost the connection after the end")),
    ("body-reset", "body x1: read 30; reset", Later("reply=451 4.4.2 lost the connection")),
    ("dot-stall", "dot x1: stall", Later("stage=Answer reply=451 4.4.2 timed out after the end")),
    ("dot-drop", "dot x1: drop", Later("stage=Answer reply=451 4.4.2 lost the connection after the end")),
    (
        "dot-garbage",
        "dot x1: garbage",
        Later("stage=Answer reply=451 4.4.2 the next hop broke the protocol after the end"),
    ),
    ("dot-421", "dot x1: reply 421 4.3.2 going", Later("stage=Answer reply=421 4.3.2 going")),
    ("dot-451", "dot x1: reply 451 4.3.0 no", Later("stage=Answer reply=451 4.3.0 no")),
    ("dot-354", "dot x1: reply 354 more", Later("stage=Answer reply=451 4.4.2 the next hop broke the protocol")),
    ("dot-slowly", "dot: slowly", AtOnce),
    (
        "dot-take-stall",
        "dot x1: take; stall",
        Twice("timed out after the end of the message; it may be delivered twice"),
    ),
    ("dot-take-drop", "dot x1: take; drop", Twice("lost the connection after the end of the message; it may be")),
    ("dot-take-reset", "dot x1: take; reset", Twice("lost the connection after the end of the message; it may be")),
    ("dot-half", "dot x1: half; drop", Twice("lost the connection after the end of the message; it may be")),
    ("dot-close", "dot x1: usual; drop", AtOnce),
    ("dot-then-reset", "dot x1: usual; reset", AtOnce),
    ("dot-twice", "dot x1: twice", AtOnce),
    ("quit-stall", "quit: stall", AtOnce),
    ("quit-reset", "quit: reset", AtOnce),
    ("quit-garbage", "quit: garbage", AtOnce),
];

#[test]
fn whatever_goes_wrong_once_the_mail_comes_once() {
    let network = Network::new();
    let peer = |(name, script, _): &(&str, &str, Comes)| {
        network.listen(&format!("{name}.test"), network.address().into(), script)
    };
    let peers: Vec<Peer> = STEPS.iter().map(peer).collect();
    let ways: Vec<_> = STEPS.iter().zip(&peers).map(|((name, ..), peer)| (format!("{name}.test"), peer)).collect();
    let relay = relay_knowing(&network, &ways, "");
    let mut client = relay.smtp();
    for (domain, _) in &ways {
        client.deliver("a@client.test", &[&format!("b@{domain}")], CONTENT);
    }
    let mut wrong = Vec::new();
    for ((name, ..), peer) in STEPS.iter().zip(&peers) {
        let message = peer.next();
        if !message.text().ends_with(CONTENT) {
            wrong.push(format!("{name}: the content differs: {:?}", message.text()));
        }
    }
    is_done(&relay);
    for ((name, _, comes), peer) in STEPS.iter().zip(&peers) {
        let log = log_of(&relay, &format!("b@{name}.test"));
        let deferred: Vec<_> = log.iter().filter(|line| line.contains("deferred")).collect();
        let told = deferred.first().map_or("", |line| line);
        let more = peer.waiting();
        let as_it_should = match comes {
            AtOnce => deferred.is_empty() && more == 0,
            Later(why) => told.contains(why) && more == 0,
            Twice(why) => told.contains(why) && more == 1,
        };
        if !as_it_should {
            wrong.push(format!("{name}: {more} more came; {log:#?}; it heard {:?}", peer.said()));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), STEPS.len(), wrong.join("\n"));
}
