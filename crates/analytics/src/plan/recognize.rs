//! MATCH_RECOGNIZE: the pattern as a program, its conditions and measures as expressions over the rows of a match.

use super::compile::{Compiled, Compiler, argument_span};
use super::expr::{Expr, Located};
use crate::error::Problem;
use crate::syntax::Span;
use crate::syntax::tree::{self, Argument, Call, ExprKind, Name, Pattern};
use std::sync::Arc;

/// One row for each sequence of rows that fits.
#[derive(Debug)]
pub(crate) struct Recognize {
    /// How far the last row may be behind the first, exclusive, in ticks.
    pub(crate) length: i64,
    pub(crate) partition: Vec<Expr>,
    /// The columns of a match.
    pub(crate) measures: Vec<(Arc<str>, Located)>,
    /// The condition of each variable; `None` for one that any row fits.
    pub(crate) conditions: Vec<Option<Located>>,
    /// The names of the variables.
    pub(crate) variables: Vec<Arc<str>>,
    /// What conditions and measures take from the rows so far, by slot.
    pub(crate) gathered: Vec<Gathered>,
    pub(crate) program: Vec<Instruction>,
    pub(crate) span: Span,
}

/// A value over the rows of a variable.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Gathered {
    pub(crate) taken: Taken,
    /// The variable; `None` is all of them.
    pub(crate) variable: Option<usize>,
    /// The field of each row.
    pub(crate) field: Box<[Arc<str>]>,
}

/// Which value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    First,
    Last,
    Min,
    Max,
    /// The names of the variables, row by row.
    Classifier,
}

/// A step of the matcher. Ways are tried in order; the first that reaches the end is the match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instruction {
    /// The next row is one of the variable; `None` is any row.
    Row(Option<usize>),
    /// Goes on at the first place, and if that fails at the second.
    Split(usize, usize),
    Jump(usize),
    End,
}

/// What expressions in MATCH_RECOGNIZE may refer to.
#[derive(Debug, Default)]
pub(crate) struct Matching {
    variables: Vec<Arc<str>>,
    gathered: Vec<Gathered>,
    /// The variable that is being defined; in MEASURES there is none.
    defining: Option<usize>,
}

/// How many instructions a pattern may have.
const MAX_PROGRAM: usize = 1000;

impl Compiler<'_> {
    pub(super) fn recognize(&mut self, tree: &tree::Recognize) -> Compiled<Recognize> {
        let length = self.duration(&tree.limit)?;
        let partition = tree.partition.iter().map(|key| self.expr(key)).collect::<Compiled<_>>()?;
        let mut variables: Vec<Arc<str>> = Vec::new();
        for (name, _) in &tree.define {
            if position(&variables, &name.text).is_some() {
                return Err(Problem::new(name.span, format!("{} is defined twice", name.text)));
            }
            variables.push(name.text.as_str().into());
        }
        let mut program = Vec::new();
        emit(&tree.pattern, &mut variables, &mut program)?;
        program.push(Instruction::End);
        let mut matching = Matching { variables, ..Matching::default() };
        let mut conditions: Vec<Option<Located>> = Vec::new();
        for (number, (_, condition)) in tree.define.iter().enumerate() {
            matching.defining = Some(number);
            let condition = self.matched(&mut matching, |compiler| compiler.located(condition))?;
            conditions.push(Some(condition));
        }
        conditions.resize_with(matching.variables.len(), || None);
        matching.defining = None;
        let mut measures = Vec::new();
        for (expr, name) in &tree.measures {
            let value = self.matched(&mut matching, |compiler| compiler.located(expr))?;
            measures.push((self.scope.field(&name.text), value));
        }
        let Matching { variables, gathered, .. } = matching;
        Ok(Recognize {
            length,
            partition,
            measures,
            conditions,
            variables,
            gathered,
            program,
            span: tree.span,
        })
    }

    fn matched<T>(
        &mut self,
        matching: &mut Matching,
        compile: impl FnOnce(&mut Self) -> Compiled<T>,
    ) -> Compiled<T> {
        self.matching = Some(std::mem::take(matching));
        let compiled = compile(self);
        *matching = self.matching.take().unwrap_or_default();
        compiled
    }

    /// `variable.field`: in DEFINE a field of the row that is looked at, in MEASURES of the variable's last row.
    pub(super) fn matched_path(&mut self, path: &[Name]) -> Option<Compiled> {
        let variable = position(&self.matching.as_ref()?.variables, &path[0].text)?;
        if path.len() < 2 {
            let message = format!("{0} stands for rows; name a field: {0}.field", path[0].text);
            return Some(Err(Problem::new(path[0].span, message)));
        }
        let field: Box<[Arc<str>]> = path[1..].iter().map(|name| self.scope.field(&name.text)).collect();
        let defining = self.matching.as_ref()?.defining;
        match defining {
            Some(own) if own == variable => Some(Ok(Expr::Path(0, field))),
            Some(own) if variable > own => Some(Err(later(&path[0]))),
            _ => Some(Ok(self.gathered(Gathered { taken: Taken::Last, variable: Some(variable), field }))),
        }
    }

    /// Calls that look at the rows of a match.
    pub(super) fn matched_call(&mut self, name: &str, call: &Call) -> Option<Compiled> {
        let matching = self.matching.as_ref()?;
        let taken = match name.to_lowercase().as_str() {
            "first" => Taken::First,
            "last" => Taken::Last,
            "min" => Taken::Min,
            "max" => Taken::Max,
            "classifier" if call.arguments.is_empty() => {
                let field = Box::default();
                return Some(Ok(self.gathered(Gathered { taken: Taken::Classifier, variable: None, field })));
            }
            _ => return None,
        };
        let path = match call.arguments.as_slice() {
            [Argument::Expr(tree::Expr { kind: ExprKind::Path(path), .. })] => path,
            arguments => {
                let span = arguments.first().map_or(call.span, argument_span);
                let message =
                    format!("{name} in MATCH_RECOGNIZE takes one field of a variable: {name}(A.field)");
                return Some(Err(Problem::new(span, message)));
            }
        };
        let variable = position(&matching.variables, &path[0].text).filter(|_| path.len() > 1);
        if let (Some(variable), Some(own)) = (variable, matching.defining)
            && variable > own
        {
            return Some(Err(later(&path[0])));
        }
        let names = &path[usize::from(variable.is_some())..];
        let field = names.iter().map(|name| self.scope.field(&name.text)).collect();
        Some(Ok(self.gathered(Gathered { taken, variable, field })))
    }

    fn gathered(&mut self, wanted: Gathered) -> Expr {
        let Some(matching) = &mut self.matching else { return Expr::Slot(0) };
        let known = matching.gathered.iter().position(|known| *known == wanted);
        Expr::Slot(known.unwrap_or_else(|| {
            matching.gathered.push(wanted);
            matching.gathered.len() - 1
        }))
    }
}

