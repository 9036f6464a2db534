//! When a message's time is over: by the schedule of its route, by what a plugin said of it, and by what its sender asked for.
//!
//! Pure. The same for mail that is tried and for mail that finds no turn: whoever is given up is given up in time.

use std::borrow::Cow;
use std::time::Duration;

use super::Config;
use crate::hooks::Route;
use crate::mail::{DeliverBy, Requests};
use crate::queue::{Lease, Record, Schedule};
use crate::time::Timestamp;

/// The schedule's last try is due at the give-up time itself: so long it may be on its way here.
const LAST_TRY: Duration = Duration::from_secs(60);

/// The route's schedule, hurried where a plugin said so or the sender asked for it.
pub(super) fn schedule<'a>(config: &'a Config, route: &Route, record: &Record) -> Cow<'a, Schedule> {
    let mut schedule = config.schedule(route);
    if let Some(after) = record.expires_after() {
        schedule = Cow::Owned(schedule.within(after));
    }
    match Requests::of(&record.sender_params).deliver_by {
        Some(by) => Cow::Owned(schedule.asked(by)),
        None => schedule,
    }
}

/// True if the time of what is leased is up. A message that was never tried - held, or waiting while the relay was down - gets
/// its one attempt, unless its sender asked otherwise.
pub(super) fn is_over(config: &Config, route: &Route, lease: &Lease, now: Timestamp) -> bool {
    let record = &*lease.record;
    if ends(record).is_some_and(|end| end <= now) {
        return true;
    }
    let mut leased = record.recipients.iter().filter(|r| lease.recipients.contains(&r.index));
    let expires = schedule(config, route, record).expires(record.started(), record.sender.is_null());
    expires.plus(LAST_TRY) <= now && leased.all(|r| r.state.attempts > 0)
}

/// A time to look at a message again: not after the moment at which its sender wants it given up, if that is to come.
pub(super) fn in_time(record: &Record, at: Timestamp, now: Timestamp) -> Timestamp {
    ends(record).filter(|end| now < *end).map_or(at, |end| at.min(end))
}

/// RFC 2852 section 4.1.3: not a moment later than this, tried or not.
fn ends(record: &Record) -> Option<Timestamp> {
    let by: DeliverBy = Requests::of(&record.sender_params).deliver_by.filter(|by| by.give_up)?;
    Some(by.ends(record.arrived))
}
