//! Where the query comes from: follows the wish of the twin, fetches packages, compiles, and swaps.

use super::files::KeptJob;
use super::job::Job;
use super::link::Link;
use super::package::{PACKAGE_LEN_MAX, Package};
use super::program::{Fault, Program};
use super::report::Status;
use super::twin::{Remote, Wish};
use super::worker::Worker;
use ironbrook_client::{DesiredUpdate, Error, Result, Trust};
use ironbrook_model::Timestamp;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// Longest time for a package.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// The first pause between attempts; it doubles.
const FETCH_WAIT: Duration = Duration::from_secs(1);
/// The longest pause.
const FETCH_WAIT_MAX: Duration = Duration::from_secs(60);

type Fetching = Pin<Box<dyn Future<Output = Result<Vec<u8>>> + Send>>;

/// A package on its way here.
pub(super) struct Fetch {
    remote: Remote,
    wait: Duration,
    state: FetchState,
}

enum FetchState {
    UnderWay(Fetching),
    BeginsAt(Timestamp),
}

impl Fetch {
    fn new(remote: Remote, trust: &Trust) -> Self {
        let state = FetchState::UnderWay(fetch(&remote, trust));
        Self { remote, wait: FETCH_WAIT, state }
    }

    /// The attempt, while there is one.
    pub(super) fn under_way(&mut self) -> Option<&mut Fetching> {
        match &mut self.state {
            FetchState::UnderWay(fetching) => Some(fetching),
            FetchState::BeginsAt(_) => None,
        }
    }

    /// When the next attempt begins, while there is none.
    pub(super) fn begins_at(&self) -> Option<Timestamp> {
        match &self.state {
            FetchState::UnderWay(_) => None,
            FetchState::BeginsAt(at) => Some(*at),
        }
    }
}

fn fetch(remote: &Remote, trust: &Trust) -> Fetching {
    let (url, trust) = (remote.url.clone(), trust.clone());
    Box::pin(async move {
        let download = ironbrook_client::download(&url, &trust, PACKAGE_LEN_MAX);
        let outcome = tokio::time::timeout(FETCH_TIMEOUT, download).await;
        outcome.map_err(|_| Error::Timeout("the download of a package"))?.map(|bytes| bytes.to_vec())
    })
}

impl<L: Link> Worker<L> {
    /// Follows a change of the desired properties.
    pub(super) async fn follow(&mut self, update: DesiredUpdate) -> Result<()> {
        self.desired.apply(update);
        let wish = self.desired.wish();
        if wish != Wish::Nothing {
            self.go_on().await?;
        }
        let key = wish.key();
        if self.considered.as_ref() != Some(&key) {
            self.considered = Some(key);
            self.consider(wish).await?;
        }
        self.publish();
        Ok(())
    }

    /// After a start: goes on with the job that ran last, until it is known whether that is still the right one.
    async fn go_on(&mut self) -> Result<()> {
        if self.considered.is_some() {
            return Ok(());
        }
        let Some(kept) = self.kept.clone() else { return Ok(()) };
        match Program::load(&kept.package).await {
            Ok(program) => {
                self.console.line(format_args!("Query {} goes on", program.digest));
                self.swap(program, kept).await
            }
            Err(fault) => {
                self.console.line(format_args!("The kept query does not run any more: {fault}"));
                Ok(())
            }
        }
    }

    async fn consider(&mut self, wish: Wish) -> Result<()> {
        self.fetch = None;
        self.fault = None;
        let key = wish.key();
        if self.job.is_some() && self.kept.as_ref().is_some_and(|kept| kept.key == key) {
            self.status = Status::Running;
            return Ok(());
        }
        match wish {
            Wish::Nothing => return self.stop().await,
            Wish::Wrong(reason) => self.refuse(Fault::new(reason)),
            Wish::Text(package) => return self.offer(package, key).await,
            Wish::Remote(remote) => {
                self.console.line(format_args!("Fetching the package of {}", remote.key));
                self.status = Status::Waiting;
                self.fetch = Some(Fetch::new(remote, &self.downloads));
            }
        }
        Ok(())
    }

