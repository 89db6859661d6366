//! A virtual ADC: a room whose temperature wanders, noise on the pin, a resolution, and faults.

use super::physics::{Circuit, FULL_SCALE, Fault};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::f64::consts::TAU;

/// Seconds in which the room's temperature swings once; slow enough to look like a room, quick enough to be seen.
const SWING_PERIOD: f64 = 600.0;
/// How strongly drift is pulled back to zero, per second: it forgets in about ten minutes.
const DRIFT_RETURN: f64 = 1.0 / 600.0;

/// Resolution of the converter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resolution {
    /// 12 bits, as in the Pico W; a value is spread over 16 bits as `read_u16` does.
    #[default]
    Bits12,
    /// 16 bits.
    Bits16,
}

/// What the simulation looks like.
#[derive(Debug, Clone, PartialEq)]
pub struct Simulation {
    /// The room's mean temperature, °C.
    pub celsius: f64,
    /// How far it swings to either side, °C.
    pub swing: f64,
    /// Standard deviation of the drift after a long time, °C.
    pub drift: f64,
    /// Standard deviation of the noise on the pin, in steps of 16 bits.
    pub noise: f64,
    /// Resolution.
    pub resolution: Resolution,
    /// Makes a run repeatable.
    pub seed: u64,
}

impl Default for Simulation {
    fn default() -> Self {
        Self { celsius: 21.5, swing: 1.5, drift: 0.3, noise: 12.0, resolution: Resolution::Bits12, seed: 1 }
    }
}

/// The converter and the room it stands in.
#[derive(Debug)]
pub struct VirtualAdc {
    simulation: Simulation,
    circuit: Circuit,
    random: StdRng,
    drift: f64,
    seconds: f64,
}

impl VirtualAdc {
    /// A converter in a room.
    pub fn new(simulation: Simulation, circuit: Circuit) -> Self {
        let random = StdRng::seed_from_u64(simulation.seed);
        Self { simulation, circuit, random, drift: 0.0, seconds: 0.0 }
    }

    /// Lets `seconds` pass and reads the pin: 0 to 65535.
    pub fn read(&mut self, seconds: f64, fault: Option<Fault>) -> u16 {
        self.wander(seconds.max(0.0));
        let share = match fault {
            Some(Fault::Open) => 1.0,
            Some(Fault::Short) => 0.0,
            None => self.circuit.share(self.celsius()),
        };
        let noise = self.simulation.noise * self.normal();
        self.quantise(share * f64::from(FULL_SCALE) + noise)
    }

    /// The room's true temperature.
    pub fn celsius(&self) -> f64 {
        let swing = self.simulation.swing * (TAU * self.seconds / SWING_PERIOD).sin();
        self.simulation.celsius + swing + self.drift
    }

    /// An Ornstein–Uhlenbeck walk: it drifts, but never away for good.
    fn wander(&mut self, seconds: f64) {
        self.seconds += seconds;
        let keep = (-DRIFT_RETURN * seconds).exp();
        self.drift = self.drift * keep + self.simulation.drift * (1.0 - keep * keep).sqrt() * self.normal();
    }

    fn quantise(&self, level: f64) -> u16 {
        // `as` saturates: noise below zero reads as zero, as it does on the pin.
        let level = level.round() as u16;
        match self.simulation.resolution {
            Resolution::Bits16 => level,
            Resolution::Bits12 => {
                let steps = level >> 4;
                (steps << 4) | (steps >> 8)
            }
        }
    }

    /// A standard normal number (Box–Muller).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.random.random::<f64>()).ln()).sqrt();
        radius * (TAU * self.random.random::<f64>()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::super::physics::Reading;
    use super::*;

    #[test]
    fn readings_stay_near_the_room() {
        for resolution in [Resolution::Bits12, Resolution::Bits16] {
            let simulation = Simulation { resolution, ..Simulation::default() };
            let mut adc = VirtualAdc::new(simulation, Circuit::default());
            for _ in 0..2000 {
                let value = adc.read(1.0, None);
                let Reading::Good { celsius, .. } = Circuit::default().reading(value) else {
                    panic!("a fault")
                };
                assert!((celsius - adc.celsius()).abs() < 0.15, "{celsius} in a room of {}", adc.celsius());
                assert!((17.0..26.0).contains(&celsius), "{celsius}");
            }
        }
    }

    #[test]
    fn faults_read_as_faults_and_the_same_seed_as_the_same_run() {
        let run = |fault| {
            let mut adc = VirtualAdc::new(Simulation::default(), Circuit::default());
            (0..50).map(|_| adc.read(1.0, fault)).collect::<Vec<_>>()
        };
        let all = |fault: Fault| {
            run(Some(fault)).iter().all(|&value| Circuit::default().reading(value) == Reading::Fault(fault))
        };
        assert!(all(Fault::Open) && all(Fault::Short));
        assert_eq!(run(None), run(None));
    }

    #[test]
    fn twelve_bits_are_spread_over_sixteen() {
        let simulation = Simulation { noise: 0.0, ..Simulation::default() };
        let adc = VirtualAdc::new(simulation, Circuit::default());
        assert_eq!(adc.quantise(65_535.0), 65_535);
        assert_eq!(adc.quantise(0.0), 0);
        assert_eq!(adc.quantise(32_768.0), 0x8008);
    }
}
