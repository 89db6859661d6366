//! Times, counted in classes 3 % wide.

/// Classes per power of two.
const STEPS: usize = 32;

/// Log-linear histogram of nanoseconds.
#[derive(Clone)]
pub struct Histogram {
    count: u64,
    max: u64,
    classes: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { count: 0, max: 0, classes: vec![0; 64 * STEPS] }
    }
}

impl Histogram {
    /// Counts a time; anything below 32 ns is 32 ns.
    #[inline]
    pub fn add(&mut self, nanos: u64) {
        let nanos = nanos.max(STEPS as u64);
        let power = 63 - nanos.leading_zeros() as usize;
        self.classes[power * STEPS + ((nanos >> (power - 5)) & 31) as usize] += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.max = self.max.max(other.max);
        for (mine, others) in self.classes.iter_mut().zip(&other.classes) {
            *mine += others;
        }
    }

    /// The time in microseconds below which this share of all lies; NaN where there is none.
    pub fn quantile(&self, share: f64) -> f64 {
        if self.count == 0 {
            return f64::NAN;
        }
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut below = 0;
        for (index, class) in self.classes.iter().enumerate() {
            below += class;
            if below >= wanted {
                let (power, step) = (index / STEPS, (index % STEPS) as u64);
                let width = 1u64 << (power - 5);
                return ((1u64 << power) + step * width) as f64 / 1000.0 + width as f64 / 2000.0;
            }
        }
        self.max as f64 / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_class() {
        let mut times = Histogram::default();
        (1..=1000).for_each(|micros| times.add(micros * 1000));
        for (share, micros) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = times.quantile(share);
            assert!((found / micros - 1.0).abs() < 0.03, "{share}: {found}");
        }
        let mut both = Histogram::default();
        both.merge(&times);
        assert_eq!(both.quantile(0.5), times.quantile(0.5));
        assert!(Histogram::default().quantile(0.5).is_nan());
    }
}
