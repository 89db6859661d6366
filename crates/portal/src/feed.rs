//! The latest temperatures and alerts, for pages that ask what is new.

use crate::reading::{Alert, Reading, Source};
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Points kept per series: ten minutes of a sensor that sends five times a second.
const POINTS_PER_SERIES_MAX: usize = 3000;
/// Series followed; while all of them are alive, points of others are not drawn.
const SERIES_MAX: usize = 50;
/// Alerts kept.
const ALERTS_MAX: usize = 500;
/// A series that was silent for so long makes room for a new one.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// The latest readings, numbered in the order in which they came.
#[derive(Default)]
pub struct Feed {
    inner: Mutex<Inner>,
}

/// When the hub took a message in: milliseconds since 1970 UTC.
type Millis = i64;

#[derive(Default)]
struct Inner {
    series: HashMap<Source, VecDeque<Point>>,
    alerts: VecDeque<(u64, Mark)>,
    next: u64,
}

#[derive(Clone, Copy)]
struct Point {
    number: u64,
    time: Millis,
    degrees: f64,
}

/// What is new.
#[derive(Debug, PartialEq, Serialize)]
pub struct News {
    /// New points by who sent them.
    pub series: Vec<Series>,
    /// New alerts, oldest first.
    pub alerts: Vec<Mark>,
    /// Ask with this number the next time.
    pub next: u64,
}

/// Points of one sender.
#[derive(Debug, PartialEq, Serialize)]
pub struct Series {
    /// Who sent them.
    #[serde(flatten)]
    pub source: Source,
    /// Times and degrees Celsius, oldest first.
    pub points: Vec<(Millis, f64)>,
}

/// An alert and when it came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mark {
    /// Who sent it.
    #[serde(flatten)]
    pub source: Source,
    /// When.
    pub time: Millis,
    /// What.
    #[serde(flatten)]
    pub alert: Alert,
}

impl Feed {
    /// Takes a reading in.
    pub fn push(&self, source: Source, time: Millis, reading: Reading) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let number = inner.next;
        match reading {
            Reading::Temperature(degrees) => {
                let Some(points) = inner.series(source, time) else { return };
                keep(points, Point { number, time, degrees }, POINTS_PER_SERIES_MAX);
            }
            Reading::Alert(alert) => {
                keep(&mut inner.alerts, (number, Mark { source, time, alert }), ALERTS_MAX);
            }
        }
        inner.next += 1;
    }

    /// The readings numbered `from` or later that are still kept.
    pub fn since(&self, from: u64) -> News {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let series = inner.series.iter().filter_map(|(source, points)| {
            let old = points.partition_point(|point| point.number < from);
            let points: Vec<_> = points.range(old..).map(|point| (point.time, point.degrees)).collect();
            (!points.is_empty()).then(|| Series { source: source.clone(), points })
        });
        let old = inner.alerts.partition_point(|(number, _)| *number < from);
        let alerts = inner.alerts.range(old..).map(|(_, mark)| mark.clone());
        News { series: series.collect(), alerts: alerts.collect(), next: inner.next }
    }
}

impl Inner {
    /// The points of a sender; `None` where there is no room for another sender.
    fn series(&mut self, source: Source, now: Millis) -> Option<&mut VecDeque<Point>> {
        if self.series.len() >= SERIES_MAX && !self.series.contains_key(&source) {
            let last = |points: &VecDeque<Point>| points.back().map_or(Millis::MIN, |point| point.time);
            let (quietest, heard) =
                self.series.iter().map(|(source, points)| (source, last(points))).min_by_key(|(_, t)| *t)?;
            let silence_max = Millis::try_from(SILENCE_MAX.as_millis()).unwrap_or(Millis::MAX);
            if now.saturating_sub(heard) < silence_max {
                return None;
            }
            let quietest = quietest.clone();
            self.series.remove(&quietest);
        }
        Some(self.series.entry(source).or_default())
    }
}

fn keep<T>(list: &mut VecDeque<T>, new: T, len_max: usize) {
    if list.len() == len_max {
        list.pop_front();
    }
    list.push_back(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(n: usize) -> Source {
        Source { device: format!("d{n}"), module: None }
    }

    fn push(feed: &Feed, n: usize, time: Millis) {
        feed.push(source(n), time, Reading::Temperature(20.0));
    }

    fn alert(feed: &Feed, time: Millis) {
        let alert = Alert { command: "reset".into(), body: "[]".into() };
        feed.push(Source { device: "d".into(), module: Some("m".into()) }, time, Reading::Alert(alert));
    }

    #[test]
    fn a_page_gets_every_reading_once() {
        let feed = Feed::default();
        push(&feed, 1, 1);
        push(&feed, 2, 2);
        alert(&feed, 3);
        let first = feed.since(0);
        assert_eq!((first.series.len(), first.alerts.len()), (2, 1));
        let nothing = feed.since(first.next);
        assert!(nothing.series.is_empty() && nothing.alerts.is_empty());
        push(&feed, 1, 4);
        let then = feed.since(first.next);
        assert_eq!(then.series, [Series { source: source(1), points: vec![(4, 20.0)] }]);
        assert!(then.alerts.is_empty());
    }

    #[test]
    fn memory_is_bounded_in_points_series_and_alerts() {
        let feed = Feed::default();
        for time in 0..2 * POINTS_PER_SERIES_MAX as i64 {
            push(&feed, 0, time);
            alert(&feed, time);
        }
        for n in 0..2 * SERIES_MAX {
            push(&feed, n, 0);
        }
        let News { series, alerts, .. } = feed.since(0);
        assert_eq!(series.iter().map(|s| s.points.len()).max(), Some(POINTS_PER_SERIES_MAX));
        assert_eq!((series.len(), alerts.len()), (SERIES_MAX, ALERTS_MAX));
    }

    #[test]
    fn a_series_that_fell_silent_makes_room() {
        let feed = Feed::default();
        for n in 0..SERIES_MAX {
            push(&feed, n, i64::try_from(n).unwrap());
        }
        push(&feed, SERIES_MAX, 1000);
        assert!(feed.since(0).series.iter().all(|s| s.source != source(SERIES_MAX)));
        push(&feed, SERIES_MAX, SILENCE_MAX.as_millis() as i64);
        let series = feed.since(0).series;
        assert!(series.iter().any(|s| s.source == source(SERIES_MAX)));
        assert!(series.iter().all(|s| s.source != source(0)));
        assert_eq!(series.len(), SERIES_MAX);
    }

    #[test]
    fn a_page_is_told_device_and_module() {
        let feed = Feed::default();
        feed.push(Source { device: "d".into(), module: Some("m".into()) }, 5, Reading::Temperature(70.5));
        alert(&feed, 6);
        let told = serde_json::to_value(feed.since(0)).unwrap();
        assert_eq!(
            told["series"],
            serde_json::json!([{"device": "d", "module": "m", "points": [[5, 70.5]]}])
        );
        let mark =
            serde_json::json!({"device": "d", "module": "m", "time": 6, "command": "reset", "body": "[]"});
        assert_eq!(told["alerts"], serde_json::json!([mark]));
    }
}
