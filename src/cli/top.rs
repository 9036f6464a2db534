//! `waypost top`: the relay on one screen, drawn anew every few seconds.
//!
//! Plain ANSI: the alternate screen while it lasts, and the terminal as it was afterwards.

use std::io::{self, IsTerminal as _, Read as _, Write};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::{Value, json};

use super::args::Common;
use super::queue_summary::{collect, total};
use super::render::{age, clean, count, cut, size, table};
use super::{Failure, socket};
use crate::admin::{Client, FilterForm, Status, SummaryRow};

/// Steps of counting at each look: a queue of some hundred thousand messages; of a larger one, the first of them.
const STEPS: usize = 50;

/// Heads of the columns by age: younger than 10 minutes, than 80, than 640, and all others.
const AGES: [(&str, std::ops::Range<usize>); 4] = [("10m", 0..2), ("80m", 2..5), ("640m", 5..8), ("older", 8..10)];

/// How it is shown.
#[derive(Debug, Args)]
pub(super) struct Top {
    /// Look once, print, and end: for scripts.
    #[arg(long)]
    once: bool,
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
}

/// What was seen at one look.
pub(super) struct Seen {
    status: Status,
    /// Of the last ten minutes; none where the relay does not tell.
    rates: Option<Value>,
    domains: Vec<SummaryRow>,
    replies: Vec<SummaryRow>,
    /// All of the queue was counted.
    whole: bool,
}

/// Looks, and looks again.
pub(super) async fn top(common: &Common, how: Top, out: &mut dyn Write) -> Result<(), Failure> {
    let socket = socket(common)?;
    let lasting = !how.once && !common.json && io::stdout().is_terminal() && io::stdin().is_terminal();
    if !lasting {
        loop {
            let seen = look(&socket).await?;
            let shown = if common.json { format!("{}\n", seen.json()) } else { screen(&seen, (100, 60), false) };
            out.write_all(shown.as_bytes())?;
            out.flush()?;
            if how.once || !common.json {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(how.every)).await;
        }
    }
    let terminal = Terminal::take()?;
    let mut keys = keys();
    loop {
        let seen = look(&socket).await?;
        terminal.draw(&screen(&seen, terminal.size(), true))?;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(how.every)) => {}
            // Any other key looks again at once.
            key = keys.recv() => if matches!(key, None | Some(b'q' | b'Q' | 3 | 4 | 27)) { return Ok(()) },
        }
    }
}

async fn look(socket: &Path) -> Result<Seen, Failure> {
    let mut client = Client::connect(socket).await?;
    let status = client.status().await?;
    let (domains, whole) = collect(&mut client, FilterForm::default(), "domain", STEPS).await?;
    let (replies, _) = collect(&mut client, FilterForm::default(), "last-reply", STEPS).await?;
    Ok(Seen { status, rates: client.rates().await.ok(), domains, replies, whole })
}

impl Seen {
    fn json(&self) -> Value {
        let first = |rows: &[SummaryRow]| json!(rows.iter().take(20).collect::<Vec<_>>());
        json!({
            "status": self.status, "rates": self.rates, "queue": first(&self.domains),
            "deferrals": first(&self.replies), "whole": self.whole,
        })
    }
}

/// One screen of so many columns and lines.
pub(super) fn screen(seen: &Seen, (columns, lines): (usize, usize), colours: bool) -> String {
    let Status { version, uptime_secs, generation, load, queue, store, plugins, .. } = &seen.status;
    let mut shown = vec![
        format!(
            "waypost {version}  up {}  generation {generation}  disk {}",
            age(*uptime_secs),
            store.free.map_or_else(|| "?".to_owned(), |free| format!("{} free", size(free))),
        ),
        format!(
            "connections {} of {}{}  queue {}, {} under delivery, {} held",
            load.connections,
            load.connections_most,
            if load.stressed { " (short of places)" } else { "" },
            count(queue.messages, "message"),
            queue.leased,
            queue.held,
        ),
    ];
    if let Some(why) = &store.refusing {
        shown.push(mark(&format!("mail is refused for now: {}", clean(why)), colours));
    }
    shown.extend(flow(seen.rates.as_ref(), columns));
    let room = lines.saturating_sub(shown.len() + 9 + plugins.len().min(8)).max(6) / 2;
    shown.push(String::new());
    shown.extend(waiting("DESTINATION", &seen.domains, room, columns));
    if !seen.whole {
        shown.push("  (the queue is larger: this is the first part of it)".to_owned());
    }
    shown.push(String::new());
    let reasons: Vec<SummaryRow> =
        seen.replies.iter().filter(|row| !row.name.is_empty() && row.name != "-").cloned().collect();
    shown.extend(waiting("PUT OFF BECAUSE", &reasons, room, columns));
    if !plugins.is_empty() {
        shown.push(String::new());
        shown.extend(plugin_lines(plugins, colours));
    }
    let cut: Vec<String> =
        shown.iter().map(|line| if line.contains('\x1b') { line.clone() } else { cut(line, columns) }).collect();
    cut.join("\n") + "\n"
}

