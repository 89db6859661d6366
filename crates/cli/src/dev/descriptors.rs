//! File descriptors: raised as far as this process may, and never all given to connections.
//!
//! A shell usually gives a process 1024 of them. Where connections could use them up, anybody who can open connections could keep the
//! message log from opening its next file.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections served at once at most, where the limit allows it.
const CONNECTIONS_MAX: u64 = 16_384;
/// Descriptors asked for: a quarter more than connections need is for files.
const WANTED: u64 = CONNECTIONS_MAX / 3 * 4 + 4;

/// Raises the limit of open files if that may be done, and tells how many connections may be open at once.
pub fn connections_max() -> usize {
    let now = getrlimit(Resource::Nofile);
    let soft = raised(&now);
    let allowed = if now.current.is_some_and(|current| current < soft)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(soft), ..now })
    {
        tracing::warn!(%error, "the limit of open files was not raised");
        now.current.unwrap_or(soft)
    } else {
        now.current.map_or(soft, |current| current.max(soft))
    };
    share(allowed)
}

/// The soft limit to have: what is wanted, within the hard limit.
fn raised(now: &Rlimit) -> u64 {
    now.maximum.map_or(WANTED, |hard| hard.min(WANTED))
}

/// The connections among so many descriptors: three of four. The rest is for the log, the registry and blobs.
fn share(descriptors: u64) -> usize {
    usize::try_from((descriptors / 4 * 3).min(CONNECTIONS_MAX)).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_never_get_all_descriptors() {
        assert_eq!(share(1024), 768);
        assert_eq!(share(WANTED), 16_384);
        assert_eq!(share(u64::MAX), 16_384);
        assert_eq!(share(1), 1);
    }

    #[test]
    fn the_limit_is_raised_within_the_hard_one() {
        let limit = |maximum| Rlimit { current: Some(1024), maximum };
        assert_eq!(raised(&limit(Some(4096))), 4096);
        assert_eq!(raised(&limit(Some(1 << 20))), WANTED);
        assert_eq!(raised(&limit(None)), WANTED);
    }
}
