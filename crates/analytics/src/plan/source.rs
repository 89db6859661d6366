//! What stands in FROM: inputs, steps, joins and applies, as nodes one behind the other.

use super::build::{Builder, Origin};
use super::compile::Compiler;
use super::expr::Located;
use super::fingerprint::Fingerprint;
use super::former::Formers;
use super::join::{self, Lookup};
use super::scope::{Scope, ScopeSource, SourceKind};
use super::{Apply, Operator, Target, apply};
use crate::error::Problem;
use crate::syntax::Span;
use crate::syntax::tree::{self, InputRef, Joined, Source};

/// The sources of a SELECT, known by name but not wired yet.
pub(super) struct Sources {
    pub(super) scope: Scope,
    first: Origin,
    more: Vec<More>,
    /// From the first source to the end of the last.
    span: Span,
}

/// A source behind the first, with what brings it in.
struct More {
    from: From,
    /// Its place in the text.
    span: Span,
}

enum From {
    /// Rows of a stream, and the condition.
    Join {
        outer: bool,
        right: Origin,
        on: Located,
    },
    /// Rows of an input of reference data.
    Lookup {
        outer: bool,
        input: usize,
        on: Located,
    },
    Apply(Apply),
}

impl Builder<'_> {
    /// Names and conditions of all sources; `formers` takes the functions over former rows in the conditions.
    pub(super) fn sources(&mut self, source: &Source, formers: &mut Formers) -> Option<Sources> {
        let (first, seen) = self.stream(&source.first)?;
        let mut sources =
            Sources { scope: self.scope(vec![seen]), first, more: Vec::new(), span: source.first.name.span };
        for joined in &source.more {
            let more = match joined {
                Joined::Join { left_outer, right, on, span } => {
                    let from = self.join(&mut sources.scope, *left_outer, right, on, formers)?;
                    More { from, span: *span }
                }
                Joined::Apply { outer, call, alias, span } => {
                    let compiled =
                        self.compile(&sources.scope, None, |compiler| compiler.apply(*outer, call));
                    let apply = compiled.map_err(|problem| self.problems.push(problem)).ok()?;
                    let columns = apply::fields(call).map(|name| sources.scope.field(name)).to_vec();
                    let name = alias.text.as_str().into();
                    sources.scope.sources.push(ScopeSource {
                        name,
                        columns: Some(columns),
                        kind: SourceKind::Applied,
                    });
                    More { from: From::Apply(apply), span: *span }
                }
            };
            sources.span = sources.span.to(more.span);
            sources.more.push(more);
        }
        self.twice(&sources.scope, source);
        Some(sources)
    }

    /// The matches of MATCH_RECOGNIZE as the only source.
    pub(super) fn recognized(
        &mut self,
        source: &Source,
        pattern: &tree::Recognize,
        name: &str,
    ) -> Option<Sources> {
        if !source.more.is_empty() {
            let message =
                "MATCH_RECOGNIZE looks at the rows of one input or step; join or apply in a step before";
            self.problems.push(Problem::new(pattern.span, message));
            return None;
        }
        let (origin, seen) = self.stream(&source.first)?;
        let scope = self.scope(vec![seen]);
        let compiled = self.compile(&scope, None, |compiler| compiler.recognize(pattern));
        let recognize = compiled.map_err(|problem| self.problems.push(problem)).ok()?;
        let columns = recognize.measures.iter().map(|(name, _)| name.clone()).collect();
        let seen = pattern.alias.as_ref().map_or("match", |alias| &alias.text).into();
        let text = source.first.name.span.to(pattern.span);
        let operator = Operator::Recognize(Box::new(recognize));
        let first = self.behind("recognize", &[origin], text, operator, name);
        let seen = ScopeSource { name: seen, columns: Some(columns), kind: SourceKind::Step };
        Some(Sources { scope: self.scope(vec![seen]), first, more: Vec::new(), span: text })
    }

    /// Two sources of one name cannot be told apart.
    fn twice(&mut self, scope: &Scope, source: &Source) {
        for (place, joined) in source.more.iter().enumerate() {
            let (name, span) = match joined {
                Joined::Join { right, .. } => {
                    let seen = right.alias.as_ref().unwrap_or(&right.name);
                    (&seen.text, seen.span)
                }
                Joined::Apply { alias, .. } => (&alias.text, alias.span),
            };
            if scope.position(name).is_some_and(|known| known <= place) {
                let message =
                    format!("two sources are named {name} here; give one of them another name: AS name");
                self.problems.push(Problem::new(span, message));
            }
        }
    }

    fn join(
        &mut self,
        scope: &mut Scope,
        outer: bool,
        right: &InputRef,
        on: &tree::Expr,
        formers: &mut Formers,
    ) -> Option<From> {
        let reference = self.is_reference(&right.name);
        let (origin, input, seen) = if reference {
            let (input, seen) = self.reference(right)?;
            (None, input, seen)
        } else {
            let (origin, seen) = self.stream(right)?;
            (Some(origin), 0, seen)
        };
        scope.sources.push(seen);
        formers.in_condition = true;
        let mut kept = Some(std::mem::take(formers));
        let compiled = self.compile(scope, Some(&mut kept), |compiler| compiler.located(on));
        *formers = kept.unwrap_or_default();
        formers.in_condition = false;
        let on = compiled.map_err(|problem| self.problems.push(problem)).ok()?;
        Some(match origin {
            Some(right) => From::Join { outer, right, on },
            None => From::Lookup { outer, input, on },
        })
    }

    /// Compiles something over the sources known so far.
    fn compile<T>(
        &mut self,
        scope: &Scope,
        formers: Option<&mut Option<Formers>>,
        compile: impl FnOnce(&mut Compiler<'_>) -> T,
    ) -> T {
        let mut none = None;
        let formers = formers.unwrap_or(&mut none);
        let mut compiler = Compiler {
            text: self.text,
            options: self.options,
            scope,
            notes: &mut self.notes,
            grouped: None,
            aliases: &[],
            formers: formers.take(),
            matching: None,
        };
        let compiled = compile(&mut compiler);
        *formers = compiler.formers;
        compiled
    }

    /// Makes the nodes; gives where the rows of all sources together come from.
    pub(super) fn wire(&mut self, sources: Sources, formers: &mut Formers, name: &str) -> Option<Origin> {
        let mut left = self.former_of(sources.first, 0, formers, name);
        let mut lags = vec![0];
        let start = sources.span.start;
        for (place, more) in sources.more.into_iter().enumerate() {
            let text = Span::new(start, more.span.end);
            left = match more.from {
                From::Join { outer, right, on } => {
                    let right = self.former_of(right, place + 1, formers, name);
                    let planned = join::plan(outer, on, &mut lags);
                    let join = planned.map_err(|problem| self.problems.push(problem)).ok()?;
                    self.behind("join", &[left, right], text, Operator::Join(Box::new(join)), name)
                }
                From::Lookup { outer, input, on } => {
                    let keys = join::keys(&on.expr, lags.len());
                    let columns = self.declared(input);
                    lags.push(0);
                    let lookup = Lookup { input, outer, on, keys, columns };
                    self.behind("lookup", &[left], text, Operator::Lookup(Box::new(lookup)), name)
                }
                From::Apply(apply) => {
                    lags.push(0);
                    self.behind("apply", &[left], text, Operator::Apply(Box::new(apply)), name)
                }
            };
        }
        Some(left)
    }

    /// Functions over the former rows of one source, before it is joined.
    fn former_of(&mut self, origin: Origin, source: usize, formers: &mut Formers, name: &str) -> Origin {
        let specs = formers.take_side(source);
        if specs.is_empty() {
            return origin;
        }
        let start = Fingerprint::new("former").with_number(self.fingerprint(origin)).with(&[self.edition()]);
        let fingerprint = specs
            .iter()
            .fold(start, |all, spec| all.with_text(self.text, spec.span, &self.options.functions));
        let ways = self.ways(origin);
        let node = self.node(name, Operator::Former(specs), fingerprint.value(), ways);
        self.connect(origin, Target::Node { node, port: 0 });
        Origin::Node(node)
    }

    fn behind(
        &mut self,
        kind: &str,
        before: &[Origin],
        text: Span,
        operator: Operator,
        name: &str,
    ) -> Origin {
        let start = Fingerprint::new(kind).with(&[self.edition()]).with_text(
            self.text,
            text,
            &self.options.functions,
        );
        let fingerprint = before.iter().fold(start, |all, origin| all.with_number(self.fingerprint(*origin)));
        let ways = before.iter().map(|origin| self.ways(*origin)).sum();
        let node = self.node(name, operator, fingerprint.value(), ways);
        for (port, origin) in before.iter().enumerate() {
            self.connect(*origin, Target::Node { node, port });
        }
        Origin::Node(node)
    }
}
