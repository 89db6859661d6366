//! Times, counted in classes of 3 % width: as much memory for a billion of them as for one.

use std::time::Duration;

/// Classes for each doubling.
const STEPS: usize = 32;
/// Doublings of a nanosecond that are told apart, up to nine minutes.
const DOUBLINGS: usize = 40;

/// See the head of the file.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    counts: Box<[u64]>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; STEPS * DOUBLINGS].into(), count: 0, max: 0 }
    }
}

/// The class of a time in nanoseconds. Below 32 ns each has its own.
fn class(nanos: u64) -> usize {
    let steps = STEPS as u64;
    if nanos < steps {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - steps.ilog2();
    let class = (shift as usize + 1) * STEPS + ((nanos >> shift) - steps) as usize;
    class.min(STEPS * DOUBLINGS - 1)
}

/// The longest time of a class.
fn upper(class: usize) -> u64 {
    let (doubling, step) = (class / STEPS, (class % STEPS) as u64);
    if doubling == 0 {
        return step;
    }
    ((STEPS as u64 + step + 1) << (doubling - 1)) - 1
}

impl Histogram {
    pub(super) fn record(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.counts[class(nanos)] += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The time that this part of all did not exceed; `None` if there is none.
    pub(super) fn quantile(&self, part: f64) -> Option<Duration> {
        let wanted = ((self.count as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        let class = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(Duration::from_nanos(upper(class).min(self.max)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_within_a_class() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (part, micros) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0), (0.0, 1.0)] {
            let shown = histogram.quantile(part).unwrap().as_secs_f64() * 1e6;
            assert!(shown >= micros && shown <= micros * 1.04, "{part}: {shown}");
        }
        let mut both = histogram.clone();
        both.add(&histogram);
        assert_eq!((both.count(), both.quantile(0.5)), (2000, histogram.quantile(0.5)));
    }

    #[test]
    fn each_class_ends_where_the_next_begins() {
        for class_number in 0..STEPS * DOUBLINGS - 1 {
            let last = upper(class_number);
            assert_eq!((class(last), class(last + 1)), (class_number, class_number + 1), "{last}");
        }
        assert_eq!(class(u64::MAX), STEPS * DOUBLINGS - 1);
    }
}
