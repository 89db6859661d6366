//! Stream SQL: the query language of Azure Stream Analytics over event time, as a library without input or output.
//!
//! In the order a query goes: text → [`syntax`] (lexer, parser, tree) → [`plan`] (typed steps) → [`engine`] (windows,
//! watermarks, state) → rows. [`value`] is what flows, [`functions`] what expressions can call, [`runner`] drives an engine
//! between a source and a sink. Start with [`Query::compile`](plan).
//!
//! What is *not* here: hubs, sockets, files, clocks. Time comes in with the events and through the caller.

pub mod value;

pub mod functions;

mod near;
pub mod ops;
