//! The language of the transcripts in `tests/dialogues`, which its README describes: what the two players of them share.
//! Reads and takes apart, never plays; the player of the pure session includes this file by its path.

use std::path::Path;

/// One transcript.
pub(crate) struct Script {
    /// Of the file, without `.smtp`.
    pub(crate) name: String,
    /// What stands behind `set: `.
    pub(crate) settings: Vec<String>,
    /// The lines below, in order.
    pub(crate) steps: Vec<Step>,
}

/// One line that does something.
pub(crate) struct Step {
    /// Counted from one.
    pub(crate) line: usize,
    /// Before the colon.
    pub(crate) word: String,
    /// After the colon and the space.
    pub(crate) rest: String,
}

impl Script {
    /// All there are, by name.
    pub(crate) fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "smtp")).collect();
        paths.sort();
        let read = |path: &std::path::PathBuf| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            Self::parse(name, &std::fs::read_to_string(path).unwrap())
        };
        paths.iter().map(read).collect()
    }

    fn parse(name: String, text: &str) -> Self {
        let mut script = Self { name, settings: Vec::new(), steps: Vec::new() };
        for (line, text) in (1..).zip(text.lines()) {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let (word, rest) = text.split_once(": ").unwrap_or_else(|| panic!("{}:{line}: {text:?}?", script.name));
            // `S*9: text` is the same line, nine times.
            let (word, times) = word.split_once('*').map_or((word, 1), |(word, times)| (word, times.parse().unwrap()));
            if word == "set" {
                assert!(script.steps.is_empty(), "{}:{line}: settings come first", script.name);
                script.settings.push(rest.into());
            } else {
                let step = || Step { line, word: word.into(), rest: rest.into() };
                script.steps.extend(std::iter::repeat_with(step).take(times));
            }
        }
        script
    }

    /// True if this is among its settings.
    pub(crate) fn is_set(&self, setting: &str) -> bool {
        self.settings.iter().any(|one| one == setting)
    }

    /// How the client's octets are cut: as written, and in small pieces where the standard does not make packets matter.
    pub(crate) fn pieces(&self) -> &'static [usize] {
        if self.is_set("packets-matter") { &[usize::MAX] } else { &[usize::MAX, 1, 3] }
    }
}

/// The commands that lead to where a `go:` line wants to be.
pub(crate) fn way(to: &str) -> Vec<&'static str> {
    const WAY: [&str; 4] =
        ["EHLO client.example", "MAIL FROM:<ann@client.example>", "RCPT TO:<bob@example.net>", "DATA"];
    let (steps, hello) = match to {
        "ehlo" => (1, WAY[0]),
        "mail" => (2, WAY[0]),
        "rcpt" => (3, WAY[0]),
        "data" => (4, WAY[0]),
        "lhlo" => (1, "LHLO client.example"),
        "lmtp-mail" => (2, "LHLO client.example"),
        "lmtp-rcpt" => (3, "LHLO client.example"),
        "lmtp-data" => (4, "LHLO client.example"),
        _ => panic!("where is {to}?"),
    };
    [&[hello], &WAY[1..steps]].concat()
}

/// True if this was wanted; `…` at the end of what was wanted is any rest.
pub(crate) fn is_wanted(got: &str, wanted: &str) -> bool {
    wanted.strip_suffix('…').map_or(got == wanted, |start| got.starts_with(start))
}

/// The octets of a text with escapes.
pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('r')) => octets.push(b'\r'),
            ('\\', Some('n')) => octets.push(b'\n'),
            ('\\', Some('t')) => octets.push(b'\t'),
            ('\\', Some('\\')) => octets.push(b'\\'),
            ('\\', Some('x')) => {
                let hex: String = chars.by_ref().take(2).collect();
                octets.push(u8::from_str_radix(&hex, 16).unwrap());
            }
            // `\*n*text*` is `text`, n times; `\#` in it is which time, from one.
            ('\\', Some('*')) => {
                let rest: String = chars.by_ref().collect();
                let mut parts = rest.splitn(3, '*');
                let times: usize = parts.next().unwrap().parse().unwrap();
                let text = parts.next().unwrap();
                (1..=times).for_each(|n| octets.extend_from_slice(&unescape(&text.replace("\\#", &n.to_string()))));
                octets.extend_from_slice(&unescape(parts.next().unwrap()));
                return octets;
            }
            ('\\', other) => panic!("what is \\{other:?}?"),
            (c, _) => octets.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    octets
}

/// Octets as a transcript writes them.
pub(crate) fn escape(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).replace('\\', "\\\\").replace('\r', "\\r").replace('\n', "\\n").replace('\t', "\\t")
}
