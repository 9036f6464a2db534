//! The machine by tables, the breaker around it by its passes.

use super::*;

const CONFIG: BreakerConfig = BreakerConfig {
    failures: 3,
    window: Duration::from_secs(30),
    pause: Duration::from_secs(1),
    pause_max: Duration::from_secs(5),
};

/// What happens to a machine, and what is expected of it.
enum Step {
    /// A call is let through as any.
    Pass,
    /// A call is let through as a probe.
    Probe,
    /// A call is refused for so many milliseconds.
    Refused(u64),
    /// An ordinary call fails, and nothing turns.
    Fail,
    /// An ordinary call fails, and it opens.
    Opens,
    /// The probe fails; so many milliseconds again, without jitter.
    FailsAgain(u64),
    /// The probe fails, all of the jitter; so many milliseconds.
    FailsJittered(u64),
    Lost,
    Closes,
}

fn play(steps: &[(u64, Step)]) -> Machine {
    let begun = Instant::now();
    let mut machine = Machine::new(CONFIG);
    for (row, (at, step)) in steps.iter().enumerate() {
        let now = begun + Duration::from_millis(*at);
        let ms = Duration::from_millis;
        match step {
            Step::Pass => assert_eq!(machine.admit(now), Admission::Ordinary, "row {row}"),
            Step::Probe => assert_eq!(machine.admit(now), Admission::Probe, "row {row}"),
            Step::Refused(wait) => {
                let refusal = Refusal { wait: ms(*wait), cause: "trapped".into() };
                assert_eq!(machine.admit(now), Admission::Refused(refusal), "row {row}");
            }
            Step::Fail => assert_eq!(machine.failed(now, &"trapped"), None, "row {row}"),
            Step::Opens => assert_eq!(machine.failed(now, &"trapped"), Some(Turn::Opened(ms(1000))), "row {row}"),
            Step::FailsAgain(wait) => {
                assert_eq!(machine.probe_failed(now, 0, &"trapped"), Some(Turn::Reopened(ms(*wait))), "row {row}");
            }
            Step::FailsJittered(wait) => {
                assert_eq!(machine.probe_failed(now, 1000, &"trapped"), Some(Turn::Reopened(ms(*wait))), "row {row}");
            }
            Step::Lost => machine.probe_lost(),
            Step::Closes => assert_eq!(machine.probe_succeeded(), Some(Turn::Closed), "row {row}"),
        }
    }
    machine
}

use Step::{Closes, Fail, FailsAgain, FailsJittered, Lost, Opens, Pass as Let, Probe, Refused};

#[test]
fn it_opens_after_so_many_failures_within_the_window_only() {
    let machine = play(&[(0, Let), (0, Fail), (15_000, Fail), (30_000, Fail), (44_999, Opens)]);
    assert_eq!(machine.trips, 1);
    let machine = play(&[(0, Fail), (30_000, Fail), (60_000, Fail), (90_000, Fail), (90_000, Let)]);
    assert_eq!((machine.trips, machine.failures.len()), (0, 1), "none of them within the same 30 s");
}

#[test]
fn one_probe_at_a_time_closes_it_or_doubles_the_wait() {
    let machine = play(&[
        (0, Fail),
        (0, Fail),
        (0, Opens),
        (0, Refused(1000)),
        (0, Fail),
        (999, Refused(1)),
        (1000, Probe),
        (1000, Refused(0)),
        (1100, FailsAgain(2000)),
        (3099, Refused(1)),
        (3100, Probe),
        (3100, FailsAgain(4000)),
        (7100, Probe),
        (7100, FailsAgain(5000)),
        (12_100, Probe),
        (12_100, FailsJittered(4000)),
        (16_100, Probe),
        (16_200, Closes),
        (16_200, Let),
        (16_200, Fail),
        (16_200, Fail),
        (16_200, Opens),
        (16_200, Refused(1000)),
    ]);
    assert_eq!(machine.trips, 2, "a probe that fails is no trip of its own");
}

#[test]
fn a_probe_that_comes_to_no_end_leaves_room_for_the_next() {
    play(&[(0, Fail), (0, Fail), (0, Opens), (1000, Probe), (1500, Lost), (1500, Probe), (1500, Closes), (1500, Let)]);
}

#[test]
fn passes_settle_once() {
    let now = Instant::now();
    let breaker = Breaker::new(BreakerConfig { failures: 1, ..CONFIG });
    let (early, late) = (breaker.admit(|| now).unwrap(), breaker.admit(|| now).unwrap());
    assert_eq!(early.failed(now, 0, &"trapped"), Some(Turn::Opened(CONFIG.pause)));
    assert_eq!(late.succeeded(), None, "of a call that began before");
    assert!(breaker.is_tripped() && breaker.admit(|| now).is_err());
    let later = now + CONFIG.pause;
    drop(breaker.admit(|| later).unwrap());
    let probe = breaker.admit(|| later).unwrap();
    assert!(breaker.admit(|| later).is_err(), "one at a time");
    assert_eq!(breaker.info(later, Timestamp::from_secs(1_795_473_060)).state, "half-open");
    assert_eq!(probe.succeeded(), Some(Turn::Closed));
    assert!(!breaker.is_tripped());
    breaker.admit(|| panic!("no clock is read while it is closed")).map(drop).unwrap();
    assert_eq!(Pass::free().failed(now, 0, &"trapped"), None);
}

#[test]
fn it_says_how_it_stands() {
    let now = Instant::now();
    let breaker = Breaker::new(BreakerConfig { failures: 1, ..CONFIG });
    let wall = Timestamp::from_secs(1_795_473_060);
    let closed = BreakerInfo { state: "closed", since: None, next_probe: None, trips: 0, cause: None };
    assert_eq!(breaker.info(now, wall), closed);
    breaker.admit(|| now).unwrap().failed(now, 0, &"trapped");
    let later = breaker.info(now + Duration::from_millis(400), wall);
    let expected = BreakerInfo {
        state: "open",
        since: Some("2026-11-23T22:30:59.600Z".into()),
        next_probe: Some("2026-11-23T22:31:00.600Z".into()),
        trips: 1,
        cause: Some("trapped".into()),
    };
    assert_eq!(later, expected);
}
