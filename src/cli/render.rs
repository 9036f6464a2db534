//! Text for people: tables, ages, sizes; lists as JSON. What came from the network is made safe for a terminal here.

use std::fmt::Write as _;
use std::io;

/// Control characters, which could rewrite a terminal, become visible; a tab becomes a space.
pub(super) fn clean(text: &str) -> String {
    let safe = |c: char| match c {
        '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(safe).collect()
}

/// A JSON array written element by element, one a line: as many as there are, none kept.
#[derive(Debug)]
pub(super) struct Elements {
    separator: &'static str,
}

impl Elements {
    pub(super) fn start(out: &mut dyn io::Write) -> io::Result<Self> {
        out.write_all(b"[")?;
        Ok(Self { separator: "\n" })
    }

    pub(super) fn add(&mut self, element: &serde_json::Value, out: &mut dyn io::Write) -> io::Result<()> {
        write!(out, "{}{element}", self.separator)?;
        self.separator = ",\n";
        Ok(())
    }

    pub(super) fn end(self, out: &mut dyn io::Write) -> io::Result<()> {
        out.write_all(b"\n]\n")
    }
}

/// Lines, each made safe.
pub(super) fn lines(texts: &[String]) -> String {
    texts.iter().map(|text| clean(text)).collect::<Vec<_>>().join("\n")
}

/// `12s`, `4m`, `3h 10m`, `2d 4h`: two units at most, for people who scan a column.
pub(super) fn age(secs: u64) -> String {
    let (days, hours, minutes) = (secs / 86400, secs / 3600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs}s"),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, 0) => format!("{hours}h"),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, 0, _) => format!("{days}d"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// `812 B`, `4.2 KiB`, `20.0 MiB`.
pub(super) fn size(octets: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.iter().find(|(_, shift)| octets >> shift > 0) {
        // Ten times the amount fits: the largest is below 2^64 / 2^10.
        Some((unit, shift)) => {
            let tenths = ((octets >> (shift - 10)) * 10) >> 10;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{octets} B"),
    }
}

/// `1 message`, `5 messages`.
pub(super) fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// At most so many characters, the last of them `…` where something was cut off.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Columns as wide as they have to be, two spaces between. The last one is not padded.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let cell = |row: &Vec<String>, at: usize| row.get(at).map_or(0, |cell| cell.chars().count());
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(at, head)| rows.iter().map(|row| cell(row, at)).max().unwrap_or(0).max(head.chars().count()))
        .collect();
    let mut text = String::new();
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    for row in std::iter::once(&heads).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Infallible for a String.
            let _ = write!(line, "{:width$}  ", clean(cell));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes() {
        let ages = [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3599, "59m"),
            (3600, "1h"),
            (11_400, "3h 10m"),
            (90_000, "1d 1h"),
            (864_000, "10d"),
        ];
        for (secs, expected) in ages {
            assert_eq!(age(secs), expected);
        }
        let sizes = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (4300, "4.1 KiB"),
            (20 << 20, "20.0 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ];
        for (octets, expected) in sizes {
            assert_eq!(size(octets), expected);
        }
    }

    #[test]
    fn tables_are_aligned_and_safe() {
        let rows = vec![vec!["a".to_owned(), "long enough".to_owned()], vec!["\u{1b}[2Jé".to_owned(), String::new()]];
        insta::assert_snapshot!(table(&["ID", "WHAT"], &rows), @"
        ID     WHAT
        a      long enough
        �[2Jé
        ");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcd", 4), "abcd");
    }
}
