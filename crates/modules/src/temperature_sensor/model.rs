//! The machine that is measured: its temperature climbs until somebody resets it, and its pressure follows.

use super::settings::{Range, Settings};
use rand::Rng;

/// The humidity of the room, whatever is configured.
const HUMIDITY: std::ops::RangeInclusive<u32> = 24..=26;

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// °C of the machine.
    pub temperature: f64,
    /// psi in the machine.
    pub pressure: f64,
    /// °C of the room.
    pub ambient_temperature: f64,
    /// % in the room.
    pub humidity: u32,
}

/// The machine. Each reading is one step further: half a degree up on average, around the highest temperature once it is there.
#[derive(Debug, Clone)]
pub struct Machine {
    temperature: f64,
    range: Range,
    pressure: Range,
    ambient: f64,
}

impl Machine {
    /// A machine at its lowest temperature.
    pub fn new(settings: &Settings) -> Self {
        let Settings { temperature: range, pressure, ambient_temperature: ambient, .. } = *settings;
        Self { temperature: range.min, range, pressure, ambient }
    }

    /// Back to the lowest temperature; the next reading is one step away from it.
    pub fn reset(&mut self) {
        self.temperature = self.range.min;
    }

    /// Goes one step and reads.
    pub fn step(&mut self, rng: &mut impl Rng) -> Reading {
        let mut uniform = || rng.random_range(0.0..1.0);
        self.temperature +=
            if self.temperature > self.range.max { uniform() - 0.5 } else { -0.25 + 1.5 * uniform() };
        let ambient_temperature = self.ambient + uniform() - 0.5;
        let slope = (self.pressure.max - self.pressure.min) / (self.range.max - self.range.min);
        Reading {
            temperature: self.temperature,
            pressure: self.pressure.min + (self.temperature - self.range.min) * slope,
            ambient_temperature,
            humidity: rng.random_range(HUMIDITY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    #[test]
    fn the_machine_climbs_half_a_degree_a_step_and_stays_near_its_highest() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut to_seventy = Vec::new();
        for _ in 0..200 {
            let mut machine = Machine::new(&Settings::default());
            let steps = (1..).find(|_| machine.step(&mut rng).temperature > 70.0).unwrap();
            to_seventy.push(f64::from(steps));
            for _ in 0..2000 {
                machine.step(&mut rng);
            }
            let last = machine.step(&mut rng);
            // Above the highest it wanders without a slope, and below it climbs again.
            assert!((98.0..160.0).contains(&last.temperature), "{last:?}");
        }
        let mean = to_seventy.iter().sum::<f64>() / to_seventy.len() as f64;
        assert!((96.0..101.0).contains(&mean), "{mean} steps to 70 degrees");
    }

    #[test]
    fn steps_are_uniform_and_pressure_follows_temperature() {
        let mut rng = StdRng::seed_from_u64(2);
        let mut machine = Machine::new(&Settings::default());
        let mut humidities = [0_u32; 3];
        let (mut sum, mut low, mut high) = (0.0, f64::MAX, f64::MIN);
        for _ in 0..10_000 {
            machine.reset();
            let reading = machine.step(&mut rng);
            let step = reading.temperature - 21.0;
            assert!((-0.25..1.25).contains(&step));
            (sum, low, high) = (sum + step, low.min(step), high.max(step));
            assert!((reading.pressure - (1.0 + step * 9.0 / 79.0)).abs() < 1e-9);
            assert!((20.5..21.5).contains(&reading.ambient_temperature));
            humidities[(reading.humidity - 24) as usize] += 1;
        }
        assert!((sum / 10_000.0 - 0.5).abs() < 0.02 && low < -0.24 && high > 1.24, "{sum} {low} {high}");
        assert!(humidities.iter().all(|count| (3000..3700).contains(count)), "{humidities:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_readings() {
        let run = |seed| {
            let (mut rng, mut machine) = (StdRng::seed_from_u64(seed), Machine::new(&Settings::default()));
            std::iter::repeat_with(move || machine.step(&mut rng)).take(50).collect::<Vec<_>>()
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }
}
