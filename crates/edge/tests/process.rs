//! The process runtime with real processes.
//!
//! A test program of its own, without the usual harness: it is also the program that the runtime starts modules with, and the
//! parent that is killed. `cargo test` passes a part of a name to run some of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program of tests, which clippy does not know for one"
)]

#[path = "process/cases.rs"]
mod cases;
#[path = "process/parent.rs"]
mod parent;
#[path = "process/world.rs"]
mod world;

use ironbrook_edge::runtime::process::{EXEC_COMMAND, exec_bound};
use std::panic::catch_unwind;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(command) if command == EXEC_COMMAND => match exec_bound(arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(127)
            }
        },
        Some(command) if command == parent::COMMAND => parent::main(arguments),
        filter => run(filter.and_then(|filter| filter.into_string().ok()).unwrap_or_default()),
    }
}

/// Runs the cases whose name holds `filter`; options of the usual harness are no filters.
fn run(filter: String) -> ExitCode {
    let filter = if filter.starts_with('-') { String::new() } else { filter };
    let mut failed = 0;
    for (name, case) in cases::ALL.iter().filter(|(name, _)| name.contains(&filter)) {
        let passed = catch_unwind(case).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += u8::from(!passed);
    }
    ExitCode::from(failed)
}
