//! `SELECT [TOP n] list FROM source [WHERE …] [GROUP BY …]` to a [`TwinQuery`].

use super::{Aggregate, Item, Source, TargetCondition, TwinQuery, What};
use crate::expr::{Expr, Path, Root, Step};
use crate::lexer::Token;
use crate::parser::Parser;
use crate::{Dialect, Error};

/// Most columns of a query.
const ITEMS_MAX: usize = 100;

pub(super) fn query(text: &str) -> Result<TwinQuery, Error> {
    let mut parser = Parser::new(text, Dialect::Twin)?;
    keyword(&mut parser, "SELECT")?;
    let top = if parser.take_word("TOP") { Some(parser.whole_number()?) } else { None };
    let select = if parser.take("*") { None } else { Some(items(&mut parser)?) };
    keyword(&mut parser, "FROM")?;
    let source = source(&mut parser)?;
    let filter = if parser.take_word("WHERE") { Some(parser.expression()?) } else { None };
    let mut group_by = Vec::new();
    if parser.take_word("GROUP") {
        keyword(&mut parser, "BY")?;
        loop {
            group_by.push(path(&mut parser)?);
            if !parser.take(",") {
                break;
            }
        }
    }
    parser.take(";");
    parser.end()?;
    let query = TwinQuery { select, top, source, filter, group_by }.without_source_names();
    check(&query, &parser)?;
    Ok(query)
}

/// `[FROM source WHERE] expression`
pub(super) fn target(parser: &mut Parser<'_>) -> Result<TargetCondition, Error> {
    let mut source = Source::Devices;
    let mut is_all = false;
    if parser.take_word("FROM") {
        let position = parser.position();
        source = self::source(parser)?;
        if source == Source::Jobs {
            return parser.error_at(position, "a target condition is about devices or devices.modules");
        }
        is_all = !parser.take_word("WHERE");
    }
    let filter = if is_all { None } else { Some(parser.expression()?) };
    parser.end()?;
    let mut target = TargetCondition { source, filter };
    target.filter.iter_mut().for_each(|filter| strip_all(filter, source_names(source)));
    Ok(target)
}

fn source_names(source: Source) -> &'static [&'static str] {
    match source {
        Source::Devices => &["devices"],
        Source::Modules => &["devices", "modules"],
        Source::Jobs => &["devices", "jobs"],
    }
}

fn keyword(parser: &mut Parser<'_>, word: &str) -> Result<(), Error> {
    if parser.take_word(word) { Ok(()) } else { parser.unexpected(word) }
}

fn source(parser: &mut Parser<'_>) -> Result<Source, Error> {
    let position = parser.position();
    let mut name = parser.name()?;
    while parser.take(".") {
        name.push('.');
        name.push_str(&parser.name()?);
    }
    match name.to_ascii_lowercase().as_str() {
        "devices" => Ok(Source::Devices),
        "devices.modules" => Ok(Source::Modules),
        "devices.jobs" => Ok(Source::Jobs),
        _ => parser.error_at(
            position,
            format!("there is nothing named {name}; there are devices, devices.modules and devices.jobs"),
        ),
    }
}

fn items(parser: &mut Parser<'_>) -> Result<Vec<Item>, Error> {
    let mut items = Vec::new();
    loop {
        let position = parser.position();
        let what = match aggregate(parser)? {
            Some(what) => what,
            None => What::Value(parser.expression()?),
        };
        let name = if parser.take_word("AS") { Some(parser.name()?) } else { default_name(&what) };
        let Some(name) = name else {
            return parser.error_at(position, "this column needs a name: … AS name");
        };
        items.push(Item { what, name });
        if items.len() > ITEMS_MAX {
            return parser.error(format!("more than {ITEMS_MAX} columns"));
        }
        if !parser.take(",") {
            return Ok(items);
        }
    }
}

