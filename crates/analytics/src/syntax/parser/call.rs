//! Calls with their OVER clause, CAST and CASE.

use super::{Parsed, Parser};
use crate::error::Problem;
use crate::syntax::tree::{Argument, Call, Expr, ExprKind, Name, Over};

impl Parser {
    /// What follows the name of a call; the parenthesis is the next token.
    pub(super) fn call(&mut self, name: Vec<Name>) -> Parsed<Expr> {
        let start = name.first().map_or(self.peek().span, |name| name.span);
        self.expect_sign("(")?;
        let distinct = if self.at_word("DISTINCT") && !self.call_ends_behind_this() {
            Some(self.next().span)
        } else {
            None
        };
        if distinct.is_none() && self.at_word("ALL") && !self.call_ends_behind_this() {
            self.next();
        }
        let mut arguments = Vec::new();
        while !self.at_sign(")") {
            arguments.push(self.argument()?);
            self.limit_list(arguments.len())?;
            if !self.take_sign(",") {
                break;
            }
            if self.at_sign(")") {
                return Err(self.unexpected("an argument is missing after the comma"));
            }
        }
        let span = start.to(self.expect_sign(")")?);
        let over = if self.at_word("OVER") && self.parenthesis_follows() { Some(self.over()?) } else { None };
        let height = arguments
            .iter()
            .map(|argument| match argument {
                Argument::Expr(expr) => expr.height,
                Argument::Star(_) => 0,
            })
            .max()
            .unwrap_or(0);
        let whole = over.as_ref().map_or(span, |over| span.to(over.span));
        let height = height.max(over.as_ref().map_or(0, over_height));
        self.node(ExprKind::Call(Call { name, arguments, distinct, over, span }), whole, height)
    }

    fn argument(&mut self) -> Parsed<Argument> {
        if self.at_sign("*") {
            return Ok(Argument::Star(self.next().span));
        }
        self.expression().map(Argument::Expr)
    }

    /// Whether the word here is a whole argument, and so a column named like a keyword.
    fn call_ends_behind_this(&self) -> bool {
        matches!(self.peek_second().kind, crate::syntax::TokenKind::Sign(")" | "," | "."))
    }

    fn parenthesis_follows(&self) -> bool {
        matches!(self.peek_second().kind, crate::syntax::TokenKind::Sign("("))
    }

    fn over(&mut self) -> Parsed<Over> {
        let start = self.expect_word("OVER")?;
        self.expect_sign("(")?;
        let mut over = Over::default();
        loop {
            if over.partition.is_empty() && self.at_words("PARTITION", "BY") {
                self.next();
                self.next();
                over.partition = self.expressions()?;
            } else if over.order.is_empty() && self.at_words("ORDER", "BY") {
                self.next();
                self.next();
                over.order = self.order()?;
            } else if over.limit.is_none() && self.at_word("LIMIT") {
                self.next();
                over.limit = Some(Box::new(self.duration()?));
            } else if over.when.is_none() && self.take_word("WHEN") {
                over.when = Some(Box::new(self.expression()?));
            } else {
                break;
            }
        }
        if !self.at_sign(")") {
            let expected = ["PARTITION BY", "ORDER BY", "LIMIT DURATION", "WHEN", ")"];
            return Err(self.unexpected("this does not belong into OVER").expecting(&expected));
        }
        over.span = start.to(self.next().span);
        Ok(over)
    }

    fn order(&mut self) -> Parsed<Vec<(Expr, bool)>> {
        let mut order = Vec::new();
        loop {
            let key = self.expression()?;
            let descending = self.take_word("DESC");
            if !descending {
                self.take_word("ASC");
            }
            order.push((key, descending));
            self.limit_list(order.len())?;
            if !self.take_sign(",") {
                return Ok(order);
            }
        }
    }

    pub(super) fn duration(&mut self) -> Parsed<Call> {
        let expr = self.expression()?;
        match expr.kind {
            ExprKind::Call(call)
                if call.name.len() == 1 && call.name[0].text.eq_ignore_ascii_case("duration") =>
            {
                Ok(call)
            }
            _ => Err(Problem::new(expr.span, "LIMIT needs DURATION(unit, length)").expecting(&["DURATION"])),
        }
    }

    /// `CAST(expr AS type)` behind its name.
    pub(super) fn cast(&mut self, lenient: bool) -> Parsed<Expr> {
        let start = self.next().span;
        self.expect_sign("(")?;
        let operand = self.expression()?;
        self.expect_word("AS")?;
        let target = self.type_name()?;
        let span = start.to(self.expect_sign(")")?);
        let height = operand.height;
        self.node(ExprKind::Cast { operand: Box::new(operand), target, lenient }, span, height)
    }

    pub(super) fn case(&mut self) -> Parsed<Expr> {
        let start = self.expect_word("CASE")?;
        let mut height = 0;
        let operand = if self.at_word("WHEN") { None } else { Some(Box::new(self.expression()?)) };
        height = operand.as_ref().map_or(height, |operand| operand.height);
        let mut arms = Vec::new();
        while self.take_word("WHEN") {
            let when = self.expression()?;
            self.expect_word("THEN")?;
            let then = self.expression()?;
            height = height.max(when.height).max(then.height);
            arms.push((when, then));
            self.limit_list(arms.len())?;
        }
        if arms.is_empty() {
            return Err(self.unexpected("CASE needs at least one WHEN … THEN …").expecting(&["WHEN"]));
        }
        let otherwise = if self.take_word("ELSE") { Some(Box::new(self.expression()?)) } else { None };
        height = height.max(otherwise.as_ref().map_or(0, |otherwise| otherwise.height));
        let span = start.to(self.expect_word("END")?);
        self.node(ExprKind::Case { operand, arms, otherwise }, span, height)
    }
}

fn over_height(over: &Over) -> usize {
    let keys = over.partition.iter().chain(over.order.iter().map(|(key, _)| key)).chain(over.when.as_deref());
    keys.map(|expr| expr.height).max().unwrap_or(0)
}
