//! Event Hubs semantics over the log.
