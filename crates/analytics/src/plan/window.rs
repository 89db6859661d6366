//! The windows of GROUP BY.
//!
//! Source of names, forms and limits: reference "Windowing functions" and the page of each window.

use super::compile::{Compiled, Compiler, argument_span};
use super::expr::Located;
use crate::error::Problem;
use crate::near::nearest;
use crate::syntax::tree::{Argument, Call, Expr, ExprKind};
use crate::value::{DatePart, Value};
use std::sync::Arc;

/// The longest window, in ticks of 100 ns: 7 days.
pub(crate) const MAX_WINDOW: i64 = 7 * crate::value::datetime::DAY;

/// How many windows a hop may be shorter than its window: each event is in so many windows.
const MAX_OVERLAP: i64 = 100_000;

/// A window with its id, if it has one.
#[derive(Debug)]
pub(crate) struct WindowSpec {
    pub(crate) id: Option<Arc<str>>,
    pub(crate) kind: WindowKind,
}

/// Which events are computed together. Times are ticks of 100 ns.
#[derive(Debug)]
pub(crate) enum WindowKind {
    /// Tumbling, hopping and snapshot windows: `(end - size, end]` for every end that is `offset` beyond a multiple of `hop`.
    Grid { size: i64, hop: i64, offset: i64 },
    /// `(t - size, t]` for every `t` at which an event enters or leaves.
    Sliding { size: i64 },
    /// From an event until `timeout` passes without one, cut at multiples of `longest`.
    Session { timeout: i64, longest: i64, partition: Vec<Located> },
}

const NAMES: [&str; 8] = [
    "TumblingWindow",
    "Tumbling",
    "HoppingWindow",
    "Hopping",
    "SlidingWindow",
    "Sliding",
    "SessionWindow",
    "Session",
];

/// Whether a call is a window, `Windows(…)` included.
pub(crate) fn is_window(call: &Call) -> bool {
    let [name] = call.name.as_slice() else { return false };
    NAMES.iter().chain(&["Windows"]).any(|known| known.eq_ignore_ascii_case(&name.text))
}

/// A name of a window near to a misspelt one.
pub(crate) fn near(name: &str) -> Option<&'static str> {
    nearest(name, NAMES)
}

/// The snapshot window: events of exactly one time, which is a grid as fine as time itself.
pub(crate) fn snapshot() -> WindowSpec {
    WindowSpec { id: None, kind: WindowKind::Grid { size: 1, hop: 1, offset: 0 } }
}

