//! What plugins may not make of a message, in real components.

use std::fmt::Write as _;

use super::*;
use crate::hooks::MessageFacts;
use crate::mail::{BodyKind, Header};
use crate::plugin::testing::component;
use crate::plugin::{Budget, PluginConfig};
use crate::store::Content;

/// The body as the client sent it. A part of it ends between CR and LF.
const BODY: &[u8] = b"one\r\ntwo\r\n";

/// One call of a writer.
#[derive(Clone, Copy, Debug)]
enum Step {
    Write(&'static [u8]),
    Text(&'static str),
    Copy(u32, u32),
}

/// Writes a new body, step by step, and fails with what `replace-body` says to it. Traps at any other error.
fn writing(steps: &[Step]) -> Vec<u8> {
    let (mut data, mut calls, mut at) = (String::new(), String::new(), 4096);
    for step in steps {
        let (call, octets): (&str, &[u8]) = match step {
            Step::Write(octets) => ("write", octets),
            Step::Text(text) => ("text", text.as_bytes()),
            Step::Copy(offset, count) => {
                write!(calls, "(call $copy (local.get $w) (i32.const {offset}) (i32.const {count}) (i32.const 48))")
                    .unwrap();
                continue;
            }
        };
        let escaped: String = octets.iter().map(|byte| format!("\\{byte:02x}")).collect();
        write!(data, "(data (i32.const {at}) \"{escaped}\")").unwrap();
        write!(calls, "(call ${call} (local.get $w) (i32.const {at}) (i32.const {}) (i32.const 48))", octets.len())
            .unwrap();
        calls += "(if (i32.load8_u (i32.const 48)) (then unreachable))";
        at += octets.len();
    }
    component(&format!(
        r#"(module
            (import "waypost:plugin/context@0.1.0" "current-message" (func $current (param i32)))
            (import "waypost:plugin/messages@0.1.0" "[method]message.new-body" (func $new (param i32 i32)))
            (import "waypost:plugin/messages@0.1.0" "[method]message.replace-body" (func $replace (param i32 i32 i32)))
            (import "waypost:plugin/messages@0.1.0" "[method]body-writer.write" (func $write (param i32 i32 i32 i32)))
            (import "waypost:plugin/messages@0.1.0" "[method]body-writer.write-text" (func $text (param i32 i32 i32 i32)))
            (import "waypost:plugin/messages@0.1.0" "[method]body-writer.copy" (func $copy (param i32 i32 i32 i32)))
            (memory (export "memory") 2) {data}
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
            (func (export "waypost:plugin/on-message@0.1.0#handle") (result i32) (local $m i32) (local $w i32)
                (call $current (i32.const 16))
                (local.set $m (i32.load (i32.const 20)))
                (call $new (local.get $m) (i32.const 32))
                (local.set $w (i32.load (i32.const 36)))
                {calls}
                (call $replace (local.get $m) (local.get $w) (i32.const 64))
                (i32.store8 (i32.const 1024) (i32.load8_u (i32.const 64)))
                (i32.store (i32.const 1028) (i32.load (i32.const 72)))
                (i32.store (i32.const 1032) (i32.load (i32.const 76)))
                (if (i32.load8_u (i32.const 64)) (then (if (i32.ne (i32.load8_u (i32.const 68)) (i32.const 3)) (then unreachable))))
                (if (i32.eqz (i32.load8_u (i32.const 64))) (then (i32.store (i32.const 1028) (i32.const 0))))
                (i32.const 1024)))"#
    ))
}

fn at_message(body_kind: BodyKind) -> Subject {
    let mut subject = subject();
    Arc::make_mut(subject.transaction.as_mut().unwrap()).body_kind = body_kind;
    let message = MessageFacts {
        received_at: Timestamp::from_secs(1),
        header: Header::parse(bytes::Bytes::from_static(b"Subject: x\r\n")),
        separator: true,
        body: Content::Memory(BODY.into()),
    };
    Subject { message: Some(Arc::new(message)), ..subject }
}

/// The body after the hook and its kind; none: the plugin was refused, which is its only failure.
async fn written(steps: &[Step], kind: BodyKind) -> Option<(Vec<u8>, BodyKind)> {
    let set = Fixture::new().with("p", &writing(steps)).build().await;
    let (after, verdict) = set.message(at_message(kind)).await;
    if verdict != MessageVerdict::Proceed {
        assert_eq!(set.list()[0].failures, [("guest", 1)].into(), "{steps:?}");
        return None;
    }
    let body = after.message.unwrap().body.clone();
    let octets = body.read_at(0, 1 << 16).await.unwrap().to_vec();
    Some((octets, after.transaction.unwrap().body_kind))
}

#[tokio::test]
async fn a_new_body_is_mail_whatever_pieces_it_comes_in() {
    use Step::{Copy, Text, Write};
    let refused: [&[Step]; 9] = [
        &[Text("x\n.\nMAIL FROM:<evil@x.example>\n")],
        &[Write(b"a\rb\r\n")],
        &[Write(b"a\r\n\r")],
        &[Write(b"a\0\r\n")],
        &[Write(b"a\r"), Text("b\r\n")],
        &[Write(b"a"), Text("\nb\r\n")],
        // Up to between CR and LF, and from there.
        &[Copy(0, 4), Text("x\r\n")],
        &[Text("x"), Copy(4, 6)],
        &[Copy(0, 4)],
    ];
    for steps in refused {
        assert_eq!(written(steps, BodyKind::EightBitMime).await, None, "{steps:?}");
        assert!(written(steps, BodyKind::BinaryMime).await.is_some(), "not made of lines: {steps:?}");
    }
    let taken: [(&[Step], &[u8]); 4] = [
        (&[Text("a\r\n.\r\nb")], b"a\r\n.\r\nb"),
        (&[Write(b"a\r"), Text("\nb\r\n")], b"a\r\nb\r\n"),
        (&[Copy(0, 4), Write(b"\n"), Copy(5, 5)], BODY),
        (&[], b""),
    ];
    for (steps, body) in taken {
        let after = written(steps, BodyKind::SevenBit).await;
        assert_eq!(after, Some((body.to_vec(), BodyKind::SevenBit)), "{steps:?}");
    }
}

#[tokio::test]
async fn a_new_body_with_eight_bits_is_declared_so() {
    for (text, before, after) in [
        ("Gr\u{fc}\u{df}e\r\n", BodyKind::SevenBit, BodyKind::EightBitMime),
        ("Gr\u{fc}\u{df}e\r\n", BodyKind::BinaryMime, BodyKind::BinaryMime),
        ("plain\r\n", BodyKind::SevenBit, BodyKind::SevenBit),
        ("plain\r\n", BodyKind::EightBitMime, BodyKind::EightBitMime),
    ] {
        let kind = written(&[Step::Text(text)], before).await.unwrap().1;
        assert_eq!(kind, after, "{text} of {before:?}");
    }
}

/// Makes one edit of a fact until that fails, so many times, and fails with why. Traps where it fails earlier or later, or
/// otherwise than by `exhausted`. At 131072 there are 60000 octets of text.
fn insisting(fact: &str, function: &str, args: &str, times: usize) -> Vec<u8> {
    let params = " i32".repeat(args.matches("i32.const").count());
    component(&format!(
        r#"(module
            (import "waypost:plugin/context@0.1.0" "current-{fact}" (func $current (param i32)))
            (import "waypost:plugin/{function}" (func $edit (param i32{params} i32)))
            (memory (export "memory") 4)
            (data (i32.const 512) "X.example")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
            (func (export "waypost:plugin/on-message@0.1.0#handle") (result i32) (local $fact i32) (local $made i32)
                (memory.fill (i32.const 131072) (i32.const 120) (i32.const 60000))
                (call $current (i32.const 16))
                (local.set $fact (i32.load (i32.const 20)))
                (loop $on
                    (call $edit (local.get $fact) {args} (i32.const 48))
                    (if (i32.eqz (i32.load8_u (i32.const 48))) (then
                        (local.set $made (i32.add (local.get $made) (i32.const 1)))
                        (br $on))))
                (if (i32.ne (local.get $made) (i32.const {times})) (then unreachable))
                (if (i32.ne (i32.load8_u (i32.const 52)) (i32.const 5)) (then unreachable))
                (i32.store8 (i32.const 1024) (i32.const 1))
                (i32.store (i32.const 1028) (i32.load (i32.const 56)))
                (i32.store (i32.const 1032) (i32.load (i32.const 60)))
                (i32.const 1024)))"#
    ))
}

