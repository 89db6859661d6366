//! Aims, floors and what became of them.

use super::Row;
use super::figures::text;
use super::scenario::{Aim, Figure, Scenario};
use super::server::Kind;

/// The share of an aimed rate that is its floor; a cost may be this much higher.
const FLOOR: f64 = 0.7;

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Reached,
    AboveFloor,
    BelowFloor,
}

/// What a figure should be, and the worst it may be.
fn bounds(figure: Figure, aim: f64) -> (f64, f64) {
    if figure.is_rate() { (aim, aim * FLOOR) } else { (aim, aim / FLOOR) }
}

fn judge(figure: Figure, found: f64, aim: f64) -> Verdict {
    let (aim, floor) = bounds(figure, aim);
    let as_good = |as_what: f64| if figure.is_rate() { found >= as_what } else { found <= as_what };
    if as_good(aim) {
        Verdict::Reached
    } else if as_good(floor) {
        Verdict::AboveFloor
    } else {
        Verdict::BelowFloor
    }
}

/// The aim as a number, where the yardstick allows one; `own` tells what ironbrook has in another scenario.
fn value(aim: Aim, of_sink: Option<f64>, own: impl Fn(&str) -> Option<f64>) -> Option<f64> {
    match aim {
        Aim::Is(value) => Some(value),
        Aim::OfSink(share) => of_sink.map(|sink| share * sink),
        Aim::WhereSinkGets(value) => of_sink.filter(|sink| *sink >= value).map(|_| value),
        Aim::OfOwn(scenario, times) => own(scenario).map(|own| times * own),
    }
}

/// A line for each aim.
pub fn print(measured: &[(&Scenario, Vec<Row>)]) {
    println!("{:<13} {:<20} {:>10} {:>10} {:>10}  verdict", "scenario", "figure", "measured", "aim", "floor");
    for (scenario, rows) in measured {
        let of = |kind: Kind, figure| rows.iter().find(|row| row.server == kind)?.figures.get(figure);
        for (figure, aim) in scenario.aims {
            let own = |name: &str| {
                let (_, rows) = measured.iter().find(|(scenario, _)| scenario.name == name)?;
                rows.iter().find(|row| row.server == Kind::Ironbrook)?.figures.get(*figure)
            };
            let (found, aim) = (of(Kind::Ironbrook, *figure), value(*aim, of(Kind::Sink, *figure), own));
            let floor = aim.map(|aim| bounds(*figure, aim).1);
            let verdict = match found.zip(aim).map(|(found, aim)| judge(*figure, found, aim)) {
                Some(Verdict::Reached) => "reached",
                Some(Verdict::AboveFloor) => "above the floor",
                Some(Verdict::BelowFloor) => "BELOW THE FLOOR",
                None if found.is_none() => "not yet",
                None => "no yardstick",
            };
            let [found, aim, floor] = [found, aim, floor].map(text);
            println!(
                "{:<13} {:<20} {found:>10} {aim:>10} {floor:>10}  {verdict}",
                scenario.name,
                figure.name()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_their_floor_below_and_costs_above() {
        for (found, verdict) in
            [(100.0, Verdict::Reached), (71.0, Verdict::AboveFloor), (69.0, Verdict::BelowFloor)]
        {
            assert_eq!(judge(Figure::Rate, found, 100.0), verdict);
        }
        for (found, verdict) in
            [(7.0, Verdict::Reached), (9.9, Verdict::AboveFloor), (10.1, Verdict::BelowFloor)]
        {
            assert_eq!(judge(Figure::Cost, found, 7.0), verdict);
        }
    }

    #[test]
    fn the_yardstick_decides_what_is_asked() {
        let own = |name: &str| (name == "b1p").then_some(2.0);
        assert_eq!(value(Aim::OfSink(0.5), Some(8.0), own), Some(4.0));
        assert_eq!(value(Aim::OfSink(0.5), None, own), None);
        assert_eq!(value(Aim::WhereSinkGets(9.0), Some(8.0), own), None);
        assert_eq!(value(Aim::WhereSinkGets(8.0), Some(8.0), own), Some(8.0));
        assert_eq!(value(Aim::OfOwn("b1p", 1.5), None, own), Some(3.0));
        assert_eq!(value(Aim::OfOwn("b1s", 1.5), None, own), None);
    }
}
