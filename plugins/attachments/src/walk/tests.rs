//! Messages as they are sent, by good people and others.

use waypost_plugin::Settings as _;

use super::*;
use crate::zip::testing::zip;

fn settings(document: &str) -> Settings {
    Settings::read(document).unwrap().settings
}

fn told(document: &str, raw: &[u8]) -> Vec<String> {
    let walked = walk(raw, &settings(document));
    walked.findings.iter().map(|f| format!("{:?} {}", f.part, f.class.name())).collect()
}

/// A message with one attachment that has these fields and this body.
fn with(fields: &str, body: &str) -> Vec<u8> {
    format!(
        "From: ann@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nHello\r\n--b\r\n{fields}\r\n\r\n{body}\r\n--b--\r\n"
    )
    .into_bytes()
}

fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |number: u32| char::from(DIGITS[(number & 63) as usize]);
    let mut text = String::new();
    for three in octets.chunks(3) {
        let number = three.iter().fold(0_u32, |all, octet| all << 8 | u32::from(*octet)) << (8 * (3 - three.len()));
        text.extend((0..4).map(|at| if at > three.len() { '=' } else { digit(number >> (18 - 6 * at)) }));
    }
    text
}

#[test]
fn names_are_found_in_all_their_forms() {
    for fields in [
        "Content-Type: application/octet-stream; name=\"setup.exe\"",
        "Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=setup.exe",
        "Content-Type: image/png; name=\"a.png\"\r\nContent-Disposition: attachment; filename=\"setup.exe\"",
        "Content-Disposition: attachment; filename*=UTF-8''setup%2Eexe",
        "Content-Disposition: attachment; filename*0=\"set\"; filename*1=\"up.exe\"",
        "Content-Disposition: attachment; filename*0*=UTF-8''set%75; filename*1=\"p.exe\"",
        "Content-Disposition: attachment; filename=\"=?utf-8?B?c2V0dXAuZXhl?=\"",
        "Content-Disposition: attachment;\r\n filename=\"setup.exe\"",
        "Content-Type: text/plain; name=\"setup.exe\"",
        "Content-Type: text/plain; name=\"setup.exe.\"",
        "content-disposition: INLINE; FILENAME=\"SETUP.EXE\"",
    ] {
        assert_eq!(told("{}", &with(fields, "x")), ["Some(2) extension"], "{fields}");
    }
    assert_eq!(told("{}", &with("Content-Type: text/plain; name=letter.txt", "x")), Vec::<String>::new());
}

#[test]
fn contents_are_looked_at_whatever_they_say_they_are() {
    let program = base64(&[&b"MZ\x90\0\x03"[..], &[0; 80]].concat());
    for kind in ["application/octet-stream", "image/png", "text/plain", "text/html; charset=iso-8859-1"] {
        let fields = format!("Content-Type: {kind}; name=a.png\r\nContent-Transfer-Encoding: base64");
        assert_eq!(told("{}", &with(&fields, &program)), ["Some(2) contents"], "{kind}");
    }
    let archive = base64(&zip(&[("run.js", 0, b"x"), ("b\u{fc}cher.txt", 0, b"\xff\xfe")], true));
    let fields = "Content-Type: text/plain; name=a.txt\r\nContent-Transfer-Encoding: base64";
    assert_eq!(told("{}", &with(fields, &archive)), ["Some(2) extension"]);
    assert_eq!(told("{}", &with("Content-Type: text/x", "#!/bin/sh\r\nrm -r /")), ["Some(2) contents"]);
}

#[test]
fn types_are_looked_at() {
    assert_eq!(told("{}", &with("Content-Type: Application/HTA", "x")), ["Some(2) type"]);
    assert_eq!(told(r#"{"types": []}"#, &with("Content-Type: application/hta", "x")), Vec::<String>::new());
}

#[test]
fn messages_within_are_looked_through() {
    let inner = String::from_utf8(with("Content-Type: x/y; name=setup.exe", "x")).unwrap();
    let plain = with("Content-Type: message/rfc822", &inner.replace("b\"", "c\"").replace("--b", "--c"));
    assert_eq!(told("{}", &plain), ["Some(2) extension"]);
    let fields = "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64";
    assert_eq!(told("{}", &with(fields, &base64(inner.as_bytes()))), ["Some(2) extension"]);
    assert_eq!(told(r#"{"depth-max": 1}"#, &plain), ["None limits"]);
}

#[test]
fn a_message_of_one_part_is_a_file_too() {
    let raw = b"Subject: x\r\nContent-Type: application/x-y; name=setup.exe\r\n\r\nbody\r\n";
    assert_eq!(told("{}", raw), ["Some(0) extension"]);
    assert_eq!(told("{}", b"Subject: x\r\n\r\nbody\r\n"), Vec::<String>::new());
}

#[test]
fn there_is_an_end_to_parts_and_depth() {
    let many = "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n".repeat(20);
    let raw = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{many}--b--\r\n");
    assert_eq!(told("{}", raw.as_bytes()), Vec::<String>::new());
    assert_eq!(told(r#"{"parts-max": 10}"#, raw.as_bytes()), ["None limits"]);
    let deep: String =
        (0..12).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n")).collect();
    assert_eq!(told("{}", format!("{deep}\r\nx").as_bytes()), ["None limits"]);
    let deeper = "Content-Type: message/rfc822\r\n\r\n".repeat(100_000);
    assert_eq!(told("{}", deeper.as_bytes()), ["None limits"]);
}

#[test]
fn places_are_those_of_the_parts() {
    let raw = with("Content-Type: x/y; name=setup.exe", "octets");
    let walked = walk(&raw, &settings("{}"));
    let (from, to) = walked.places[2].unwrap();
    assert_eq!(&raw[from..to], b"Content-Type: x/y; name=setup.exe\r\n\r\noctets");
}

#[test]
fn no_octet_breaks_the_way() {
    let archive = base64(&zip(&[("run.js", 0, b"x"), ("a.zip", 0, &zip(&[("b", 0, b"c")], false))], true));
    let raw = with("Content-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: base64", &archive);
    let settings = settings("{}");
    for at in 0..raw.len() {
        for octet in [0, b'\n', b'-', b'=', b'z', 0xff] {
            let mut bad = raw.clone();
            bad[at] = octet;
            walk(&bad, &settings);
        }
        walk(&raw[..at], &settings);
    }
}
