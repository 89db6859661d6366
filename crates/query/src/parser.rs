//! Tokens to expressions, for both languages.
//!
//! Precedence from weak to strong: OR, AND, NOT, comparison and IN, `+ -`, `* / %`, sign.

use crate::expr::{Comparison, Expr, Operator, Path, Root, Step};
use crate::functions::Function;
use crate::lexer::{Placed, Token, tokens};
use crate::{Dialect, Error};

/// Deepest nesting of parentheses, NOT, signs and calls.
const DEPTH_MAX: usize = 64;

/// Names of a twin or job document, which may be spelled in any case.
const DOCUMENT_NAMES: [&str; 30] = [
    "deviceId",
    "moduleId",
    "etag",
    "deviceEtag",
    "version",
    "status",
    "statusReason",
    "statusUpdateTime",
    "connectionState",
    "connectionStateUpdatedTime",
    "lastActivityTime",
    "cloudToDeviceMessageCount",
    "authenticationType",
    "x509Thumbprint",
    "modelId",
    "capabilities",
    "deviceScope",
    "parentScopes",
    "tags",
    "properties",
    "configurations",
    "jobId",
    "jobType",
    "startTimeUtc",
    "endTimeUtc",
    "createdDateTimeUtc",
    "lastUpdatedDateTimeUtc",
    "outcome",
    "error",
    "$metadata",
];

