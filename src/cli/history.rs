//! `waypost history`: messages that left the queue.

use std::fmt::Write as _;
use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::args::Common;
use super::ban::seconds;
use super::render::{Elements, clean};
use super::{Failure, connect};
use crate::admin::HistoryForm;

/// Which messages; all that is given must hold.
#[derive(Debug, Default, Args)]
pub(super) struct History {
    /// A queue id.
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// Whose sender contains this.
    #[arg(long, value_name = "TEXT")]
    sender: Option<String>,
    /// With a recipient that contains this.
    #[arg(long, value_name = "TEXT")]
    recipient: Option<String>,
    /// With a recipient that was not delivered to.
    #[arg(long)]
    failed: bool,
    /// That left the queue not longer ago than this: 90s, 15m, 12h, 7d.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    since: Option<u64>,
    /// Longer ago than this.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    until: Option<u64>,
    /// The first ones that fit, instead of the last ones.
    #[arg(long)]
    oldest: bool,
    /// At most so many, up to 10,000.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

/// Shows them.
pub(super) async fn history(common: &Common, which: History, out: &mut dyn Write) -> Result<(), Failure> {
    let History { id, sender, recipient, failed, since, until, oldest, limit } = which;
    let form = HistoryForm { id, sender, recipient, failed, since_secs: since, until_secs: until, oldest, limit };
    let (messages, more) = connect(common).await?.history(form).await?;
    if common.json {
        let mut elements = Elements::start(out)?;
        messages.iter().try_for_each(|message| elements.add(&json!(message), out))?;
        return Ok(elements.end(out)?);
    }
    messages.iter().try_for_each(|message| out.write_all(show(message).as_bytes()))?;
    if more {
        writeln!(out, "there are more: say --limit, or be more exact")?;
    }
    if messages.is_empty() { Err(Failure::refused("waypost: nothing in the history fits")) } else { Ok(()) }
}

/// One message.
pub(super) fn show(message: &Value) -> String {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(clean).unwrap_or_default();
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut shown = String::new();
    let (id, time, sender, hop) =
        (text(message, "queue_id"), text(message, "time"), text(message, "sender"), text(message, "hop"));
    let way = if hop.is_empty() { String::new() } else { format!(" by {hop}") };
    // Infallible for a String, here and below.
    let _ = writeln!(shown, "{time} {id} from {sender}{way}");
    for one in list(message, "recipients") {
        for before in list(&one, "before") {
            let (at, hop, stage, said) =
                (text(&before, "at"), text(&before, "hop"), text(&before, "stage"), text(&before, "said"));
            let _ = writeln!(shown, "  before {at}, {hop}, at {stage}: {said}");
        }
        let (address, became, reply) = (text(&one, "address"), text(&one, "became"), text(&one, "reply"));
        let error = text(&one, "error");
        let error = if error.is_empty() { error } else { format!(" ({error})") };
        let _ = writeln!(shown, "  {address}: {became}: {reply}{error}");
    }
    for line in list(message, "dialogue") {
        let _ = writeln!(shown, "    {}", clean(line.as_str().unwrap_or_default()));
    }
    shown
}
