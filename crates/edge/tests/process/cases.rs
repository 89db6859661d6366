//! The cases.

use crate::parent;
use crate::world::{
    block_on, ends, exited, info, line, make_and_start, poll, program, reaches, runs, runtime, spec,
};
use ironbrook_edge::runtime::{LogQuery, ModuleLogs as _, ModuleRuntime as _, ModuleState, RuntimeError};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Longer than any case takes.
const NEVER: Duration = Duration::from_secs(600);

/// All cases by name.
pub const ALL: &[(&str, fn())] = &[
    ("nothing_survives_a_killed_parent", nothing_survives_a_killed_parent),
    ("nothing_survives_a_dropped_runtime", nothing_survives_a_dropped_runtime),
    ("a_guard_that_was_killed_is_replaced", a_guard_that_was_killed_is_replaced),
    ("ends_are_noticed_with_their_code", ends_are_noticed_with_their_code),
    ("a_module_is_asked_to_stop_and_then_ended_with_its_children", stop_asks_and_then_kills),
    ("children_end_with_their_module", children_end_with_their_module),
    ("a_module_has_its_environment_and_no_more", a_module_has_its_environment_and_no_more),
    ("state_and_log_outlive_restarts_and_go_with_remove", state_and_log_outlive_restarts),
    ("an_update_keeps_state_and_log_and_touches_no_other_module", an_update_keeps_state_and_log),
    ("what_ended_by_itself_is_known_after_a_restart", what_ended_is_known_after_a_restart),
    ("both_streams_are_kept_in_the_order_they_came", both_streams_are_kept_in_order),
    ("misuse_is_named", misuse_is_named),
    ("all_stop_at_the_same_time", all_stop_at_the_same_time),
];

fn in_folder<F: Future<Output = ()>>(case: impl FnOnce(std::path::PathBuf) -> F) {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        tokio::time::timeout(NEVER, case(folder.path().to_owned())).await.expect("the case hangs")
    });
}

/// Starts a process with modules and gives it and their process ids.
fn start_parent(folder: &Path, built_in_only: bool) -> (std::process::Child, Vec<u32>) {
    let mut command = Command::new(program());
    command.arg(parent::COMMAND).arg(folder).args(built_in_only.then_some("built-in-only"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut text).unwrap();
    let pids: Vec<u32> = text.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert!(!pids.is_empty(), "the parent failed");
    (child, pids)
}

fn nothing_survives_a_killed_parent() {
    for built_in_only in [false, true] {
        in_folder(async |folder| {
            let (mut parent, pids) = start_parent(&folder, built_in_only);
            assert_eq!(pids.len(), if built_in_only { 1 } else { 3 });
            assert!(pids.iter().all(|&pid| runs(pid)), "{pids:?}");
            // A signal that no process can answer: `kill -9`.
            parent.kill().unwrap();
            parent.wait().unwrap();
            for pid in pids {
                ends(pid).await;
            }
        });
    }
}

fn nothing_survives_a_dropped_runtime() {
    in_folder(async |folder| {
        let runtime = runtime(&folder);
        make_and_start(&runtime, "m", "trap '' TERM; sleep 1000 & echo pids $$ $!; wait").await;
        let pids: Vec<u32> =
            line(&runtime, "m", "pids ").await.split(' ').map(|pid| pid.parse().unwrap()).collect();
        drop(runtime);
        for pid in pids {
            ends(pid).await;
        }
    });
}

fn a_guard_that_was_killed_is_replaced() {
    in_folder(async |folder| {
        let (mut parent, pids) = start_parent(&folder, false);
        let guards =
            || children_of(parent.id()).into_iter().filter(|pid| !pids.contains(pid)).collect::<Vec<_>>();
        let [guard] = guards()[..] else { panic!("not one guard: {:?}", guards()) };
        // The guard is nobody's module: its end is no matter until it is needed.
        assert!(Command::new("kill").args(["-9", &guard.to_string()]).status().unwrap().success());
        ends(guard).await;
        parent.kill().unwrap();
        parent.wait().unwrap();
        // The modules themselves are bound by the system; without a guard their children are left, and go here.
        ends(pids[0]).await;
        ends(pids[1]).await;
        assert!(runs(pids[2]), "the guard does nothing that the system does not");
        let group = format!("-{}", pids[1]);
        assert!(Command::new("kill").args(["-9", "--", &group]).status().unwrap().success());
        ends(pids[2]).await;

        let runtime = runtime(&folder);
        for name in ["one", "two"] {
            make_and_start(&runtime, name, "sleep 1000 & echo child $!; wait").await;
            line(&runtime, name, "child ").await;
            let guard = poll(async || {
                let all = children_of(std::process::id());
                all.into_iter().find(|&pid| command_of(pid).contains("guard"))
            })
            .await;
            assert!(Command::new("kill").args(["-9", &guard.to_string()]).status().unwrap().success());
            ends(guard).await;
        }
        runtime.stop_all(NEVER).await;
    });
}

fn children_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    processes.filter(|&pid| runs(pid) && parent_of(pid) == Some(parent)).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn command_of(pid: u32) -> String {
    String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).into_owned()
}

