//! A body without some of its parts: octets that stay are copied as they are, a note stands where a part was. Pure.

/// What the new body is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Octets of the old body.
    Copy {
        offset: u32,
        count: u32,
    },
    Text(String),
}

/// The new body. `places` are parts from their first octet to their last, counted from the message's first, which has
/// `header` octets before its body and `size` in all. None where a place is not within the body, or two overlap.
pub(crate) fn plan(places: &[(usize, usize)], header: usize, size: usize, note: &str) -> Option<Vec<Piece>> {
    let mut places = places.to_vec();
    places.sort_unstable();
    places.dedup();
    let mut pieces = Vec::new();
    let mut at = header;
    for (from, to) in places {
        if from < at || to < from || to > size {
            return None;
        }
        pieces.extend(copy(at, from, header)?);
        pieces.push(Piece::Text(format!("Content-Type: text/plain; charset=utf-8\r\n\r\n{}", lines(note))));
        at = to;
    }
    pieces.extend(copy(at, size, header)?);
    Some(pieces)
}

/// Nothing, where there is nothing to copy; none where it is beyond numbers.
fn copy(from: usize, to: usize, header: usize) -> Option<Option<Piece>> {
    let count = to.checked_sub(from)?;
    let offset = from.checked_sub(header)?;
    let piece = Piece::Copy { offset: u32::try_from(offset).ok()?, count: u32::try_from(count).ok()? };
    Some((count > 0).then_some(piece))
}

/// A text as mail writes it.
pub(crate) fn lines(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(places: &[(usize, usize)], header: usize, size: usize) -> Option<String> {
        let pieces = plan(places, header, size, "gone\nfor good")?;
        let shown = pieces.iter().map(|piece| match piece {
            Piece::Copy { offset, count } => format!("{offset}+{count}"),
            Piece::Text(text) => {
                assert_eq!(text, "Content-Type: text/plain; charset=utf-8\r\n\r\ngone\r\nfor good");
                "note".to_owned()
            }
        });
        Some(shown.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_stays_is_copied() {
        for (places, expected) in [
            (&[(50, 60)][..], Some("0+40 note 50+40")),
            (&[(70, 80), (50, 60), (50, 60)], Some("0+40 note 50+10 note 70+20")),
            (&[(10, 100)], Some("note")),
            (&[], Some("0+90")),
            (&[(50, 60), (55, 70)], None),
            (&[(5, 60)], None),
            (&[(50, 101)], None),
            (&[(60, 50)], None),
        ] {
            assert_eq!(made(places, 10, 100).as_deref(), expected, "{places:?}");
        }
    }
}
