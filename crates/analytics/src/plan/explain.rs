//! A plan as text, for people: what each reader and node does, and where its rows go.

use super::{FormerKind, FormerSpec, Located, Operator, Plan, Projection, Select, Target, WindowKind};
use crate::value::datetime::SECOND;
use std::fmt::Write as _;

impl Plan {
    /// One block per input, node and output, in the order in which rows flow.
    pub(crate) fn explain(&self, text: &str) -> String {
        let said = |located: &Located| quote(text, located.span);
        let mut out = String::new();
        for input in self.inputs.iter().filter(|input| input.reference) {
            let _ = writeln!(out, "reference data {}", input.name);
        }
        for reader in &self.readers {
            let _ = write!(out, "input {}", self.inputs[reader.input].name);
            let _ = match &reader.timestamp {
                Some(time) => write!(out, ", time {}", said(time)),
                None => write!(out, ", time of arrival"),
            };
            if !reader.over.is_empty() {
                let keys: Vec<_> = reader.over.iter().map(said).collect();
                let _ = write!(out, ", a timeline for each {}", keys.join(", "));
            }
            let _ = writeln!(out, "{}", self.to(&reader.targets));
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let _ = write!(out, "{number} {}: ", node.name);
            let _ = match &node.operator {
                Operator::Select(select) => {
                    let _ = writeln!(out, "select{}", self.to(&node.targets));
                    self.explain_select(select, text, &mut out);
                    continue;
                }
                Operator::Union { ports } => write!(out, "union of {ports}"),
                Operator::Join(join) => {
                    let keep = join.keep_right as f64 / SECOND as f64;
                    let kind = if join.outer { "left join" } else { "join" };
                    write!(
                        out,
                        "{kind} on {}, {}; right rows are kept {keep} s",
                        said(&join.on),
                        by(join.keys.len())
                    )
                }
                Operator::Lookup(lookup) => {
                    let kind = if lookup.outer { "left lookup" } else { "lookup" };
                    let input = &self.inputs[lookup.input].name;
                    write!(out, "{kind} in {input} on {}, {}", said(&lookup.on), by(lookup.keys.len()))
                }
                Operator::Apply(apply) => write!(out, "a row for each element of {}", said(&apply.operand)),
                Operator::Recognize(recognize) => {
                    let seconds = recognize.length as f64 / SECOND as f64;
                    write!(out, "sequences of rows of a pattern, at most {seconds} s long")
                }
                Operator::Former(specs) => {
                    write!(
                        out,
                        "{}",
                        specs.iter().map(|spec| former(spec, text)).collect::<Vec<_>>().join(", ")
                    )
                }
            };
            let _ = writeln!(out, "{}", self.to(&node.targets));
        }
        out
    }

    fn explain_select(&self, select: &Select, text: &str, out: &mut String) {
        let said = |located: &Located| quote(text, located.span);
        for spec in &select.former {
            let _ = writeln!(out, "    before: {}", former(spec, text));
        }
        if let Some(filter) = &select.filter {
            let _ = writeln!(out, "    where: {}", said(filter));
        }
        if let Some(group) = &select.group {
            let windows: Vec<_> = group.windows.iter().map(|window| shape(&window.kind)).collect();
            let _ = writeln!(out, "    window: {}", windows.join(", "));
            if !group.keys.is_empty() {
                let keys: Vec<_> = group.keys.iter().map(said).collect();
                let _ = writeln!(out, "    keys: {}", keys.join(", "));
            }
            let aggregates: Vec<_> = group.aggregates.iter().map(|spec| quote(text, spec.span)).collect();
            if !aggregates.is_empty() {
                let _ = writeln!(out, "    aggregates: {}", aggregates.join(", "));
            }
        }
        if let Some(having) = &select.having {
            let _ = writeln!(out, "    having: {}", said(having));
        }
        if let Projection::Columns(columns) = &select.projection {
            let names = columns.iter().map(|column| match column {
                super::Column::Named(name, _) => name.to_string(),
                super::Column::Fields(located) => format!("fields of {}", said(located)),
            });
            let _ = writeln!(out, "    columns: {}", names.collect::<Vec<_>>().join(", "));
        }
    }

    fn to(&self, targets: &[Target]) -> String {
        let name = |target: &Target| match target {
            Target::Node { node, port: 0 } => node.to_string(),
            Target::Node { node, port } => format!("{node} (port {port})"),
            Target::Output(output) => format!("output {}", self.outputs[*output]),
        };
        match targets {
            [] => " → nowhere".to_owned(),
            _ => format!(" → {}", targets.iter().map(name).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// A place of the text on one line.
fn quote(text: &str, span: crate::syntax::Span) -> String {
    let place = text.get(span.start..span.end).unwrap_or_default();
    place.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn by(keys: usize) -> &'static str {
    if keys == 0 { "comparing all rows" } else { "by hash" }
}

fn former(spec: &FormerSpec, text: &str) -> String {
    let seconds = spec.length as f64 / SECOND as f64;
    let what = match spec.kind {
        FormerKind::First => "in intervals of",
        _ => "looking back",
    };
    format!("{}, {what} {seconds} s", quote(text, spec.span))
}

fn shape(kind: &WindowKind) -> String {
    let seconds = |ticks: i64| ticks as f64 / SECOND as f64;
    match kind {
        WindowKind::Grid { size: 1, hop: 1, .. } => "snapshot".to_owned(),
        WindowKind::Grid { size, hop, offset } => {
            let mut text = if size == hop {
                format!("tumbling {} s", seconds(*size))
            } else {
                format!("hopping {} s every {} s", seconds(*size), seconds(*hop))
            };
            if *offset != 0 {
                text += &format!(" shifted by {} s", seconds(*offset));
            }
            text
        }
        WindowKind::Sliding { size } => format!("sliding {} s", seconds(*size)),
        WindowKind::Session { timeout, longest, partition } => {
            let each = if partition.is_empty() { "" } else { ", one for each key" };
            format!("session with timeout {} s, at most {} s{each}", seconds(*timeout), seconds(*longest))
        }
    }
}