fn ends_are_noticed_with_their_code() {
    in_folder(async |folder| {
        let runtime = runtime(&folder);
        for (name, script, code) in [
            ("zero", "true", 0),
            ("three", "exit 3", 3),
            ("killed", "kill -9 $$", 137),
            ("asked", "kill -15 $$", 143),
        ] {
            make_and_start(&runtime, name, script).await;
            assert_eq!(exited(&runtime, name).await, code, "{name}");
            let info = info(&runtime, name).await;
            assert_eq!(info.pid, None);
            assert!(info.started.unwrap() <= info.exited.unwrap());
        }
        // A module can be started again.
        runtime.start("three").await.unwrap();
        assert_eq!(exited(&runtime, "three").await, 3);
    });
}

fn stop_asks_and_then_kills() {
    in_folder(async |folder| {
        let runtime = runtime(&folder);
        make_and_start(
            &runtime,
            "polite",
            "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done",
        )
        .await;
        line(&runtime, "polite", "ready").await;
        runtime.stop("polite", NEVER).await.unwrap();
        assert_eq!(info(&runtime, "polite").await.state, ModuleState::Exited { code: 0 });
        line(&runtime, "polite", "bye").await;
        runtime.stop("polite", NEVER).await.unwrap();

        let script = "trap '' TERM; (trap '' TERM; while :; do sleep 1000; done) & echo child $!; wait";
        make_and_start(&runtime, "stubborn", script).await;
        let child = line(&runtime, "stubborn", "child ").await.parse().unwrap();
        runtime.stop("stubborn", Duration::from_millis(50)).await.unwrap();
        assert_eq!(info(&runtime, "stubborn").await.state, ModuleState::Exited { code: 137 });
        ends(child).await;
    });
}

fn children_end_with_their_module() {
    in_folder(async |folder| {
        let runtime = runtime(&folder);
        make_and_start(&runtime, "m", "sleep 1000 & echo child $!").await;
        assert_eq!(exited(&runtime, "m").await, 0);
        let child = line(&runtime, "m", "child ").await.parse().unwrap();
        ends(child).await;
    });
}

fn a_module_has_its_environment_and_no_more() {
    in_folder(async |folder| {
        let runtime = runtime(&folder);
        make_and_start(&runtime, "m", "env; echo where $PWD; read x; echo input $?").await;
        assert_eq!(exited(&runtime, "m").await, 0);
        let state = folder.join("edge/modules/m/state");
        assert_eq!(line(&runtime, "m", "GREETING=").await, "good day");
        assert_eq!(Path::new(&line(&runtime, "m", "IRONBROOK_STATE_DIR=").await), state);
        assert_eq!(
            Path::new(&line(&runtime, "m", "where ").await).canonicalize().unwrap(),
            state.canonicalize().unwrap()
        );
        // Standard input is at its end.
        assert_eq!(line(&runtime, "m", "input ").await, "1");
        let lines = runtime.logs("m", usize::MAX).await.unwrap();
        assert!(!lines.iter().any(|line| line.starts_with("CARGO") || line.starts_with("RUST")), "{lines:?}");
    });
}

fn state_and_log_outlive_restarts() {
    in_folder(async |folder| {
        let count = "echo x >> $IRONBROOK_STATE_DIR/count; echo times $(wc -l < count)";
        {
            let runtime = runtime(&folder);
            make_and_start(&runtime, "m", count).await;
            line(&runtime, "m", "times 1").await;
            exited(&runtime, "m").await;
        }
        let runtime = runtime(&folder);
        let known = info(&runtime, "m").await;
        assert_eq!((known.spec, known.state), (spec("m", count), ModuleState::Exited { code: 0 }));
        runtime.start("m").await.unwrap();
        line(&runtime, "m", "times 2").await;
        assert_eq!(runtime.logs("m", 1).await.unwrap(), ["times 2"]);
        line(&runtime, "m", "times 1").await;
        runtime.remove("m").await.unwrap();
        assert!(!folder.join("edge/modules/m").exists());
        make_and_start(&runtime, "m", count).await;
        line(&runtime, "m", "times 1").await;
        assert_eq!(runtime.logs("m", 9).await.unwrap().len(), 1);
    });
}