/// A reader of tokens.
pub(crate) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Placed>,
    at: usize,
    dialect: Dialect,
    depth: usize,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(text: &'a str, dialect: Dialect) -> Result<Self, Error> {
        Ok(Self { text, tokens: tokens(text, dialect)?, at: 0, dialect, depth: 0 })
    }

    /// The token at hand; the last one is the end and stays.
    pub(crate) fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |placed| &placed.token)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    /// The byte where the token at hand begins.
    pub(crate) fn position(&self) -> usize {
        self.tokens.get(self.at).map_or(self.text.len(), |placed| placed.position)
    }

    pub(crate) fn error<T>(&self, message: impl Into<String>) -> Result<T, Error> {
        Err(Error::at(self.text, self.position(), message))
    }

    pub(crate) fn error_at<T>(&self, position: usize, message: impl Into<String>) -> Result<T, Error> {
        Err(Error::at(self.text, position, message))
    }

    /// An error that tells what stands here instead.
    pub(crate) fn unexpected<T>(&self, wanted: &str) -> Result<T, Error> {
        let found = match self.peek() {
            Token::End => "the end".to_owned(),
            Token::Word(word) | Token::Quoted(word) => word.clone(),
            Token::Number(number) => number.to_string(),
            Token::Text(_) => "a text".to_owned(),
            Token::Mark(mark) => (*mark).to_owned(),
        };
        self.error(format!("{wanted} is needed, found {found}"))
    }

    pub(crate) fn is_word(&self, keyword: &str) -> bool {
        matches!(self.peek(), Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    /// Takes a keyword, in any case, if it stands here.
    pub(crate) fn take_word(&mut self, keyword: &str) -> bool {
        let is = self.is_word(keyword);
        self.at += usize::from(is);
        is
    }

    /// Takes a mark if it stands here.
    pub(crate) fn take(&mut self, mark: &'static str) -> bool {
        let is = *self.peek() == Token::Mark(mark);
        self.at += usize::from(is);
        is
    }

    pub(crate) fn need(&mut self, mark: &'static str) -> Result<(), Error> {
        if self.take(mark) { Ok(()) } else { self.unexpected(mark) }
    }

    /// The end, or an error.
    pub(crate) fn end(&mut self) -> Result<(), Error> {
        if *self.peek() == Token::End { Ok(()) } else { self.unexpected("an operator or the end") }
    }

    pub(crate) fn expression(&mut self) -> Result<Expr, Error> {
        self.nested(Self::any)
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Result<Expr, Error>) -> Result<Expr, Error> {
        if self.depth == DEPTH_MAX {
            return self.error(format!("nested more than {DEPTH_MAX} deep"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn any(&mut self) -> Result<Expr, Error> {
        self.chain("OR", Self::all, Expr::Any)
    }

    fn all(&mut self) -> Result<Expr, Error> {
        self.chain("AND", Self::not, Expr::All)
    }

    fn chain(
        &mut self,
        keyword: &str,
        part: fn(&mut Self) -> Result<Expr, Error>,
        whole: fn(Vec<Expr>) -> Expr,
    ) -> Result<Expr, Error> {
        let first = part(self)?;
        if !self.is_word(keyword) {
            return Ok(first);
        }
        let mut list = vec![first];
        while self.take_word(keyword) {
            list.push(part(self)?);
        }
        Ok(whole(list))
    }

    fn not(&mut self) -> Result<Expr, Error> {
        if self.take_word("NOT") {
            return Ok(Expr::Not(Box::new(self.nested(Self::not)?)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr, Error> {
        let left = self.sum()?;
        let comparison = match self.peek() {
            Token::Mark("=") => Comparison::Equal,
            Token::Mark("!=") => Comparison::NotEqual,
            Token::Mark("<") => Comparison::Less,
            Token::Mark("<=") => Comparison::LessOrEqual,
            Token::Mark(">") => Comparison::Greater,
            Token::Mark(">=") => Comparison::GreaterOrEqual,
            _ => return self.membership(left),
        };
        self.at += 1;
        Ok(Expr::Compare(comparison, Box::new(left), Box::new(self.sum()?)))
    }

    fn membership(&mut self, needle: Expr) -> Result<Expr, Error> {
        let negated = self.is_word("NIN");
        if !negated && !self.is_word("IN") {
            return Ok(needle);
        }
        self.at += 1;
        self.need("[")?;
        let mut list = Vec::new();
        while !self.take("]") {
            if !list.is_empty() {
                self.need(",")?;
            }
            list.push(self.sign()?);
        }
        Ok(Expr::In { needle: Box::new(needle), list, negated })
    }

    fn sum(&mut self) -> Result<Expr, Error> {
        self.operators(Self::product, |mark| match mark {
            "+" => Some(Operator::Add),
            "-" => Some(Operator::Subtract),
            _ => None,
        })
    }

    fn product(&mut self) -> Result<Expr, Error> {
        self.operators(Self::sign, |mark| match mark {
            "*" => Some(Operator::Multiply),
            "/" => Some(Operator::Divide),
            "%" => Some(Operator::Remainder),
            _ => None,
        })
    }

    fn operators(
        &mut self,
        part: fn(&mut Self) -> Result<Expr, Error>,
        operator: fn(&str) -> Option<Operator>,
    ) -> Result<Expr, Error> {
        let first = part(self)?;
        let mut rest = Vec::new();
        while let Token::Mark(mark) = self.peek()
            && let Some(operator) = operator(mark)
        {
            self.at += 1;
            rest.push((operator, part(self)?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Arithmetic(Box::new(first), rest) })
    }

    fn sign(&mut self) -> Result<Expr, Error> {
        if self.take("-") {
            return Ok(match self.nested(Self::sign)? {
                Expr::Number(number) => Expr::Number(-number),
                other => Expr::Negate(Box::new(other)),
            });
        }
        self.primary()
    }

    fn primary(&mut self) -> Result<Expr, Error> {
        let position = self.position();
        match self.peek().clone() {
            Token::Number(number) => {
                self.at += 1;
                Ok(Expr::Number(number))
            }
            Token::Text(text) => {
                self.at += 1;
                Ok(Expr::Text(text))
            }
            Token::Mark("(") => {
                self.at += 1;
                let inner = self.expression()?;
                self.need(")")?;
                Ok(inner)
            }
            Token::Word(word) => {
                self.at += 1;
                self.word(&word, position)
            }
            Token::Quoted(name) => {
                self.at += 1;
                Ok(Expr::Path(self.path(name, false)?))
            }
            Token::Mark(_) | Token::End => self.unexpected("a value"),
        }
    }

    fn word(&mut self, word: &str, position: usize) -> Result<Expr, Error> {
        if *self.peek() == Token::Mark("(") {
            return self.call(word, position);
        }
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        if is("true") || is("false") {
            return Ok(Expr::Bool(is("true")));
        }
        if is("null") {
            return Ok(Expr::Null);
        }
        if is("undefined") {
            return Ok(Expr::Undefined);
        }
        if ["AND", "OR", "NOT", "IN", "NIN"].into_iter().any(is) {
            return self.error_at(position, format!("{word} is a keyword; a value is needed"));
        }
        Ok(Expr::Path(self.path(word.to_owned(), true)?))
    }

    fn call(&mut self, name: &str, position: usize) -> Result<Expr, Error> {
        let Some(function) = Function::named(name) else {
            let names = Function::NAMES.join(", ");
            return self.error_at(position, format!("there is no function {name}; there are {names}"));
        };
        self.need("(")?;
        let mut arguments = Vec::new();
        while !self.take(")") {
            if !arguments.is_empty() {
                self.need(",")?;
            }
            arguments.push(self.expression()?);
        }
        let (least, most) = function.arity();
        if !(least..=most).contains(&arguments.len()) {
            let wanted = if least == most { least.to_string() } else { format!("at least {least}") };
            return self.error_at(
                position,
                format!("{name} takes {wanted} arguments, here are {}", arguments.len()),
            );
        }
        Ok(Expr::Call(function, arguments))
    }

    /// The path that begins with a name. `plain` tells that the name was not escaped.
    pub(crate) fn path(&mut self, first: String, plain: bool) -> Result<Path, Error> {
        let steps = self.steps()?;
        if self.dialect == Dialect::Twin {
            let first = if plain { document_name(first) } else { first };
            let steps = std::iter::once(Step::Name(first)).chain(steps).collect();
            return Ok(Path { root: Root::Document, steps });
        }
        let root = match first.strip_prefix('$').filter(|_| plain) {
            Some(name) if name.eq_ignore_ascii_case("body") => Root::Body,
            Some(name) if name.eq_ignore_ascii_case("twin") => Root::Twin,
            Some(name) if steps.is_empty() => Root::System(name.to_owned()),
            Some(name) => {
                return self
                    .error(format!("${name} is a text and has no members; only $body and $twin have"));
            }
            // Names of application properties may hold dots.
            None => {
                return Ok(Path { root: Root::Property(dotted(first, &steps, self)?), steps: Vec::new() });
            }
        };
        Ok(Path { root, steps })
    }

    fn steps(&mut self) -> Result<Vec<Step>, Error> {
        let mut steps = Vec::new();
        loop {
            if self.take(".") {
                match self.next() {
                    Token::Word(name) | Token::Quoted(name) => steps.push(Step::Name(name)),
                    _ => {
                        self.at -= 1;
                        return self.unexpected("a name");
                    }
                }
            } else if let Token::Quoted(name) = self.peek() {
                steps.push(Step::Name(name.clone()));
                self.at += 1;
            } else if self.take("[") {
                match self.next() {
                    Token::Number(number) if number.fract() == 0.0 && number >= 0.0 => {
                        steps.push(Step::Index(number as usize));
                    }
                    Token::Text(name) => steps.push(Step::Name(name)),
                    _ => {
                        self.at -= 1;
                        return self.unexpected("an index");
                    }
                }
                self.need("]")?;
            } else {
                return Ok(steps);
            }
        }
    }

    /// A word that is not a keyword of the clause, for aliases.
    pub(crate) fn name(&mut self) -> Result<String, Error> {
        match self.next() {
            Token::Word(name) | Token::Quoted(name) => Ok(name),
            _ => {
                self.at -= 1;
                self.unexpected("a name")
            }
        }
    }

    /// A whole number.
    pub(crate) fn whole_number(&mut self) -> Result<usize, Error> {
        match *self.peek() {
            Token::Number(number) if number.fract() == 0.0 && (0.0..1e9).contains(&number) => {
                self.at += 1;
                Ok(number as usize)
            }
            _ => self.unexpected("a whole number"),
        }
    }
}

fn dotted(mut name: String, steps: &[Step], parser: &Parser<'_>) -> Result<String, Error> {
    for step in steps {
        match step {
            Step::Name(part) => {
                name.push('.');
                name.push_str(part);
            }
            Step::Index(_) => {
                return parser
                    .error(format!("{name} is a text and has no members; write $body.{name} for the body"));
            }
        }
    }
    Ok(name)
}

fn document_name(name: String) -> String {
    let known = DOCUMENT_NAMES.iter().find(|known| known.eq_ignore_ascii_case(&name));
    known.map_or(name, |known| (*known).to_owned())
}
