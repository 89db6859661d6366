//! The query languages: stream SQL, route conditions, twin queries. Any text is an error that says something, or a query.

use ironbrook_analytics::{Level, Options, Query};
use ironbrook_query::Condition;
use ironbrook_query::twin::{TargetCondition, TwinQuery};

/// Any text in each of the languages.
pub fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for level in [Level::default(), Level::Extended] {
        if let Err(errors) = Query::compile(text, &Options { level, ..Options::default() }) {
            assert!(!errors.to_string().is_empty());
        }
    }
    if let Err(error) = Condition::parse(text) {
        assert!(!error.to_string().is_empty());
    }
    drop(TwinQuery::parse(text));
    drop(TargetCondition::parse(text));
}