/// The last ten seconds, and the last ten minutes as bars.
fn flow(rates: Option<&Value>, columns: usize) -> Vec<String> {
    let Some(rates) = rates else { return Vec::new() };
    let points = rates.get("points").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let step = rates.get("step_secs").and_then(Value::as_u64).unwrap_or(5).max(1);
    let series = |key: &str| -> Vec<u64> {
        points.iter().map(|point| point.get(key).and_then(Value::as_u64).unwrap_or_default()).collect()
    };
    let line = |key: &str| {
        let all = series(key);
        let last: u64 = all.iter().rev().take(2).sum();
        let tenths = last * 10 / (2 * step);
        format!("{key:<10}{:>7}.{}/s  {}", tenths / 10, tenths % 10, bars(&all, columns.saturating_sub(25).min(60)))
    };
    ["accepted", "refused", "delivered", "deferred", "failed"].into_iter().map(line).collect()
}

/// So many bars, the newest on the right; each as high as its share of the highest.
fn bars(values: &[u64], wide: usize) -> String {
    const SIGNS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let each = values.len().div_ceil(wide).max(1);
    let sums: Vec<u64> = values.rchunks(each).map(|chunk| chunk.iter().sum()).collect();
    let most = sums.iter().copied().max().unwrap_or_default().max(1);
    let sign = |sum: &u64| match sum {
        0 => ' ',
        sum => SIGNS.get(usize::try_from(sum * 7 / most).unwrap_or(7)).copied().unwrap_or('█'),
    };
    sums.iter().rev().map(sign).collect()
}

fn waiting(head: &str, rows: &[SummaryRow], room: usize, columns: usize) -> Vec<String> {
    let mut heads = vec![head, "ALL"];
    heads.extend(AGES.iter().map(|(head, _)| *head));
    heads.push("HELD");
    let line = |row: &SummaryRow| {
        let mut cells = vec![cut(&row.name, columns.saturating_sub(50).max(20)), total(row).to_string()];
        let sum =
            |range: &std::ops::Range<usize>| row.by_age.get(range.clone()).unwrap_or_default().iter().sum::<u64>();
        cells.extend(AGES.iter().map(|(_, range)| sum(range).to_string()));
        cells.push(row.held.to_string());
        cells
    };
    let lines: Vec<_> = rows.iter().take(room).map(line).collect();
    let mut shown: Vec<String> = table(&heads, &lines).lines().map(ToOwned::to_owned).collect();
    if rows.len() > room {
        shown.push(format!("  and {} more", rows.len() - room));
    }
    shown
}

fn plugin_lines(plugins: &[Value], colours: bool) -> Vec<String> {
    let text = |plugin: &Value, key: &str| {
        plugin.get(key).map_or_else(String::new, |v| v.as_str().map_or_else(|| v.to_string(), ToOwned::to_owned))
    };
    let row = |plugin: &Value| {
        let breaker = plugin.pointer("/breaker/state").and_then(Value::as_str).unwrap_or_default().to_owned();
        let failures = plugin.get("failures").map_or(0, |failures| match failures {
            Value::Object(by) => by.values().filter_map(Value::as_u64).sum(),
            other => other.as_u64().unwrap_or_default(),
        });
        vec![
            text(plugin, "name"),
            text(plugin, "version"),
            text(plugin, "state"),
            breaker,
            text(plugin, "calls"),
            failures.to_string(),
        ]
    };
    let rows: Vec<_> = plugins.iter().take(8).map(row).collect();
    let shown = table(&["PLUGIN", "VERSION", "STATE", "BREAKER", "CALLS", "FAILED"], &rows);
    let bad = |line: &str| line.contains(" open ") || line.contains(" failed ");
    shown.lines().map(|line| if bad(line) { mark(line, colours) } else { line.to_owned() }).collect()
}

