//! Expressions to values.
//!
//! Logic has three values: a comparison of something missing, null or of different types is undefined, which is neither
//! true nor, negated, true. So nothing matches by what a message does not have.

use crate::expr::{Comparison, Expr, Operator, Path, Root, Step};
use crate::functions;
use crate::value::{Relation, Value};
use serde_json::Value as Json;
use std::cmp::Ordering;

/// What paths are looked up in.
pub(crate) trait Scope {
    /// The value at the beginning of a path.
    fn root(&self, root: &Root) -> Value<'_>;

    /// A member of the message's body, if that is an object.
    fn body_member(&self, _name: &str) -> Option<&Json> {
        None
    }

    /// Whether `null = null` holds (twin queries) or is undefined (route conditions).
    fn nulls_equal(&self) -> bool;
}

/// Evaluates an expression. Its depth was bounded by the parser.
pub(crate) fn eval<'a>(expr: &'a Expr, scope: &'a dyn Scope) -> Value<'a> {
    match expr {
        Expr::Undefined => Value::Undefined,
        Expr::Null => Value::Null,
        Expr::Bool(value) => Value::Bool(*value),
        Expr::Number(number) => Value::Number(*number),
        Expr::Text(text) => Value::Text(text.as_str().into()),
        Expr::Path(path) => walk(path, scope),
        Expr::Not(inner) => match eval(inner, scope) {
            Value::Bool(value) => Value::Bool(!value),
            _ => Value::Undefined,
        },
        Expr::Negate(inner) => eval(inner, scope).as_number().map_or(Value::Undefined, |n| Value::Number(-n)),
        Expr::All(list) => logic(list, scope, false),
        Expr::Any(list) => logic(list, scope, true),
        Expr::Compare(comparison, left, right) => {
            compare(*comparison, &eval(left, scope), &eval(right, scope), scope.nulls_equal())
        }
        Expr::Arithmetic(first, rest) => arithmetic(first, rest, scope),
        Expr::In { needle, list, negated } => is_in(&eval(needle, scope), list, *negated, scope),
        Expr::Call(function, arguments) => {
            let arguments: Vec<_> = arguments.iter().map(|argument| eval(argument, scope)).collect();
            functions::call(*function, &arguments)
        }
    }
}

/// AND (`decides` false) and OR (`decides` true): one deciding value decides, whatever the others are.
fn logic<'a>(list: &'a [Expr], scope: &'a dyn Scope, decides: bool) -> Value<'a> {
    let mut all_known = true;
    for expr in list {
        match eval(expr, scope) {
            Value::Bool(value) if value == decides => return Value::Bool(decides),
            Value::Bool(_) => {}
            _ => all_known = false,
        }
    }
    if all_known { Value::Bool(!decides) } else { Value::Undefined }
}

fn compare<'a>(comparison: Comparison, left: &Value<'_>, right: &Value<'_>, nulls_equal: bool) -> Value<'a> {
    use Comparison as C;
    let Some(relation) = left.compare(right, nulls_equal) else { return Value::Undefined };
    Value::Bool(match (comparison, relation) {
        (C::Equal, Relation::Same(same)) => same,
        (C::NotEqual, Relation::Same(same)) => !same,
        (_, Relation::Same(_)) => return Value::Undefined,
        (C::Equal, Relation::Ordered(order)) => order == Ordering::Equal,
        (C::NotEqual, Relation::Ordered(order)) => order != Ordering::Equal,
        (C::Less, Relation::Ordered(order)) => order == Ordering::Less,
        (C::LessOrEqual, Relation::Ordered(order)) => order != Ordering::Greater,
        (C::Greater, Relation::Ordered(order)) => order == Ordering::Greater,
        (C::GreaterOrEqual, Relation::Ordered(order)) => order != Ordering::Less,
    })
}

fn arithmetic<'a>(first: &'a Expr, rest: &'a [(Operator, Expr)], scope: &'a dyn Scope) -> Value<'a> {
    let Some(mut total) = eval(first, scope).as_number() else { return Value::Undefined };
    for (operator, expr) in rest {
        let Some(operand) = eval(expr, scope).as_number() else { return Value::Undefined };
        total = match operator {
            Operator::Add => total + operand,
            Operator::Subtract => total - operand,
            Operator::Multiply => total * operand,
            Operator::Divide => total / operand,
            Operator::Remainder => total % operand,
        };
    }
    Value::of_number(total)
}

fn is_in<'a>(needle: &Value<'_>, list: &'a [Expr], negated: bool, scope: &'a dyn Scope) -> Value<'a> {
    if *needle == Value::Undefined {
        return Value::Undefined;
    }
    let equal = |expr| compare(Comparison::Equal, needle, &eval(expr, scope), scope.nulls_equal());
    let found = list.iter().any(|expr| equal(expr) == Value::Bool(true));
    Value::Bool(found != negated)
}

fn walk<'a>(path: &'a Path, scope: &'a dyn Scope) -> Value<'a> {
    let (mut json, steps) = match (&path.root, &path.steps[..]) {
        (Root::Body, [Step::Name(name), rest @ ..]) => match scope.body_member(name) {
            Some(member) => (member, rest),
            None => return Value::Undefined,
        },
        (root, []) => return scope.root(root),
        (root, steps) => match scope.root(root) {
            Value::Json(json) => (json, steps),
            _ => return Value::Undefined,
        },
    };
    for step in steps {
        let found = match (step, json) {
            (Step::Name(name), Json::Object(object)) => object.get(name),
            (Step::Index(index), Json::Array(array)) => array.get(*index),
            _ => None,
        };
        let Some(found) = found else { return Value::Undefined };
        json = found;
    }
    Value::of_json(json)
}
