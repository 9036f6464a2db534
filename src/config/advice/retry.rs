//! Schedules that hammer, give up early, or come back all at once: `[retry]`, `[retry.NAME]`.

use std::time::Duration;

use super::Advice;
use crate::config::units::show_duration;
use crate::queue::Schedule;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn advise(advice: &mut Advice<'_>) {
    let delivery = &advice.settings.delivery;
    schedule(advice, "retry", &delivery.schedule);
    for (name, own) in &delivery.schedules {
        // What it has of `[retry]` was told there.
        if *own != delivery.schedule {
            schedule(advice, &format!("retry.{name}"), own);
        }
    }
}

fn schedule(advice: &mut Advice<'_>, section: &str, schedule: &Schedule) {
    let key = |name: &str| format!("{section}.{name}");
    if !advice.places.has(section) {
        return;
    }
    if schedule.longest < MINUTE {
        let problem = format!("a next hop that is down is tried every {}", show_duration(schedule.longest));
        advice.say(&key("longest"), problem, "write some hours: others block who hammers them");
    } else if schedule.first < 10 * Duration::from_secs(1) {
        let problem = "a greylisting server is asked again before it would say yes, and may take it for an attack";
        advice.say(&key("first"), problem, "write \"5m\"");
    }
    if schedule.growth_percent == 100 && schedule.first < 10 * MINUTE && schedule.longest >= MINUTE {
        let problem =
            format!("every {} for as long as it takes, whatever the next hop says", show_duration(schedule.first));
        advice.say(&key("growth-percent"), problem, "write 200: each wait is twice as long");
    }
    if schedule.jitter_percent == 0 {
        let problem = "mail that was deferred together comes back together";
        advice.say(&key("jitter-percent"), problem, "take it out, or write 10");
    }
    if schedule.give_up_after < DAY {
        let problem = format!(
            "mail comes back after {}, when a server was down for a night",
            show_duration(schedule.give_up_after)
        );
        advice.say(&key("give-up-after"), problem, "RFC 5321 section 4.5.4.1 asks for 4 to 5 days");
    } else if schedule.give_up_after > 14 * DAY {
        let problem = "nobody wants mail that is weeks late, and senders hear of it too late";
        advice.say(&key("give-up-after"), problem, "write \"5d\"");
    }
    if schedule.give_up_attempts.is_some_and(|attempts| attempts < 5) {
        let problem = "mail comes back after a few attempts, which greylisting alone uses up";
        advice.say(&key("give-up-attempts"), problem, "take it out: give-up-after counts");
    }
    warnings(advice, section, schedule);
}

fn warnings(advice: &mut Advice<'_>, section: &str, schedule: &Schedule) {
    let key = |name: &str| format!("{section}.{name}");
    if schedule.longest > schedule.give_up_after {
        let problem = "the longest wait is longer than mail is kept: the last attempt never comes";
        advice.say(&key("longest"), problem, "write some hours");
    }
    match (schedule.warn_after.first(), schedule.warn_after.last()) {
        (Some(_), Some(last)) if *last >= schedule.give_up_after => {
            let problem = "the warning comes when the mail itself comes back";
            advice.say(&key("warn-after"), problem, "write less than give-up-after");
        }
        (Some(first), _) if *first < 10 * MINUTE => {
            let problem = "senders are warned of every greylisting";
            advice.say(&key("warn-after"), problem, "write \"4h\"");
        }
        (Some(_), _) => {}
        (None, _) => {
            let problem = "senders hear of a delay only when their mail comes back";
            advice.say(&key("warn-after"), problem, "take it out, or write \"4h\"");
        }
    }
    if schedule.give_up_after_bounce < HOUR {
        let problem = "reports are given up before the next hop is back";
        advice.say(&key("give-up-after-bounce"), problem, "write \"1d\"");
    }
}
