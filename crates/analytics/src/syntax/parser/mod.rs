//! The grammar, one function per rule, over the tokens of a text.
//!
//! ```text
//! script    := { CREATE TABLE … } [ WITH step {, step} ] query { [;] query } [;]
//! query     := select { UNION [ALL] select }
//! select    := SELECT items [INTO name] FROM source [WHERE …] [GROUP BY …] [HAVING …]
//!            | FROM source [INTO name] [WHERE …] [GROUP BY …] [HAVING …] SELECT items [INTO name]
//! ```
//!
//! The second form of `select` is an extension: it is how a widespread walk-through prints its queries.
//! Source of the grammar: reference "Stream Analytics Query Language", pages SELECT, FROM, INTO, WITH, CREATE TABLE, JOIN,
//! APPLY, UNION, TIMESTAMP BY.

mod call;
mod expression;
mod recognize;
mod select;
mod source;

use super::tree::{CreateTable, Name, Query, Script, Step, TypeName};
use super::{MAX_DEPTH, MAX_HEIGHT, Span, Token, TokenKind, tokens};
use crate::error::Problem;
use crate::near::nearest;

/// How many statements, steps and tables one text may have together.
const MAX_PARTS: usize = 256;

/// Parses a whole text.
pub(crate) fn parse(text: &str) -> Result<Script, Problem> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    parser.script()
}

/// Words that begin or continue a clause, and so are no alias without AS.
const RESERVED: &[&str] = &[
    "SELECT",
    "INTO",
    "FROM",
    "TIMESTAMP",
    "PARTITION",
    "WHERE",
    "GROUP",
    "HAVING",
    "WITH",
    "AS",
    "UNION",
    "JOIN",
    "INNER",
    "LEFT",
    "RIGHT",
    "FULL",
    "OUTER",
    "CROSS",
    "APPLY",
    "ON",
    "AND",
    "OR",
    "NOT",
    "LIKE",
    "BETWEEN",
    "IN",
    "IS",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "CREATE",
    "MATCH_RECOGNIZE",
    "OVER",
    "ORDER",
    "LIMIT",
    "ESCAPE",
];

pub(crate) struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

type Parsed<T> = Result<T, Problem>;

impl Parser {
    fn script(&mut self) -> Parsed<Script> {
        let mut script = Script::default();
        while self.at_word("CREATE") {
            let table = self.create_table()?;
            script.tables.push(table);
            self.limit_parts(script.tables.len())?;
            self.skip_semicolons();
        }
        if self.take_word("WITH") {
            loop {
                let step = self.step()?;
                script.steps.push(step);
                self.limit_parts(script.steps.len())?;
                if !self.take_sign(",") {
                    break;
                }
            }
            self.skip_semicolons();
        }
        loop {
            let statement = self.query()?;
            script.statements.push(statement);
            self.limit_parts(script.statements.len())?;
            self.skip_semicolons();
            if self.peek().kind == TokenKind::End {
                return Ok(script);
            }
            if !self.at_word("SELECT") && !self.at_word("FROM") && !self.at_sign("(") {
                let expected = ["SELECT", "UNION", "end of text"];
                return Err(self.unexpected("this does not continue the query").expecting(&expected));
            }
        }
    }

    fn limit_parts(&self, count: usize) -> Parsed<()> {
        if count <= MAX_PARTS {
            return Ok(());
        }
        Err(Problem::new(
            self.peek().span,
            format!("a query has at most {MAX_PARTS} statements, steps and tables each"),
        ))
    }

    fn skip_semicolons(&mut self) {
        while self.take_sign(";") {}
    }

    fn create_table(&mut self) -> Parsed<CreateTable> {
        self.expect_word("CREATE")?;
        self.expect_word("TABLE")?;
        let name = self.name("the name of an input")?;
        self.expect_sign("(")?;
        let mut columns = Vec::new();
        loop {
            let column = self.name("the name of a column")?;
            columns.push((column, self.type_name()?));
            if !self.take_sign(",") {
                break;
            }
        }
        self.expect_sign(")")?;
        Ok(CreateTable { name, columns })
    }

    fn type_name(&mut self) -> Parsed<TypeName> {
        let name = self.name("a type")?;
        let mut span = name.span;
        if self.take_sign("(") {
            self.next();
            span = span.to(self.expect_sign(")")?);
        }
        Ok(TypeName { text: name.text, span })
    }

    fn step(&mut self) -> Parsed<Step> {
        let name = self.name("the name of a step")?;
        self.expect_word("AS")?;
        self.expect_sign("(")?;
        let query = self.query()?;
        self.expect_sign(")")?;
        Ok(Step { name, query })
    }

