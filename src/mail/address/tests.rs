use super::*;

fn parsed(text: &str) -> Mailbox {
    Mailbox::parse(text, true).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn good_mailboxes_are_read_and_written_back() {
    for (text, local_part, domain) in [
        ("ann@example.net", "ann", "example.net"),
        ("Ann.O'Neil+x=y@EXAMPLE.Net", "Ann.O'Neil+x=y", "example.net"),
        ("a@b", "a", "b"),
        ("a@[192.0.2.1]", "a", "[192.0.2.1]"),
        ("a@[ipv6:2001:DB8:0::1]", "a", "[IPv6:2001:db8::1]"),
        (r#""john doe"@example.net"#, "john doe", "example.net"),
        (r#""a\"b\\c@d"@example.net"#, r#"a"b\c@d"#, "example.net"),
        (r#""needless"@example.net"#, "needless", "example.net"),
        (r#"""@example.net"#, "", "example.net"),
        ("jürgen@bücher.example", "jürgen", "xn--bcher-kva.example"),
        ("用户@例え.example", "用户", "xn--r8jz45g.example"),
        ("Postmaster", "Postmaster", ""),
    ] {
        let mailbox = parsed(text);
        assert_eq!((&*mailbox.local_part, mailbox.domain.as_str()), (local_part, domain), "{text}");
        assert_eq!(parsed(&mailbox.to_string()), mailbox, "{text}");
    }
}

#[test]
fn what_is_no_mailbox_is_refused() {
    for text in [
        "",
        "@",
        "a",
        "a@",
        "@b",
        "a@b@c",
        ".a@b",
        "a.@b",
        "a..b@c",
        "a b@c",
        "a@b c",
        "a@b.",
        "a@.b",
        "a@b..c",
        "a@-b",
        "a@b-",
        "a@b_c",
        "a,b@c",
        "a@[192.0.2]",
        "a@[192.0.2.1",
        "a@[2001:db8::1]",
        "a@[IPv6:zz]",
        "a@[X-tag:1]",
        "\"a@b",
        "\"a\"b@c",
        "\"a\\\u{e9}\"@b",
        "\"a\tb\"@c",
        "a\r\n@b",
        "\"a\r\nb\"@c",
        "a@b\r\n",
        "a\0@b",
        "a\u{85}@b",
        "<a@b>",
        "postmaster@",
        "a@xn--\u{e9}",
    ] {
        assert!(matches!(Mailbox::parse(text, true), Err(Syntax(_))), "{text:?}");
    }
}

#[test]
fn beyond_ascii_only_where_it_was_negotiated() {
    for text in ["jürgen@example.net", "a@bücher.example", "\"ü\"@example.net"] {
        assert_eq!(Mailbox::parse(text, false), Err(NotAscii), "{text}");
        assert!(Mailbox::parse(text, true).is_ok(), "{text}");
    }
}

#[test]
fn lengths_are_those_of_the_standard() {
    let domain = format!("{}.{}", "d".repeat(63), "e".repeat(63));
    assert!(Mailbox::parse(&format!("{}@{domain}", "a".repeat(64)), false).is_ok());
    assert_eq!(Mailbox::parse(&format!("{}@{domain}", "a".repeat(65)), false), Err(TooLong("local part")));
    assert_eq!(Mailbox::parse(&format!("\"{}\"@b", "a ".repeat(32)), false), Err(TooLong("local part")));
    assert_eq!(Domain::parse(&"a".repeat(64)), Err(TooLong("label of the domain")));
    let long = vec!["a".repeat(50); 5].join(".");
    assert_eq!(long.len(), 254);
    assert!(Domain::parse(&long).is_ok());
    assert_eq!(Domain::parse(&format!("{long}.b")), Err(TooLong("domain")));
    assert_eq!(Mailbox::parse(&format!("x@{long}"), false), Err(TooLong("path")));
    assert!(Domain::parse(&"ü.".repeat(2000)).is_err());
}

#[test]
fn parts_from_outside_are_checked_and_rendering_is_safe_even_if_they_were_not() {
    assert_eq!(
        Mailbox::from_parts("a b", "example.net", false).map(|m| m.to_string()),
        Ok("\"a b\"@example.net".into())
    );
    for (local_part, domain) in [("a\r\nRCPT", "b"), ("a", "b>\r\n"), ("ü", "b"), ("a", ""), ("", "")] {
        assert!(Mailbox::from_parts(local_part, domain, false).is_err(), "{local_part:?} {domain:?}");
    }
    let hostile = Mailbox::new("a>\r\nDATA", Domain::parse("b").unwrap());
    assert_eq!(hostile.to_string(), "\"a>DATA\"@b");
}

#[test]
fn a_path_must_fit_as_it_will_be_written() {
    // With one octet more than the quotes leave: short enough as it came, too long with A-labels.
    let domain = |labels: usize| format!("bücher.{}", "abcd.".repeat(labels) + "abcdefg");
    let fits = Mailbox::parse(&format!("\"a b\"@{}", domain(45)), true).unwrap();
    assert_eq!(fits.to_string().len(), 252);
    for local in ["\"a bcde\"", "abcdefgh"] {
        assert_eq!(
            Mailbox::parse(&format!("{local}@{}", domain(45)), true),
            Err(AddressError::TooLong("path")),
            "{local}"
        );
    }
}

#[test]
fn literals_and_patterns() {
    let domain = |text| Domain::parse(text).unwrap();
    assert_eq!(domain("[192.0.2.1]").literal_ip(), Some(IpAddr::from([192, 0, 2, 1])));
    assert_eq!(domain("[IPv6:::1]").literal_ip(), Some("::1".parse().unwrap()));
    assert!(domain("[IPv6:::1]").is_literal() && !domain("example.net").is_literal());
    assert_eq!(domain("example.net").literal_ip(), None);
    assert_eq!(Domain::parse_pattern(".Example.net").unwrap().as_str(), ".example.net");
    assert!(Domain::parse_pattern(".[192.0.2.1]").is_err() && Domain::parse_pattern("..a").is_err());
}

#[test]
fn reverse_paths_are_written_in_brackets() {
    assert_eq!(ReversePath::default().to_string(), "<>");
    assert!(ReversePath::default().is_null());
    let path = ReversePath(Some(parsed("ann@example.net")));
    assert_eq!((path.to_string().as_str(), path.is_null()), ("<ann@example.net>", false));
}

proptest::proptest! {
    #[test]
    fn whatever_is_taken_is_read_back_the_same(text in "\\PC{0,12}@?[a-zA-Zü.\\-]{0,12}") {
        fuzz_address(text.as_bytes());
    }
}
