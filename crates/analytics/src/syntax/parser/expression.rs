//! Expressions by precedence, loosest first: OR, AND, NOT, tests, sums and bits, products, signs, primaries.

use super::{Parsed, Parser, reserved, too_deep};
use crate::error::Problem;
use crate::syntax::tree::{BinaryOp, Expr, ExprKind, Literal, UnaryOp};
use crate::syntax::{MAX_HEIGHT, Span, TokenKind};

impl Parser {
    pub(super) fn expression(&mut self) -> Parsed<Expr> {
        self.deeper(Self::or)
    }

    fn or(&mut self) -> Parsed<Expr> {
        self.chain("OR", Self::and, ExprKind::Or)
    }

    fn and(&mut self) -> Parsed<Expr> {
        self.chain("AND", Self::not, ExprKind::And)
    }

    /// Terms joined by one word, side by side, so that long chains are not deep trees.
    fn chain(
        &mut self,
        word: &str,
        term: fn(&mut Self) -> Parsed<Expr>,
        build: fn(Vec<Expr>) -> ExprKind,
    ) -> Parsed<Expr> {
        let first = term(self)?;
        if !self.at_word(word) {
            return Ok(first);
        }
        let mut terms = vec![first];
        while self.take_word(word) {
            terms.push(term(self)?);
            self.limit_list(terms.len())?;
        }
        let span = terms[0].span.to(self.last_span());
        let height = terms.iter().map(|term| term.height).max().unwrap_or(0);
        self.node(build(terms), span, height)
    }

    fn not(&mut self) -> Parsed<Expr> {
        if !self.at_word("NOT") {
            return self.test();
        }
        let start = self.next().span;
        let operand = self.deeper(Self::not)?;
        let (span, height) = (start.to(operand.span), operand.height);
        self.node(ExprKind::Unary(UnaryOp::Not, Box::new(operand)), span, height)
    }

    /// Comparisons and the tests by words.
    fn test(&mut self) -> Parsed<Expr> {
        let mut left = self.sum()?;
        loop {
            if let Some(op) = self.comparison() {
                self.next();
                let right = self.sum()?;
                left = self.binary(op, left, right)?;
            } else if self.at_word("IS") {
                left = self.is_null(left)?;
            } else {
                let negated = self.at_word("NOT")
                    && ["BETWEEN", "IN", "LIKE"].iter().any(|word| super::is_word(self.peek_second(), word));
                if negated {
                    self.next();
                }
                if self.take_word("BETWEEN") {
                    left = self.between(left, negated)?;
                } else if self.take_word("IN") {
                    left = self.in_list(left, negated)?;
                } else if self.take_word("LIKE") {
                    left = self.like(left, negated)?;
                } else {
                    return Ok(left);
                }
            }
        }
    }

    fn comparison(&self) -> Option<BinaryOp> {
        let TokenKind::Sign(sign) = self.peek().kind else { return None };
        Some(match sign {
            "=" => BinaryOp::Equal,
            "<>" | "!=" => BinaryOp::NotEqual,
            "<" => BinaryOp::Less,
            "<=" | "!>" => BinaryOp::LessOrEqual,
            ">" => BinaryOp::Greater,
            ">=" | "!<" => BinaryOp::GreaterOrEqual,
            _ => return None,
        })
    }

    fn is_null(&mut self, operand: Expr) -> Parsed<Expr> {
        self.next();
        let negated = self.take_word("NOT");
        let span = operand.span.to(self.expect_word("NULL")?);
        let height = operand.height;
        self.node(ExprKind::IsNull(Box::new(operand), negated), span, height)
    }

    fn between(&mut self, operand: Expr, negated: bool) -> Parsed<Expr> {
        let low = self.sum()?;
        self.expect_word("AND")?;
        let high = self.sum()?;
        let span = operand.span.to(high.span);
        let height = operand.height.max(low.height).max(high.height);
        self.node(ExprKind::Between(Box::new(operand), Box::new(low), Box::new(high), negated), span, height)
    }

    fn in_list(&mut self, operand: Expr, negated: bool) -> Parsed<Expr> {
        self.expect_sign("(")?;
        if self.at_word("SELECT") {
            let message =
                "IN takes a list of values, not a SELECT; use a JOIN with a step or with reference data";
            return Err(Problem::new(self.peek().span, message));
        }
        let list = self.expressions()?;
        let span = operand.span.to(self.expect_sign(")")?);
        let height = list.iter().map(|expr| expr.height).max().unwrap_or(0).max(operand.height);
        self.node(ExprKind::In(Box::new(operand), list, negated), span, height)
    }

    fn like(&mut self, operand: Expr, negated: bool) -> Parsed<Expr> {
        let pattern = self.sum()?;
        let escape = if self.take_word("ESCAPE") { Some(Box::new(self.sum()?)) } else { None };
        let span = operand.span.to(self.last_span());
        let height =
            operand.height.max(pattern.height).max(escape.as_ref().map_or(0, |escape| escape.height));
        self.node(ExprKind::Like(Box::new(operand), Box::new(pattern), escape, negated), span, height)
    }

