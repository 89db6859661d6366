//! What a SELECT reads: inputs with modifiers, joins, applies.

use super::{Parsed, Parser};
use crate::error::Problem;
use crate::syntax::TokenKind;
use crate::syntax::tree::{ExprKind, InputRef, Joined, Source, TimestampBy};

impl Parser {
    pub(super) fn source(&mut self) -> Parsed<Source> {
        let first = self.input_ref()?;
        let mut source = Source { first, more: Vec::new(), pattern: None };
        loop {
            if let Some(joined) = self.joined()? {
                source.more.push(joined);
                self.limit_parts(source.more.len())?;
            } else if self.at_word("MATCH_RECOGNIZE") {
                source.pattern = Some(Box::new(self.recognize()?));
                return Ok(source);
            } else if self.at_sign(",") {
                let message = "inputs are combined by JOIN … ON DATEDIFF(…) or by UNION, not by a comma";
                return Err(Problem::new(self.peek().span, message));
            } else {
                return Ok(source);
            }
        }
    }

    fn input_ref(&mut self) -> Parsed<InputRef> {
        if self.at_sign("(") {
            let message = "a SELECT cannot stand in FROM; give it a name as a step: WITH name AS (SELECT …)";
            return Err(Problem::new(self.peek().span, message));
        }
        let name = self.name("the name of an input or step")?;
        let mut input = InputRef { name, alias: self.alias()?, partition: None, timestamp: None };
        loop {
            if input.timestamp.is_none() && self.at_words("TIMESTAMP", "BY") {
                input.timestamp = Some(self.timestamp_by()?);
            } else if input.partition.is_none() && self.at_words("PARTITION", "BY") {
                let start = self.next().span;
                self.next();
                let keys = self.expressions()?;
                if self.at_word("INTO") && matches!(self.peek_second().kind, TokenKind::Integer(_)) {
                    self.next();
                    self.next();
                }
                input.partition = Some((keys, start.to(self.last_span())));
            } else {
                break;
            }
        }
        Ok(input)
    }

    fn timestamp_by(&mut self) -> Parsed<TimestampBy> {
        let start = self.next().span;
        self.next();
        let expr = self.expression()?;
        let over = if self.take_word("OVER") { self.expressions()? } else { Vec::new() };
        Ok(TimestampBy { expr, over, span: start.to(self.last_span()) })
    }

    fn joined(&mut self) -> Parsed<Option<Joined>> {
        let start = self.peek().span;
        for word in ["RIGHT", "FULL"] {
            if self.at_word(word) {
                let message = format!(
                    "there is no {word} JOIN; use JOIN or LEFT JOIN, with the sides swapped if need be"
                );
                return Err(Problem::new(start, message));
            }
        }
        if self.at_words("CROSS", "APPLY") || self.at_words("OUTER", "APPLY") {
            let outer = self.at_word("OUTER");
            self.next();
            self.next();
            return self.apply(start, outer).map(Some);
        }
        if self.at_words("CROSS", "JOIN") {
            let message =
                "there is no CROSS JOIN; JOIN needs ON with DATEDIFF, which bounds how far apart rows may be";
            return Err(Problem::new(start, message));
        }
        let left_outer = if self.take_word("INNER") {
            self.expect_word("JOIN")?;
            false
        } else if self.take_word("LEFT") {
            self.take_word("OUTER");
            self.expect_word("JOIN")?;
            true
        } else if self.take_word("JOIN") {
            false
        } else {
            return Ok(None);
        };
        let right = Box::new(self.input_ref()?);
        self.expect_word("ON")?;
        let on = self.expression()?;
        Ok(Some(Joined::Join { left_outer, right, on, span: start.to(self.last_span()) }))
    }

    fn apply(&mut self, start: crate::syntax::Span, outer: bool) -> Parsed<Joined> {
        let function = self.expression()?;
        let ExprKind::Call(call) = function.kind else {
            let message = "APPLY needs GetArrayElements(…) or GetRecordProperties(…)";
            return Err(
                Problem::new(function.span, message).expecting(&["GetArrayElements", "GetRecordProperties"])
            );
        };
        let Some(alias) = self.alias()? else {
            return Err(self.unexpected("the elements of APPLY need a name: AS name").expecting(&["AS"]));
        };
        Ok(Joined::Apply { outer, call, alias, span: start.to(self.last_span()) })
    }
}
