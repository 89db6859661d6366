//! Settings from environment variables, by the names and defaults of the stock module.

use super::Error;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

/// The shortest delay: times are counted in milliseconds.
const DELAY_MIN: Duration = Duration::from_millis(1);
/// The longest delay, about 24 days: what fits into 31 bits of milliseconds.
pub(super) const DELAY_MAX: Duration = Duration::from_millis(i32::MAX as u64);

/// How the sensor behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `MessageDelay`: time between readings, `hh:mm:ss` or `d.hh:mm:ss`, with fractions of a second.
    pub delay: Duration,
    /// `MessageCount`: how many messages are sent; `None` for no end, which any negative number stands for.
    pub count: Option<u64>,
    /// `machineTempMin`, `machineTempMax`: °C.
    pub temperature: Range,
    /// `machinePressureMin`, `machinePressureMax`: psi.
    pub pressure: Range,
    /// `ambientTemp`: °C.
    pub ambient_temperature: f64,
    /// `ClientTransportType`: accepted, and told in a line; the transport is MQTT whatever it says.
    pub transport: String,
}

/// A value's lowest and highest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// Lowest.
    pub min: f64,
    /// Highest, above the lowest.
    pub max: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            delay: Duration::from_secs(5),
            count: Some(500),
            temperature: Range { min: 21.0, max: 100.0 },
            pressure: Range { min: 1.0, max: 10.0 },
            ambient_temperature: 21.0,
            transport: "Amqp_Tcp_Only".to_owned(),
        }
    }
}

impl Settings {
    /// From variables; names are compared without case, as .NET does, and unknown ones are nobody's business here.
    /// `ambientHumidity` is accepted and means nothing, as in the stock module.
    pub fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, Error> {
        let variables: HashMap<String, String> =
            variables.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        let read = Reader(&variables);
        let default = Self::default();
        let mut settings = Self {
            delay: read.get("MessageDelay", "hh:mm:ss or d.hh:mm:ss", time_span)?.unwrap_or(default.delay),
            count: match read.get("MessageCount", "a whole number", |text| text.parse::<i64>().ok())? {
                None => default.count,
                Some(count) => u64::try_from(count).ok(),
            },
            temperature: read.range("machineTempMin", "machineTempMax", default.temperature)?,
            pressure: read.range("machinePressureMin", "machinePressureMax", default.pressure)?,
            ambient_temperature: read.number("ambientTemp", default.ambient_temperature)?,
            transport: default.transport,
        };
        read.number("ambientHumidity", 0.0)?;
        if let Some(transport) = variables.get("clienttransporttype") {
            settings.transport = transport.chars().filter(|c| !c.is_control()).take(64).collect();
        }
        settings.delay = settings.delay.clamp(DELAY_MIN, DELAY_MAX);
        Ok(settings)
    }
}

struct Reader<'a>(&'a HashMap<String, String>);

impl Reader<'_> {
    fn get<T>(
        &self,
        name: &'static str,
        form: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(text) = self.0.get(&name.to_ascii_lowercase()) else { return Ok(None) };
        match parse(text.trim()) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::Setting { name, reason: format!("{text:?} is not {form}") }),
        }
    }

    fn number(&self, name: &'static str, default: f64) -> Result<f64, Error> {
        let parse = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
        Ok(self.get(name, "a number", parse)?.unwrap_or(default))
    }

    fn range(&self, min: &'static str, max: &'static str, default: Range) -> Result<Range, Error> {
        let range = Range { min: self.number(min, default.min)?, max: self.number(max, default.max)? };
        if range.min < range.max {
            return Ok(range);
        }
        Err(Error::Setting { name: max, reason: format!("{} is not above {min}, {}", range.max, range.min) })
    }
}

