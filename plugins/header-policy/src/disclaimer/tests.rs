//! Messages of many kinds, each with what becomes of it.

use super::*;

fn disclaimer(text: &str) -> Disclaimer {
    let mut errors = Vec::new();
    let raw = RawDisclaimer { text: text.to_owned(), header: header(), who: Who::Anyone };
    let disclaimer = raw.check(&mut errors);
    assert!(errors.is_empty(), "{errors:?}");
    disclaimer
}

/// The message afterwards, or why it stays.
fn after(text: &str, message: &str) -> String {
    let raw = message.replace('\n', "\r\n");
    match disclaimer(text).plan(raw.as_bytes()) {
        Plan::Insert(at, octets) => {
            let octets = [&raw.as_bytes()[..at], &octets, &raw.as_bytes()[at..]].concat();
            String::from_utf8(octets).unwrap().replace("\r\n", "\n")
        }
        Plan::Present => "present".to_owned(),
        Plan::Leave(why) => why.to_owned(),
    }
}

#[test]
fn plain_messages() {
    for (message, expected) in [
        ("From: a@b\n\nHello.\n", "From: a@b\n\nHello.\n\nLegal.\nText.\n"),
        ("From: a@b\n\nHello.", "From: a@b\n\nHello.\n\nLegal.\nText.\n"),
        ("From: a@b\n\n", "From: a@b\n\nLegal.\nText.\n"),
        (
            "Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\nH\u{e9}llo.\n",
            "Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\nH\u{e9}llo.\n\nLegal.\nText.\n",
        ),
        (
            "Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\nHello=\n",
            "Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\nHello=\n\nLegal.\nText.\n",
        ),
        ("From: a@b\n\nHello.\n\nLegal.\nText.\n", "present"),
        ("Content-Type: text/html\n\n<p>Hello.</p>\n", "it does not begin with plain text"),
        ("Content-Type: text/plain\nContent-Disposition: attachment\n\nHello.\n", "it does not begin with plain text"),
        ("Content-Type: application/pkcs7-mime\n\nabc\n", "it does not begin with plain text"),
        (
            "Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\nSGVsbG8=\n",
            "its encoding can't take the text",
        ),
        ("Content-Type: text/plain; charset=utf-16\n\nHello.\n", "its character set can't take the text"),
        ("DKIM-Signature: v=1\nFrom: a@b\n\nHello.\n", "it is signed"),
        ("From: a@b\n\n-----BEGIN PGP MESSAGE-----\n", "it is signed or encrypted"),
    ] {
        assert_eq!(after("Legal.\nText.\n", message), expected, "{message}");
    }
}

#[test]
fn texts_beyond_ascii() {
    let text = "Gr\u{fc}\u{df}e = 1";
    for (message, expected) in [
        ("From: a@b\n\nHello.\n", "its character set can't take the text"),
        ("Content-Type: text/plain; charset=utf-8\n\nHello.\n", "its encoding can't take the text"),
        (
            "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nHello.\n",
            "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nHello.\n\nGr=C3=BC=C3=9Fe =3D 1\n",
        ),
    ] {
        assert_eq!(after(text, message), expected, "{message}");
    }
    let long = quoted(&"\u{fc}".repeat(40));
    assert!(long.split("\r\n").all(|line| line.len() <= QUOTED_LINE_MAX), "{long}");
}

const MIXED: &str = "Content-Type: multipart/mixed; boundary=out\n\npreamble\n--out\n\
    Content-Type: multipart/alternative; boundary=\"in\"\n\n--in\nContent-Type: text/plain\n\nHello.\n--in\n\
    Content-Type: text/html\n\n<p>Hello.</p>\n--in--\n--out\nContent-Type: text/plain\n\nAnother.\n--out--\n";

#[test]
fn messages_with_parts() {
    let expected = MIXED.replace("\n\nHello.\n--in", "\n\nHello.\n\nLegal.\n--in");
    assert_eq!(after("Legal.", MIXED), expected);
    // A line end of the text itself, before that of the delimiter.
    let longer = MIXED.replace("\n\nHello.\n--in", "\n\nHello.\n\n--in");
    assert_eq!(after("Legal.", &longer), MIXED.replace("\n\nHello.\n--in", "\n\nHello.\n\nLegal.\n--in"));
    for (kind, why) in [
        ("multipart/signed", "it is signed, encrypted or a report"),
        ("multipart/encrypted", "it is signed, encrypted or a report"),
        ("multipart/report", "it is signed, encrypted or a report"),
    ] {
        assert_eq!(after("Legal.", &MIXED.replace("multipart/mixed", kind)), why);
        assert_eq!(after("Legal.", &MIXED.replace("multipart/alternative", kind)), why);
    }
    let html_first = MIXED.replacen("text/plain", "text/html", 1);
    assert_eq!(after("Legal.", &html_first), "it does not begin with plain text");
}

#[test]
fn a_text_that_looks_like_a_delimiter_is_not_put_in() {
    assert_eq!(after("--in", MIXED), "its parts are not clear");
}

#[test]
fn whatever_comes_the_rest_stays() {
    let text = disclaimer("Legal.");
    for cut in 0..MIXED.len() {
        let raw = MIXED.replace('\n', "\r\n");
        let raw = &raw.as_bytes()[..cut];
        if let Plan::Insert(at, octets) = text.plan(raw) {
            assert!(at <= raw.len() && octets.windows(6).any(|window| window == b"Legal."));
        }
    }
}

#[test]
fn odd_texts_are_mistakes() {
    for text in ["", " \n \n", "a\u{7}b", &"x".repeat(901)] {
        let mut errors = Vec::new();
        RawDisclaimer { text: text.to_owned(), header: header(), who: Who::Anyone }.check(&mut errors);
        assert_eq!(errors.len(), 1, "{text:?}");
    }
    assert_eq!(disclaimer("One.\n\nTwo.").line(), "One. Two.");
}