    fn query(&mut self) -> Parsed<Query> {
        let mut branches = vec![self.branch()?];
        while self.take_word("UNION") {
            self.take_word("ALL");
            branches.push(self.branch()?);
            self.limit_parts(branches.len())?;
        }
        Ok(Query { branches })
    }

    // The cursor.

    fn peek(&self) -> &Token {
        &self.tokens[self.at]
    }

    fn peek_second(&self) -> &Token {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    /// The place of the token before.
    fn last_span(&self) -> Span {
        self.tokens[self.at.saturating_sub(1)].span
    }

    fn at_word(&self, word: &str) -> bool {
        is_word(self.peek(), word)
    }

    fn at_words(&self, first: &str, second: &str) -> bool {
        is_word(self.peek(), first) && is_word(self.peek_second(), second)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let there = self.at_word(word);
        if there {
            self.next();
        }
        there
    }

    fn expect_word(&mut self, word: &'static str) -> Parsed<Span> {
        if self.at_word(word) {
            return Ok(self.next().span);
        }
        Err(self.unexpected(&format!("{word} is missing here")).expecting(&[word]))
    }

    fn at_sign(&self, sign: &str) -> bool {
        matches!(&self.peek().kind, TokenKind::Sign(found) if *found == sign)
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let there = self.at_sign(sign);
        if there {
            self.next();
        }
        there
    }

    fn expect_sign(&mut self, sign: &'static str) -> Parsed<Span> {
        if self.at_sign(sign) {
            return Ok(self.next().span);
        }
        Err(self.unexpected(&format!("{sign} is missing here")).expecting(&[sign]))
    }

    /// A name where the grammar allows nothing else, so that any word will do.
    fn name(&mut self, what: &str) -> Parsed<Name> {
        match &self.peek().kind {
            TokenKind::Word(text) => Ok(self.named(text.clone(), false)),
            TokenKind::Quoted(text) => Ok(self.named(text.clone(), true)),
            _ => Err(self.unexpected(&format!("{what} is missing here")).expecting(&["a name"])),
        }
    }

    fn named(&mut self, text: String, quoted: bool) -> Name {
        Name { text, span: self.next().span, quoted }
    }

    /// An alias: with AS any name or text, without AS a name that is no reserved word.
    fn alias(&mut self) -> Parsed<Option<Name>> {
        if self.take_word("AS") {
            if let TokenKind::Text(text) = &self.peek().kind {
                return Ok(Some(self.named(text.clone(), true)));
            }
            return self.name("a name after AS").map(Some);
        }
        match &self.peek().kind {
            TokenKind::Quoted(text) => Ok(Some(self.named(text.clone(), true))),
            TokenKind::Word(word) if !reserved(word) => Ok(Some(self.named(word.clone(), false))),
            _ => Ok(None),
        }
    }

    /// A complaint about the token here, with a near keyword where the token looks like one.
    fn unexpected(&self, message: &str) -> Problem {
        let token = self.peek();
        let found = match &token.kind {
            TokenKind::End => return Problem::new(token.span, format!("{message}: the text ends")),
            TokenKind::Word(word) | TokenKind::Quoted(word) => word.clone(),
            TokenKind::Text(_) => "a text".to_owned(),
            TokenKind::Integer(_) | TokenKind::Float(_) => "a number".to_owned(),
            TokenKind::Sign(sign) => (*sign).to_owned(),
        };
        // A misspelt keyword may also have been taken for an alias, just before.
        let before = self.at.checked_sub(1).map(|at| &self.tokens[at]);
        let hint = before.into_iter().chain([token]).find_map(near_keyword);
        Problem::new(token.span, format!("{message}, not {found}")).hinting(hint)
    }

    /// Runs a rule one level deeper; too deep is an error instead of an exhausted stack.
    fn deeper<T>(&mut self, rule: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_DEPTH {
            return Err(too_deep(self.peek().span));
        }
        self.depth += 1;
        let result = rule(self);
        self.depth -= 1;
        result
    }
}

fn too_deep(place: Span) -> Problem {
    let limits = format!("{MAX_DEPTH} levels, or {MAX_HEIGHT} operators in a row");
    Problem::new(place, format!("expressions nest at most {limits}; move a part into a WITH step"))
}

fn is_word(token: &Token, word: &str) -> bool {
    matches!(&token.kind, TokenKind::Word(text) if text.eq_ignore_ascii_case(word))
}

/// The keyword that a token may have meant.
fn near_keyword(token: &Token) -> Option<&'static str> {
    match &token.kind {
        TokenKind::Word(word) if word.len() > 2 && !reserved(word) => nearest(word, RESERVED.iter().copied()),
        _ => None,
    }
}

fn reserved(word: &str) -> bool {
    RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests;