impl Compiler<'_> {
    /// A window of GROUP BY, or all of `Windows(…)`.
    pub(crate) fn windows(&mut self, call: &Call) -> Compiled<Vec<WindowSpec>> {
        if !call.name[0].text.eq_ignore_ascii_case("windows") {
            return Ok(vec![WindowSpec { id: None, kind: self.window(call)? }]);
        }
        let mut windows = Vec::new();
        for argument in &call.arguments {
            let window = self.windows_entry(argument)?;
            let same = |other: &WindowSpec| match (&other.id, &window.id) {
                (Some(a), Some(b)) => a.to_lowercase() == b.to_lowercase(),
                _ => false,
            };
            if windows.iter().any(same) {
                return Err(Problem::new(
                    argument_span(argument),
                    "two windows have the same id; ids differ in more than case",
                ));
            }
            windows.push(window);
        }
        if windows.is_empty() {
            return Err(Problem::new(call.span, "Windows(…) needs at least one window"));
        }
        let with_id = windows.iter().filter(|window| window.id.is_some()).count();
        if with_id != 0 && with_id != windows.len() {
            return Err(Problem::new(
                call.span,
                "either all windows of Windows(…) have an id, or none: Window('id', …)",
            ));
        }
        Ok(windows)
    }

    fn windows_entry(&mut self, argument: &Argument) -> Compiled<WindowSpec> {
        let Argument::Expr(expr) = argument else { return Err(not_a_window(argument)) };
        if is_system_timestamp(expr) {
            return Ok(snapshot());
        }
        let ExprKind::Call(call) = &expr.kind else { return Err(not_a_window(argument)) };
        if !matches!(call.name.as_slice(), [name] if name.text.eq_ignore_ascii_case("window")) {
            return Ok(WindowSpec { id: None, kind: self.window(call)? });
        }
        let [Argument::Expr(id), definition @ Argument::Expr(_)] = call.arguments.as_slice() else {
            return Err(Problem::new(
                call.span,
                "Window takes an id and a window: Window('id', TumblingWindow(minute, 5))",
            ));
        };
        let Some(Value::NVarchar(id)) = self.of_row(id)?.constant().cloned() else {
            return Err(Problem::new(id.span, "the id of a window is a constant text"));
        };
        let inner = self.windows_entry(definition)?;
        Ok(WindowSpec { id: Some(id), kind: inner.kind })
    }

    fn window(&mut self, call: &Call) -> Compiled<WindowKind> {
        let name = call.name.iter().map(|name| name.text.to_lowercase()).collect::<Vec<_>>().join(".");
        if call.over.is_some() && !name.starts_with("session") {
            return Err(Problem::new(call.span, "only SessionWindow takes OVER (PARTITION BY …)"));
        }
        let kind = match name.as_str() {
            "tumblingwindow" | "tumbling" => {
                let [size, offset] = self.times(call, ["Duration", "Offset"], 1)?;
                WindowKind::Grid { size, hop: size, offset }
            }
            "hoppingwindow" | "hopping" => {
                let [size, hop, offset] = self.times(call, ["Duration", "Hop", "Offset"], 2)?;
                WindowKind::Grid { size, hop, offset }
            }
            "slidingwindow" | "sliding" => {
                let [size] = self.times(call, ["Duration"], 1)?;
                WindowKind::Sliding { size }
            }
            "sessionwindow" | "session" => {
                let [timeout, longest] = self.times(call, ["Timeout", "MaxDuration"], 2)?;
                WindowKind::Session { timeout, longest, partition: self.session_keys(call)? }
            }
            "windows" => return Err(Problem::new(call.span, "Windows(…) cannot stand in Windows(…)")),
            _ => {
                let message = format!("{name} is not a window");
                return Err(Problem::new(call.span, message).expecting(&NAMES).hinting(near(&name)));
            }
        };
        limits(&kind).map_err(|message| Problem::new(call.span, message))?;
        Ok(kind)
    }

    fn session_keys(&mut self, call: &Call) -> Compiled<Vec<Located>> {
        let Some(over) = &call.over else { return Ok(Vec::new()) };
        if over.limit.is_some() || over.when.is_some() || !over.order.is_empty() || over.partition.is_empty()
        {
            return Err(Problem::new(
                over.span,
                "a session window takes OVER (PARTITION BY …) and nothing else",
            ));
        }
        over.partition.iter().map(|key| Ok(Located { expr: self.of_row(key)?, span: key.span })).collect()
    }

    /// The times of a window: `(unit, n, n, …)` or `(Duration(unit, n), Hop(unit, n), …)`. Those beyond `needed` are 0 if
    /// left out.
    fn times<const N: usize>(
        &mut self,
        call: &Call,
        names: [&'static str; N],
        needed: usize,
    ) -> Compiled<[i64; N]> {
        let mut times = [None; N];
        let named = |argument: &Argument| match argument {
            Argument::Expr(Expr { kind: ExprKind::Call(inner), .. }) => names.iter().position(
                |name| matches!(inner.name.as_slice(), [found] if found.text.eq_ignore_ascii_case(name)),
            ),
            _ => None,
        };
        if call.arguments.first().is_some_and(|first| named(first).is_some()) {
            for argument in &call.arguments {
                let (Some(position), Argument::Expr(Expr { kind: ExprKind::Call(inner), .. })) =
                    (named(argument), argument)
                else {
                    let message = format!("{} is expected here", names.join(", "));
                    return Err(Problem::new(argument_span(argument), message).expecting(&names));
                };
                let (unit, rest) = self.unit(inner)?;
                let [number] = rest else { return Err(shape(inner, "(unit, number)")) };
                times[position] = Some(self.ticks(number, unit)?);
            }
        } else {
            let (unit, rest) = self.unit(call)?;
            if rest.len() > N {
                return Err(shape(call, "(unit, numbers)"));
            }
            for (time, number) in times.iter_mut().zip(rest) {
                *time = Some(self.ticks(number, unit)?);
            }
        }
        if times.iter().take(needed).any(Option::is_none) {
            let usual: Vec<String> = names[..needed].iter().map(|name| name.to_lowercase()).collect();
            return Err(shape(call, &format!("(unit, {})", usual.join(", "))));
        }
        Ok(times.map(|time| time.unwrap_or(0)))
    }

    /// Ticks of the unit that a call begins with, and its other arguments.
    pub(crate) fn unit<'c>(&mut self, call: &'c Call) -> Compiled<(i64, &'c [Argument])> {
        let Some((first, rest)) = call.arguments.split_first() else {
            return Err(shape(call, "(unit, number)"));
        };
        let word = match first {
            Argument::Expr(Expr { kind: ExprKind::Path(path), .. }) if path.len() == 1 => &path[0].text,
            _ => {
                return Err(
                    Problem::new(argument_span(first), "a unit of time is missing here").expecting(UNITS)
                );
            }
        };
        let part = DatePart::parse(word).filter(|part| {
            use DatePart::{Day, Hour, Microsecond, Millisecond, Minute, Second};
            matches!(part, Day | Hour | Minute | Second | Millisecond | Microsecond)
        });
        let Some(ticks) = part.and_then(DatePart::ticks) else {
            let problem = Problem::new(
                argument_span(first),
                format!("{word} is not a unit that windows and durations take"),
            );
            return Err(problem.expecting(UNITS).hinting(nearest(word, UNITS.iter().copied())));
        };
        Ok((ticks, rest))
    }

    fn ticks(&mut self, number: &Argument, unit: i64) -> Compiled<i64> {
        let Argument::Expr(expr) = number else {
            return Err(Problem::new(argument_span(number), "a number is missing here"));
        };
        let number = self.whole_number(expr, "a time of a window")?;
        let ticks = number.checked_mul(unit).filter(|ticks| (-MAX_WINDOW..=MAX_WINDOW).contains(ticks));
        ticks.ok_or_else(|| Problem::new(expr.span, "times of windows are at most 7 days"))
    }

    /// `DURATION(unit, length)`, in ticks.
    pub(crate) fn duration(&mut self, call: &Call) -> Compiled<i64> {
        let (unit, rest) = self.unit(call)?;
        let [length] = rest else { return Err(shape(call, "(unit, length)")) };
        match self.ticks(length, unit)? {
            ticks if ticks > 0 => Ok(ticks),
            _ => Err(Problem::new(call.span, "a duration is longer than nothing")),
        }
    }
}

