use super::*;

const BLOCK: &str = "Received: from a\r\n\tby b; now\r\nSubject:  hello\r\n world \r\nX-Eight: \u{fc}\r\nsubject:\r\n";

fn header() -> Header {
    Header::parse(Bytes::from_static(BLOCK.as_bytes()))
}

fn edited(edits: &[HeaderEdit]) -> Result<String, HeaderError> {
    header().edit(edits).map(|h| String::from_utf8(h.block().to_vec()).unwrap())
}

fn text(text: &str) -> Arc<str> {
    text.into()
}

#[test]
fn fields_are_found_and_octets_kept() {
    let header = header();
    assert_eq!(header.block(), BLOCK.as_bytes());
    let seen: Vec<_> = header.fields().map(|f| (f.index, f.name.to_owned(), f.unfolded())).collect();
    let wanted = [
        (0, "Received", "from a\tby b; now"),
        (1, "Subject", "hello world"),
        (2, "X-Eight", "\u{fc}"),
        (3, "subject", ""),
    ];
    assert_eq!(seen, wanted.map(|(index, name, value)| (index, name.to_owned(), value.to_owned())));
    assert_eq!(header.field(1).unwrap().raw, b"  hello\r\n world ");
    assert!(header.field(4).is_none() && header.field(3).unwrap().is_named("SUBJECT"));
    assert_eq!(header.first("SUBJECT").map(|f| f.index), Some(1));
}

#[test]
fn what_is_no_utf8_is_shown_as_such() {
    let header = Header::parse(Bytes::from_static(b"A: x\xffy\r\n"));
    assert_eq!(header.field(0).unwrap().unfolded(), "x\u{fffd}y");
}

#[test]
fn edits_touch_their_field_only() {
    let edits = [
        HeaderEdit::Prepend { name: text("P1"), value: text("1") },
        HeaderEdit::Append { name: text("A1"), value: text("1") },
        HeaderEdit::Replace { index: 1, value: text("first") },
        HeaderEdit::Remove { index: 3 },
        HeaderEdit::Replace { index: 1, value: text("last") },
        HeaderEdit::Prepend { name: text("P2"), value: text("2") },
        HeaderEdit::Append { name: text("A2"), value: text("2") },
    ];
    let wanted =
        "P2: 2\r\nP1: 1\r\nReceived: from a\r\n\tby b; now\r\nSubject: last\r\nX-Eight: \u{fc}\r\nA1: 1\r\nA2: 2\r\n";
    assert_eq!(edited(&edits), Ok(wanted.into()));
    assert_eq!(edited(&[]), Ok(BLOCK.into()));
}

#[test]
fn edits_can_not_break_out() {
    let append = |name: &str, value: &str| HeaderEdit::Append { name: name.into(), value: value.into() };
    for name in ["", "a b", "a:", "\u{fc}", "a\r\nb", &"x".repeat(79)] {
        assert_eq!(edited(&[append(name, "v")]), Err(HeaderError::Name), "{name:?}");
    }
    for value in ["a\r\nb", "a\n", "\0", "\u{85}", "\u{7f}", &"x".repeat(VALUE_MAX + 1)] {
        assert_eq!(edited(&[append("N", value)]), Err(HeaderError::Value), "{value:?}");
    }
    assert_eq!(edited(&[HeaderEdit::Remove { index: 4 }]), Err(HeaderError::Index));
    assert_eq!(edited(&[HeaderEdit::Replace { index: 0, value: "a\r\n".into() }]), Err(HeaderError::Value));
    assert!(edited(&[append("N", "tab\tis fine")]).is_ok());
}

#[test]
fn lines_of_no_field_stay_but_are_not_counted() {
    let block = "rubbish\r\nA: 1\r\nmore rubbish\r\n of the same\r\nB: 2";
    let header = Header::parse(Bytes::from_static(block.as_bytes()));
    assert_eq!(header.fields().map(|f| f.name.to_owned()).collect::<Vec<_>>(), ["A", "B"]);
    assert_eq!(header.field(0).unwrap().unfolded(), "1");
    assert_eq!(header.edit(&[HeaderEdit::Remove { index: 0 }]).unwrap().block(), &block.replace("A: 1\r\n", ""));
}
