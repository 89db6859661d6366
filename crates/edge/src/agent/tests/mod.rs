//! Tests of the agent on fakes.
