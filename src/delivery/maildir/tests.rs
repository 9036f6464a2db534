//! Into real folders.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::mail::{Domain, Mailbox};

fn recipient(local: &str, domain: &str) -> Recipient {
    let mailbox = Mailbox::new(local, Domain::parse(domain).unwrap());
    Recipient { index: 0, original: mailbox.clone(), mailbox, params: vec![] }
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
}

async fn deliver(template: &Path, recipient: &Recipient, body: Content) -> io::Result<()> {
    let sender = ReversePath(Some(Mailbox::parse("s@example.org", false).unwrap()));
    let head = Bytes::from_static(b"Subject: x\r\n\r\n");
    deliver_to_maildir(template, recipient, &sender, &head, &body, "relay.example").await
}

#[tokio::test]
async fn a_message_stands_in_new_whole_and_with_unix_line_ends() {
    let root = tempfile::tempdir().unwrap();
    let template = root.path().join("{domain}/{local}/Maildir");
    let body = Content::Memory(Bytes::from_static(b"a\r\n.b\rc\nd\r\r\n\r\ne\r"));
    for _ in 0..2 {
        deliver(&template, &recipient("Ann", "x.example"), body.clone()).await.unwrap();
    }
    let folder = root.path().join("x.example/ann/Maildir");
    assert_eq!(names(&folder).len(), 3);
    assert!(names(&folder.join("tmp")).is_empty() && names(&folder.join("cur")).is_empty());
    let new = names(&folder.join("new"));
    assert_eq!(new.len(), 2);
    for path in new {
        let text = fs::read_to_string(&path).unwrap();
        let top = "Return-Path: <s@example.org>\nDelivered-To: Ann@x.example\nSubject: x\n\n";
        assert_eq!(text, format!("{top}a\n.b\rc\nd\r\n\ne\r"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(path.to_str().unwrap().ends_with(".relay.example"));
    }
}

#[tokio::test]
async fn a_failure_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let body = || Content::Memory(Bytes::new());
    deliver(root.path(), &recipient("a", "x.example"), body()).await.unwrap();
    let new = root.path().join("new");
    fs::remove_dir_all(&new).unwrap();
    fs::write(&new, "in the way").unwrap();
    assert!(deliver(root.path(), &recipient("a", "x.example"), body()).await.is_err());
    assert!(names(&root.path().join("tmp")).is_empty());
}

#[test]
fn no_recipient_leaves_its_folder() {
    let table = [
        ("../../etc/passwd", "%2e.%2f..%2fetc%2fpasswd"),
        ("..", "%2e."),
        (".", "%2e"),
        (".hidden", "%2ehidden"),
        ("a/b", "a%2fb"),
        ("a\0b", "a%00b"),
        ("a b%", "a%20b%25"),
        ("{domain}", "%7bdomain%7d"),
        ("Élan", "élan"),
        ("first.last+tag", "first.last+tag"),
    ];
    for (local, want) in table {
        let folder = folder(Path::new("/mail/{local}"), &recipient(local, "x.example")).unwrap();
        assert_eq!(folder, Path::new("/mail").join(want), "{local}");
    }
    let literal = folder(Path::new("/mail/{domain}"), &recipient("a", "[192.0.2.1]")).unwrap();
    assert_eq!(literal, Path::new("/mail/%5b192.0.2.1%5d"));
    let mixed = folder(Path::new("{x}/u-{local}-{domain}-{"), &recipient("a", "b.example")).unwrap();
    assert_eq!(mixed, Path::new("{x}/u-a-b.example-{"));
}

#[test]
fn a_name_that_is_none_is_refused() {
    for local in ["", &"/".repeat(100)] {
        assert!(folder(Path::new("/mail/{local}"), &recipient(local, "x.example")).is_err(), "{local:?}");
    }
}

#[test]
fn pieces_do_not_matter_to_line_ends() {
    let text = b"a\r\nb\r\r\n\r\n\rc\n\r\n\r";
    let want = b"a\nb\r\n\n\rc\n\n\r";
    for step in 1..=text.len() {
        let mut lines = Lines { out: Vec::new(), cr: false };
        for piece in text.chunks(step) {
            lines.write(piece).unwrap();
            lines.write(b"").unwrap();
        }
        lines.last().unwrap();
        assert_eq!(lines.out, want, "by {step}");
    }
}
