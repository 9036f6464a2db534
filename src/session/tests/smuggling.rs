//! Whatever stands between DATA and the end of the data: the session sees the messages that RFC 5321 sees, and no others.

use proptest::prelude::*;

use super::dialogues::Player;

const ENVELOPE: &str = "MAIL FROM:<ann@client.example>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n";
const HEADER: &[u8] = b"Subject: a\r\n\r\n";

/// What a reader makes of the octets behind 354 who knows CRLF and nothing else (RFC 5321 sections 2.3.8, 4.1.1.4, 4.5.2).
#[derive(Debug, Default, PartialEq)]
struct Read {
    /// Of each message that had its end, transparency undone.
    messages: Vec<Vec<u8>>,
}

fn read(octets: &[u8]) -> Read {
    let (mut read, mut content, mut in_data, mut envelope) = (Read::default(), Vec::new(), true, 0);
    for line in lines(octets) {
        match (in_data, line) {
            (true, b".\r\n") => {
                read.messages.push(std::mem::take(&mut content));
                (in_data, envelope) = (false, 0);
            }
            (true, line) => content.extend_from_slice(line.strip_prefix(b".").unwrap_or(line)),
            (false, b"MAIL FROM:<ann@client.example>\r\n") => envelope = envelope.max(1),
            (false, b"RCPT TO:<bob@example.net>\r\n") if envelope > 0 => envelope = 2,
            (false, b"DATA\r\n") => in_data = envelope == 2,
            (false, _) => {}
        }
    }
    read
}

/// Up to CRLF, whatever else is in a line.
fn lines(octets: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = octets;
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let (line, behind) = rest.split_at(end + 2);
        lines.push(line);
        rest = behind;
    }
    lines
}

/// CR and LF that are not together.
fn has_bare(octets: &[u8]) -> bool {
    let rest = octets.windows(2).filter(|two| two == b"\r\n").count();
    octets.iter().filter(|octet| matches!(octet, b'\r' | b'\n')).count() != 2 * rest
}

/// The bodies that a session asks about.
fn asked(octets: &[u8], piece: usize) -> Vec<String> {
    let mut player = Player::new(&["max-errors=1000", "max-transactions=1000"], usize::MAX);
    player.pump();
    player.send(b"EHLO client.example\r\n");
    player.send(ENVELOPE.as_bytes());
    player.piece = piece;
    player.send(octets);
    player.acts.iter().filter_map(|act| act.strip_prefix("body ")).map(ToOwned::to_owned).collect()
}

fn octets() -> impl Strategy<Value = Vec<u8>> {
    let part = prop::sample::select(vec![
        "\r",
        "\n",
        "\0",
        ".",
        "x",
        "\r\n",
        "\r\n",
        ".\r\n",
        "\r\n.\r\n",
        "\n.\n",
        "\r.\r",
        "\n.\r\n",
        "\r\n.\n",
        "..",
        "RSET\r\n",
        ENVELOPE,
        "Subject: b\r\n\r\n",
    ]);
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat().into_bytes())
}

proptest! {
    #[test]
    fn no_more_messages_than_the_standard_sees(between in octets(), piece in 1usize..40) {
        let sent = [HEADER, &between, b"\r\n.\r\n"].concat();
        let seen = read(&sent);
        let asked = asked(&sent, piece);
        prop_assert!(asked.len() <= seen.messages.len(), "{asked:?} of {seen:?}");
    }

    #[test]
    fn the_first_message_is_taken_whole_or_refused_for_what_is_in_it(between in octets(), piece in 1usize..40) {
        let sent = [HEADER, &between, b"\r\n.\r\n"].concat();
        let first = read(&sent).messages.swap_remove(0);
        let asked = asked(&sent, piece);
        if !has_bare(&first) && !first.contains(&0) {
            prop_assert_eq!(asked.first(), Some(&body_of(&first)));
        }
    }

    #[test]
    fn nothing_of_a_refused_message_is_kept(between in "[\r\n.x]{0,9}", piece in 1usize..9) {
        let sent = [HEADER, between.as_bytes(), b"\r\n.\r\n"].concat();
        prop_assume!(has_bare(&read(&sent).messages[0]));
        prop_assert_eq!(asked(&sent, piece), Vec::<String>::new());
    }
}

/// Below the first empty line, as the player writes it.
fn body_of(message: &[u8]) -> String {
    let text = String::from_utf8(message.to_vec()).unwrap();
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    super::dialogues::script::escape(body.as_bytes())
}
