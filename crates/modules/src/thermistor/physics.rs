//! An NTC thermistor in a voltage divider: ADC reading to resistance to temperature, and back for the simulation.
//!
//! The divider: 3.3 V, series resistor, ADC pin, thermistor, ground. Formulas, defaults and fault limits are those of the
//! program for the Pico W in `device/pico-w`, so that both send the same telemetry for the same reading.

/// The largest reading: 16 bits, as MicroPython's `read_u16` gives them on any ADC.
pub const FULL_SCALE: u16 = u16::MAX;
/// 0 °C in kelvin.
const ZERO_CELSIUS: f64 = 273.15;
/// 25 °C in kelvin.
const T25: f64 = 298.15;
/// Below 1 % of full scale no temperature is meant: under 102 Ω, above 180 °C with the default part.
const SHORT_BELOW: u16 = FULL_SCALE / 100;
/// Above 99 % neither: over 990 kΩ, below −50 °C.
const OPEN_ABOVE: u16 = FULL_SCALE - FULL_SCALE / 100;

/// What can be wrong with a sensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// A broken wire: the series resistor pulls the pin up.
    Open,
    /// The wires touch.
    Short,
}

impl Fault {
    /// Its name in telemetry: `open` or `short`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Short => "short",
        }
    }
}

/// How a resistance becomes a temperature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Model {
    /// `1/T = 1/T25 + ln(R/R25)/B`: two constants from any data sheet, good near 25 °C.
    Beta {
        /// Resistance at 25 °C, Ω.
        r25: f64,
        /// B, kelvin.
        beta: f64,
    },
    /// `1/T = A + B·ln R + C·(ln R)³`: three constants, good over the whole range.
    SteinhartHart {
        /// A, 1/K.
        a: f64,
        /// B, 1/K.
        b: f64,
        /// C, 1/K.
        c: f64,
    },
}

impl Model {
    /// The default part: 10 kΩ at 25 °C, B = 3950 K.
    pub const BETA: Self = Self::Beta { r25: 10_000.0, beta: 3950.0 };
    /// The constants makers publish for the usual 10 kΩ part.
    pub const STEINHART_HART: Self = Self::SteinhartHart { a: 1.129_148e-3, b: 2.341_25e-4, c: 8.767_41e-8 };

    /// Temperature in °C of a resistance in Ω (above zero).
    pub fn celsius(&self, ohm: f64) -> f64 {
        let inverse = match *self {
            Self::Beta { r25, beta } => 1.0 / T25 + (ohm / r25).ln() / beta,
            Self::SteinhartHart { a, b, c } => {
                let ln = ohm.ln();
                a + b * ln + c * ln.powi(3)
            }
        };
        1.0 / inverse - ZERO_CELSIUS
    }

    /// Resistance in Ω at a temperature in °C above absolute zero.
    pub fn ohm(&self, celsius: f64) -> f64 {
        let inverse = 1.0 / (celsius + ZERO_CELSIUS);
        match *self {
            Self::Beta { r25, beta } => r25 * (beta * (inverse - 1.0 / T25)).exp(),
            Self::SteinhartHart { a, b, c } => {
                // The real root of x³ + (B/C)·x + (A − 1/T)/C = 0, by Cardano.
                let half = (a - inverse) / (2.0 * c);
                let root = ((b / (3.0 * c)).powi(3) + half * half).sqrt();
                ((root - half).cbrt() - (root + half).cbrt()).exp()
            }
        }
    }
}

/// The circuit and the part in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Circuit {
    /// The series resistor, Ω.
    pub series: f64,
    /// The thermistor.
    pub model: Model,
}

impl Default for Circuit {
    fn default() -> Self {
        Self { series: 10_000.0, model: Model::BETA }
    }
}

/// What one ADC value means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reading {
    /// A temperature.
    Good {
        /// °C.
        celsius: f64,
        /// The thermistor's resistance, Ω.
        ohm: f64,
    },
    /// No temperature.
    Fault(Fault),
}

impl Circuit {
    /// What an ADC value means.
    pub fn reading(&self, adc: u16) -> Reading {
        if adc < SHORT_BELOW {
            return Reading::Fault(Fault::Short);
        }
        if adc > OPEN_ABOVE {
            return Reading::Fault(Fault::Open);
        }
        let ohm = self.series * f64::from(adc) / f64::from(FULL_SCALE - adc);
        Reading::Good { celsius: self.model.celsius(ohm), ohm }
    }

    /// The share of full scale that the pin is at for a temperature, 0 to 1.
    pub fn share(&self, celsius: f64) -> f64 {
        let ohm = self.model.ohm(celsius);
        ohm / (ohm + self.series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, wanted: f64, tolerance: f64) {
        assert!((got - wanted).abs() <= tolerance, "{got} is not {wanted} within {tolerance}");
    }

    #[test]
    fn both_models_against_the_table_of_the_part() {
        for (celsius, ohm) in
            [(-20.0, 105_385.0), (0.0, 33_621.0), (25.0, 10_000.0), (50.0, 3588.1), (100.0, 697.5)]
        {
            near(Model::BETA.celsius(ohm), celsius, 0.01);
        }
        for (celsius, ohm) in
            [(-20.0, 97_083.0), (0.0, 32_650.8), (25.0, 10_000.0), (50.0, 3602.3), (100.0, 678.3)]
        {
            near(Model::STEINHART_HART.celsius(ohm), celsius, 0.03);
        }
    }

    #[test]
    fn resistance_is_the_inverse_of_temperature() {
        for model in [Model::BETA, Model::STEINHART_HART] {
            for celsius in [-40.0, -5.5, 0.0, 21.53, 85.0, 150.0] {
                near(model.celsius(model.ohm(celsius)), celsius, 1e-6);
            }
        }
    }

    #[test]
    fn a_reading_is_the_same_as_on_the_pico() {
        let Reading::Good { celsius, ohm } = Circuit::default().reading(35_316) else { panic!("a fault") };
        near(celsius, 21.53, 0.005);
        assert_eq!(ohm.round(), 11_687.0);
    }

    #[test]
    fn faults_begin_where_no_temperature_is_meant() {
        let circuit = Circuit::default();
        assert_eq!(circuit.reading(0), Reading::Fault(Fault::Short));
        assert_eq!(circuit.reading(FULL_SCALE), Reading::Fault(Fault::Open));
        assert!(matches!(circuit.reading(SHORT_BELOW), Reading::Good { .. }));
        assert!(matches!(circuit.reading(OPEN_ABOVE), Reading::Good { .. }));
        assert_eq!(circuit.reading(SHORT_BELOW - 1), Reading::Fault(Fault::Short));
        assert_eq!(circuit.reading(OPEN_ABOVE + 1), Reading::Fault(Fault::Open));
    }
}
