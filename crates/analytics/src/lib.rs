//! Stream SQL: the query language of Azure Stream Analytics over event time, as a library without input or output.
//!
//! In the order a query goes: text → `syntax` (lexer, parser, tree) → `plan` (steps as operators) → [`engine`] (windows,
//! watermarks, state) → rows. [`value`] is what flows, [`ops`] and [`functions`] what expressions can do with it, [`runner`]
//! drives an engine between a source and a sink, [`format`] reads and writes payloads, [`job`] definitions of jobs, [`cases`] tests
//! queries. Start with [`Query::compile`], then [`Engine`](engine::Engine).
//!
//! ```
//! use ironbrook_analytics::engine::{Decoder, Engine, Policies};
//! use ironbrook_analytics::value::DateTime;
//! use ironbrook_analytics::{Options, Query};
//! use std::sync::Arc;
//!
//! let query = Arc::new(Query::compile(
//!     "SELECT 'reset' AS command INTO alert
//!      FROM temperature TIMESTAMP BY timeCreated
//!      GROUP BY TumblingWindow(second, 30)
//!      HAVING AVG(machine.temperature) > 70",
//!     &Options::default(),
//! )?);
//! let input = query.input("temperature").ok_or("no such input")?;
//! let policies = Policies::default();
//! let mut events = Decoder::new(&query, input, &policies);
//! let mut engine = Engine::new(query.clone(), policies);
//!
//! let payload = br#"{"machine":{"temperature":71.5},"timeCreated":"2026-01-01T12:00:07Z"}"#;
//! let arrival = DateTime::parse("2026-01-01T12:00:07.2Z").ok_or("no time")?;
//! let mut batch = Vec::new();
//! events.read(payload, &mut |event| batch.push(event));
//! for event in batch {
//!     match event {
//!         Ok(event) => engine.push(input, arrival, event)?,
//!         Err(error) => engine.reject(input, arrival, &error.to_string()),
//!     }
//! }
//! assert_eq!(engine.rows().count(), 0, "the window is open");
//!
//! // No event comes any more: 5 s after its end, which is the tolerance for late ones, the window closes.
//! engine.advance(DateTime::parse("2026-01-01T12:00:35.1Z").ok_or("no time")?)?;
//! let rows: Vec<_> = engine.rows().collect();
//! assert_eq!(&*query.outputs()[rows[0].output], "alert");
//! assert_eq!(rows[0].timestamp.to_string(), "2026-01-01T12:00:30.0000000Z");
//! let mut json = Vec::new();
//! rows[0].record.write_json(&mut json);
//! assert_eq!(json, br#"{"command":"reset"}"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is *not* here: hubs, sockets, files, clocks. Time comes in with the events and through the caller.

mod near;

mod error;
mod syntax;

mod plan;
mod query;

pub mod value;

pub mod format;
pub mod functions;
pub mod ops;
pub mod script;

pub mod engine;

pub mod runner;

pub mod cases;

pub mod job;

pub use error::{Diagnostic, QueryError, QueryErrors};
pub use query::{Compatibility, Input, Level, MAX_AGGREGATES, Options, Query};
pub use syntax::Span;
