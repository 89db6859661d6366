//! Wires a whole script: inputs to readers, steps and statements to nodes, nodes to outputs.

use super::fingerprint::Fingerprint;
use super::former::Formers;
use super::input::Table;
use super::scope::{Scope, ScopeSource, SourceKind};
use super::{Node, Operator, Plan, Target, select};
use crate::error::Problem;
use crate::near::nearest;
use crate::query::Options;
use crate::syntax::tree::{self, InputRef, Name, Script};
use std::sync::Arc;

/// On how many ways the rows of an input may reach one place. Each UNION of a step with itself doubles them.
const MAX_WAYS: u64 = 1024;

/// The output of a SELECT without INTO.
const DEFAULT_OUTPUT: &str = "output";

/// Makes the plan of a script; also gives notes on what is odd but runs.
pub(crate) fn build(
    text: &str,
    script: &Script,
    options: &Options,
) -> Result<(Plan, Vec<Problem>), Vec<Problem>> {
    let plan = Plan { inputs: Vec::new(), outputs: Vec::new(), readers: Vec::new(), nodes: Vec::new() };
    let builder = Builder {
        text,
        options,
        plan,
        tables: Vec::new(),
        steps: Vec::new(),
        output_rows: Vec::new(),
        ways: Vec::new(),
        problems: Vec::new(),
        notes: Vec::new(),
    };
    builder.build(script)
}

/// Something that gives rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Reader(usize),
    Node(usize),
}

struct PlannedStep {
    name: Arc<str>,
    origin: Origin,
    columns: Option<Vec<Arc<str>>>,
    used: bool,
}

pub(super) struct Builder<'a> {
    pub(super) text: &'a str,
    pub(super) options: &'a Options,
    pub(super) plan: Plan,
    pub(super) tables: Vec<Table>,
    steps: Vec<PlannedStep>,
    /// What is written into each output.
    output_rows: Vec<Vec<Origin>>,
    /// Per node, on how many ways rows of an input reach it.
    ways: Vec<u64>,
    pub(super) problems: Vec<Problem>,
    pub(super) notes: Vec<Problem>,
}

