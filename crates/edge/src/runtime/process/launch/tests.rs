use super::*;
use ironbrook_hub::seams::SystemClock;
use serde_json::{Value, json};
use std::sync::Arc;

fn config() -> ProcessConfig {
    let image = |repository: &str, command: &[&str], arguments| ImageCommand {
        repository: repository.to_owned(),
        command: command.iter().map(|&part| part.to_owned()).collect(),
        working_directory: None,
        arguments,
    };
    ProcessConfig {
        program: "/opt/ironbrook".into(),
        builtin: vec![("sensor".to_owned(), vec!["module".to_owned(), "sensor".to_owned()])],
        images: vec![
            image("example.test/fixed", &["/opt/fixed", "--on"], false),
            image("open", &["/opt/open"], true),
            image("empty", &[], false),
        ],
        data_dir: "/nowhere".into(),
        clock: Arc::new(SystemClock),
    }
}

fn spec(image: &str, create_options: Value, env: &[(&str, &str)]) -> ModuleSpec {
    ModuleSpec {
        name: "m".to_owned(),
        kind: "docker".to_owned(),
        image: image.to_owned(),
        create_options,
        env: env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
    }
}

fn launch(spec: &ModuleSpec) -> Result<Launch, RuntimeError> {
    Launch::of(spec, &config(), Path::new("/data/m"))
}

// rule PROCESS-01
#[test]
fn only_built_in_and_mapped_images_run_rule_process_01() {
    let run = |image| launch(&spec(image, json!({}), &[]));
    let sensor = run("r.test:5000/a/sensor:1.5").unwrap();
    assert_eq!(
        (sensor.program, sensor.arguments),
        ("/opt/ironbrook".into(), vec!["module".into(), "sensor".into()])
    );
    let fixed = run("example.test/fixed").unwrap();
    assert_eq!((fixed.program, fixed.arguments), ("/opt/fixed".into(), vec!["--on".into()]));
    assert_eq!(fixed.working_directory, Path::new("/data/m/state"));
    for unknown in ["bash", "other.test/fixed", "/bin/sh", "empty", "", "xsensor"] {
        assert!(matches!(run(unknown), Err(RuntimeError::NoImage { .. })), "{unknown}");
    }
}

#[test]
fn arguments_of_a_deployment_count_only_where_the_operator_says_so() {
    let evil = json!({"Entrypoint": ["-c"], "Cmd": ["evil"]});
    assert_eq!(launch(&spec("example.test/fixed", evil.clone(), &[])).unwrap().arguments, ["--on"]);
    assert_eq!(launch(&spec("sensor", evil.clone(), &[])).unwrap().arguments, ["module", "sensor"]);
    assert_eq!(launch(&spec("open", evil, &[])).unwrap().arguments, ["-c", "evil"]);
}

#[test]
fn the_environment_is_the_deployments_over_a_few_of_our_own_and_loads_no_code() {
    let options = json!({"Env": ["A=options", "B=options", "LD_PRELOAD=/evil.so"]});
    let env = [
        ("A", "spec"),
        ("NODE_OPTIONS", "--import data:,"),
        ("PYTHONPATH", "/evil"),
        ("PYTHONUNBUFFERED", "1"),
        ("path", "/evil"),
        ("IRONBROOK_STATE_DIR", "/evil"),
        ("IOTEDGE_MODULEID", "m"),
        ("TZ", "UTC"),
    ];
    let launch = launch(&spec("sensor", options, &env)).unwrap();
    let get = |name: &str| launch.env.get(name).map(String::as_str);
    assert_eq!((get("A"), get("B"), get("TZ")), (Some("spec"), Some("options"), Some("UTC")));
    assert_eq!((get("IOTEDGE_MODULEID"), get("PYTHONUNBUFFERED")), (Some("m"), Some("1")));
    assert_eq!(get("IRONBROOK_STATE_DIR"), Some("/data/m/state"));
    assert_eq!(get("PATH").map(str::to_owned), std::env::var("PATH").ok());
    for dropped in ["LD_PRELOAD", "NODE_OPTIONS", "PYTHONPATH", "path"] {
        assert_eq!(get(dropped), None, "{dropped}");
        assert!(launch.dropped.iter().any(|name| name == dropped));
    }
    assert!(!launch.env.keys().any(|name| name.starts_with("CARGO")), "our own environment stays with us");
}

#[test]
fn variables_that_no_process_can_have_are_refused() {
    for (name, value) in [("", "1"), ("A=B", "1"), ("A\0", "1"), ("A", "\0")] {
        assert!(matches!(
            launch(&spec("sensor", json!({}), &[(name, value)])),
            Err(RuntimeError::CreateOptions { .. })
        ));
    }
    assert!(matches!(launch(&spec("sensor", json!("x"), &[])), Err(RuntimeError::CreateOptions { .. })));
}