const UNITS: &[&str] = &["day", "hour", "minute", "second", "millisecond", "microsecond"];

fn limits(kind: &WindowKind) -> Result<(), &'static str> {
    match kind {
        WindowKind::Grid { size, hop, .. } if *size <= 0 || *hop <= 0 => {
            Err("size and hop of a window are longer than nothing")
        }
        WindowKind::Grid { size, hop, .. } if size / hop > MAX_OVERLAP => {
            Err("the hop is too short for this window: at most 100000 may overlap")
        }
        WindowKind::Sliding { size } if *size <= 0 => Err("the size of a window is longer than nothing"),
        WindowKind::Session { timeout, longest, .. } if *timeout <= 0 || *longest <= 0 => {
            Err("timeout and maximum duration of a session are longer than nothing")
        }
        _ => Ok(()),
    }
}

/// `System.Timestamp` with or without parentheses.
pub(crate) fn is_system_timestamp(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Path(path) => super::scope::is_system_timestamp(path),
        ExprKind::Call(call) => super::scope::is_system_timestamp(&call.name) && call.arguments.is_empty(),
        _ => false,
    }
}

fn not_a_window(argument: &Argument) -> Problem {
    Problem::new(argument_span(argument), "Windows(…) takes windows only").expecting(&NAMES)
}

fn shape(call: &Call, shape: &str) -> Problem {
    let name = call.name.iter().map(|name| &*name.text).collect::<Vec<_>>().join(".");
    Problem::new(call.span, format!("{name} is written {name}{shape}"))
}
