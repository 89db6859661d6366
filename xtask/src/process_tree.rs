//! Ends a process with all that it started.
//!
//! Children stay in the process group of this program, so that Ctrl-C in a terminal reaches every one of them without our
//! help. That group cannot be ended without us, so the processes are found by their parents, in `/proc`. Where there is no
//! `/proc`, the process alone is ended.

use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long processes may take to end after what Ctrl-C sends: a fixture may have a hub to stop.
pub const GRACE: Duration = Duration::from_secs(20);
/// How long the kernel may take to end what was killed.
const KILL_TIME: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Process ids, each with the time the process started, which tells it from a later one with the same id.
type Processes = HashMap<u32, u64>;

/// A living process.
struct Seen {
    parent: u32,
    started: u64,
}

/// Ends a child of this program and its descendants: as Ctrl-C does, which lets a test say where it was, and after `grace`
/// by force. The child must not have been waited for. False if something is still there.
pub fn end(child: u32, grace: Duration) -> bool {
    let mut tree = Processes::new();
    let mut living = look();
    let Some(root) = living.get(&child) else {
        // Without `/proc` the child is all we know. Else it has just ended, and what it left has no parent to be found by.
        let is_blind = living.is_empty();
        if is_blind {
            send(child, Signal::KILL);
        }
        return is_blind;
    };
    tree.insert(child, root.started);
    gather(&mut tree, &living);
    tree.keys().for_each(|process| send(*process, Signal::INT));
    let begun = Instant::now();
    while begun.elapsed() < grace + KILL_TIME {
        sleep(LOOK_AGAIN);
        living = look();
        gather(&mut tree, &living);
        if tree.is_empty() {
            return true;
        }
        if begun.elapsed() >= grace {
            tree.keys().for_each(|process| send(*process, Signal::KILL));
        }
    }
    false
}

/// A living process and all that it started, by id, the process first.
pub fn members(root: u32) -> Vec<u32> {
    let living = look();
    let Some(seen) = living.get(&root) else { return Vec::new() };
    let mut tree = Processes::from([(root, seen.started)]);
    gather(&mut tree, &living);
    let mut members: Vec<u32> = tree.into_keys().collect();
    members.sort_by_key(|process| (*process != root, *process));
    members
}

/// Brings the tree up to date: who lives stays, with all descendants. Orphans stay too, once they were seen.
fn gather(tree: &mut Processes, living: &HashMap<u32, Seen>) {
    tree.retain(|process, started| living.get(process).is_some_and(|seen| seen.started == *started));
    loop {
        let known = tree.len();
        for (process, seen) in living {
            if tree.contains_key(&seen.parent) {
                tree.insert(*process, seen.started);
            }
        }
        if tree.len() == known {
            return;
        }
    }
}

fn send(process: u32, signal: Signal) {
    if let Some(process) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process(process, signal);
    }
}

/// All processes that have not ended.
fn look() -> HashMap<u32, Seen> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return HashMap::new() };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let process = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((process, parse(&stat)?))
        })
        .collect()
}

/// Fields 3, 4 and 22 of `/proc/PID/stat`; `None` for one that has ended and waits to be waited for.
fn parse(stat: &str) -> Option<Seen> {
    // The name before it is in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(Seen { parent, started })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, Command, Stdio};

    /// A shell that has said that it is ready. It hears Ctrl-C also where these tests are a background job, which does not.
    fn shell(script: &str) -> Child {
        let mut shell = Command::new("env");
        shell.args(["--default-signal=INT", "sh", "-c", script]).stdout(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        shell
    }

    fn children(parent: u32) -> Vec<u32> {
        look().into_iter().filter(|(_, seen)| seen.parent == parent).map(|(process, _)| process).collect()
    }

    #[test]
    fn all_that_a_process_started_ends_with_it() {
        // Children in the background of a script ignore Ctrl-C; one has a session of its own besides.
        let mut shell = shell("sleep 1000 & setsid sleep 1000 & echo ready; wait");
        let below = children(shell.id());
        assert_eq!(below.len(), 2);
        let mut members = members(shell.id());
        assert_eq!(members.remove(0), shell.id());
        assert!(members.len() == 2 && below.iter().all(|process| members.contains(process)));
        assert!(end(shell.id(), Duration::ZERO));
        shell.wait().unwrap();
        let left = look();
        assert!(below.iter().all(|process| !left.contains_key(process)));
    }

    #[test]
    fn one_that_has_ended_is_not_looked_for() {
        let mut ended = Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        assert!(!end(ended.id(), Duration::ZERO));
    }

    #[test]
    fn a_process_that_heeds_ctrl_c_ends_before_the_grace() {
        let begun = Instant::now();
        let mut shell = shell("trap 'exit 3' INT; echo ready; while :; do sleep 0.1; done");
        assert!(end(shell.id(), Duration::from_secs(600)));
        assert_eq!(shell.wait().unwrap().code(), Some(3));
        assert!(begun.elapsed() < Duration::from_secs(300));
    }

    #[test]
    fn a_name_may_hold_parentheses() {
        let seen = parse("7 (a) S 1) S 5 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 99 1000 1\n").unwrap();
        assert_eq!((seen.parent, seen.started), (5, 99));
        assert!(parse("7 (a) Z 5 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 99 1000 1\n").is_none());
    }
}
