//! The row a measurement ends with.

/// Names of the columns, and how many digits follow the point.
const COLUMNS: [(&str, usize); 18] = [
    ("sent/s", 0),
    ("acked/s", 0),
    ("deliv/s", 0),
    ("srv_us/msg", 3),
    ("srv_user%", 0),
    ("srv_cpu%", 0),
    ("gen_cpu%", 0),
    ("ack_p50us", 0),
    ("ack_p99us", 0),
    ("e2e_p50us", 0),
    ("e2e_p99us", 0),
    ("rss_MB", 1),
    ("wr_B/msg", 0),
    ("conns", 0),
    ("conn/s", 0),
    ("srv_us/conn", 1),
    ("rss_B/conn", 0),
    ("lost", 0),
];

/// The figures, in the order of the columns; NaN where there is none.
pub type Figures = [f64; COLUMNS.len()];

/// The names of the columns with tabs.
pub fn header() -> String {
    std::iter::once("scenario").chain(COLUMNS.iter().map(|(name, _)| *name)).collect::<Vec<_>>().join("\t")
}

/// One line with tabs.
pub fn row(name: &str, figures: &Figures) -> String {
    let texts = COLUMNS.iter().zip(figures).map(|((_, digits), figure)| text(*figure, *digits));
    std::iter::once(name.to_owned()).chain(texts).collect::<Vec<_>>().join("\t")
}

/// One line per figure.
pub fn list(name: &str, figures: &Figures) -> String {
    let mut list = format!("{:>14}  {name}\n", "scenario");
    for ((column, digits), figure) in COLUMNS.iter().zip(figures) {
        list.push_str(&format!("{column:>14}  {}\n", text(*figure, *digits)));
    }
    list
}

fn text(figure: f64, digits: usize) -> String {
    if figure.is_finite() { format!("{figure:.digits$}") } else { "-".to_owned() }
}
