//! What may be written after `waypost queue`.

use clap::{Args, Subcommand};

use super::ban::seconds;
use crate::admin::FilterForm;
use crate::mail::QueueId;

const LANGUAGE: &str = "FILTER is a text such as  domain = example.org and age > 2h and not held  (docs/queue.md has \
                        all of it); quote it where the shell would read it. Instead of it, queue ids.";

#[derive(Debug, Subcommand)]
#[command(after_help = LANGUAGE)]
pub(super) enum Queue {
    /// List messages, oldest first.
    List {
        #[command(flatten)]
        filter: Filter,
        /// At most so many.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Count messages, recipients and octets.
    Count {
        #[command(flatten)]
        filter: Filter,
    },
    /// Show where messages wait to go, by age: a line for each destination.
    Summary {
        #[command(flatten)]
        filter: Filter,
        /// What to count by: domain, sender-domain, next-hop, tenant, campaign, last-reply.
        #[arg(long, value_name = "FIELD", default_value = "domain")]
        by: String,
        /// At most so many lines.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// Show one message: envelope, recipients, why they wait and what became of them, header section.
    Show {
        /// Its queue id.
        #[arg(value_parser = queue_id)]
        id: String,
    },
    /// Print the content of one message, as it would be sent.
    Cat {
        /// Its queue id.
        #[arg(value_parser = queue_id)]
        id: String,
    },
    /// Make recipients due at once.
    Retry {
        #[command(flatten)]
        which: Which,
        /// Forget where plugins routed them and ask anew.
        #[arg(long)]
        reroute: bool,
    },
    /// Try recipients at another time.
    #[command(group = clap::ArgGroup::new("when").required(true).multiple(true).args(["at", "within", "spread"]))]
    Reschedule {
        #[command(flatten)]
        which: Which,
        /// Not before: 2026-11-27T08:00:00Z.
        #[arg(long, value_name = "TIME", conflicts_with = "within")]
        at: Option<String>,
        /// Not before so long from now: 90s, 15m, 12h, 7d.
        #[arg(long = "in", id = "within", value_name = "TIME", value_parser = seconds)]
        within: Option<u64>,
        /// Spread by chance over so long from then on.
        #[arg(long, value_name = "TIME", value_parser = seconds)]
        spread: Option<u64>,
    },
    /// Send recipients another way: ask plugins and the routing table anew, or as you say.
    Reroute {
        #[command(flatten)]
        which: Which,
        /// A route as it is written in the configuration, such as smtp://mail.example.org:25.
        #[arg(long, value_name = "ROUTE")]
        to: Option<String>,
    },
    /// Keep recipients from being tried until they are released.
    Hold {
        #[command(flatten)]
        which: Which,
        /// Why; shown with them.
        #[arg(long, value_name = "TEXT", default_value = "held by the operator")]
        reason: String,
        #[command(flatten)]
        coming: Coming,
    },
    /// End a hold; the recipients are due at once.
    Release {
        #[command(flatten)]
        which: Which,
    },
    /// Give recipients up; their senders are told.
    Bounce {
        #[command(flatten)]
        which: Which,
        /// What the sender is told.
        #[arg(long, value_name = "TEXT", default_value = "given up by the operator of this relay")]
        reason: String,
        #[command(flatten)]
        coming: Coming,
        #[command(flatten)]
        sure: Sure,
    },
    /// Drop recipients for good, without a bounce.
    #[command(alias = "remove")]
    Drop {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        sure: Sure,
    },
    /// Suspend delivery: recipients that match wait, those to come as well, until it is resumed or its time is over.
    Suspend {
        #[command(flatten)]
        which: Which,
        /// Why; shown with them.
        #[arg(long, value_name = "TEXT", default_value = "suspended by the operator")]
        reason: String,
        /// So long: 90s, 15m, 12h, 7d. Without it, until it is resumed.
        #[arg(long = "for", id = "time", value_name = "TIME", value_parser = seconds)]
        time: Option<u64>,
    },
    /// Lift suspensions, and rules that hold or bounce mail to come.
    Resume {
        /// Their numbers, as `waypost queue suspensions` shows them.
        #[arg(value_name = "NUMBER", required_unless_present = "all")]
        numbers: Vec<u32>,
        /// All there are.
        #[arg(long, conflicts_with = "numbers")]
        all: bool,
    },
    /// List suspensions, and rules that hold or bounce mail to come.
    Suspensions,
}

/// Whether mail to come is meant as well.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Coming {
    /// Also mail that is still to come, until `waypost queue resume`.
    #[arg(long)]
    pub(super) coming: bool,
    /// Also mail that comes within this time: 90s, 15m, 12h, 7d.
    #[arg(long = "for", id = "time", value_name = "TIME", value_parser = seconds)]
    pub(super) time: Option<u64>,
}

impl Coming {
    pub(super) fn is_meant(self) -> bool {
        self.coming || self.time.is_some()
    }
}

/// Of what can't be taken back.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct Sure {
    /// Do not ask whether it is meant.
    #[arg(long)]
    pub(super) yes: bool,
}

