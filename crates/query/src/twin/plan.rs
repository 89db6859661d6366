//! What a condition asks for by equality, so that a caller with an index need not look at every document.

use crate::expr::{Comparison, Expr, Path, Root, Step};

/// A value a condition compares with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Literal<'q> {
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(&'q str),
}

/// A part of a condition that every matching document fulfils: the member at a path is one of some values.
#[derive(Debug, Clone, PartialEq)]
pub struct Equality<'q> {
    /// Names of members, from the document down.
    pub path: Vec<&'q str>,
    /// The values.
    pub values: Vec<Literal<'q>>,
    /// Whether the condition says nothing else, so that whatever fulfils this matches.
    pub is_whole: bool,
}

/// The equalities that all must hold; none where the condition has no such part.
pub(super) fn equalities(filter: &Expr) -> Vec<Equality<'_>> {
    let mut found = Vec::new();
    collect(filter, true, &mut found);
    found
}

fn collect<'q>(expr: &'q Expr, is_whole: bool, found: &mut Vec<Equality<'q>>) {
    match expr {
        Expr::All(list) => list.iter().for_each(|part| collect(part, false, found)),
        part => found.extend(one(part).map(|(path, values)| Equality { path, values, is_whole })),
    }
}

fn one(expr: &Expr) -> Option<(Vec<&str>, Vec<Literal<'_>>)> {
    match expr {
        Expr::Compare(Comparison::Equal, left, right) => match (&**left, &**right) {
            (Expr::Path(path), value) | (value, Expr::Path(path)) => {
                Some((names(path)?, vec![literal(value)?]))
            }
            _ => None,
        },
        Expr::In { needle, list, negated: false } => match &**needle {
            Expr::Path(path) => Some((names(path)?, list.iter().map(literal).collect::<Option<_>>()?)),
            _ => None,
        },
        // `a = 1 OR a = 2` is `a IN [1, 2]`.
        Expr::Any(list) => {
            let mut parts = list.iter().map(one);
            let (path, mut values) = parts.next()??;
            for part in parts {
                let (other, more) = part?;
                if other != path {
                    return None;
                }
                values.extend(more);
            }
            Some((path, values))
        }
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<Literal<'_>> {
    match expr {
        Expr::Bool(value) => Some(Literal::Bool(*value)),
        Expr::Number(number) => Some(Literal::Number(*number)),
        Expr::Text(text) => Some(Literal::Text(text)),
        _ => None,
    }
}

fn names(path: &Path) -> Option<Vec<&str>> {
    if path.root != Root::Document {
        return None;
    }
    path.steps.iter().map(name).collect()
}

fn name(step: &Step) -> Option<&str> {
    match step {
        Step::Name(name) => Some(name),
        Step::Index(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::TwinQuery;

    fn told(condition: &str) -> Vec<(String, usize, bool)> {
        let query = TwinQuery::parse(&format!("SELECT * FROM devices WHERE {condition}")).unwrap();
        let told = query.equalities();
        told.iter().map(|e| (e.path.join("."), e.values.len(), e.is_whole)).collect()
    }

    fn one(path: &str, values: usize, is_whole: bool) -> Vec<(String, usize, bool)> {
        vec![(path.to_owned(), values, is_whole)]
    }

    #[test]
    fn what_must_be_equal_is_found_whichever_way_it_is_said() {
        assert_eq!(told("tags.site = 'a'"), one("tags.site", 1, true));
        assert_eq!(told("'a' = devices.tags.site"), one("tags.site", 1, true));
        assert_eq!(told("DEVICEID IN ['a', 'b']"), one("deviceId", 2, true));
        assert_eq!(told("deviceId = 'a' OR (deviceId = 'b')"), one("deviceId", 2, true));
        let both = told("tags.a = 1 AND (tags.b = true AND tags.c > 3)");
        assert_eq!(both, [one("tags.a", 1, false), one("tags.b", 1, false)].concat());
        assert_eq!(told("configurations.[[x.y]].status = 'Applied'").len(), 1);
    }

    #[test]
    fn what_may_hold_otherwise_is_not_told() {
        for condition in [
            "tags.a != 1",
            "NOT tags.a = 1",
            "tags.a = 1 OR tags.b = 1",
            "tags.a = tags.b",
            "tags.a = null",
            "tags.a NIN [1]",
            "tags.a[0] = 1",
            "tags.a = 1 + 1",
        ] {
            assert_eq!(told(condition), [], "{condition}");
        }
    }
}
