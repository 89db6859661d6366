//! The thread that starts all child processes.
//!
//! The system's promise to kill a child with its parent is kept when the *thread* ends that started the child. Threads of the
//! runtime come and go, so there is one of its own that lives as long as [`Spawner`].

use std::io;
use std::process::Command;
use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// Starts that may wait for the thread.
const QUEUE: usize = 16;
const STACK_LEN: usize = 256 * 1024;

struct Request {
    command: Command,
    runtime: Handle,
    answer: oneshot::Sender<io::Result<Child>>,
}

/// Starts child processes; when it is dropped they are killed by the system.
pub(super) struct Spawner(mpsc::Sender<Request>);

impl Spawner {
    pub fn start() -> io::Result<Self> {
        let (sender, mut requests) = mpsc::channel::<Request>(QUEUE);
        std::thread::Builder::new().name("module-spawner".to_owned()).stack_size(STACK_LEN).spawn(
            move || {
                while let Some(Request { command, runtime, answer }) = requests.blocking_recv() {
                    let _inside = runtime.enter();
                    let mut command = tokio::process::Command::from(command);
                    let child = command.kill_on_drop(true).spawn();
                    // It holds the child's end of the pipes.
                    drop(command);
                    // Nobody waits any more: the child is dropped and killed.
                    let _ = answer.send(child);
                }
            },
        )?;
        Ok(Self(sender))
    }

    /// Starts a process.
    pub async fn spawn(&self, command: Command) -> io::Result<Child> {
        let gone = || io::Error::other("the thread that starts processes has ended");
        let (answer, child) = oneshot::channel();
        let request = Request { command, runtime: Handle::current(), answer };
        self.0.send(request).await.map_err(|_| gone())?;
        child.await.map_err(|_| gone())?
    }
}