    /// An attempt to fetch the package ended.
    pub(super) async fn fetched(&mut self, outcome: Result<Vec<u8>>) -> Result<()> {
        let Some(mut fetch) = self.fetch.take() else { return Ok(()) };
        let read = match outcome {
            Ok(bytes) => Package::read(&bytes).map_err(Fault::new),
            Err(error) if error.is_transient() => {
                let seconds = fetch.wait.as_secs();
                let fault = Fault::new(format_args!(
                    "the package cannot be fetched, next attempt in {seconds} s: {error}"
                ));
                self.console.line(format_args!("{fault}"));
                self.fault = Some(fault);
                fetch.state = FetchState::BeginsAt(self.clock.now().plus(fetch.wait));
                fetch.wait = (fetch.wait * 2).min(FETCH_WAIT_MAX);
                self.fetch = Some(fetch);
                self.publish();
                return Ok(());
            }
            Err(error) => Err(Fault::new(format_args!("the package cannot be fetched: {error}"))),
        };
        match read {
            Err(fault) => self.refuse(fault),
            Ok(mut package) => {
                let key = Wish::Remote(fetch.remote.clone()).key();
                package.etag = fetch.remote.etag.unwrap_or(package.etag);
                package.policies = fetch.remote.policies.unwrap_or(package.policies);
                self.offer(package, key).await?;
            }
        }
        self.publish();
        Ok(())
    }

    /// Begins the next attempt, if it is time.
    pub(super) fn fetch_again(&mut self) {
        let now = self.clock.now();
        if let Some(fetch) = &mut self.fetch
            && fetch.begins_at().is_some_and(|at| at <= now)
        {
            fetch.state = FetchState::UnderWay(self::fetch(&fetch.remote, &self.downloads));
        }
    }

    /// Runs a job if it compiles.
    async fn offer(&mut self, package: Package, key: String) -> Result<()> {
        self.fault = None;
        match Program::load(&package).await {
            Err(fault) => {
                self.refuse(fault);
                Ok(())
            }
            Ok(program) => {
                let (digest, note) = (program.digest.clone(), program.note.clone());
                self.swap(program, KeptJob { key, package }).await?;
                self.console.line(format_args!(
                    "Query {digest} accepted{}",
                    note.map(|n| format!("; {n}")).unwrap_or_default()
                ));
                Ok(())
            }
        }
    }

    fn refuse(&mut self, fault: Fault) {
        let rest = if self.job.is_some() { "; the one before goes on" } else { "" };
        self.console.line(format_args!("Query refused{rest}: {fault}"));
        self.status = Status::Refused;
        self.fault = Some(fault);
    }

    /// Puts a query in the place of what runs. Rows of the old one leave first; windows that both have keep what they hold.
    async fn swap(&mut self, program: Program, kept: KeptJob) -> Result<()> {
        self.checkpoint().await?;
        let is_swap = self.job.is_some();
        let state = match self.job.take() {
            Some(mut job) => Some(job.checkpoint()),
            None => self.last_state().await,
        };
        // The job before its state: a state fits any job, as far as it is the same.
        if self.kept.as_ref() != Some(&kept) {
            if let Err(error) = self.files.keep_job(&kept).await {
                self.console.line(format_args!(
                    "The query cannot be kept and is fetched again after a restart: {error}"
                ));
            }
            self.kept = Some(kept);
        }
        let job = match state.map(|state| Job::restore(program.clone(), &state)) {
            None => Job::new(program),
            Some(Ok(job)) => job,
            Some(Err(error)) => {
                self.console.line(format_args!("The state of the windows is lost: {error}"));
                Job::new(program)
            }
        };
        self.status = Status::Running;
        self.begin(job, is_swap);
        Ok(())
    }

    // `&mut`: the future of a download under way may not be shared.
    async fn last_state(&mut self) -> Option<Vec<u8>> {
        match self.files.state().await {
            Ok(state) => state,
            Err(error) => {
                self.console.line(format_args!("The state of the windows is lost: {error}"));
                None
            }
        }
    }

    /// The twin names no query any more: nothing runs, and messages stay with the hub.
    async fn stop(&mut self) -> Result<()> {
        self.checkpoint().await?;
        if self.job.is_some() || self.kept.is_some() {
            self.console.line(format_args!("No query any more; messages wait in the hub"));
        } else {
            self.console.line(format_args!("No query yet; messages wait in the hub"));
        }
        self.halt();
        self.kept = None;
        if let Err(error) = self.files.clear().await {
            self.console.line(format_args!("The old query cannot be removed from disk: {error}"));
        }
        self.status = Status::Waiting;
        Ok(())
    }
}
