//! What a run of the generator told, medians, and the table of all.

use super::Row;
use super::scenario::{Figure, Scenario};
use super::server::Kind;
use anyhow::{Context as _, Result, bail};
use std::collections::HashMap;

/// The figures of a run, by the generator's names of columns; what it has none of is not in it.
#[derive(Clone, Default)]
pub struct Figures(HashMap<String, f64>);

/// Not a column of the generator: the server's largest memory so far, in MB.
const PEAK: &str = "peak_MB";

impl Figures {
    /// Reads the two lines of `--header --tsv`.
    pub fn read(text: &str, peak_memory: f64) -> Result<Self> {
        let mut lines = text.lines();
        let (names, values) = lines.next().zip(lines.next()).context("the generator gave no row")?;
        let pairs = names.split('\t').zip(values.split('\t'));
        let mut figures: HashMap<String, f64> =
            pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect();
        if figures.get("lost").is_some_and(|lost| *lost > 0.0) || figures.get("conns") == Some(&0.0) {
            bail!("connections were refused or lost: {values}");
        }
        figures.insert(PEAK.to_owned(), peak_memory);
        Ok(Self(figures))
    }

    /// Of each figure its own median.
    pub fn median(runs: &[Self]) -> Self {
        let names = runs.iter().flat_map(|run| run.0.keys());
        let median = |name: &String| {
            let mut values: Vec<f64> = runs.iter().filter_map(|run| run.0.get(name).copied()).collect();
            values.sort_by(f64::total_cmp);
            (name.clone(), values[values.len() / 2])
        };
        Self(names.map(median).collect())
    }

    pub fn get(&self, figure: Figure) -> Option<f64> {
        let name = match figure {
            // What is not acknowledged counts when it was sent and worked off.
            Figure::Rate => return self.0.get("sent/s").copied(),
            Figure::Delivered => "deliv/s",
            Figure::Cost => "srv_us/msg",
            Figure::Median => "ack_p50us",
            Figure::Slowest => "ack_p99us",
            Figure::EndToEnd => "e2e_p50us",
            Figure::SlowestEndToEnd => "e2e_p99us",
            Figure::Connection => "rss_B/conn",
            Figure::Connecting => "conn/s",
            Figure::Peak => PEAK,
        };
        self.0.get(name).copied()
    }

    /// One line for those who watch.
    pub fn line(&self) -> String {
        let shown = [
            "sent/s",
            "srv_us/msg",
            "srv_user%",
            "srv_cpu%",
            "gen_cpu%",
            "ack_p50us",
            "ack_p99us",
            "e2e_p50us",
            "e2e_p99us",
            "wr_B/msg",
        ];
        let shown = shown.into_iter().chain(["conn/s", "srv_us/conn", "rss_B/conn", PEAK]);
        let text = |name| self.0.get(name).map(|value| format!("{name} {value:.6}").replace(".000000", ""));
        shown.filter_map(text).map(trimmed).collect::<Vec<_>>().join("  ")
    }
}

/// Without noughts behind the point.
fn trimmed(text: String) -> String {
    if text.contains('.') { text.trim_end_matches('0').to_owned() } else { text }
}

/// Columns of the table.
const TABLE: [(&str, Figure); 9] = [
    ("msg/s", Figure::Rate),
    ("µs/msg", Figure::Cost),
    ("ack p50", Figure::Median),
    ("ack p99", Figure::Slowest),
    ("e2e p50", Figure::EndToEnd),
    ("e2e p99", Figure::SlowestEndToEnd),
    ("conn/s", Figure::Connecting),
    ("B/conn", Figure::Connection),
    ("peak MB", Figure::Peak),
];

/// A row for each scenario and server; the ratios are ironbrook's share of that server's rate, or of its connections a second.
pub fn print(measured: &[(&Scenario, Vec<Row>)]) {
    print!("{:<13} {:<10}", "scenario", "server");
    TABLE.iter().for_each(|(name, _)| print!(" {name:>9}"));
    println!(" {:>9} {:>9}", "written B", "ironbrook");
    for (scenario, rows) in measured {
        let rate = |row: &Row| row.figures.get(scenario.figure()).filter(|rate| *rate > 0.0);
        let ours = rows.iter().find(|row| row.server == Kind::Ironbrook).and_then(rate);
        for row in rows {
            print!("{:<13} {:<10}", scenario.name, row.server.name());
            TABLE.iter().for_each(|(_, figure)| print!(" {:>9}", text(row.figures.get(*figure))));
            let written = row.figures.0.get("wr_B/msg").copied();
            let ratio = ours.zip(rate(row)).map(|(ours, theirs)| format!("{:.2} ×", ours / theirs));
            println!(" {:>9} {:>9}", text(written), ratio.unwrap_or_else(|| "-".to_owned()));
        }
    }
}

/// About four digits; whole numbers from 100 on.
pub fn text(figure: Option<f64>) -> String {
    match figure.filter(|figure| figure.is_finite()) {
        None => "-".to_owned(),
        Some(figure) if figure.abs() >= 1e6 => format!("{:.2} M", figure / 1e6),
        Some(figure) if figure.abs() >= 1e4 => format!("{:.1} k", figure / 1e3),
        Some(figure) if figure.abs() >= 100.0 => format!("{figure:.0}"),
        Some(figure) => format!("{figure:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rate: f64) -> Figures {
        Figures::read(&format!("scenario\tsent/s\tack_p50us\tlost\nx\t{rate}\t-\t0\n"), 1.0).unwrap()
    }

    #[test]
    fn the_median_is_of_each_figure() {
        let median = Figures::median(&[run(3.0), run(1.0), run(2.0)]);
        assert_eq!((median.get(Figure::Rate), median.get(Figure::Median)), (Some(2.0), None));
    }

    #[test]
    fn lost_connections_are_no_result() {
        assert!(Figures::read("scenario\tlost\nx\t1\n", 1.0).is_err());
        assert!(Figures::read("", 1.0).is_err());
    }
}