    fn sum(&mut self) -> Parsed<Expr> {
        let mut left = self.product()?;
        loop {
            let TokenKind::Sign(sign) = self.peek().kind else { return Ok(left) };
            let op = match sign {
                "+" => BinaryOp::Add,
                "-" => BinaryOp::Subtract,
                "&" => BinaryOp::BitAnd,
                "|" => BinaryOp::BitOr,
                "^" => BinaryOp::BitXor,
                _ => return Ok(left),
            };
            self.next();
            let right = self.product()?;
            left = self.binary(op, left, right)?;
        }
    }

    fn product(&mut self) -> Parsed<Expr> {
        let mut left = self.signed()?;
        loop {
            let TokenKind::Sign(sign) = self.peek().kind else { return Ok(left) };
            let op = match sign {
                "*" => BinaryOp::Multiply,
                "/" => BinaryOp::Divide,
                "%" => BinaryOp::Modulo,
                _ => return Ok(left),
            };
            self.next();
            let right = self.signed()?;
            left = self.binary(op, left, right)?;
        }
    }

    fn signed(&mut self) -> Parsed<Expr> {
        let TokenKind::Sign(sign) = self.peek().kind else { return self.postfix() };
        let op = match sign {
            "-" => UnaryOp::Minus,
            "+" => UnaryOp::Plus,
            "~" => UnaryOp::BitNot,
            _ => return self.postfix(),
        };
        let start = self.next().span;
        let operand = self.deeper(Self::signed)?;
        let (span, height) = (start.to(operand.span), operand.height);
        self.node(ExprKind::Unary(op, Box::new(operand)), span, height)
    }

    /// A primary and the fields taken out of it.
    fn postfix(&mut self) -> Parsed<Expr> {
        let mut expr = self.primary()?;
        while self.at_sign(".") && self.peek_second().kind != TokenKind::Sign("*") {
            self.next();
            let name = self.name("the name of a field")?;
            let (span, height) = (expr.span.to(name.span), expr.height);
            expr = self.node(ExprKind::Member(Box::new(expr), name), span, height)?;
        }
        Ok(expr)
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let token = self.peek().clone();
        match token.kind {
            TokenKind::Integer(value) => self.literal(Literal::Integer(value)),
            TokenKind::Float(value) => self.literal(Literal::Float(value)),
            TokenKind::Text(text) => self.literal(Literal::Text(text)),
            TokenKind::Sign("(") => {
                self.next();
                if self.at_word("SELECT") {
                    let message =
                        "a SELECT cannot stand in an expression; give it a name as a step and join it";
                    return Err(Problem::new(self.peek().span, message));
                }
                let mut inner = self.expression()?;
                inner.span = token.span.to(self.expect_sign(")")?);
                Ok(inner)
            }
            TokenKind::Quoted(_) => self.path_or_call(),
            TokenKind::Word(word) => self.worded(&word),
            TokenKind::Sign(_) | TokenKind::End => Err(self.unexpected("an expression is missing here")),
        }
    }

    fn worded(&mut self, word: &str) -> Parsed<Expr> {
        let parenthesis = self.peek_second().kind == TokenKind::Sign("(");
        let is = |known: &str| word.eq_ignore_ascii_case(known);
        if is("NULL") {
            return self.literal(Literal::Null);
        }
        if is("CASE") {
            return self.case();
        }
        if parenthesis && (is("CAST") || is("TRY_CAST")) {
            return self.cast(is("TRY_CAST"));
        }
        // LEFT is also a function.
        if reserved(word) && !(parenthesis && (is("LEFT") || is("RIGHT"))) {
            let message =
                format!("an expression is missing before {word}; a column of this name is written [{word}]");
            return Err(Problem::new(self.peek().span, message));
        }
        self.path_or_call()
    }

    fn path_or_call(&mut self) -> Parsed<Expr> {
        let mut path = vec![self.name("a name")?];
        while self.at_sign(".") && self.peek_second().kind != TokenKind::Sign("*") {
            self.next();
            path.push(self.name("the name of a field")?);
            if path.len() > MAX_HEIGHT {
                return Err(too_deep(self.last_span()));
            }
        }
        if self.at_sign("(") {
            return self.call(path);
        }
        let span = path[0].span.to(self.last_span());
        self.node(ExprKind::Path(path), span, 0)
    }

    fn literal(&mut self, literal: Literal) -> Parsed<Expr> {
        let span = self.next().span;
        self.node(ExprKind::Literal(literal), span, 0)
    }

    fn binary(&mut self, op: BinaryOp, left: Expr, right: Expr) -> Parsed<Expr> {
        let span = left.span.to(right.span);
        let height = left.height.max(right.height);
        self.node(ExprKind::Binary(op, Box::new(left), Box::new(right)), span, height)
    }

    /// A node over parts of a height; bounded, because later passes recurse.
    pub(super) fn node(&self, kind: ExprKind, span: Span, below: usize) -> Parsed<Expr> {
        if below >= MAX_HEIGHT {
            return Err(too_deep(span));
        }
        Ok(Expr { kind, span, height: below + 1 })
    }
}
