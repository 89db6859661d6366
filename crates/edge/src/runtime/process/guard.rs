//! The parent's side of the guard, a process that kills what foreign modules have started when this process is killed.
//!
//! It is started with the first foreign module: built-in ones have no children, and a deployment of them costs no further process.

use super::bound::{DEATH_SIGNAL, EXEC_COMMAND, GUARD};
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{ChildStdin, Command};
use tokio::sync::Mutex;

/// Tells the guard what it has to look after.
pub(super) struct Guard {
    program: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Its end is the guard's signal.
    input: Option<ChildStdin>,
    groups: BTreeSet<u32>,
}

impl Guard {
    pub fn new(program: PathBuf) -> Self {
        Self { program, state: Mutex::default() }
    }

    /// Puts a process group under guard; when it returns the guard knows.
    pub async fn add(&self, group: u32, foreign: bool) -> io::Result<()> {
        if DEATH_SIGNAL && !foreign {
            return Ok(());
        }
        let mut state = self.state.lock().await;
        state.groups.insert(group);
        if state.tell(&format!("+{group}\n")).await.is_ok() {
            return Ok(());
        }
        // There is none yet, or somebody has killed it.
        state.input = Some(self.start()?);
        let all: String = state.groups.iter().map(|group| format!("+{group}\n")).collect();
        state.tell(&all).await
    }

    /// A group has ended.
    pub async fn remove(&self, group: u32) {
        let mut state = self.state.lock().await;
        if state.groups.remove(&group) {
            // A guard that is gone is started again with the next module.
            let _ = state.tell(&format!("-{group}\n")).await;
        }
    }

    fn start(&self) -> io::Result<ChildStdin> {
        let mut child = Command::new(&self.program)
            .args([EXEC_COMMAND, GUARD])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // Signals to this process's group, as of Ctrl-C, are not for the guard.
            .process_group(0)
            .spawn()?;
        child.stdin.take().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl State {
    async fn tell(&mut self, text: &str) -> io::Result<()> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        input.write_all(text.as_bytes()).await?;
        input.flush().await
    }
}
