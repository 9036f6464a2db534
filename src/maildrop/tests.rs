//! Files that come out as they went in, files that are none, and what a listener's answers come to.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::*;

const CONTENT: &[u8] = b"Subject: t\r\n\r\n.dot\r\nbody\r\n";

fn envelope() -> Envelope {
    let recipients = vec!["b@example.net".to_owned(), "c@example.net".to_owned()];
    Envelope { sender: "a@example.org".to_owned(), recipients, ..Envelope::default() }
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o3733))
}

fn group(folder: &Path) -> u32 {
    std::fs::metadata(folder).unwrap().gid()
}

#[test]
fn a_message_is_read_as_it_was_written_and_by_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let drop = folder.path().join("maildrop");
    make_folder(&drop).unwrap();
    let path = write(&drop, &envelope(), CONTENT).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(look(&drop).unwrap(), [path.clone()]);
    let found = open(&path, group(&drop), 1000).unwrap();
    assert_eq!((found.envelope, found.content.as_slice()), (envelope(), CONTENT));
    assert_eq!(found.owner, rustix::process::geteuid().as_raw());
    let absent = write(&folder.path().join("absent"), &envelope(), CONTENT).unwrap_err();
    assert!(matches!(absent, DropError::NoFolder(_)), "{absent}");
}

#[test]
fn a_folder_whose_files_would_be_taken_for_foreign_ones_keeps_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for mode in [0o1733, 0o2733, 0o777] {
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let refused = write(folder.path(), &envelope(), CONTENT).unwrap_err();
        assert!(matches!(refused, DropError::Unfit(_)), "{mode:o}: {refused}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn what_sendmail_did_not_write_there_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let drop = folder.path().join("maildrop");
    make_folder(&drop).unwrap();
    let group = group(&drop);
    let path = write(&drop, &envelope(), CONTENT).unwrap();
    assert_eq!(open(&path, group + 1, 1000).unwrap_err(), Refused::Foreign("it was not made here"));
    let (link, twin) = (drop.join("link.mail"), drop.join("twin.mail"));
    symlink(&path, &link).unwrap();
    assert_eq!(open(&link, group, 1000).unwrap_err(), Refused::Foreign("it is no file"));
    std::fs::hard_link(&path, &twin).unwrap();
    assert_eq!(open(&path, group, 1000).unwrap_err(), Refused::Foreign("it was not made here"));
    std::fs::remove_file(twin).unwrap();
    std::fs::create_dir(drop.join("folder.mail")).unwrap();
    assert_eq!(open(&drop.join("folder.mail"), group, 1000).unwrap_err(), Refused::Foreign("it is no file"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(open(&path, group, 1000).unwrap_err(), Refused::NotYet, "it is being written");
    assert_eq!(open(&drop.join("gone.mail"), group, 1000).unwrap_err(), Refused::NotYet);
}

#[test]
fn damage_is_told_and_nothing_is_read_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let drop = folder.path().join("maildrop");
    make_folder(&drop).unwrap();
    let whole = std::fs::read(write(&drop, &envelope(), CONTENT).unwrap()).unwrap();
    let path = drop.join("x.mail");
    let opened = |octets: &[u8], most| {
        std::fs::write(&path, octets).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        open(&path, group(&drop), most)
    };
    assert!(opened(&whole, 1000).is_ok());
    for len in 0..whole.len() {
        assert!(matches!(opened(&whole[..len], 1000), Err(Refused::Damaged(_))), "{len} octets");
    }
    assert!(matches!(
        opened(&vec![b'x'; 2 << 20], 1000),
        Err(Refused::Damaged("it is larger than any message may be"))
    ));
    let injected = String::from_utf8(whole.clone()).unwrap().replace("b@example.net", "b@example.net>\\r\\nDATA\\r\\n");
    assert_eq!(opened(injected.as_bytes(), 1000), Err(Refused::Damaged("its envelope is none")));
}

/// Hands the message to a listener that gives these answers, one to each command.
async fn answered(replies: &[&'static str]) -> (Result<Answer, HandOverError>, Vec<String>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut replies = replies.to_vec().into_iter();
    let listener = tokio::spawn(async move {
        let mut stream = BufReader::new(theirs);
        let (mut heard, mut data) = (Vec::new(), false);
        stream.write_all(b"220 relay.test ESMTP\r\n").await.unwrap();
        let mut line = String::new();
        while stream.read_line(&mut line).await.is_ok_and(|octets| octets > 0) {
            heard.push(line.trim_end().to_owned());
            let ends = if data { line == ".\r\n" } else { true };
            if ends && let Some(reply) = replies.next() {
                data = reply.starts_with("354");
                stream.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
            }
            line.clear();
        }
        heard
    });
    let answer = hand_over(ours, "host.test", &envelope(), CONTENT).await;
    (answer, listener.await.unwrap())
}

#[tokio::test]
async fn only_the_reply_after_the_data_takes_it() {
    let (answer, heard) =
        answered(&["250-relay.test\r\n250 SIZE 100", "250 ok", "250 ok", "550 5.1.1 no", "354 go", "250 2.0.0 ok id"])
            .await;
    let Ok(Answer::Taken { refused, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(refused.iter().map(|r| r.recipient.as_str()).collect::<Vec<_>>(), ["c@example.net"]);
    assert_eq!(heard[1], format!("MAIL FROM:<a@example.org> SIZE={}", CONTENT.len()));
    assert!(heard.contains(&"..dot".to_owned()), "{heard:?}");
}

#[tokio::test]
async fn a_recipient_that_may_come_later_makes_all_of_it_wait() {
    let (answer, heard) = answered(&["250 relay.test", "250 ok", "250 ok", "451 4.7.1 later"]).await;
    assert!(matches!(answer, Ok(Answer::Later(_))), "{answer:?}");
    assert!(!heard.contains(&"DATA".to_owned()), "nothing is taken: {heard:?}");
    let (answer, _) = answered(&["250 relay.test", "250 ok", "250 ok", "250 ok", "354 go", "552 5.3.4 too big"]).await;
    let Ok(Answer::Refused(refused)) = answer else { panic!("{answer:?}") };
    assert_eq!(refused.len(), 2);
    let (answer, _) = answered(&["250 relay.test", "250 ok", "550 5.1.1 no", "550 5.1.1 no"]).await;
    assert!(matches!(answer, Ok(Answer::Refused(refused)) if refused.len() == 2));
    let (answer, _) = answered(&["421 4.3.2 closing"]).await;
    assert!(matches!(answer, Ok(Answer::Later(_))), "{answer:?}");
}