/// Reads .NET's text form of a duration: `[d.]hh:mm[:ss[.fraction]]`, `d:hh:mm:ss[.fraction]` or `d`; not negative.
pub fn time_span(text: &str) -> Option<Duration> {
    let (days, clock) = match text.split_once(':') {
        None => return Some(Duration::from_secs(number(text, u32::MAX)? * 86_400)),
        Some((head, rest)) => match head.split_once('.') {
            Some((days, hours)) => (number(days, u32::MAX)?, format!("{hours}:{rest}")),
            None if rest.matches(':').count() == 2 => (number(head, u32::MAX)?, rest.to_owned()),
            None => (0, text.to_owned()),
        },
    };
    let mut parts = clock.split(':');
    let hours = number(parts.next()?, 23)?;
    let minutes = number(parts.next()?, 59)?;
    let (seconds, nanos) = match parts.next() {
        None => (0, 0),
        Some(text) => {
            let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
            (number(seconds, 59)?, nanos(fraction)?)
        }
    };
    let whole = ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
    parts.next().is_none().then(|| Duration::new(whole, nanos))
}

fn number(text: &str, max: u32) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse::<u64>().ok()).flatten().filter(|number| *number <= u64::from(max))
}

/// A fraction of a second, seven digits at most.
fn nanos(fraction: &str) -> Option<u32> {
    let value = number(fraction, 9_999_999).filter(|_| fraction.len() <= 7)?;
    let scale = 10_u64.pow(9 - u32::try_from(fraction.len()).ok()?);
    u32::try_from(value * scale).ok()
}

/// A duration in .NET's text form.
pub(super) struct TimeSpan(pub Duration);

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
        if days > 0 {
            write!(f, "{days}.")?;
        }
        write!(f, "{hours:02}:{:02}:{:02}", seconds / 60 % 60, seconds % 60)?;
        match self.0.subsec_nanos() / 100 {
            0 => Ok(()),
            ticks => write!(f, ".{ticks:07}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, Error> {
        Settings::from_variables(
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        )
    }

    #[test]
    fn without_variables_the_stock_defaults_hold() {
        let stock = settings(&[("PATH", "x")]).unwrap();
        assert_eq!(stock, Settings::default());
        assert_eq!((stock.delay, stock.count), (Duration::from_secs(5), Some(500)));
        assert_eq!((stock.temperature.min, stock.temperature.max), (21.0, 100.0));
        assert_eq!((stock.pressure.min, stock.pressure.max), (1.0, 10.0));
    }

    #[test]
    fn variables_are_read_without_regard_to_case() {
        let read = settings(&[
            ("MESSAGEDELAY", "00:00:00.2"),
            ("MessageCount", "-1"),
            ("machineTempMin", "-5.5"),
            ("machinePressureMax", "12"),
            ("ambientHumidity", "25"),
            ("ClientTransportType", "Mqtt_WebSocket_Only"),
        ])
        .unwrap();
        assert_eq!((read.delay, read.count), (Duration::from_millis(200), None));
        assert_eq!((read.temperature.min, read.pressure.max), (-5.5, 12.0));
        assert_eq!(read.transport, "Mqtt_WebSocket_Only");
    }

    #[test]
    fn a_wrong_value_names_its_variable() {
        for (name, value) in [
            ("MessageDelay", "5s"),
            ("MessageCount", "many"),
            ("machineTempMax", "21"),
            ("machinePressureMax", "NaN"),
            ("ambientTemp", ""),
        ] {
            let error = settings(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{name}={value}: {error}");
        }
    }

    #[test]
    fn durations_are_read_and_written_as_dotnet_does() {
        for (text, millis, written) in [
            ("00:00:05", 5000, "00:00:05"),
            ("0:0:5", 5000, "00:00:05"),
            ("00:00:00.2", 200, "00:00:00.2000000"),
            ("1.02:03:04", 93_784_000, "1.02:03:04"),
            ("1:02:03:04.5", 93_784_500, "1.02:03:04.5000000"),
            ("01:30", 5_400_000, "01:30:00"),
            ("2", 172_800_000, "2.00:00:00"),
        ] {
            let read = time_span(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(
                (read.as_millis(), TimeSpan(read).to_string()),
                (millis, written.to_owned()),
                "{text}"
            );
        }
        for text in [
            "",
            "x",
            "24:00:00",
            "00:60:00",
            "00:00:60",
            "-00:00:05",
            "00:00:05.12345678",
            "1:2:3:4:5",
            "::",
            "5.",
        ] {
            assert_eq!(time_span(text), None, "{text}");
        }
    }
}