impl Builder<'_> {
    fn build(mut self, script: &Script) -> Result<(Plan, Vec<Problem>), Vec<Problem>> {
        for table in &script.tables {
            self.table(table);
        }
        for (position, step) in script.steps.iter().enumerate() {
            self.step(step, &script.steps[position + 1..]);
        }
        for statement in &script.statements {
            self.statement(statement);
        }
        self.wire_outputs();
        self.check_substreams();
        self.note_unused(script);
        if self.problems.is_empty() { Ok((self.plan, self.notes)) } else { Err(self.problems) }
    }

    fn step(&mut self, step: &tree::Step, later: &[tree::Step]) {
        let name = &step.name;
        if self.steps.iter().any(|known| known.name.eq_ignore_ascii_case(&name.text)) {
            self.problems.push(Problem::new(name.span, format!("there are two steps named {}", name.text)));
        }
        for select in &step.query.branches {
            if let Some(into) = &select.into {
                let message = "a step has no INTO; select from the step into the output";
                self.problems.push(Problem::new(into.span, message));
            }
            self.refuse_later(&select.source.first.name, later);
            for joined in &select.source.more {
                if let tree::Joined::Join { right, .. } = joined {
                    self.refuse_later(&right.name, later);
                }
            }
        }
        let (origins, columns) = self.branches(&step.query, &name.text);
        let origin = self.united(origins, &name.text);
        self.steps.push(PlannedStep { name: name.text.as_str().into(), origin, columns, used: false });
    }

    fn refuse_later(&mut self, name: &Name, later: &[tree::Step]) {
        let later = later.iter().any(|step| step.name.text.eq_ignore_ascii_case(&name.text));
        if later && !self.steps.iter().any(|step| step.name.eq_ignore_ascii_case(&name.text)) {
            let message = format!("step {} comes later; a step reads only steps before it", name.text);
            self.problems.push(Problem::new(name.span, message));
        }
    }

    fn statement(&mut self, query: &tree::Query) {
        // The INTO of any branch names the output of all of them.
        let mut names: Vec<&Name> = query.branches.iter().filter_map(|select| select.into.as_ref()).collect();
        names.dedup_by(|a, b| a.text.eq_ignore_ascii_case(&b.text));
        if let [_, second, ..] = names.as_slice() {
            self.problems.push(Problem::new(second.span, "the branches of a UNION write into one output"));
        }
        let name = names.first().map_or(DEFAULT_OUTPUT, |name| &name.text);
        let output = self.output(name);
        let (origins, _) = self.branches(query, name);
        self.output_rows[output].extend(origins);
    }

    fn output(&mut self, name: &str) -> usize {
        let known = self.plan.outputs.iter().position(|output| output.eq_ignore_ascii_case(name));
        known.unwrap_or_else(|| {
            self.plan.outputs.push(name.into());
            self.output_rows.push(Vec::new());
            self.plan.outputs.len() - 1
        })
    }

    /// The nodes of all branches, and the columns they have in common, if known.
    fn branches(&mut self, query: &tree::Query, name: &str) -> (Vec<Origin>, Option<Vec<Arc<str>>>) {
        let mut origins = Vec::new();
        let mut all: Option<Vec<Arc<str>>> = Some(Vec::new());
        for select in &query.branches {
            if let Some(span) = select.from_first {
                let message =
                    "FROM before SELECT is an extension of this engine; the original wants SELECT first";
                self.notes.push(Problem::new(span, message));
            }
            let Some((origin, columns)) = self.select(select, name) else { continue };
            origins.push(origin);
            if origins.iter().map(|origin| self.ways(*origin)).sum::<u64>() > MAX_WAYS {
                let message = format!(
                    "the same events come here on more than {MAX_WAYS} ways; use fewer UNIONs of one step"
                );
                self.problems.push(Problem::new(select.span, message));
                return (Vec::new(), None);
            }
            if let (Some(all), Some(columns), [_, _, ..]) = (&all, &columns, origins.as_slice())
                && all.len() != columns.len()
            {
                let message = "the branches of this UNION have different columns; those of one are missing in rows of the other";
                self.notes.push(Problem::new(select.span, message));
            }
            all = match (all, columns) {
                (Some(mut all), Some(columns)) => {
                    all.extend(
                        columns.into_iter().filter(|column| !all.contains(column)).collect::<Vec<_>>(),
                    );
                    Some(all)
                }
                _ => None,
            };
        }
        (origins, all)
    }

    fn select(&mut self, select: &tree::Select, name: &str) -> Option<(Origin, Option<Vec<Arc<str>>>)> {
        let mut formers = Formers::default();
        let sources = match &select.source.pattern {
            Some(pattern) => self.recognized(&select.source, pattern, name)?,
            None => self.sources(&select.source, &mut formers)?,
        };
        let mut planned = select::plan(
            self.text,
            self.options,
            &sources.scope,
            select,
            formers,
            &mut self.problems,
            &mut self.notes,
        )?;
        let origin = self.wire(sources, &mut planned.formers, name)?;
        let before = self.fingerprint(origin);
        let mut fingerprint = Fingerprint::new("select").with_number(before).with(&[self.edition()]);
        // INTO may change without any change to the rows.
        for part in without(select.span, select.into_clause) {
            fingerprint = fingerprint.with_text(self.text, part, &self.options.functions);
        }
        let operator = Operator::Select(Box::new(planned.select));
        let ways = self.ways(origin);
        let node = self.node(name, operator, fingerprint.value(), ways);
        self.connect(origin, Target::Node { node, port: 0 });
        Some((Origin::Node(node), planned.columns))
    }

    pub(super) fn scope(&self, sources: Vec<ScopeSource>) -> Scope {
        Scope { sources, lower_case: self.options.lower_case_names() }
    }

    pub(super) fn edition(&self) -> u8 {
        self.options.compatibility as u8 * 2 + u8::from(self.options.lower_case_names())
    }

    pub(super) fn node(&mut self, name: &str, operator: Operator, fingerprint: u64, ways: u64) -> usize {
        self.ways.push(ways);
        self.plan.nodes.push(Node { name: name.into(), operator, targets: Vec::new(), fingerprint });
        self.plan.nodes.len() - 1
    }

    pub(super) fn connect(&mut self, origin: Origin, target: Target) {
        match origin {
            Origin::Reader(reader) => self.plan.readers[reader].targets.push(target),
            Origin::Node(node) => self.plan.nodes[node].targets.push(target),
        }
    }

    pub(super) fn ways(&self, origin: Origin) -> u64 {
        match origin {
            Origin::Reader(_) => 1,
            Origin::Node(node) => self.ways.get(node).copied().unwrap_or(1),
        }
    }

    pub(super) fn fingerprint(&self, origin: Origin) -> u64 {
        match origin {
            Origin::Reader(reader) => self.plan.readers[reader].fingerprint,
            Origin::Node(node) => self.plan.nodes[node].fingerprint,
        }
    }

    /// One origin for several: a node that merges them by time.
    fn united(&mut self, origins: Vec<Origin>, name: &str) -> Origin {
        match origins.as_slice() {
            [] => Origin::Node(usize::MAX),
            [only] => *only,
            _ => {
                let all = origins.iter().fold(Fingerprint::new("union"), |all, origin| {
                    all.with_number(self.fingerprint(*origin))
                });
                let ways = origins.iter().map(|origin| self.ways(*origin)).sum();
                let node = self.node(name, Operator::Union { ports: origins.len() }, all.value(), ways);
                for (port, origin) in origins.into_iter().enumerate() {
                    self.connect(origin, Target::Node { node, port });
                }
                Origin::Node(node)
            }
        }
    }

    fn wire_outputs(&mut self) {
        if !self.problems.is_empty() {
            return;
        }
        for (output, origins) in std::mem::take(&mut self.output_rows).into_iter().enumerate() {
            let name = self.plan.outputs[output].clone();
            let origin = self.united(origins, &name);
            self.connect(origin, Target::Output(output));
        }
    }

    /// The step or reader behind a name, and how the SELECT sees it.
    pub(super) fn stream(&mut self, input: &InputRef) -> Option<(Origin, ScopeSource)> {
        let seen = input.alias.as_ref().unwrap_or(&input.name);
        if let Some((_, span)) = &input.partition
            && self.options.level.is_limited()
        {
            self.problems
                .push(Problem::new(*span, "PARTITION BY is not offered to jobs of this kind; leave it out"));
        }
        let step = self.steps.iter().position(|step| step.name.eq_ignore_ascii_case(&input.name.text));
        let kind = if step.is_some() { SourceKind::Step } else { SourceKind::Stream };
        let (origin, columns) = match step {
            Some(step) => {
                if let Some(timestamp) = &input.timestamp {
                    let message =
                        "a step carries its times already; TIMESTAMP BY belongs to the input the step reads";
                    self.problems.push(Problem::new(timestamp.span, message));
                }
                let step = &mut self.steps[step];
                step.used = true;
                if step.origin == Origin::Node(usize::MAX) {
                    return None;
                }
                (step.origin, step.columns.clone())
            }
            None => (Origin::Reader(self.reader(input)?), None),
        };
        Some((origin, ScopeSource { name: seen.text.as_str().into(), columns, kind }))
    }

    /// Steps that nothing reads are mistakes more often than not; so are inputs named almost like a step.
    fn note_unused(&mut self, script: &Script) {
        for (step, planned) in script.steps.iter().zip(&self.steps) {
            if planned.used {
                continue;
            }
            let read = self.plan.inputs.iter().map(|input| &*input.name);
            let near = nearest(&planned.name, read)
                .map(|near| format!("; is {near} meant to be it?"))
                .unwrap_or_default();
            self.notes
                .push(Problem::new(step.name.span, format!("nothing reads step {}{near}", planned.name)));
        }
    }
}

/// A span without a part of it.
fn without(whole: crate::syntax::Span, part: Option<crate::syntax::Span>) -> Vec<crate::syntax::Span> {
    use crate::syntax::Span;
    match part {
        None => vec![whole],
        Some(part) => vec![Span::new(whole.start, part.start), Span::new(part.end, whole.end)],
    }
}