fn later(name: &Name) -> Problem {
    let message = format!("{} is defined later; a definition looks at itself and those before it", name.text);
    Problem::new(name.span, message)
}

fn position(variables: &[Arc<str>], name: &str) -> Option<usize> {
    variables.iter().position(|known| known.eq_ignore_ascii_case(name))
}

/// Adds the program of a pattern. A variable without a definition is one that any row fits.
fn emit(pattern: &Pattern, variables: &mut Vec<Arc<str>>, program: &mut Vec<Instruction>) -> Compiled<()> {
    match pattern {
        Pattern::Any => program.push(Instruction::Row(None)),
        Pattern::Variable(name) => {
            let variable = position(variables, &name.text).unwrap_or_else(|| {
                variables.push(name.text.as_str().into());
                variables.len() - 1
            });
            program.push(Instruction::Row(Some(variable)));
            if program.len() > MAX_PROGRAM {
                return Err(Problem::new(name.span, format!("a pattern has at most {MAX_PROGRAM} parts")));
            }
        }
        Pattern::Sequence(parts) => {
            for part in parts {
                emit(part, variables, program)?;
            }
        }
        Pattern::Either(ways) => {
            let mut jumps = Vec::new();
            for (number, way) in ways.iter().enumerate() {
                let split = program.len();
                let last = number + 1 == ways.len();
                if !last {
                    program.push(Instruction::Split(split + 1, 0));
                }
                emit(way, variables, program)?;
                if !last {
                    jumps.push(program.len());
                    program.push(Instruction::Jump(0));
                    program[split] = Instruction::Split(split + 1, program.len());
                }
            }
            let end = program.len();
            jumps.into_iter().for_each(|jump| program[jump] = Instruction::Jump(end));
        }
        Pattern::Repeated { inner, once, more, span } => {
            if *more && is_empty(inner) {
                let message = "what is repeated takes at least one row each time";
                return Err(Problem::new(*span, message));
            }
            let start = program.len();
            if !once {
                program.push(Instruction::Split(start + 1, 0));
            }
            emit(inner, variables, program)?;
            if *once {
                program.push(Instruction::Split(start, program.len() + 1));
            } else {
                if *more {
                    program.push(Instruction::Jump(start));
                }
                program[start] = Instruction::Split(start + 1, program.len());
            }
        }
    }
    Ok(())
}

/// Whether a pattern may take no row.
fn is_empty(pattern: &Pattern) -> bool {
    match pattern {
        Pattern::Any | Pattern::Variable(_) => false,
        Pattern::Sequence(parts) => parts.iter().all(is_empty),
        Pattern::Either(ways) => ways.iter().any(is_empty),
        Pattern::Repeated { inner, once, .. } => !once || is_empty(inner),
    }
}
