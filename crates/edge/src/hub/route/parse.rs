//! The text of one route.

use super::Route;
use ironbrook_model::ModuleId;
use ironbrook_query::Condition;

/// Longest text that is looked at, in bytes: conditions may have 8192, and the rest is short.
const TEXT_LEN_MAX: usize = 10 * 1024;
/// Longest name of an input, in bytes; it is a part of topics and of queue names.
const INPUT_LEN_MAX: usize = 128;

/// A text that is no route; line and column count characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct Error {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
    /// Cause and cure.
    pub message: String,
}

impl Error {
    fn at(text: &str, position: usize, message: impl Into<String>) -> Self {
        let before = text.get(..position).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column, message: message.into() }
    }
}

/// The source of a route: a path, and everything below it.
///
/// Paths of messages: `/messages` of a leaf device, `/messages/modules/{m}` and `/messages/modules/{m}/outputs/{o}` of modules,
/// `/twinChangeNotifications`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source(String);

impl Source {
    // rule EDGEHUB-01: the star at the end goes, a slash comes, and then it is a prefix without case; a star elsewhere is a letter.
    fn new(text: &str) -> Self {
        Self(format!("{}/", text.trim_end_matches(['*', '/', ' ', '\t', '\r', '\n'])))
    }

    /// The prefix, with a slash at its end.
    pub fn prefix(&self) -> &str {
        &self.0
    }

    /// Whether it takes messages of this path (written without a slash at its end).
    pub fn takes(&self, path: &str) -> bool {
        let (path, prefix) = (path.as_bytes(), self.0.as_bytes());
        let head = path.iter().chain(b"/").take(prefix.len());
        path.len() + 1 >= prefix.len() && head.zip(prefix).all(|(a, b)| a.eq_ignore_ascii_case(b))
    }

    /// Whether anything can ever match it.
    pub fn can_match(&self) -> bool {
        self.takes_telemetry() || self.takes_twin_changes()
    }

    /// Whether it takes some telemetry.
    pub fn takes_telemetry(&self) -> bool {
        let below =
            self.0.get(.."/messages/".len()).is_some_and(|head| head.eq_ignore_ascii_case("/messages/"));
        let rest = self.0.get("/messages/".len()..).unwrap_or_default();
        self.takes("/messages") || below && !rest.contains('*') && is_below(rest, "modules/")
    }

    /// Whether it takes changes of twins.
    pub fn takes_twin_changes(&self) -> bool {
        self.takes("/twinChangeNotifications")
    }
}

/// Whether a rest of a path is below a folder.
fn is_below(rest: &str, folder: &str) -> bool {
    rest.get(..folder.len()).is_some_and(|head| head.eq_ignore_ascii_case(folder))
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Sink {
    /// The hub this device belongs to.
    Upstream,
    /// An input of a module of this device.
    Input {
        /// The module.
        module: ModuleId,
        /// The input's name.
        input: String,
    },
}

/// A word or a string of the text, and where it begins.
struct Token<'t> {
    text: &'t str,
    position: usize,
}

impl Token<'_> {
    fn is(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }

    fn end(&self) -> usize {
        self.position + self.text.len()
    }
}

/// Words between blanks, brackets and strings; strings keep their quotes, brackets and commas stand alone.
fn tokens(text: &str) -> Result<Vec<Token<'_>>, Error> {
    let mut tokens = Vec::new();
    let mut position = 0;
    while let Some(first) = text[position..].chars().next() {
        let rest = &text[position..];
        let len = match first {
            c if c.is_whitespace() => {
                position += c.len_utf8();
                continue;
            }
            '(' | ')' => 1,
            '"' | '\'' => string_len(rest, first)
                .ok_or_else(|| Error::at(text, position, "a string begins here and has no end"))?,
            _ => rest.find(|c: char| c.is_whitespace() || "()'\"".contains(c)).unwrap_or(rest.len()),
        };
        tokens.push(Token { text: &rest[..len], position });
        position += len;
    }
    Ok(tokens)
}

