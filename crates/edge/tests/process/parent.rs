//! A process that runs modules until it is killed, and a module that is this program itself.

use crate::world::{block_on, line, make_and_start, runtime};
use ironbrook_edge::runtime::{ModuleRuntime as _, ModuleSpec};
use std::ffi::OsString;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Leads here.
pub const COMMAND: &str = "parent";

/// `parent FOLDER [built-in-only]` runs modules and prints their process ids; `parent rest` is the built-in module.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let folder = arguments.next().unwrap();
    if folder == "rest" {
        println!("resting {}", std::process::id());
        loop {
            std::thread::park();
        }
    }
    block_on(modules(folder.into(), arguments.next().is_some()));
    ExitCode::SUCCESS
}

async fn modules(folder: PathBuf, built_in_only: bool) {
    let runtime = runtime(&folder);
    let spec = ModuleSpec {
        name: "itself".to_owned(),
        kind: "docker".to_owned(),
        image: "registry.test/itself:1".to_owned(),
        create_options: serde_json::json!({}),
        env: Default::default(),
    };
    runtime.create(&spec).await.unwrap();
    runtime.start("itself").await.unwrap();
    let mut pids = vec![line(&runtime, "itself", "resting ").await];
    if !built_in_only {
        // One that ignores being asked, with a child that does too: nothing but force ends them.
        let script =
            "trap '' TERM HUP; (trap '' TERM HUP; while :; do sleep 1000; done) & echo pids $$ $!; wait";
        make_and_start(&runtime, "stubborn", script).await;
        let own = line(&runtime, "stubborn", "pids ").await;
        pids.extend(own.split(' ').map(str::to_owned));
    }
    println!("{}", pids.join(" "));
    // Lives until it is killed, or whoever started it has ended.
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0])).await;
}