fn mark(text: &str, colours: bool) -> String {
    if colours { format!("\x1b[31m{text}\x1b[0m") } else { text.to_owned() }
}

/// The terminal, taken for a while.
struct Terminal {
    before: Termios,
}

impl Terminal {
    fn take() -> Result<Self, Failure> {
        let failed = |error: rustix::io::Errno| Failure::Output(error.into());
        let before = tcgetattr(io::stdin()).map_err(failed)?;
        let mut mode = before.clone();
        mode.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        tcsetattr(io::stdin(), OptionalActions::Now, &mode).map_err(failed)?;
        let terminal = Self { before };
        // Another screen, without a cursor.
        terminal.write("\x1b[?1049h\x1b[?25l")?;
        Ok(terminal)
    }

    fn size(&self) -> (usize, usize) {
        let size = tcgetwinsize(io::stdout()).map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        size.ok().filter(|(columns, lines)| *columns > 0 && *lines > 0).unwrap_or((80, 24))
    }

    /// From the top left, each line and what is below the last one cleared.
    fn draw(&self, screen: &str) -> Result<(), Failure> {
        let lines: String = screen.lines().take(self.size().1).map(|line| format!("{line}\x1b[K\r\n")).collect();
        self.write(&format!("\x1b[H{}\x1b[J", lines.trim_end_matches("\r\n")))
    }

    fn write(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = self.write("\x1b[?25h\x1b[?1049l");
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Keys, as they are pressed; and Ctrl-C, which comes as a signal. The thread that reads them ends with the program.
fn keys() -> tokio::sync::mpsc::Receiver<u8> {
    let (tell, told) = tokio::sync::mpsc::channel(8);
    let interrupted = tell.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            let _ = interrupted.send(3).await;
        }
    });
    std::thread::spawn(move || {
        for key in io::stdin().lock().bytes() {
            let Ok(key) = key else { break };
            if tell.blocking_send(key).is_err() {
                break;
            }
        }
    });
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{LoadStatus, StoreStatus};
    use crate::queue::Counts;

    fn seen() -> Seen {
        let row = |name: &str, by_age: [u64; 10]| SummaryRow { name: name.into(), by_age, held: 0, suspended: 0 };
        let points: Vec<Value> = (0..120)
            .map(|at| json!({"at": at, "accepted": at, "refused": 0, "delivered": 5, "deferred": 0, "failed": 0}))
            .collect();
        Seen {
            status: Status {
                version: "0.1.0".into(),
                pid: 1,
                uptime_secs: 273_600,
                generation: 3,
                listeners: Vec::new(),
                load: LoadStatus { connections: 12, connections_most: 1000, ..LoadStatus::default() },
                certificates: Vec::new(),
                traces: None,
                quotas: Vec::new(),
                queue: Counts { messages: 5, leased: 2, held: 1, ..Counts::default() },
                store: StoreStatus { path: "spool".into(), free: Some(12 << 30), refusing: Some("no room".into()) },
                plugins: vec![json!({"name": "greylist", "version": "0.1.0", "state": "serving", "calls": 7,
                    "failures": {"trap": 2}, "breaker": {"state": "open"}})],
                decisions: crate::admin::DecisionsStatus::default(),
            },
            rates: Some(json!({"step_secs": 5, "points": points})),
            domains: vec![
                row("slow.example", [1, 1, 0, 0, 3, 0, 0, 0, 0, 2]),
                row("b.example", [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            ],
            replies: vec![row("450 4.2.1 not \u{1b}[2J now", [2, 0, 0, 0, 0, 0, 0, 0, 0, 0]), row("-", [9; 10])],
            whole: true,
        }
    }

    #[test]
    fn one_screen_has_it_all() {
        let shown = screen(&seen(), (80, 24), false);
        insta::assert_snapshot!(shown);
        assert!(!shown.contains('\x1b'), "what others said can't draw");
        assert!(screen(&seen(), (80, 24), true).contains("\x1b[31m"));
    }

    #[test]
    fn bars_are_as_high_as_their_share() {
        assert_eq!(bars(&[0, 1, 7], 60), " ▂█");
        assert_eq!(bars(&[1, 1, 1, 1], 2), "██");
        assert_eq!(bars(&[], 10), "");
    }
}