fn an_update_keeps_state_and_log() {
    in_folder(async |folder| {
        let runtime = runtime(&folder);
        make_and_start(&runtime, "other", "sleep 1000").await;
        make_and_start(&runtime, "m", "echo first > mine; echo written; sleep 1000").await;
        line(&runtime, "m", "written").await;
        let (other, old) = (info(&runtime, "other").await.pid, info(&runtime, "m").await.pid.unwrap());
        let new = spec("m", "echo found $(cat mine); sleep 1000");
        runtime.replace(&new).await.unwrap();
        ends(old).await;
        let replaced = info(&runtime, "m").await;
        assert_eq!((replaced.spec, replaced.state, replaced.exited), (new, ModuleState::Created, None));
        runtime.start("m").await.unwrap();
        assert_eq!(line(&runtime, "m", "found ").await, "first");
        assert_eq!(runtime.logs("m", 9).await.unwrap(), ["written", "found first"]);
        assert_eq!(info(&runtime, "other").await.pid, other, "another module was restarted");
        // What cannot be made leaves the old one as it is.
        let unknown = ironbrook_edge::runtime::ModuleSpec { image: "unknown".to_owned(), ..spec("m", "") };
        assert!(matches!(runtime.replace(&unknown).await, Err(RuntimeError::NoImage { .. })));
        assert_eq!(info(&runtime, "m").await.state, ModuleState::Running);
        assert!(matches!(runtime.replace(&spec("none", "")).await, Err(RuntimeError::NotFound(_))));
        runtime.stop_all(NEVER).await;
    });
}

fn what_ended_is_known_after_a_restart() {
    in_folder(async |folder| {
        let before = {
            let runtime = runtime(&folder);
            make_and_start(&runtime, "done", "exit 3").await;
            exited(&runtime, "done").await;
            make_and_start(&runtime, "again", "test -e one && sleep 1000; touch one").await;
            exited(&runtime, "again").await;
            runtime.start("again").await.unwrap();
            make_and_start(&runtime, "stopped", "sleep 1000").await;
            runtime.stop("stopped", NEVER).await.unwrap();
            make_and_start(&runtime, "replaced", "true").await;
            exited(&runtime, "replaced").await;
            runtime.replace(&spec("replaced", "false")).await.unwrap();
            info(&runtime, "done").await
        };
        let runtime = runtime(&folder);
        let after = info(&runtime, "done").await;
        assert_eq!(after, before);
        assert_eq!(after.state, ModuleState::Exited { code: 3 });
        assert!(after.started.is_some() && after.exited.is_some());
        // These did not end by themselves, or begin anew.
        for name in ["again", "stopped", "replaced"] {
            let info = info(&runtime, name).await;
            assert_eq!((info.state, info.exited), (ModuleState::Created, None), "{name}");
        }
    });
}

fn both_streams_are_kept_in_order() {
    in_folder(async |folder| {
        let runtime = runtime(&folder);
        make_and_start(&runtime, "m", "for n in 1 2 3; do echo out $n; echo err $n >&2; done; printf end")
            .await;
        line(&runtime, "m", "end").await;
        let expected = ["out 1", "err 1", "out 2", "err 2", "out 3", "err 3", "end"];
        assert_eq!(runtime.logs("m", 100).await.unwrap(), expected);
        assert_eq!(runtime.logs("m", 2).await.unwrap(), ["err 3", "end"]);
        let info = info(&runtime, "m").await;
        let query = LogQuery { since: info.started.map(|t| t.plus(NEVER)), ..LogQuery::default() };
        assert!(runtime.lines("m", query).await.unwrap().is_empty());
    });
}

fn misuse_is_named() {
    in_folder(async |folder| {
        let runtime = runtime(&folder);
        for error in [
            runtime.start("none").await.unwrap_err(),
            runtime.stop("none", NEVER).await.unwrap_err(),
            runtime.remove("none").await.unwrap_err(),
            runtime.logs("none", 1).await.unwrap_err(),
        ] {
            assert!(matches!(&error, RuntimeError::NotFound(name) if name == "none"), "{error}");
        }
        make_and_start(&runtime, "m", "sleep 1000").await;
        let pid = info(&runtime, "m").await.pid;
        runtime.start("m").await.unwrap();
        assert_eq!(info(&runtime, "m").await.pid, pid, "a start of what runs does nothing");
        assert!(matches!(runtime.create(&spec("m", "")).await, Err(RuntimeError::Io { .. })));
        let unknown = ironbrook_edge::runtime::ModuleSpec { image: "unknown".to_owned(), ..spec("n", "") };
        assert!(matches!(runtime.prepare(&unknown).await, Err(RuntimeError::NoImage { .. })));
        runtime.stop_all(NEVER).await;
        // A program that is not there is seen as the shell's code, with its reason in the log.
        let absent = ironbrook_edge::runtime::ModuleSpec {
            image: "shell".to_owned(),
            ..spec("absent", "exec /absent")
        };
        runtime.create(&absent).await.unwrap();
        runtime.start("absent").await.unwrap();
        assert_eq!(exited(&runtime, "absent").await, 127);
    });
}

fn all_stop_at_the_same_time() {
    in_folder(async |folder| {
        let runtime = runtime(&folder);
        for name in ["a", "b", "c"] {
            make_and_start(&runtime, name, "sleep 1000").await;
        }
        runtime.stop_all(NEVER).await;
        for name in ["a", "b", "c"] {
            reaches(&runtime, name, |state| state == ModuleState::Exited { code: 143 }).await;
        }
    });
}
