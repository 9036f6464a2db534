//! The language of scripted hosts: a table of what is done where, one line each.
//!
//! ```text
//! offer PIPELINING, SIZE 1000        instead of the usual extensions
//! lmtp                               LMTP is spoken
//! certificate expired                STARTTLS is offered; also: good, other (another host's)
//! account ann=secret                 AUTH is offered
//! STAGE [TEXT] [xN]: ACT; ACT        at this stage, in lines that have the text, the first N times: this instead
//! ```
//!
//! Stages: `connect banner ehlo helo starttls tls auth mail rcpt data body bdat dot rset quit`; `dot` comes after all of the
//! content and, in LMTP, for each recipient.
//! Acts: see [`Act`]. Without a rule that fits, a host does what a good host does.

/// What is done at a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// What a good host would do.
    Usual,
    /// `reply 550 5.1.1 no`: says this, `|` between the lines. What is good at the end of content is taken.
    Reply(String),
    /// Keeps the message, and says nothing yet.
    Take,
    /// Says nothing and does nothing until the other side leaves.
    Stall,
    /// Closes the connection.
    Drop,
    /// Closes it by a reset.
    Reset,
    /// Octets that are no reply.
    Garbage,
    /// The usual reply, each octet in a packet of its own.
    Slowly,
    /// The usual reply, an octet every so many milliseconds: `trickle 300`.
    Trickle(u64),
    /// The first half of the usual reply.
    Half,
    /// The usual reply, twice.
    Twice,
    /// Lines of a reply without a last one, for as long as they are read.
    Endless,
    /// `long 5000`: a reply with a line of so many octets.
    Long(usize),
    /// `read 10000`: so many octets of what comes.
    Read(usize),
    /// Waits until the test says so.
    Wait,
}

/// A line of the table.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) stage: String,
    text: String,
    times: usize,
    pub(super) acts: Vec<Act>,
}

/// Which certificate a host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Good,
    Expired,
    Other,
}

/// The table of one host.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) offer: Vec<String>,
    pub(super) lmtp: bool,
    pub(super) certificate: Option<Shown>,
    pub(super) account: Option<(String, String)>,
    rules: Vec<Rule>,
}

/// Offered where nothing is said.
const OFFER: &str = "PIPELINING, 8BITMIME, SMTPUTF8, ENHANCEDSTATUSCODES, SIZE 0, DSN, CHUNKING";

impl Script {
    pub(super) fn parse(text: &str) -> Self {
        let mut script = Self { offer: list(OFFER), lmtp: false, certificate: None, account: None, rules: Vec::new() };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "offer" => script.offer = list(rest),
                "lmtp" => script.lmtp = true,
                "certificate" => {
                    script.certificate = Some(match rest {
                        "good" => Shown::Good,
                        "expired" => Shown::Expired,
                        "other" => Shown::Other,
                        _ => panic!("no such certificate: {line}"),
                    });
                }
                "account" => script.account = rest.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned())),
                _ => script.rules.push(Rule::parse(line)),
            }
        }
        script
    }

    /// What a good host does, from now on.
    pub(super) fn forget_rules(&mut self) {
        self.rules.clear();
    }

    /// What is to be done here.
    pub(super) fn acts(&mut self, stage: &str, line: &str) -> Vec<Act> {
        let fits = |rule: &&mut Rule| rule.stage == stage && rule.times > 0 && line.contains(&rule.text);
        match self.rules.iter_mut().find(fits) {
            Some(rule) => {
                rule.times -= 1;
                rule.acts.clone()
            }
            None => vec![Act::Usual],
        }
    }
}

impl Rule {
    fn parse(line: &str) -> Self {
        let (when, acts) = line.split_once(": ").unwrap_or_else(|| panic!("no rule: {line}"));
        let mut words: Vec<&str> = when.split(' ').collect();
        let stage = words.remove(0).to_owned();
        let times = match words.last().and_then(|word| word.strip_prefix('x')?.parse().ok()) {
            Some(times) => {
                words.pop();
                times
            }
            None => usize::MAX,
        };
        let acts = acts.split("; ").map(|act| Act::parse(act, line)).collect();
        Self { stage, text: words.join(" "), times, acts }
    }
}

impl Act {
    fn parse(text: &str, line: &str) -> Self {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let number = || rest.parse::<usize>().unwrap_or_else(|_| panic!("no number: {line}"));
        match word {
            "usual" => Self::Usual,
            "reply" => Self::Reply(rest.replace('|', "\r\n")),
            "take" => Self::Take,
            "stall" => Self::Stall,
            "drop" => Self::Drop,
            "reset" => Self::Reset,
            "garbage" => Self::Garbage,
            "slowly" => Self::Slowly,
            "trickle" => Self::Trickle(number() as u64),
            "half" => Self::Half,
            "twice" => Self::Twice,
            "endless" => Self::Endless,
            "long" => Self::Long(number()),
            "read" => Self::Read(number()),
            "wait" => Self::Wait,
            _ => panic!("no such act: {line}"),
        }
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(", ").filter(|one| !one.is_empty()).map(str::to_owned).collect()
}