/// Which messages a list shows.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Filter {
    /// Which recipients, in the filter language; or queue ids.
    #[arg(value_name = "FILTER|ID")]
    words: Vec<String>,
    /// Whose reverse-path contains this.
    #[arg(long, value_name = "TEXT")]
    sender: Option<String>,
    /// Recipients that contain this.
    #[arg(long, value_name = "TEXT")]
    recipient: Option<String>,
    /// Recipients of this domain.
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// Held ones only.
    #[arg(long)]
    held: bool,
}

/// Which recipients a command changes: some condition, or all of them by name.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true)
    .args(["words", "sender", "recipient", "domain", "held", "all"]))]
pub(super) struct Which {
    #[command(flatten)]
    pub(super) filter: Filter,
    /// Every message there is.
    #[arg(long, conflicts_with_all = ["words", "sender", "recipient", "domain", "held"])]
    pub(super) all: bool,
    /// Only show how many it would be.
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl From<Filter> for FilterForm {
    fn from(filter: Filter) -> Self {
        let Filter { words, sender, recipient, domain, held } = filter;
        let ids = !words.is_empty() && words.iter().all(|word| word.parse::<QueueId>().is_ok());
        let (ids, text) = if ids { (words, None) } else { (Vec::new(), Some(words.join(" "))) };
        let text = text.filter(|text| !text.is_empty());
        Self { text, ids, sender, recipient, domain, held: held.then_some(true) }
    }
}

fn queue_id(text: &str) -> Result<String, String> {
    text.parse::<QueueId>().map(|id| id.to_string()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Command};

    /// The words of a command line, as a shell would have them.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
        for c in line.chars() {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (None, '\'' | '"') => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                (None, ' ') => words.extend(word.take()),
                (_, c) => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word);
        words
    }

    fn blocks<'a>(page: &'a str, of: &'a str) -> impl Iterator<Item = &'a str> {
        page.split("\n```").skip(1).step_by(2).filter_map(move |block| block.strip_prefix(of)).flat_map(str::lines)
    }

    #[test]
    fn every_example_of_the_page_is_understood() {
        let page = include_str!("../../docs/queue.md");
        let mut seen = 0;
        for line in blocks(page, "console").filter(|line| !line.is_empty()) {
            let cli = Cli::try_parse_from(words(line)).unwrap_or_else(|error| panic!("{line}: {error}"));
            let filter = match cli.command {
                Command::Queue(
                    Queue::List { filter, .. } | Queue::Count { filter } | Queue::Summary { filter, .. },
                ) => filter,
                Command::Queue(
                    Queue::Retry { which, .. }
                    | Queue::Reschedule { which, .. }
                    | Queue::Reroute { which, .. }
                    | Queue::Hold { which, .. }
                    | Queue::Release { which }
                    | Queue::Bounce { which, .. }
                    | Queue::Drop { which, .. }
                    | Queue::Suspend { which, .. },
                ) => which.filter,
                _ => Filter::default(),
            };
            FilterForm::from(filter).filter().unwrap_or_else(|error| panic!("{line}: {error}"));
            seen += 1;
        }
        for line in blocks(page, "filter").filter(|line| !line.is_empty()) {
            FilterForm::text(line).filter().unwrap_or_else(|error| panic!("{line}: {error}"));
            seen += 1;
        }
        assert!(seen > 40, "only {seen} examples");
    }

    #[test]
    fn ids_and_filters_are_told_apart() {
        let form = |words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            FilterForm::from(Filter { words, ..Filter::default() })
        };
        assert_eq!(form(&["0000000000001", "0000000000002"]).ids.len(), 2);
        assert_eq!(form(&["domain", "=", "x.test"]).text.as_deref(), Some("domain = x.test"));
        assert!(form(&[]).is_empty());
        assert!(form(&["0000000000001", "held"]).filter().unwrap_err().contains("at column 1"));
    }
}
