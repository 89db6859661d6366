//! What the cases share: a runtime in a folder of its own, and waiting for conditions.

use ironbrook_edge::runtime::process::{ImageCommand, ProcessConfig, ProcessRuntime};
use ironbrook_edge::runtime::{ModuleInfo, ModuleRuntime, ModuleSpec, ModuleState};
use ironbrook_hub::seams::SystemClock;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After this a condition that has not come is a failure; the machine may be busy.
pub const LIMIT: Duration = Duration::from_secs(60);

pub fn program() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// A runtime on which image `shell` is a shell whose script is the deployment's `Cmd`. The program itself is the built-in
/// image `itself`.
pub fn runtime(data_dir: &Path) -> ProcessRuntime {
    let image = ImageCommand {
        repository: "shell".to_owned(),
        command: vec!["sh".to_owned(), "-c".to_owned()],
        working_directory: None,
        arguments: true,
    };
    ProcessRuntime::new(ProcessConfig {
        program: program(),
        builtin: vec![("itself".to_owned(), vec![super::parent::COMMAND.to_owned(), "rest".to_owned()])],
        images: vec![image],
        data_dir: data_dir.to_owned(),
        clock: Arc::new(SystemClock),
    })
    .unwrap()
}

pub fn spec(name: &str, script: &str) -> ModuleSpec {
    ModuleSpec {
        name: name.to_owned(),
        kind: "docker".to_owned(),
        image: "shell".to_owned(),
        create_options: serde_json::json!({"Cmd": [script]}),
        env: [("GREETING".to_owned(), "good day".to_owned())].into(),
    }
}

pub async fn make_and_start(runtime: &ProcessRuntime, name: &str, script: &str) {
    runtime.create(&spec(name, script)).await.unwrap();
    runtime.start(name).await.unwrap();
}

pub async fn info(runtime: &ProcessRuntime, name: &str) -> ModuleInfo {
    let list = runtime.list().await.unwrap();
    list.into_iter().find(|module| module.spec.name == name).unwrap()
}

/// Waits for the runtime's own word that something changed until a module is in some state.
pub async fn reaches(
    runtime: &ProcessRuntime,
    name: &str,
    wanted: impl Fn(ModuleState) -> bool,
) -> ModuleInfo {
    let waiting = async {
        loop {
            let info = info(runtime, name).await;
            if wanted(info.state) {
                return info;
            }
            runtime.changed().await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.expect("the state never came")
}

pub async fn exited(runtime: &ProcessRuntime, name: &str) -> i64 {
    match reaches(runtime, name, |state| matches!(state, ModuleState::Exited { .. })).await.state {
        ModuleState::Exited { code } => code,
        state => unreachable!("{state:?}"),
    }
}

/// Waits until a log holds a line that begins so; gives the rest of the line.
pub async fn line(runtime: &ProcessRuntime, name: &str, beginning: &str) -> String {
    poll(async || {
        let lines = runtime.logs(name, usize::MAX).await.unwrap();
        lines.iter().find_map(|line| line.strip_prefix(beginning).map(str::to_owned))
    })
    .await
}

/// Asks until there is an answer. For what nobody tells of.
pub async fn poll<T, F: Future<Output = Option<T>>>(mut ask: impl FnMut() -> F) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "the condition never came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether a process runs; one that nobody has buried yet does not.
pub fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything.
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

pub async fn ends(pid: u32) {
    poll(async || (!runs(pid)).then_some(())).await;
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}