/// The length of a string with its quotes. A backslash takes the next character with it.
fn string_len(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

pub(super) fn parse(text: &str) -> Result<Route, Error> {
    if text.len() > TEXT_LEN_MAX {
        return Err(Error::at(
            text,
            0,
            format!("the text has {} bytes; {TEXT_LEN_MAX} are allowed", text.len()),
        ));
    }
    let tokens = tokens(text)?;
    let end = text.trim_end().len();
    let at = |index: usize| tokens.get(index).map_or(end, |token| token.position);
    let is = |index: usize, word: &str| tokens.get(index).is_some_and(|token| token.is(word));
    let mut next = 0;
    if is(0, "SELECT") {
        if !is(1, "*") {
            return Err(Error::at(
                text,
                at(1),
                "a route selects '*', the whole message, or leaves SELECT out",
            ));
        }
        next = 2;
    }
    if !is(next, "FROM") {
        let form = "a route has the form FROM source [WHERE condition] INTO sink; FROM is expected here";
        return Err(Error::at(text, at(next), form));
    }
    let source = tokens.get(next + 1).filter(|token| token.text.starts_with('/')).ok_or_else(|| {
        Error::at(text, at(next + 1), "a source begins with '/', such as /messages/* or /*")
    })?;
    // A condition may hold the word as a property's name, so the last one counts.
    let into = (next + 2..tokens.len()).rev().find(|index| is(*index, "INTO")).ok_or_else(|| {
        Error::at(text, end, "INTO with $upstream or BrokeredEndpoint(\"/modules/…/inputs/…\") is missing")
    })?;
    let condition = match is(next + 2, "WHERE") {
        true => condition(text, &tokens, next + 2, into)?,
        false if into == next + 2 => String::new(),
        false => {
            return Err(Error::at(text, at(next + 2), "after the source comes WHERE or INTO"));
        }
    };
    Ok(Route { source: Source::new(source.text), condition, sink: sink(text, &tokens[into + 1..], end)? })
}

fn condition(text: &str, tokens: &[Token<'_>], wher: usize, into: usize) -> Result<String, Error> {
    let (from, to) = (tokens[wher].end(), tokens[into].position);
    let condition = text[from..to].trim();
    if condition.is_empty() {
        return Err(Error::at(text, to, "WHERE has no condition; write one or leave WHERE out"));
    }
    // Blanks before it, so that errors tell the place in the whole text.
    let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
    let padded: String = text[..from].chars().map(blank).chain(text[from..to].chars()).collect();
    let parsed = Condition::parse(padded.trim_end()).map_err(|error| Error {
        line: error.line,
        column: error.column,
        message: error.message,
    })?;
    if parsed.reads_twin() {
        return Err(Error::at(text, from, "conditions of routes on a device cannot read $twin"));
    }
    Ok(condition.to_owned())
}

fn sink(text: &str, tokens: &[Token<'_>], end: usize) -> Result<Sink, Error> {
    let Some(first) = tokens.first() else {
        return Err(Error::at(
            text,
            end,
            "after INTO comes $upstream or BrokeredEndpoint(\"/modules/…/inputs/…\")",
        ));
    };
    let rest = |from: usize| match tokens.get(from) {
        None => Ok(()),
        Some(token) => Err(Error::at(text, token.position, "nothing may follow the sink")),
    };
    if first.is("$upstream") {
        return rest(1).map(|()| Sink::Upstream);
    }
    if first.is("$downstream") {
        return Err(Error::at(
            text,
            first.position,
            "there is no sink $downstream; two ways lead down: a cloud-to-device message from the hub reaches a device, \
             and INTO BrokeredEndpoint(\"/modules/{module}/inputs/{input}\") reaches a module of this device",
        ));
    }
    if !first.is("BrokeredEndpoint") {
        return Err(Error::at(
            text,
            first.position,
            "a sink is $upstream or BrokeredEndpoint(\"/modules/…/inputs/…\")",
        ));
    }
    let [_, open, path, close, ..] = tokens else {
        return Err(Error::at(
            text,
            end,
            "BrokeredEndpoint is written BrokeredEndpoint(\"/modules/…/inputs/…\")",
        ));
    };
    for (token, mark) in [(open, "("), (close, ")")] {
        if token.text != mark {
            return Err(Error::at(text, token.position, format!("'{mark}' is expected here")));
        }
    }
    rest(4)?;
    input(path.text).map_err(|message| Error::at(text, path.position, message))
}

/// The sink of a quoted `/modules/{module}/inputs/{input}`.
fn input(quoted: &str) -> Result<Sink, String> {
    let form = || "an endpoint is written \"/modules/{module}/inputs/{input}\"".to_owned();
    if !quoted.starts_with(['"', '\'']) {
        return Err("the endpoint stands in quotes".to_owned());
    }
    let path = quoted[1..quoted.len() - 1].trim().trim_matches('/');
    let parts: Vec<&str> = path.split('/').collect();
    let [modules, module, inputs, input] = parts[..] else { return Err(form()) };
    if !modules.eq_ignore_ascii_case("modules") || !inputs.eq_ignore_ascii_case("inputs") {
        return Err(form());
    }
    let module = ModuleId::new(module).map_err(|error| format!("the module's id: {error}"))?;
    let fits = |c: char| !c.is_control() && !c.is_whitespace() && !"#+?\\".contains(c);
    if input.is_empty() || input.len() > INPUT_LEN_MAX || !input.chars().all(fits) {
        return Err(format!(
            "the input's name has 1 to {INPUT_LEN_MAX} bytes without blanks and '#', '+', '?', '\\'"
        ));
    }
    Ok(Sink::Input { module, input: input.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn to(module: &str, input: &str) -> Sink {
        Sink::Input { module: ModuleId::new(module.to_owned()).unwrap(), input: input.to_owned() }
    }

    #[test]
    fn reads_what_deployments_hold() {
        let cases = [
            ("FROM /messages/* INTO $upstream", "/messages/", "", Sink::Upstream),
            ("select * from /* into $UPSTREAM", "/", "", Sink::Upstream),
            (
                "FROM /messages/modules/s/outputs/temperatureOutput INTO BrokeredEndpoint(\"/modules/asa/inputs/temperature\")",
                "/messages/modules/s/outputs/temperatureOutput/",
                "",
                to("asa", "temperature"),
            ),
            (
                "FROM /messages/modules/asa/*\n WHERE $body.x > 3 AND into = 'INTO $upstream'\n INTO brokeredendpoint ( '/modules/s/inputs/control/' )",
                "/messages/modules/asa/",
                "$body.x > 3 AND into = 'INTO $upstream'",
                to("s", "control"),
            ),
            (
                "FROM /twinChangeNotifications WHERE (a='1')INTO $upstream",
                "/twinChangeNotifications/",
                "(a='1')",
                Sink::Upstream,
            ),
        ];
        for (text, source, condition, sink) in cases {
            let route = Route::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((route.source.prefix(), &*route.condition, &route.sink), (source, condition, &sink));
        }
    }

    #[test]
    fn sources_are_prefixes_without_case_and_a_star_in_the_middle_matches_nothing_rule_edgehub_01() {
        let paths = [
            "/messages",
            "/messages/modules/m",
            "/messages/modules/m/outputs/o",
            "/messages/modules/m2/outputs/o",
            "/twinChangeNotifications",
        ];
        let cases: &[(&str, &[usize])] = &[
            ("/*", &[0, 1, 2, 3, 4]),
            ("/messages/*", &[0, 1, 2, 3]),
            ("/Messages/Modules/*", &[1, 2, 3]),
            ("/messages/modules/m/*", &[1, 2]),
            ("/messages/modules/m/outputs/*", &[2]),
            ("/messages/modules/m/outputs/o", &[2]),
            ("/messages/modules/*/outputs/o", &[]),
            ("/mess", &[]),
            ("/messages/devices/*", &[]),
            ("/twinchangenotifications", &[4]),
        ];
        for (source, wanted) in cases {
            let source = Source::new(source);
            let taken: Vec<usize> = (0..paths.len()).filter(|index| source.takes(paths[*index])).collect();
            assert_eq!(taken, *wanted, "{source:?}");
            assert_eq!(source.can_match(), !wanted.is_empty(), "{source:?}");
        }
    }

    #[test]
    fn errors_tell_the_place_and_the_cure() {
        let cases = [
            ("", 1, "FROM is expected"),
            ("SELECT a FROM /* INTO $upstream", 8, "'*'"),
            ("FROM messages INTO $upstream", 6, "begins with '/'"),
            ("FROM /*", 8, "INTO"),
            ("FROM /* INTO", 13, "after INTO"),
            ("FROM /* x INTO $upstream", 9, "WHERE or INTO"),
            ("FROM /* WHERE INTO $upstream", 15, "no condition"),
            ("FROM /* WHERE a = INTO $upstream", 18, ""),
            ("FROM /* INTO $upstream x", 24, "nothing may follow"),
            ("FROM /* INTO $downstream", 14, "BrokeredEndpoint"),
            ("FROM /* INTO BrokeredEndpoint(\"/modules/a/b\")", 31, "/modules/{module}/inputs"),
            ("FROM /* INTO BrokeredEndpoint(/modules/a/inputs/b)", 31, "quotes"),
            ("FROM /* INTO BrokeredEndpoint(\"/modules/a/inputs/b\"", 52, "is written"),
            ("FROM /* INTO BrokeredEndpoint(\"/modules/a", 31, "no end"),
            ("FROM /* WHERE $twin.tags.a = 1 INTO $upstream", 14, "$twin"),
        ];
        for (text, column, words) in cases {
            let error = Route::parse(text).unwrap_err();
            assert_eq!((error.line, error.column), (1, column), "{text}: {error}");
            assert!(error.message.contains(words), "{text}: {error}");
        }
        let text = "FROM /*\nWHERE a ==\n 3 INTO $upstream";
        assert_eq!(Route::parse(text).unwrap_err().line, 2);
    }

    #[test]
    fn downstream_is_refused_with_the_two_ways_that_exist() {
        let message = Route::parse("FROM /messages/* INTO $downstream").unwrap_err().message;
        assert!(message.contains("cloud-to-device") && message.contains("BrokeredEndpoint"), "{message}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_text_is_a_route_or_an_error(text in "(FROM|from| |/\\*|/messages/\\*|WHERE|INTO|\\$upstream|BrokeredEndpoint|\\(|\\)|\"|'|ä|\\\\|a|\n){0,12}") {
            if let Err(error) = Route::parse(&text) {
                prop_assert!(error.line >= 1 && error.column >= 1);
            }
        }
    }
}
