//! `waypost queue summary`: where mail waits to go, by age.

use std::collections::HashMap;
use std::io::Write;

use serde_json::json;

use super::Failure;
use super::args::Common;
use super::queue::usable;
use super::render::{Elements, cut, table};
use crate::admin::{BUCKETS, Client, FilterForm, Next, SummaryRow};

/// Names counted one by one; what comes after so many is one line, so that memory has a bound.
const NAMES: usize = 100_000;
const OTHERS: &str = "(others)";

const HEADS: [&str; BUCKETS] = ["5m", "10m", "20m", "40m", "80m", "160m", "320m", "640m", "1280m", "1280m+"];

/// Counts step by step, and prints the largest.
pub(super) async fn summary(
    client: &mut Client,
    common: &Common,
    filter: FilterForm,
    by: String,
    limit: usize,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    usable(&filter)?;
    let (rows, _) = collect(client, filter, &by, usize::MAX).await?;
    if common.json {
        let mut elements = Elements::start(out)?;
        rows.iter().take(limit).try_for_each(|row| elements.add(&json!(row), out))?;
        return Ok(elements.end(out)?);
    }
    Ok(write!(out, "{}", show(&rows, limit, &by))?)
}

/// What waits, the most first, and whether that is all: no more than so many steps are made.
pub(super) async fn collect(
    client: &mut Client,
    filter: FilterForm,
    by: &str,
    steps: usize,
) -> Result<(Vec<SummaryRow>, bool), Failure> {
    let (mut sums, mut next, mut made) = (HashMap::new(), Next::default(), 0);
    let whole = loop {
        let (rows, then) = client.queue_summary(filter.clone(), by.to_owned(), &next).await?;
        rows.into_iter().for_each(|row| add(&mut sums, row));
        next = then;
        made += 1;
        if next.next.is_none() || made >= steps {
            break next.next.is_none();
        }
    };
    let mut rows: Vec<SummaryRow> = sums.into_values().collect();
    rows.sort_by(|a, b| total(b).cmp(&total(a)).then_with(|| a.name.cmp(&b.name)));
    Ok((rows, whole))
}

pub(super) fn total(row: &SummaryRow) -> u64 {
    row.by_age.iter().sum()
}

fn add(sums: &mut HashMap<String, SummaryRow>, row: SummaryRow) {
    let full = sums.len() >= NAMES && !sums.contains_key(&row.name);
    let name = if full { OTHERS.to_owned() } else { row.name.clone() };
    let sum = sums.entry(name.clone()).or_insert_with(|| SummaryRow { name, ..SummaryRow::default() });
    sum.by_age.iter_mut().zip(row.by_age).for_each(|(sum, more)| *sum += more);
    sum.held += row.held;
    sum.suspended += row.suspended;
}

/// For people: recipients, all first.
pub(super) fn show(rows: &[SummaryRow], limit: usize, by: &str) -> String {
    let mut all = SummaryRow { name: "TOTAL".to_owned(), ..SummaryRow::default() };
    for row in rows {
        all.by_age.iter_mut().zip(row.by_age).for_each(|(sum, more)| *sum += more);
        all.held += row.held;
        all.suspended += row.suspended;
    }
    let line = |row: &SummaryRow| {
        let mut cells = vec![cut(&row.name, 60), total(row).to_string()];
        cells.extend(row.by_age.iter().map(u64::to_string));
        cells.extend([row.held.to_string(), row.suspended.to_string()]);
        cells
    };
    let mut heads = vec![by, "ALL"];
    heads.extend(HEADS);
    heads.extend(["HELD", "SUSPENDED"]);
    let lines: Vec<_> = std::iter::once(&all).chain(rows.iter().take(limit)).map(line).collect();
    let mut text = table(&heads, &lines);
    if rows.len() > limit {
        text.push_str(&format!("and {} more\n", rows.len() - limit));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_add_up_and_the_total_comes_first() {
        let row = |name: &str, young, old| {
            let mut by_age = [0; BUCKETS];
            (by_age[0], by_age[BUCKETS - 1]) = (young, old);
            SummaryRow { name: name.into(), by_age, held: 1, suspended: 0 }
        };
        let mut sums = HashMap::new();
        for row in [row("a.example", 1, 2), row("b.example", 5, 0), row("a.example", 10, 20)] {
            add(&mut sums, row);
        }
        let mut rows: Vec<_> = sums.into_values().collect();
        rows.sort_by_key(|row| std::cmp::Reverse(total(row)));
        insta::assert_snapshot!(show(&rows, 1, "domain"), @"
        domain     ALL  5m  10m  20m  40m  80m  160m  320m  640m  1280m  1280m+  HELD  SUSPENDED
        TOTAL      38   16  0    0    0    0    0     0     0     0      22      3     0
        a.example  33   11  0    0    0    0    0     0     0     0      22      2     0
        and 1 more
        ");
    }
}
