//! What `/proc` tells of a process: CPU time, memory, bytes written.

use crate::system;
use std::fs;

/// CPU time of a process in seconds, in user mode and in the kernel. It comes in ticks of 10 ms.
#[derive(Clone, Copy, Default)]
pub struct Cpu {
    /// In user mode.
    pub user: f64,
    /// In the kernel.
    pub kernel: f64,
}

impl Cpu {
    /// Of one process; zero if there is none.
    pub fn of(pid: u32) -> Self {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name before it is in parentheses and may hold anything.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse().ok()).unwrap_or(0.0);
        let per_second = system::clock_ticks();
        Self { user: ticks(11) / per_second, kernel: ticks(12) / per_second }
    }

    /// Of several together.
    pub fn of_all(pids: &[u32]) -> Self {
        pids.iter()
            .map(|pid| Self::of(*pid))
            .fold(Self::default(), |a, b| Self { user: a.user + b.user, kernel: a.kernel + b.kernel })
    }

    /// What was used since an earlier look.
    pub fn since(self, earlier: Self) -> Self {
        Self { user: self.user - earlier.user, kernel: self.kernel - earlier.kernel }
    }

    /// Both together.
    pub fn sum(self) -> f64 {
        self.user + self.kernel
    }
}

/// Resident memory of the processes in bytes.
pub fn resident(pids: &[u32]) -> u64 {
    pids.iter().map(|pid| field(*pid, "status", "VmRSS:") * 1024).sum()
}

/// Bytes that the processes have caused to be written to disks: pages made dirty, so a page that is written again after a sync
/// counts again.
pub fn written(pids: &[u32]) -> u64 {
    pids.iter().map(|pid| field(*pid, "io", "write_bytes:")).sum()
}

fn field(pid: u32, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
