//! Models of what a value usually is, for `AnomalyDetection_SpikeAndDip` and `AnomalyDetection_ChangePoint`.
//!
//! The original's models are not published, so scores differ from its; what they mean is the same. A spike's score is a
//! p-value: how much of a kernel density estimate over the last values lies as far out as the new one. A change's score is
//! an exchangeability martingale: it is about 1 while values come in no order, and grows when they begin to differ.

use crate::value::DateTime;
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use std::collections::VecDeque;

/// What was seen of a value.
#[derive(Debug, Default)]
pub(crate) struct Model {
    points: VecDeque<(DateTime, f64)>,
    /// Logarithms of how usual the last values were, for changes.
    usual: VecDeque<f64>,
}

/// With fewer values than that nothing is unusual.
const FEWEST: usize = 8;

/// The greatest score; beyond, a float would not hold it.
const MAX_SCORE: f64 = 1e300;

impl Model {
    /// Forgets values up to a time.
    pub(crate) fn forget(&mut self, until: i64) {
        while self.points.front().is_some_and(|(time, _)| time.0 <= until) {
            self.points.pop_front();
        }
    }

    fn keep(&mut self, now: DateTime, value: f64, history: usize) {
        while self.points.len() >= history {
            self.points.pop_front();
        }
        self.points.push_back((now, value));
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        self.points.iter().map(|(_, value)| *value)
    }

    fn mean(&self) -> f64 {
        self.values().sum::<f64>() / self.points.len() as f64
    }

    /// Takes in a value: how likely one as great or greater is, and one as small or smaller.
    pub(crate) fn tails(&mut self, now: DateTime, value: f64, history: usize) -> [f64; 2] {
        let count = self.points.len();
        let tails = if count < FEWEST.min(history) {
            [1.0, 1.0]
        } else {
            let mean = self.mean();
            let variance = self.values().map(|other| (other - mean).powi(2)).sum::<f64>() / count as f64;
            // Half the spread, so that the tails reach further than the values seen; and never nothing.
            let width = (variance.sqrt() / 2.0).max(f64::MIN_POSITIVE);
            let upper = self.values().map(|other| above((value - other) / width)).sum::<f64>() / count as f64;
            let lower = self.values().map(|other| above((other - value) / width)).sum::<f64>() / count as f64;
            [upper.clamp(0.0, 1.0), lower.clamp(0.0, 1.0)]
        };
        self.keep(now, value, history);
        tails
    }

    /// Takes in a value: the martingale over the last ones. At `alert` it begins anew, so that one change is told once.
    pub(crate) fn martingale(&mut self, now: DateTime, value: f64, history: usize, alert: f64) -> f64 {
        if self.points.len() >= FEWEST.min(history) {
            let mean = self.mean();
            let strange = (value - mean).abs();
            let (mut stranger, mut equal) = (0.0, 1.0);
            for other in self.values().map(|other| (other - mean).abs()) {
                if other > strange {
                    stranger += 1.0;
                } else if other == strange {
                    equal += 1.0;
                }
            }
            let share: f64 = (stranger + equal / 2.0) / (self.points.len() as f64 + 1.0);
            if self.usual.len() >= (history / 4).max(FEWEST) {
                self.usual.pop_front();
            }
            self.usual.push_back(share.ln());
        }
        self.keep(now, value, history);
        let score = mixture(self.usual.len(), self.usual.iter().sum());
        if score >= alert {
            self.usual.clear();
        }
        score
    }

    /// The time of the last value.
    pub(crate) fn newest(&self) -> DateTime {
        self.points.back().map_or(DateTime::MIN, |(time, _)| *time)
    }

    /// About how many bytes it holds.
    pub(crate) fn weight(&self) -> usize {
        self.points.len() * size_of::<(DateTime, f64)>() + self.usual.len() * size_of::<f64>()
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.size(self.points.len());
        for (time, value) in &self.points {
            out.time(*time);
            out.float(*value);
        }
        out.size(self.usual.len());
        self.usual.iter().for_each(|usual| out.float(*usual));
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let mut model = Self::default();
        for _ in 0..from.size()? {
            model.points.push_back((from.time()?, finite(from)?));
        }
        for _ in 0..from.size()? {
            model.usual.push_back(finite(from)?);
        }
        Ok(model)
    }
}

fn finite(from: &mut Reader<'_>) -> Result<f64, SnapshotError> {
    Some(from.float()?).filter(|number| number.is_finite()).ok_or(SnapshotError::Damaged("a model"))
}

/// How much of a normal distribution lies above a place (Abramowitz and Stegun, 26.2.17: to 7 digits).
fn above(place: f64) -> f64 {
    if place < 0.0 {
        return 1.0 - above(-place);
    }
    let t = 1.0 / (1.0 + 0.231_641_9 * place);
    let series = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = series.iter().rev().fold(0.0, |sum, factor| (sum + factor) * t);
    sum * (-place * place / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// The mean over all powers `e` from 0 to 1 of the product of `e * p^(e - 1)`, given how many `p` there are and the sum of their
/// logarithms.
fn mixture(count: usize, sum: f64) -> f64 {
    const PARTS: usize = 128;
    let part = |number: usize| {
        let power = (number as f64 + 0.5) / PARTS as f64;
        (count as f64 * power.ln() + (power - 1.0) * sum).exp()
    };
    let mean = (0..PARTS).map(part).sum::<f64>() / PARTS as f64;
    mean.min(MAX_SCORE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_the_normal_distribution() {
        for (place, share) in [(0.0, 0.5), (1.0, 0.158_655_3), (-1.0, 0.841_344_7), (3.0, 0.001_349_9)] {
            assert!((above(place) - share).abs() < 1e-6, "{place}: {}", above(place));
        }
    }

    #[test]
    fn the_martingale_grows_with_unusual_values_only() {
        assert!((mixture(0, 0.0) - 1.0).abs() < 1e-9);
        // As usual as can be expected: the mean of -ln p is 1.
        assert!(mixture(20, -20.0) < 2.0);
        assert!(mixture(20, -80.0) > 1000.0);
        assert_eq!(mixture(2000, -20_000.0), MAX_SCORE);
    }
}
