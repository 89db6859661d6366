//! The ironbrook command.
fn main() {}
