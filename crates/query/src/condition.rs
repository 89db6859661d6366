//! Route conditions.
//!
//! Source: Azure docs "IoT Hub message routing query syntax". A condition is compiled once; evaluating it never fails,
//! and only the value `true` matches.

use crate::eval::{Scope, eval};
use crate::explain::{self, Explanation};
use crate::expr::{Comparison, Expr, Path, Root, Step};
use crate::parser::Parser;
use crate::value::Value;
use crate::{Dialect, Error};
use std::borrow::Cow;
use std::cell::RefCell;

/// What a condition can ask about a message.
pub trait Operands {
    /// An application property; names are compared without case.
    fn property(&self, name: &str) -> Option<&str>;

    /// A system property by its routing name without `$`, any case.
    fn system(&self, name: &str) -> Option<Cow<'_, str>>;

    /// The body, if it is JSON and says so. Asked for once per path: keep it.
    fn body(&self) -> Option<&serde_json::Value>;

    /// A member of such a body. Where all conditions ask for members alone ([`Condition::body_members`]), `body` is not called.
    fn body_member(&self, name: &str) -> Option<&serde_json::Value> {
        self.body()?.as_object()?.get(name)
    }

    /// The sender's twin.
    fn twin(&self) -> Option<&serde_json::Value> {
        None
    }
}

/// A compiled condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    expr: Expr,
}

impl Condition {
    /// Compiles a condition; an empty one takes all.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.trim().is_empty() {
            return Ok(Self { expr: Expr::Bool(true) });
        }
        let mut parser = Parser::new(text, Dialect::Condition)?;
        let expr = parser.expression()?;
        parser.end()?;
        Ok(Self { expr })
    }

    /// Whether it takes all messages without looking.
    pub fn is_always(&self) -> bool {
        self.expr == Expr::Bool(true)
    }

    /// Whether it looks into bodies.
    pub fn reads_body(&self) -> bool {
        self.expr.any_path(&|path| path.root == Root::Body)
    }

    /// The members of the body it looks at, each once; `None` where it looks at the body as a whole or by index.
    pub fn body_members(&self) -> Option<Vec<String>> {
        let members = RefCell::new(Vec::new());
        let is_whole = self.expr.any_path(&|path| match (&path.root, path.steps.first()) {
            (Root::Body, Some(Step::Name(name))) => {
                let mut members = members.borrow_mut();
                if !members.contains(name) {
                    members.push(name.clone());
                }
                false
            }
            (Root::Body, _) => true,
            _ => false,
        });
        (!is_whole).then(|| members.into_inner())
    }

    /// Whether it looks into twins.
    pub fn reads_twin(&self) -> bool {
        self.expr.any_path(&|path| path.root == Root::Twin)
    }

    /// The places in twins it looks at, each as the names that lead there, up to the first index; each once.
    pub fn twin_paths(&self) -> Vec<Vec<String>> {
        let paths = RefCell::new(Vec::new());
        self.expr.any_path(&|path| {
            if path.root == Root::Twin {
                let names = path.steps.iter().map_while(|step| match step {
                    Step::Name(name) => Some(name.clone()),
                    Step::Index(_) => None,
                });
                let names: Vec<_> = names.collect();
                let mut paths = paths.borrow_mut();
                if !paths.contains(&names) {
                    paths.push(names);
                }
            }
            false
        });
        paths.into_inner()
    }

    /// Whether a message fulfils it, and why. For people: slower than [`matches`](Self::matches), and of the same opinion.
    pub fn explain(&self, message: &dyn Operands) -> Explanation {
        explain::explain(&self.expr, &MessageScope(message))
    }

    /// What most conditions say, `name = 'text'`, which takes no values to evaluate.
    fn property_is(&self) -> Option<(&str, &str)> {
        let Expr::Compare(Comparison::Equal, left, right) = &self.expr else { return None };
        match (&**left, &**right) {
            (Expr::Path(Path { root: Root::Property(name), steps }), Expr::Text(text))
                if steps.is_empty() =>
            {
                Some((name, text))
            }
            _ => None,
        }
    }

    /// Whether a message fulfils it.
    pub fn matches(&self, message: &dyn Operands) -> bool {
        if let Some((name, text)) = self.property_is() {
            return message.property(name) == Some(text);
        }
        eval(&self.expr, &MessageScope(message)) == Value::Bool(true)
    }
}

struct MessageScope<'m>(&'m dyn Operands);

impl Scope for MessageScope<'_> {
    fn root(&self, root: &Root) -> Value<'_> {
        match root {
            Root::Property(name) => Value::of_text(self.0.property(name).map(Cow::Borrowed)),
            Root::System(name) => Value::of_text(self.0.system(name)),
            Root::Body => self.0.body().map_or(Value::Undefined, Value::of_json),
            Root::Twin => self.0.twin().map_or(Value::Undefined, Value::of_json),
            Root::Document => Value::Undefined,
        }
    }

    fn body_member(&self, name: &str) -> Option<&serde_json::Value> {
        self.0.body_member(name)
    }

    fn nulls_equal(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
