//! The latest points, for pages that ask what is new.

use crate::point::Point;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Points kept per device.
const POINTS_PER_DEVICE_MAX: usize = 600;
/// Devices followed; points of others are not drawn.
const DEVICES_MAX: usize = 50;

/// The latest points, numbered in the order in which they came.
#[derive(Default)]
pub struct Feed {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    devices: HashMap<String, VecDeque<(u64, Point)>>,
    next: u64,
}

impl Feed {
    /// Takes a point in.
    pub fn push(&self, point: Point) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.devices.len() >= DEVICES_MAX && !inner.devices.contains_key(&point.device) {
            return;
        }
        let number = inner.next;
        inner.next += 1;
        let points = inner.devices.entry(point.device.clone()).or_default();
        if points.len() == POINTS_PER_DEVICE_MAX {
            points.pop_front();
        }
        points.push_back((number, point));
    }

    /// The points numbered `from` or later that are still kept, oldest first per device, and the number to ask from next.
    pub fn since(&self, from: u64) -> (Vec<Point>, u64) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let new = inner.devices.values().flat_map(|points| {
            let old = points.partition_point(|(number, _)| *number < from);
            points.range(old..).map(|(_, point)| point.clone())
        });
        (new.collect(), inner.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(device: usize, time: i64) -> Point {
        Point { device: format!("d{device}"), time, temperature: 20.0 }
    }

    #[test]
    fn a_page_gets_every_point_once() {
        let feed = Feed::default();
        feed.push(point(1, 1));
        feed.push(point(2, 2));
        let (first, next) = feed.since(0);
        assert_eq!(first.len(), 2);
        assert!(feed.since(next).0.is_empty());
        feed.push(point(1, 3));
        assert_eq!(feed.since(next).0, [point(1, 3)]);
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
        let (points, _) = feed.since(0);
        assert_eq!(points.len(), POINTS_PER_DEVICE_MAX + DEVICES_MAX - 1);
    }
}