fn aggregate(parser: &mut Parser<'_>) -> Result<Option<What>, Error> {
    let aggregate = match parser.peek() {
        Token::Word(word) => match word.to_ascii_uppercase().as_str() {
            "COUNT" => Aggregate::Count,
            "AVG" => Aggregate::Avg,
            "SUM" => Aggregate::Sum,
            "MIN" => Aggregate::Min,
            "MAX" => Aggregate::Max,
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    parser.name()?;
    parser.need("(")?;
    let path = if aggregate == Aggregate::Count {
        parser.take("*");
        None
    } else {
        Some(path(parser)?)
    };
    parser.need(")")?;
    Ok(Some(What::Aggregate(aggregate, path)))
}

fn path(parser: &mut Parser<'_>) -> Result<Path, Error> {
    let plain = matches!(parser.peek(), Token::Word(_));
    let first = parser.name()?;
    parser.path(first, plain)
}

/// A path is named by its last member, an aggregate by its function.
fn default_name(what: &What) -> Option<String> {
    match what {
        What::Aggregate(aggregate, _) => Some(format!("{aggregate:?}").to_ascii_uppercase()),
        What::Value(Expr::Path(path)) => path.steps.iter().rev().find_map(|step| match step {
            Step::Name(name) => Some(name.clone()),
            Step::Index(_) => None,
        }),
        What::Value(_) => None,
    }
}

fn check(query: &TwinQuery, parser: &Parser<'_>) -> Result<(), Error> {
    let is_plain = query.select.is_none() && query.top.is_none() && query.group_by.is_empty();
    if query.source == Source::Jobs && !is_plain {
        return parser.error_at(0, "of devices.jobs only SELECT * without TOP and GROUP BY is possible");
    }
    let grouped = !query.group_by.is_empty() || query.has_aggregates();
    if !grouped {
        return Ok(());
    }
    let Some(items) = &query.select else {
        return parser.error_at(0, "GROUP BY needs columns in the place of *");
    };
    for item in items {
        if let What::Value(Expr::Path(path)) = &item.what
            && !query.group_by.contains(path)
        {
            return parser.error_at(
                0,
                format!("column {} must stand in GROUP BY or inside COUNT, AVG, SUM, MIN or MAX", item.name),
            );
        }
    }
    Ok(())
}

impl TwinQuery {
    /// Paths may begin with the name of the source: `devices.tags.x`, `devices.jobs.status`.
    fn without_source_names(mut self) -> Self {
        let names = source_names(self.source);
        for item in self.select.iter_mut().flatten() {
            match &mut item.what {
                What::Value(expr) => strip_all(expr, names),
                What::Aggregate(_, path) => path.iter_mut().for_each(|path| strip(path, names)),
            }
        }
        self.group_by.iter_mut().for_each(|path| strip(path, names));
        self.filter.iter_mut().for_each(|filter| strip_all(filter, names));
        self
    }
}

fn strip(path: &mut Path, names: &[&str]) {
    let is = |(step, name): (&Step, &&str)| matches!(step, Step::Name(n) if n.eq_ignore_ascii_case(name));
    let begins = path.root == Root::Document && path.steps.len() > names.len();
    if begins && path.steps.iter().zip(names).all(is) {
        path.steps.drain(..names.len());
    }
}

fn strip_all(expr: &mut Expr, names: &[&str]) {
    match expr {
        Expr::Undefined | Expr::Null | Expr::Bool(_) | Expr::Number(_) | Expr::Text(_) => {}
        Expr::Path(path) => strip(path, names),
        Expr::Not(inner) | Expr::Negate(inner) => strip_all(inner, names),
        Expr::All(list) | Expr::Any(list) | Expr::Call(_, list) => {
            list.iter_mut().for_each(|e| strip_all(e, names));
        }
        Expr::Compare(_, left, right) => {
            strip_all(left, names);
            strip_all(right, names);
        }
        Expr::Arithmetic(first, rest) => {
            strip_all(first, names);
            rest.iter_mut().for_each(|(_, e)| strip_all(e, names));
        }
        Expr::In { needle, list, .. } => {
            strip_all(needle, names);
            list.iter_mut().for_each(|e| strip_all(e, names));
        }
    }
}
