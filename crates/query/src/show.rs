//! Expressions as text again, for people: not always as they were written, but of the same meaning.

use crate::expr::{Comparison, Expr, Operator, Path, Root, Step};
use std::fmt::{self, Display, Formatter};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undefined => f.write_str("undefined"),
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
            Self::Path(path) => path.fmt(f),
            Self::Not(inner) => write!(f, "NOT ({inner})"),
            Self::Negate(inner) => write!(f, "-({inner})"),
            Self::All(list) => joined(f, list, " AND "),
            Self::Any(list) => joined(f, list, " OR "),
            Self::Compare(comparison, left, right) => {
                write!(f, "{} {comparison} {}", Operand(left), Operand(right))
            }
            Self::Arithmetic(first, rest) => {
                write!(f, "({}", Operand(first))?;
                for (operator, expr) in rest {
                    write!(f, " {operator} {}", Operand(expr))?;
                }
                f.write_str(")")
            }
            Self::In { needle, list, negated } => {
                write!(f, "{} {} [", Operand(needle), if *negated { "NIN" } else { "IN" })?;
                for (index, expr) in list.iter().enumerate() {
                    write!(f, "{}{}", if index == 0 { "" } else { ", " }, Operand(expr))?;
                }
                f.write_str("]")
            }
            Self::Call(function, arguments) => {
                write!(f, "{}(", function.name())?;
                listed(f, arguments)?;
                f.write_str(")")
            }
        }
    }
}

/// An expression where the grammar wants no comparison.
struct Operand<'a>(&'a Expr);

impl Display for Operand<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Expr::Compare(..) | Expr::In { .. } | Expr::Not(_) => write!(f, "({})", self.0),
            other => other.fmt(f),
        }
    }
}

fn joined(f: &mut Formatter<'_>, list: &[Expr], word: &str) -> fmt::Result {
    f.write_str("(")?;
    for (index, expr) in list.iter().enumerate() {
        write!(f, "{}{expr}", if index == 0 { "" } else { word })?;
    }
    f.write_str(")")
}

fn listed(f: &mut Formatter<'_>, list: &[Expr]) -> fmt::Result {
    for (index, expr) in list.iter().enumerate() {
        write!(f, "{}{expr}", if index == 0 { "" } else { ", " })?;
    }
    Ok(())
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        })
    }
}

impl Display for Operator {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        })
    }
}

/// Whether a name can stand without braces or brackets.
fn is_plain(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_' || c == '$')
        && chars.all(|c| c.is_alphanumeric() || c == '_' || c == '$')
}

/// Words that are no names of properties.
const KEYWORDS: [&str; 9] = ["and", "or", "not", "in", "nin", "true", "false", "null", "undefined"];

/// Whether a property can be written without braces.
fn is_bare(name: &str) -> bool {
    let is_keyword = |part: &str| KEYWORDS.iter().any(|word| word.eq_ignore_ascii_case(part));
    !name.starts_with('$') && name.split('.').all(|part| is_plain(part) && !is_keyword(part))
}

impl Display for Path {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut is_first = false;
        match &self.root {
            Root::Property(name) if is_bare(name) => f.write_str(name)?,
            Root::Property(name) => write!(f, "{{{name}}}")?,
            Root::System(name) => write!(f, "${name}")?,
            Root::Body => f.write_str("$body")?,
            Root::Twin => f.write_str("$twin")?,
            Root::Document => is_first = true,
        }
        for step in &self.steps {
            let dot = if std::mem::take(&mut is_first) { "" } else { "." };
            match step {
                Step::Name(name) if is_plain(name) => write!(f, "{dot}{name}")?,
                Step::Name(name) => write!(f, "{dot}[[{name}]]")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
