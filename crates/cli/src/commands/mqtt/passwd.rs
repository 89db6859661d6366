//! `ironbrook mqtt passwd`: the hash of a password, for the configuration.

use anyhow::{Context as _, ensure};
use ironbrook_pubsub::acl::PasswordHash;
use std::io::{BufRead as _, IsTerminal as _, Write as _};

/// Runs the command.
#[allow(clippy::print_stdout, clippy::print_stderr, reason = "what the command is asked for")]
pub fn run() -> anyhow::Result<()> {
    let mut input = std::io::stdin().lock();
    if input.is_terminal() {
        eprint!("Password (it is shown while you type): ");
        std::io::stderr().flush()?;
    }
    let mut line = String::new();
    input.read_line(&mut line).context("the password could not be read from standard input")?;
    let password = line.trim_end_matches(['\r', '\n']);
    ensure!(!password.is_empty(), "the password is empty; give one on standard input, as one line");
    println!("{}", PasswordHash::new(password.as_bytes())?);
    Ok(())
}
