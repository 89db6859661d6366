//! MATCH_RECOGNIZE.

use super::{Parsed, Parser};
use crate::syntax::TokenKind;
use crate::syntax::tree::{Pattern, Recognize};

impl Parser {
    /// All of it; MATCH_RECOGNIZE is the next token.
    pub(super) fn recognize(&mut self) -> Parsed<Recognize> {
        let start = self.next().span;
        self.expect_sign("(")?;
        let (mut limit, mut partition) = (None, Vec::new());
        loop {
            if limit.is_none() && self.take_word("LIMIT") {
                limit = Some(self.duration()?);
            } else if partition.is_empty() && self.at_words("PARTITION", "BY") {
                self.next();
                self.next();
                partition = self.expressions()?;
            } else {
                break;
            }
        }
        let Some(limit) = limit else {
            return Err(self
                .unexpected("a match needs to know how long it may be")
                .expecting(&["LIMIT DURATION"]));
        };
        self.expect_word("MEASURES")?;
        let mut measures = Vec::new();
        loop {
            let expr = self.expression()?;
            self.expect_word("AS")?;
            measures.push((expr, self.name("the name of a measure")?));
            self.limit_list(measures.len())?;
            if !self.take_sign(",") {
                break;
            }
        }
        for word in ["AFTER", "MATCH", "SKIP", "TO", "NEXT", "ROW"] {
            self.expect_word(word)?;
        }
        self.expect_word("PATTERN")?;
        self.expect_sign("(")?;
        let pattern = self.pattern()?;
        self.expect_sign(")")?;
        self.expect_word("DEFINE")?;
        let mut define = Vec::new();
        loop {
            let name = self.name("the name of a variable")?;
            self.expect_word("AS")?;
            define.push((name, self.expression()?));
            self.limit_list(define.len())?;
            if !self.take_sign(",") {
                break;
            }
        }
        let end = self.expect_sign(")")?;
        let alias = self.alias()?;
        let span = start.to(end);
        Ok(Recognize { limit, partition, measures, pattern, define, alias, span })
    }

    fn pattern(&mut self) -> Parsed<Pattern> {
        self.deeper(|parser| {
            let mut ways = vec![parser.pattern_sequence()?];
            while parser.take_sign("|") {
                ways.push(parser.pattern_sequence()?);
                parser.limit_list(ways.len())?;
            }
            Ok(if ways.len() == 1 { ways.remove(0) } else { Pattern::Either(ways) })
        })
    }

    fn pattern_sequence(&mut self) -> Parsed<Pattern> {
        let mut parts = Vec::new();
        loop {
            let part = match &self.peek().kind {
                TokenKind::Sign("(") => {
                    self.next();
                    let inner = self.pattern()?;
                    self.expect_sign(")")?;
                    inner
                }
                TokenKind::Sign(".") => {
                    self.next();
                    Pattern::Any
                }
                TokenKind::Word(_) | TokenKind::Quoted(_) => Pattern::Variable(self.name("a variable")?),
                _ if parts.is_empty() => {
                    let expected = ["a variable", ".", "("];
                    return Err(self
                        .unexpected("a part of the pattern is missing here")
                        .expecting(&expected));
                }
                _ => return Ok(Pattern::Sequence(parts)),
            };
            parts.push(self.repeated(part));
            self.limit_list(parts.len())?;
        }
    }

    fn repeated(&mut self, inner: Pattern) -> Pattern {
        let (once, more) = match self.peek().kind {
            TokenKind::Sign("*") => (false, true),
            TokenKind::Sign("+") => (true, true),
            TokenKind::Sign("?") => (false, false),
            _ => return inner,
        };
        let span = self.next().span;
        Pattern::Repeated { inner: Box::new(inner), once, more, span }
    }
}
