//! The latest points, for pages that open, and news, for pages that are open.

use crate::point::Point;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use tokio::sync::broadcast;

/// Points kept per device.
const POINTS_PER_DEVICE_MAX: usize = 600;
/// Devices followed; points of others are not drawn.
const DEVICES_MAX: usize = 50;
/// Points a slow page may be behind before it is told to start over.
const BEHIND_MAX: usize = 1024;

/// Latest points and news.
pub struct Feed {
    history: Mutex<HashMap<String, VecDeque<Point>>>,
    news: broadcast::Sender<Point>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { history: Mutex::default(), news: broadcast::Sender::new(BEHIND_MAX) }
    }
}

impl Feed {
    /// Takes a point in.
    pub fn push(&self, point: Point) {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.len() >= DEVICES_MAX && !history.contains_key(&point.device) {
            return;
        }
        let points = history.entry(point.device.clone()).or_default();
        if points.len() == POINTS_PER_DEVICE_MAX {
            points.pop_front();
        }
        points.push_back(point.clone());
        // Sent under the lock, so that `subscribe` misses and repeats nothing. No page open is no error.
        let _ = self.news.send(point);
    }

    /// All points kept, oldest first per device, and the news that follow exactly after them.
    pub fn subscribe(&self) -> (Vec<Point>, broadcast::Receiver<Point>) {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = self.news.subscribe();
        (history.values().flatten().cloned().collect(), receiver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(device: usize, time: i64) -> Point {
        Point { device: format!("d{device}"), time, temperature: 20.0 }
    }

    #[test]
    fn history_and_news_meet_without_gap_or_overlap() {
        let feed = Feed::default();
        feed.push(point(1, 1));
        let (history, mut news) = feed.subscribe();
        feed.push(point(1, 2));
        assert_eq!(history.iter().map(|p| p.time).collect::<Vec<_>>(), [1]);
        assert_eq!(news.try_recv().unwrap().time, 2);
        assert!(news.try_recv().is_err());
    }

    #[test]
    fn memory_is_bounded_in_points_and_devices() {
        let feed = Feed::default();
        for time in 0..2 * POINTS_PER_DEVICE_MAX as i64 {
            feed.push(point(0, time));
        }
        for device in 0..2 * DEVICES_MAX {
            feed.push(point(device, 0));
        }
        assert_eq!(feed.subscribe().0.len(), POINTS_PER_DEVICE_MAX + DEVICES_MAX);
    }
}
