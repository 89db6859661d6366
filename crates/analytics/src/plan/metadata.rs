//! `GetMetadataPropertyValue`: what an input knows of an event beside its body.

use super::compile::{Compiled, Compiler};
use super::expr::Expr;
use super::scope::SourceKind;
use crate::error::Problem;
use crate::syntax::tree::{self, Argument, Call, ExprKind};
use std::sync::Arc;

impl Compiler<'_> {
    /// `GetMetadataPropertyValue(input, '[EventHub].[PartitionId]')`.
    pub(super) fn metadata(&mut self, call: &Call) -> Compiled {
        if self.options.level.is_limited() {
            return Err(Problem::new(
                call.span,
                "GetMetadataPropertyValue is not offered to jobs of this kind; take the value from the event",
            ));
        }
        let shape = "GetMetadataPropertyValue is written GetMetadataPropertyValue(input, 'EventId')";
        let [Argument::Expr(input), Argument::Expr(property)] = call.arguments.as_slice() else {
            return Err(Problem::new(call.span, shape));
        };
        let source = match &input.kind {
            ExprKind::Path(path) if path.len() == 1 => self.scope.position(&path[0].text),
            _ => None,
        };
        let Some(source) = source.filter(|source| self.scope.sources[*source].kind == SourceKind::Stream)
        else {
            let message = "metadata is of an input that this SELECT reads: name it, or its alias; steps and reference data have none";
            return Err(Problem::new(input.span, message));
        };
        if self.grouped.is_some() {
            let message =
                "metadata is of events, not of groups; add it to GROUP BY, or use it inside an aggregate";
            return Err(Problem::new(call.span, message));
        }
        let names = match &property.kind {
            ExprKind::Literal(tree::Literal::Text(text)) => names(text),
            _ => None,
        };
        let Some(names) = names else {
            let message =
                "the property is a constant text: 'EventId', 'IoTHub.EnqueuedTime', '[User].[name]'";
            return Err(Problem::new(property.span, message));
        };
        Ok(Expr::Metadata(source, names))
    }
}

/// `A.B` and `[A].[B]` as names; `None` for a text that is neither.
fn names(text: &str) -> Option<Box<[Arc<str>]>> {
    let (mut names, mut rest) = (Vec::new(), text);
    loop {
        let (name, behind) = match rest.strip_prefix('[') {
            Some(quoted) => quoted.split_once(']')?,
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        if name.is_empty() {
            return None;
        }
        names.push(name.into());
        if behind.is_empty() {
            return Some(names.into());
        }
        rest = behind.strip_prefix('.')?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_properties() {
        let all = |text| names(text).map(|names| names.join("|"));
        assert_eq!(all("EventId").as_deref(), Some("EventId"));
        assert_eq!(all("EventHub.PartitionId").as_deref(), Some("EventHub|PartitionId"));
        assert_eq!(all("[User].[a.b c]").as_deref(), Some("User|a.b c"));
        assert_eq!(all("[User].x").as_deref(), Some("User|x"));
        for text in ["", "a.", ".a", "[a", "[a]b", "a..b", "[]"] {
            assert_eq!(all(text), None, "{text}");
        }
    }

    #[test]
    fn places() {
        let compile = |text: &str| {
            let options = crate::Options { level: crate::Level::Extended, ..crate::Options::default() };
            crate::Query::compile(text, &options).map_err(|errors| errors.first().message.clone())
        };
        assert!(compile("SELECT GetMetadataPropertyValue(x, '[User].[a]') AS a FROM i x").is_ok());
        let group = "FROM i GROUP BY TumblingWindow(second, 1)";
        let call = "GetMetadataPropertyValue(i, 'EventId')";
        assert!(compile(&format!("SELECT {call} AS e, COUNT(*) AS n {group}, {call}")).is_ok());
        for (text, part) in [
            ("SELECT GetMetadataPropertyValue(y, 'a') FROM i x".to_owned(), "is of an input"),
            (
                "WITH s AS (SELECT * FROM i) SELECT GetMetadataPropertyValue(s, 'a') FROM s".to_owned(),
                "steps and",
            ),
            ("SELECT GetMetadataPropertyValue(i, a) FROM i".to_owned(), "constant text"),
            ("SELECT GetMetadataPropertyValue(i) FROM i".to_owned(), "is written"),
            (format!("SELECT {call} {group}"), "not of groups"),
        ] {
            let message = compile(&text).expect_err(&text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
