//! Routes of a deployment: `FROM source WHERE condition INTO sink` as text, and as the core's routes.
//!
//! Source: Azure docs "Deploy modules and establish routes in IoT Edge". Start with [`Route::parse`] for one text, [`RouteSet`]
//! for all of a deployment. What is *not* here: the condition language, which is the core's ([`ironbrook_query`]).

mod parse;
mod set;

pub use parse::{Error, Sink, Source};
pub use set::{Errors, RouteSet, UPSTREAM};

/// A route as its text says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Which messages it looks at.
    pub source: Source,
    /// The condition as written; empty takes all.
    pub condition: String,
    /// Where they go.
    pub sink: Sink,
}

impl Route {
    /// Reads a route's text. Errors tell line and column, from 1.
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse::parse(text)
    }
}
