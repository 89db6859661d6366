//! One SELECT with its clauses, in both orders.

use super::{Parsed, Parser};
use crate::error::Problem;
use crate::syntax::tree::{Expr, ExprKind, Item, Name, Select, Source};
use crate::syntax::{Span, TokenKind};

/// How many columns, keys or arguments one list may have.
pub(super) const MAX_LIST: usize = 4096;

impl Parser {
    /// A branch of a UNION; parentheses around it are taken too.
    pub(super) fn branch(&mut self) -> Parsed<Select> {
        if self.at_sign("(") {
            return self.deeper(|parser| {
                parser.next();
                let select = parser.branch()?;
                parser.expect_sign(")")?;
                Ok(select)
            });
        }
        if self.at_word("FROM") { self.select_from_first() } else { self.select() }
    }

    fn select(&mut self) -> Parsed<Select> {
        let start = self.expect_word("SELECT")?;
        let items = self.items()?;
        let into = self.output_name()?;
        if !self.at_word("FROM") {
            return Err(self
                .unexpected("FROM is missing here: every SELECT reads an input or a step")
                .expecting(&["FROM"]));
        }
        let source = self.from()?;
        let clauses = self.clauses()?;
        Ok(self.selected(start, items, into, source, clauses, None))
    }

    fn select_from_first(&mut self) -> Parsed<Select> {
        let start = self.peek().span;
        let source = self.from()?;
        let before = self.output_name()?;
        let clauses = self.clauses()?;
        self.expect_word("SELECT")?;
        let items = self.items()?;
        let after = self.output_name()?;
        if let (Some(_), Some((second, _))) = (&before, &after) {
            return Err(Problem::new(
                second.span,
                "a SELECT writes into one output; this is the second INTO",
            ));
        }
        Ok(self.selected(start, items, before.or(after), source, clauses, Some(start)))
    }

    fn selected(
        &self,
        start: Span,
        items: Vec<Item>,
        into: Option<(Name, Span)>,
        source: Source,
        clauses: Clauses,
        from_first: Option<Span>,
    ) -> Select {
        let Clauses { filter, group, having } = clauses;
        let (into, into_clause) = into.unzip();
        Select {
            span: start.to(self.last_span()),
            items,
            into,
            into_clause,
            source,
            filter,
            group,
            having,
            from_first,
        }
    }

    /// `INTO name`, and the place of it all.
    fn output_name(&mut self) -> Parsed<Option<(Name, Span)>> {
        let start = self.peek().span;
        if !self.take_word("INTO") {
            return Ok(None);
        }
        let name = self.name("the name of an output")?;
        let span = start.to(name.span);
        Ok(Some((name, span)))
    }

    fn from(&mut self) -> Parsed<Source> {
        self.expect_word("FROM")?;
        self.source()
    }

    fn clauses(&mut self) -> Parsed<Clauses> {
        let mut clauses = Clauses::default();
        if self.take_word("WHERE") {
            clauses.filter = Some(self.expression()?);
        }
        if self.take_word("GROUP") {
            self.expect_word("BY")?;
            clauses.group = self.expressions()?;
        }
        if self.take_word("HAVING") {
            clauses.having = Some(self.expression()?);
        }
        if self.at_word("ORDER") {
            let message = "there is no ORDER BY: rows come in the order of their timestamps";
            return Err(Problem::new(self.peek().span, message));
        }
        Ok(clauses)
    }

    fn items(&mut self) -> Parsed<Vec<Item>> {
        for word in ["DISTINCT", "TOP"] {
            if self.at_word(word)
                && !matches!(self.peek_second().kind, TokenKind::Sign("," | "." | "=") | TokenKind::End)
            {
                if is_plain_column(&self.peek_second().kind) {
                    continue;
                }
                let cure = "group by the columns, or use TopOne or CollectTop";
                return Err(Problem::new(self.peek().span, format!("there is no SELECT {word}; {cure}")));
            }
        }
        let mut items = vec![self.item()?];
        while self.take_sign(",") {
            items.push(self.item()?);
            self.limit_list(items.len())?;
        }
        Ok(items)
    }

    pub(super) fn limit_list(&self, count: usize) -> Parsed<()> {
        if count <= MAX_LIST {
            return Ok(());
        }
        Err(Problem::new(self.peek().span, format!("a list has at most {MAX_LIST} entries")))
    }

    fn item(&mut self) -> Parsed<Item> {
        if self.at_sign("*") {
            return Ok(Item::Star(self.next().span));
        }
        if let Some(alias) = self.assigned_alias() {
            return Ok(Item::Expr(self.expression()?, Some(alias)));
        }
        let expr = self.expression()?;
        if let ExprKind::Path(path) = &expr.kind
            && self.at_sign(".")
            && self.peek_second().kind == TokenKind::Sign("*")
        {
            let path = path.clone();
            self.next();
            let span = expr.span.to(self.next().span);
            return Ok(Item::PathStar(path, span));
        }
        let alias = match &self.peek().kind {
            TokenKind::Text(text) => Some(self.named(text.clone(), true)),
            _ => self.alias()?,
        };
        Ok(Item::Expr(expr, alias))
    }

    /// `alias =` before an expression.
    fn assigned_alias(&mut self) -> Option<Name> {
        let (text, quoted) = match &self.peek().kind {
            TokenKind::Word(text) => (text.clone(), false),
            TokenKind::Quoted(text) => (text.clone(), true),
            _ => return None,
        };
        if self.peek_second().kind != TokenKind::Sign("=") {
            return None;
        }
        let name = self.named(text, quoted);
        self.next();
        Some(name)
    }

    pub(super) fn expressions(&mut self) -> Parsed<Vec<Expr>> {
        let mut list = vec![self.expression()?];
        while self.take_sign(",") {
            list.push(self.expression()?);
            self.limit_list(list.len())?;
        }
        Ok(list)
    }
}

/// Whether `DISTINCT x` can only mean a column named Distinct.
fn is_plain_column(next: &TokenKind) -> bool {
    matches!(next, TokenKind::Word(word) if ["FROM", "INTO", "AS"].iter().any(|clause| clause.eq_ignore_ascii_case(word)))
}

#[derive(Default)]
struct Clauses {
    filter: Option<Expr>,
    group: Vec<Expr>,
    having: Option<Expr>,
}
