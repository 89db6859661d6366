//! When messages arrived, and whether the clock may close windows.
//!
//! The hub tells nobody when it took a message over, so arrival is when the message is seen. That would be wrong for those that waited
//! in the hub while this module or its connection was away: all of them would be late. So after each connection the module *catches up*
//! first: there a message counts as arrived at its event time, and time without events closes nothing.

use ironbrook_analytics::value::DateTime;
use ironbrook_analytics::value::datetime::SECOND;

/// After so long without a message, in ticks, nothing is waiting in the hub any more.
const QUIET: i64 = 2 * SECOND;
/// Catching up ends after this, in ticks, even if the events stay behind: then it is their sender's clock that is.
const CATCH_UP_MAX: i64 = 60 * SECOND;

/// The clock of arrivals. It never goes back.
#[derive(Debug, Clone)]
pub(super) struct Timeline {
    /// Nothing arrives before this.
    floor: DateTime,
    /// The tolerance for late events, in ticks.
    tolerance: i64,
    catching_up: Option<CatchingUp>,
}

#[derive(Debug, Clone, Copy)]
struct CatchingUp {
    since: DateTime,
    last: DateTime,
}

impl Timeline {
    pub(super) fn new(floor: DateTime, tolerance: i64) -> Self {
        Self { floor, tolerance, catching_up: None }
    }

    /// Where it stands, for [`new`](Self::new) after a restart.
    pub(super) fn floor(&self) -> DateTime {
        self.floor
    }

    /// Messages that waited may come now.
    pub(super) fn catch_up(&mut self, now: DateTime) {
        self.catching_up = Some(CatchingUp { since: now, last: now });
    }

    /// When a message arrived whose events are of this time (`None` where they have none of their own), and that carries a time of
    /// its own (`stamped`) or not.
    pub(super) fn arrival(
        &mut self,
        now: DateTime,
        stamped: Option<DateTime>,
        event_time: impl FnOnce() -> Option<DateTime>,
    ) -> DateTime {
        self.end_catching_up(now);
        let time = match &mut self.catching_up {
            None => stamped.unwrap_or(now),
            Some(catching_up) => {
                catching_up.last = now;
                let time = stamped.or_else(event_time).unwrap_or(now);
                if time.0 >= now.0.saturating_sub(self.tolerance) {
                    self.catching_up = None;
                }
                time
            }
        };
        self.floor = self.floor.max(time.min(now));
        self.floor
    }

    /// The moment up to which all has arrived, if that can be said.
    pub(super) fn advance(&mut self, now: DateTime) -> Option<DateTime> {
        self.end_catching_up(now);
        if self.catching_up.is_some() {
            return None;
        }
        self.floor = self.floor.max(now);
        Some(self.floor)
    }

    fn end_catching_up(&mut self, now: DateTime) {
        // A clock that was set back ends it too: nobody knows how long it has been.
        let passed = |from: DateTime, ticks: i64| now < from || now.0.saturating_sub(from.0) >= ticks;
        let is_over = |c: &CatchingUp| passed(c.last, QUIET) || passed(c.since, CATCH_UP_MAX);
        self.catching_up = self.catching_up.filter(|catching_up| !is_over(catching_up));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: i64 = 5 * SECOND;

    fn at(seconds: i64) -> DateTime {
        DateTime(1000 * SECOND + seconds * SECOND)
    }

    #[test]
    fn arrival_is_now_or_what_the_message_says_but_never_goes_back() {
        let mut timeline = Timeline::new(at(0), TOLERANCE);
        assert_eq!(timeline.arrival(at(10), None, || Some(at(3))), at(10));
        assert_eq!(timeline.arrival(at(12), Some(at(11)), || None), at(11));
        assert_eq!(timeline.arrival(at(12), Some(at(2)), || None), at(11));
        // Nobody sends from the future.
        assert_eq!(timeline.arrival(at(13), Some(at(99)), || None), at(13));
        // The clock was set back.
        assert_eq!(timeline.arrival(at(5), None, || None), at(13));
        assert_eq!(timeline.advance(at(6)), Some(at(13)));
        assert_eq!(timeline.advance(at(14)), Some(at(14)));
    }

    #[test]
    fn what_waited_arrived_at_its_own_time_and_closes_nothing_by_the_clock() {
        let mut timeline = Timeline::new(at(0), TOLERANCE);
        timeline.catch_up(at(100));
        for second in 1..90 {
            assert_eq!(timeline.arrival(at(100), None, || Some(at(second))), at(second));
            assert_eq!(timeline.advance(at(100)), None);
        }
        // Within the tolerance: from here on it is live.
        assert_eq!(timeline.arrival(at(100), None, || Some(at(95))), at(95));
        assert_eq!(timeline.advance(at(100)), Some(at(100)));
        assert_eq!(timeline.arrival(at(101), None, || Some(at(50))), at(101));
    }

    #[test]
    fn catching_up_ends_in_silence_and_after_a_while() {
        let mut timeline = Timeline::new(at(0), TOLERANCE);
        timeline.catch_up(at(100));
        assert_eq!(timeline.advance(at(101)), None);
        assert_eq!(timeline.advance(at(102)), Some(at(102)));
        timeline.catch_up(at(200));
        for second in 200..260 {
            assert_eq!(timeline.arrival(at(second), None, || Some(at(110))), at(110));
            assert_eq!(timeline.advance(at(second)), None);
        }
        assert_eq!(timeline.advance(at(260)), Some(at(260)));
    }
}
