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