#[tokio::test]
async fn the_edits_of_one_call_are_bounded() {
    let long = |time| std::time::Duration::from_secs(time);
    // As much as it takes on a slow machine: it is not the time that ends it.
    let budgets = [(Hook::Message, Budget { cpu: long(60), wall: long(120) })].into();
    let config = PluginConfig { budgets, ..PluginConfig::default() };
    let (name, value) = ("(i32.const 512) (i32.const 1)", "(i32.const 131072) (i32.const 60000)");
    let (domain, short) = ("(i32.const 514) (i32.const 7)", "(i32.const 131072) (i32.const 1)");
    for (fact, function, args, times) in [
        ("message", r#"messages@0.1.0" "[method]message.prepend-header"#, format!("{name} {value}"), 17),
        ("message", r#"messages@0.1.0" "[method]message.append-header"#, format!("{name} {short}"), 10_000),
        (
            "transaction",
            r#"transactions@0.1.0" "[method]mail-transaction.add-recipient"#,
            format!("{name} {domain}"),
            10_000,
        ),
        ("session", r#"sessions@0.1.0" "[method]smtp-session.set-note"#, format!("{name} {short}"), 10_000),
    ] {
        let plugin = insisting(fact, function, &args, times);
        let set = Fixture::new().with_config("p", &plugin, config.clone()).build().await;
        let (after, verdict) = set.message(at_message(BodyKind::SevenBit)).await;
        assert!(matches!(verdict, MessageVerdict::Tempfail(_)), "{function}: {verdict:?}");
        assert_eq!(set.list()[0].failures, [("guest", 1)].into(), "{function}");
        assert_eq!(after.transaction.unwrap().recipients.len(), 2, "nothing of it stays");
    }
}
