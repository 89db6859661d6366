//! `ironbrook query`: twins and jobs by the query language.

use super::{CELL_MAX, client, list, text};
use crate::commands::connection::Where;
use crate::commands::{Global, OutputFormat};
use serde_json::Value;
use std::fmt::Write as _;

/// Items asked for at a time.
const PAGE: usize = 1000;

/// Options of `ironbrook query`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    at: Where,
    /// At most so many items.
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// `SELECT … FROM devices, devices.modules or devices.jobs WHERE …`
    #[arg(value_name = "QUERY")]
    query: String,
}

/// Runs the command.
#[allow(clippy::print_stdout, reason = "what the command is asked for")]
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let client = client(&args.at)?;
    let (most, mut given, mut next) = (args.top.unwrap_or(usize::MAX), 0, None);
    let mut table = None;
    while given < most {
        let (page, more) = client.query_page(&args.query, next, PAGE.min(most - given)).await?;
        given += page.len();
        match global.output {
            // Page by page: an answer may be long.
            OutputFormat::Json => list(global, &page, &[]),
            OutputFormat::Table if page.is_empty() => {}
            OutputFormat::Table => print!("{}", Table::of(&mut table, &page, &args.query).rows(&page)),
        }
        next = more;
        if next.is_none() {
            break;
        }
    }
    Ok(())
}

/// The columns of an answer, which its first page decides: later ones follow while the first is on the screen already.
struct Table {
    columns: Vec<Column>,
    has_head: bool,
}

struct Column {
    name: String,
    width: usize,
}

impl Table {
    fn of<'a>(table: &'a mut Option<Self>, first: &[Value], query: &str) -> &'a mut Self {
        table.get_or_insert_with(|| Self::new(first, selects_all(query)))
    }

    /// Members in the order they come; of whole twins, only what fits into a line.
    fn new(page: &[Value], is_whole: bool) -> Self {
        let mut columns: Vec<Column> = Vec::new();
        for (name, value) in page.iter().filter_map(Value::as_object).flatten() {
            if value.is_null() || (is_whole && (value.is_object() || value.is_array())) {
                continue;
            }
            let place = columns.iter().position(|column| column.name == *name).unwrap_or_else(|| {
                columns.push(Column { name: name.clone(), width: name.chars().count() });
                columns.len() - 1
            });
            columns[place].width = columns[place].width.max(cell(value).chars().count());
        }
        Self { columns, has_head: false }
    }

    fn rows(&mut self, page: &[Value]) -> String {
        let mut rows = String::new();
        if !std::mem::replace(&mut self.has_head, true) {
            self.line(&mut rows, |column| column.name.clone());
        }
        for item in page {
            self.line(&mut rows, |column| item.get(&column.name).map(cell).unwrap_or_default());
        }
        rows
    }

    fn line(&self, rows: &mut String, cell: impl Fn(&Column) -> String) {
        let cells: Vec<String> =
            self.columns.iter().map(|column| format!("{:1$}", cell(column), column.width)).collect();
        // Writing to a text cannot fail.
        let _ = writeln!(rows, "{}", cells.join("  ").trim_end());
    }
}

/// On one line, whatever stands in it.
fn cell(value: &Value) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let text = text(value);
    let mut cell: String = text.chars().take(CELL_MAX).map(shown).collect();
    if text.chars().nth(CELL_MAX).is_some() {
        cell.pop();
        cell.push('…');
    }
    cell
}

fn selects_all(query: &str) -> bool {
    let mut words = query.split_whitespace();
    words.next().is_some_and(|word| word.eq_ignore_ascii_case("select")) && words.next() == Some("*")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn print(query: &str, pages: &[Vec<Value>]) -> String {
        let mut table = None;
        pages.iter().map(|page| Table::of(&mut table, page, query).rows(page)).collect()
    }

    #[test]
    fn a_table_has_one_head_over_all_pages() {
        let pages = [
            vec![json!({"deviceId": "a", "n": 1}), json!({"deviceId": "longer", "on": true, "n": null})],
            vec![json!({"deviceId": "b", "on": false})],
        ];
        assert_eq!(
            print("SELECT deviceId, n, on FROM devices", &pages),
            "deviceId  n  on\na         1\nlonger       true\nb            false\n"
        );
    }

    #[test]
    fn of_whole_twins_only_what_fits_a_line_is_shown_and_what_was_asked_for_always() {
        let row = vec![json!({"deviceId": "a", "tags": {"site": "north"}})];
        assert_eq!(print("select  * FROM devices", std::slice::from_ref(&row)), "deviceId\na\n");
        assert_eq!(
            print("SELECT deviceId, tags FROM devices", &[row]),
            "deviceId  tags\na         {\"site\":\"north\"}\n"
        );
    }

    #[test]
    fn a_cell_is_one_short_line() {
        assert_eq!(cell(&json!("a\nb")), "a b");
        let long = cell(&json!("x".repeat(CELL_MAX + 1)));
        assert!(long.ends_with('…') && long.chars().count() == CELL_MAX, "{long}");
    }
}
