//! What a limiter says, event by event, on a simulated clock.

use super::*;

fn limits() -> LaneLimits {
    LaneLimits { connections: 8, cool_down: Duration::from_secs(60), ..LaneLimits::default() }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A limiter of a site that has let a connection in.
fn limiter(limits: LaneLimits) -> Limiter {
    let mut limiter = Limiter::new(limits);
    limiter.greeted();
    limiter
}

fn slow() -> Slow {
    Slow { connections: None, divide: 2, per_minute: None, lasts: secs(600), successes: None }
}

#[test]
fn without_a_rate_everything_goes() {
    let mut limiter = self::limiter(limits());
    let now = Instant::now();
    assert!((0..1000).all(|_| limiter.admit(now) == Admission::Go));
    assert!((0..1000).all(|_| limiter.admit_connection(now) == Admission::Go));
}

#[test]
fn a_rate_allows_one_second_at_once_and_then_an_even_flow() {
    let mut limiter = self::limiter(LaneLimits { per_second: Some(4), ..limits() });
    let now = Instant::now();
    assert!((0..4).all(|_| limiter.admit(now) == Admission::Go));
    assert_eq!(limiter.admit(now), Admission::Later(now + ms(250)));
    assert_eq!(limiter.admit(now), Admission::Later(now + ms(250)), "asking costs nothing");
    assert_eq!(limiter.admit(now + ms(250)), Admission::Go);
    assert_eq!(limiter.admit(now + ms(250)), Admission::Later(now + ms(500)));
    let later = now + ms(10_000);
    assert!((0..4).all(|_| limiter.admit(later) == Admission::Go), "rest is not saved up beyond a second");
    assert_eq!(limiter.admit(later), Admission::Later(later + ms(250)));
}

#[test]
fn one_a_second_is_one_a_second() {
    let mut limiter = self::limiter(LaneLimits { per_second: Some(1), ..limits() });
    let now = Instant::now();
    assert_eq!(limiter.admit(now), Admission::Go);
    assert_eq!(limiter.admit(now + ms(400)), Admission::Later(now + ms(1000)));
    assert_eq!(limiter.admit(now + ms(1000)), Admission::Go);
}

#[test]
fn the_slowest_of_several_rates_decides() {
    let rated = LaneLimits { per_second: Some(10), per_minute: Some(60), per_day: Some(40), ..limits() };
    let mut limiter = self::limiter(rated);
    let now = Instant::now();
    assert!((0..4).all(|_| limiter.admit(now) == Admission::Go), "a tenth of a day's worth");
    assert_eq!(limiter.admit(now), Admission::Later(now + secs(86_400 / 40)));
    assert_eq!(limiter.interval(), Some(secs(86_400 / 40)));
    assert!(!limiter.is_blank(now + secs(60)) && limiter.is_blank(now + secs(86_400)));
}

#[test]
fn connections_have_a_rate_of_their_own() {
    let mut limiter = self::limiter(LaneLimits { connects_per_minute: Some(30), ..limits() });
    let now = Instant::now();
    assert!((0..3).all(|_| limiter.admit_connection(now) == Admission::Go));
    assert_eq!(limiter.admit_connection(now), Admission::Later(now + secs(2)));
    assert_eq!(limiter.admit(now), Admission::Go, "messages are another matter");
}

#[test]
fn connections_are_earned_up_to_the_limit() {
    let mut limiter = Limiter::new(limits());
    let now = Instant::now();
    assert_eq!(limiter.connections(), 1, "one finds out whether anybody is there");
    limiter.greeted();
    assert_eq!(limiter.connections(), 5);
    assert!(limiter.is_watched());
    (0..10).for_each(|_| limiter.reached(now));
    assert_eq!(limiter.connections(), 8);
    assert!(!limiter.is_watched(), "nothing is left to be found out");
    limiter.retune(LaneLimits { connections: 2, ..limits() });
    assert_eq!(limiter.connections(), 2);
    assert_eq!(self::limiter(LaneLimits { connections: 0, ..limits() }).connections(), 1, "one at least");
}

#[test]
fn a_refusal_beside_open_connections_only_stops_growth() {
    let mut limiter = self::limiter(limits());
    let now = Instant::now();
    assert_eq!(limiter.refused(now, 3), Reach::Enough);
    assert!(!limiter.is_cooling(now));
    limiter.reached(now + ms(100));
    assert_eq!(limiter.connections(), 3);
    limiter.reached(now + ms(60_000));
    assert_eq!(limiter.connections(), 4);
}

#[test]
fn an_unreachable_host_rests_and_is_then_tried_by_one() {
    let mut limiter = self::limiter(limits());
    let now = Instant::now();
    assert_eq!(limiter.refused(now, 0), Reach::Unreachable);
    assert!(limiter.is_cooling(now + ms(59_999)));
    assert!(!limiter.is_cooling(now + ms(60_000)));
    assert_eq!(limiter.connections(), 1);
    limiter.reached(now + ms(60_000));
    assert_eq!(limiter.connections(), 2);
    assert!(!limiter.is_cooling(now + ms(60_001)));
}

#[test]
fn a_host_that_stays_dead_is_looked_at_less_and_less() {
    let mut limiter = self::limiter(limits());
    let mut now = Instant::now();
    let mut rests = Vec::new();
    for _ in 0..5 {
        assert_eq!(limiter.refused(now, 0), Reach::Unreachable);
        // Another that was tried at the same time.
        limiter.refused(now + secs(1), 0);
        let until = limiter.rest(now).unwrap().until;
        rests.push((until - now).as_secs());
        now = until;
    }
    assert_eq!(rests, [60, 120, 240, 300, 300]);
    limiter.reached(now);
    limiter.refused(now, 0);
    assert_eq!(limiter.rest(now).unwrap().until, now + secs(60), "once reached, it begins anew");
}

#[test]
fn a_burst_of_complaints_halves_and_growth_is_slow_afterwards() {
    let mut limiter = self::limiter(limits());
    let now = Instant::now();
    (0..10).for_each(|_| limiter.reached(now));
    limiter.complained(now, 8);
    assert_eq!(limiter.connections(), 8, "one is none");
    (0..5).for_each(|_| limiter.reached(now));
    limiter.complained(now, 8);
    limiter.complained(now, 8);
    assert_eq!(limiter.connections(), 8, "more praise than complaint");
    (0..3).for_each(|_| limiter.complained(now, 8));
    assert_eq!(limiter.connections(), 4);
    (0..10).for_each(|_| limiter.complained(now + secs(1), 4));
    assert_eq!(limiter.connections(), 4, "that is the same burst");
    let later = now + secs(60);
    (0..25).for_each(|_| limiter.complained(now + secs(20), 4));
    assert_eq!(limiter.connections(), 2, "and that another");
    limiter.reached(later);
    assert_eq!(limiter.connections(), 2, "one success does not earn one any more");
    limiter.reached(later);
    assert_eq!(limiter.connections(), 3);
    (0..3).for_each(|_| limiter.reached(later));
    assert_eq!(limiter.connections(), 4);
}

#[test]
fn complaints_leave_at_least_one_connection() {
    let mut limiter = self::limiter(limits());
    let mut now = Instant::now();
    for _ in 0..10 {
        (0..5).for_each(|_| limiter.complained(now, 1));
        now += secs(30);
    }
    assert_eq!(limiter.connections(), 1);
}

#[test]
fn a_back_off_slows_down_until_its_time_is_over() {
    let mut limiter = self::limiter(LaneLimits { per_second: Some(4), ..limits() });
    let now = Instant::now();
    (0..10).for_each(|_| limiter.reached(now));
    limiter.back_off(now, slow(), "too fast".into());
    assert_eq!(limiter.connections(), 4);
    assert_eq!(limiter.admit(now), Admission::Go);
    assert_eq!(limiter.admit(now), Admission::Later(now + ms(500)), "half the rate, and no burst");
    assert_eq!(limiter.backoff(now).unwrap().why, "too fast".into());
    let stricter = Slow { connections: Some(1), per_minute: Some(6), ..slow() };
    limiter.back_off(now, stricter, "much too fast".into());
    limiter.back_off(now, slow(), "too fast".into());
    assert_eq!(limiter.connections(), 1, "what is slower already stays so");
    let over = now + secs(600);
    assert!(limiter.backoff(over).is_none());
    assert_eq!(limiter.admit(over), Admission::Go);
    assert!(limiter.is_blank(over + secs(1)));
    limiter.reached(over);
    assert_eq!(limiter.connections(), 2, "from there it has to be earned");
}

#[test]
fn success_ends_a_back_off_that_says_so() {
    let mut limiter = self::limiter(limits());
    let now = Instant::now();
    limiter.back_off(now, Slow { successes: Some(2), connections: Some(1), ..slow() }, "x".into());
    limiter.reached(now);
    assert!(limiter.backoff(now).is_some());
    limiter.reached(now);
    assert!(limiter.backoff(now).is_none());
}

#[test]
fn a_rest_ends_when_somebody_says_so_and_a_suspension_does_not() {
    let mut limiter = self::limiter(limits());
    let now = Instant::now();
    limiter.refused(now, 0);
    assert!(limiter.is_cooling(now));
    limiter.look_again();
    assert!(!limiter.is_cooling(now));
    limiter.refused(now, 0);
    let until = limiter.rest(now).unwrap().until;
    assert_eq!(until, now + 2 * limits().cool_down, "it was not reachable after all: a failure like any other");
    limiter.suspend(now, secs(1800), "blocked".into());
    limiter.look_again();
    assert!(limiter.is_cooling(now));
}

#[test]
fn a_suspension_outlasts_what_was_under_way() {
    let mut limiter = self::limiter(limits());
    let now = Instant::now();
    limiter.suspend(now, secs(1800), "blocked".into());
    limiter.reached(now + secs(1));
    let rest = limiter.rest(now + secs(1)).unwrap().clone();
    assert_eq!(rest, Rest { until: now + secs(1800), why: Some("blocked".into()) });
    limiter.suspend(now + secs(1), secs(10), "less".into());
    assert_eq!(limiter.rest(now + secs(1)), Some(&rest), "a shorter one changes nothing");
    assert!(!limiter.is_cooling(now + secs(1800)));
    assert_eq!(limiter.connections(), 1, "one goes first");
}
