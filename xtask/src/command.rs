//! Running other programs: shown before they start, ended when they take too long, and an error names them when they fail.

use crate::process_tree::{self, GRACE};
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a program that is only asked something may take.
const ANSWER: Duration = Duration::from_secs(600);

/// Runs a command in the terminal, for `limit` at most.
pub fn run(command: &mut Command, limit: Duration) -> Result<()> {
    println!("$ {}", text(command));
    let status = wait(command, limit, |mut child| child.wait())?;
    if !status.success() {
        bail!("`{}` failed ({status})", program(command));
    }
    Ok(())
}

/// Runs a command and gives its standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let output = answer(command.stdout(Stdio::piped()), ANSWER)?;
    if !output.status.success() {
        bail!("`{}` failed ({})", text(command), output.status);
    }
    String::from_utf8(output.stdout).context("output is not UTF-8")
}

/// Whether a command succeeds; nothing of it is shown.
pub fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status: Result<ExitStatus> = wait(quiet, ANSWER, |mut child| child.wait());
    status.is_ok_and(|status| status.success())
}

/// Runs a command, for `limit` at most, and gives its status and what it wrote to pipes.
pub fn answer(command: &mut Command, limit: Duration) -> Result<Output> {
    wait(command, limit, Child::wait_with_output)
}

/// Starts a command and waits for its end in a way; past the limit it is ended with all that it started.
fn wait<T: Send + 'static>(
    command: &mut Command,
    limit: Duration,
    end_of: impl FnOnce(Child) -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let child = command.spawn().with_context(|| format!("`{}` cannot be started", program(command)))?;
    let id = child.id();
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        // Nobody listens any more once the time is over.
        let _ = done.send(end_of(child));
    });
    match ended.recv_timeout(limit) {
        Ok(end) => end.with_context(|| format!("waiting for `{}`", program(command))),
        Err(_) => {
            let name = program(command);
            println!("==== `{name}` takes longer than {limit:?}: it hangs, and is ended");
            match process_tree::end(id, GRACE) {
                true => bail!("`{name}` hung: it was ended after {limit:?}"),
                false => {
                    bail!("`{name}` hung: it could not be ended after {limit:?}, look for what is left of it")
                }
            }
        }
    }
}

/// Cargo itself, the one that runs this task.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::paths::root());
    command
}

/// A command inside a network namespace of its own with only loopback up, where the standard ports are free.
///
/// Many stock clients cannot leave ports 8883, 443 and 5671, and a developer's machine may use them.
pub fn isolated(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
    command.arg(program.as_ref());
    command
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn text(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_hangs_is_ended_and_named() {
        let error = run(Command::new("sleep").arg("1000"), Duration::from_millis(10)).unwrap_err();
        assert_eq!(error.to_string(), "`sleep` hung: it was ended after 10ms");
        let mut holding_the_pipe = Command::new("sh");
        holding_the_pipe.args(["-c", "sleep 1000; true"]).stdout(Stdio::piped());
        let error = answer(&mut holding_the_pipe, Duration::from_millis(10)).unwrap_err();
        assert!(error.to_string().contains("`sh` hung"), "{error}");
    }

    #[test]
    fn a_command_that_ends_in_time_gives_what_it_has() {
        run(&mut Command::new("true"), ANSWER).unwrap();
        assert!(run(&mut Command::new("false"), ANSWER).unwrap_err().to_string().contains("exit status: 1"));
        assert_eq!(output(Command::new("echo").arg("x")).unwrap(), "x\n");
        assert!(
            output(&mut Command::new("no-such-program"))
                .unwrap_err()
                .to_string()
                .contains("cannot be started")
        );
        assert!(succeeds(&mut Command::new("true")) && !succeeds(&mut Command::new("false")));
    }
}
