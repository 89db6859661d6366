//! The child's side: processes that cannot outlive who started them, also when that one is killed.
//!
//! The command line calls [`exec_bound`] for its hidden command [`EXEC_COMMAND`], before anything else. It has two forms:
//!
//! - `__exec PARENT -- program arguments…` asks the system to be killed with its parent, waits until the parent lets it go (the
//!   end of its standard input), sees that the parent is still the same, and becomes the program. The system keeps the promise for
//!   the program, but not for children of the program.
//! - `__exec guard` is a process that stays. It is told the process groups of foreign programs on its standard input; when that
//!   ends, because the parent has, it kills them.

use super::module::signal;
use rustix::process::{Signal, getppid};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, BufRead};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The hidden command of the command line that leads here.
pub const EXEC_COMMAND: &str = "__exec";
/// What it does as guard.
pub(super) const GUARD: &str = "guard";
/// Whether the system kills a process with its parent. Where it does not, the guard looks after all.
pub(super) const DEATH_SIGNAL: bool = cfg!(target_os = "linux");

/// Why a program was not started.
#[derive(Debug, thiserror::Error)]
pub enum BoundError {
    /// Called by hand.
    #[error("this command is for ironbrook itself: __exec PARENT -- PROGRAM [ARGUMENT]...")]
    Usage,
    /// The parent has ended meanwhile.
    #[error("the process that started this has ended")]
    Orphan,
    /// The system does not give what is needed.
    #[error("cannot be bound to the life of the parent: {0}")]
    System(io::Error),
    /// There is no such program, or it cannot be run.
    #[error("{program}: {source}")]
    Exec {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
}

/// Does what the arguments behind [`EXEC_COMMAND`] say. Becomes the program and returns only errors, or watches as guard and
/// returns when its work is done. Print an error to standard error and exit with 127, as shells do.
pub fn exec_bound(arguments: impl IntoIterator<Item = OsString>) -> Result<(), BoundError> {
    let mut arguments = arguments.into_iter();
    let first = arguments.next().and_then(|first| first.into_string().ok()).ok_or(BoundError::Usage)?;
    if first == GUARD {
        return watch(io::stdin().lock()).map_err(BoundError::System);
    }
    let parent: i32 = first.parse().map_err(|_| BoundError::Usage)?;
    let dashes = arguments.next().is_some_and(|dashes| dashes == "--");
    let program = arguments.next().filter(|_| dashes).ok_or(BoundError::Usage)?;
    bind().map_err(BoundError::System)?;
    io::copy(&mut io::stdin().lock(), &mut io::sink()).map_err(BoundError::System)?;
    // If the parent ended before `bind`, no signal will ever come.
    if getppid().map_or(0, |pid| pid.as_raw_nonzero().get()) != parent {
        return Err(BoundError::Orphan);
    }
    let source = Command::new(&program).args(arguments).exec();
    Err(BoundError::Exec { program: program.to_string_lossy().into_owned(), source })
}

#[cfg(target_os = "linux")]
fn bind() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

#[cfg(not(target_os = "linux"))]
fn bind() -> io::Result<()> {
    Ok(())
}

/// Learns process groups, `+123` and `-123` on lines, and kills those that are left at the end.
fn watch(input: impl BufRead) -> io::Result<()> {
    let groups = read_groups(input);
    groups.into_iter().for_each(|group| signal(group, Signal::KILL));
    Ok(())
}

/// The groups that are there when the input ends, however it ends.
fn read_groups(mut input: impl BufRead) -> BTreeSet<u32> {
    let mut groups = BTreeSet::new();
    let mut line = String::new();
    // A line without its end is half a write of a dying parent, maybe half a number.
    while input.read_line(&mut line).is_ok_and(|len| len > 0) && line.ends_with('\n') {
        let text = std::mem::take(&mut line);
        let line = text.trim_end();
        let group = line.get(1..).and_then(|group| group.parse().ok());
        match (line.as_bytes().first(), group) {
            (Some(b'+'), Some(group)) => groups.insert(group),
            (Some(b'-'), Some(group)) => groups.remove(&group),
            _ => false,
        };
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_and_go_and_a_torn_line_is_no_group() {
        let groups = read_groups(&b"+12\n+345\n-12\nrubbish\n+\n+7x\n+6"[..]);
        assert_eq!(groups.into_iter().collect::<Vec<_>>(), [345]);
    }

    #[test]
    fn calls_by_hand_are_refused() {
        for arguments in [vec![], vec!["x"], vec!["1"], vec!["1", "true"], vec!["1", "--"]] {
            let refused = exec_bound(arguments.iter().map(OsString::from));
            assert!(matches!(refused, Err(BoundError::Usage)), "{arguments:?}");
        }
    }
}
