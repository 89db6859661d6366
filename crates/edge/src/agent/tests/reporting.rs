//! The reported document.

use super::super::reported::{DeploymentStatus, Report};
use super::super::view::View;
use super::{Bench, deployment, module};
use ironbrook_hub::seams::Clock as _;
use ironbrook_model::twin::{Object, Twin};
use serde_json::{Value, json};
use std::time::Duration;

fn document(deployed: &super::super::records::Deployment, view: &View, ending: bool) -> Object {
    let status = if ending { DeploymentStatus::shutdown() } else { DeploymentStatus::new(200, "") };
    Report {
        version: "1.2.3",
        agent_image: "none",
        started: ironbrook_model::Timestamp::from_secs(0),
        desired_version: deployed.version,
        status: &status,
        deployed: Some(&deployed.desired),
        view,
        ending,
    }
    .document()
}

#[tokio::test]
async fn the_report_has_the_stock_shape_rule_agent_09() {
    let bench = Bench::new();
    let mut engine = bench.engine(0).await;
    let modules = json!({"m": module("r/m:1", json!({"version": "1.0", "env": {"A": {"value": 5}}}))});
    let deployed = deployment(5, &modules);
    bench.turn(&mut engine, &deployed).await;
    bench.clock.advance(Duration::from_secs(60));
    bench.runtime.exit("m", 3);
    bench.clock.advance(Duration::from_secs(10));
    let turned = bench.turn(&mut engine, &deployed).await;
    let report = Value::Object(document(&deployed, &turned.view, false));
    let golden = json!({
        "schemaVersion": "1.0",
        "version": {"version": "1.2.3", "build": "", "commit": ""},
        "lastDesiredVersion": 5,
        "lastDesiredStatus": {"code": 200, "description": ""},
        "runtime": {
            "type": "docker",
            "settings": {"minDockerVersion": "v1.25", "loggingOptions": "",
                "registryCredentials": {"r": {"username": "u", "address": "r.example"}}},
            "platform": {"os": std::env::consts::OS, "architecture": std::env::consts::ARCH, "version": "1.2.3"},
        },
        "systemModules": {
            "edgeAgent": {
                "type": "docker", "imagePullPolicy": "on-create", "startupOrder": 0,
                "settings": {"image": "r/azureiotedge-agent:1.5", "createOptions": "{}", "imageHash": ""},
                "env": {}, "exitCode": 0, "statusDescription": "running",
                "lastStartTimeUtc": "1970-01-01T00:00:00.0000000Z", "lastExitTimeUtc": "0001-01-01T00:00:00",
                "runtimeStatus": "running",
            },
            "edgeHub": {
                "type": "docker", "status": "running", "restartPolicy": "always", "imagePullPolicy": "on-create",
                "settings": {"image": "r/azureiotedge-hub:1.5", "createOptions": "{}", "imageHash": ""},
                "env": {}, "exitCode": 0, "statusDescription": "running",
                "lastStartTimeUtc": "1970-01-01T00:00:00.0000000Z", "lastExitTimeUtc": "0001-01-01T00:00:00",
                "restartCount": 0, "lastRestartTimeUtc": "0001-01-01T00:00:00", "runtimeStatus": "running",
            },
        },
        "modules": {
            "m": {
                "version": "1.0", "type": "docker", "status": "running", "restartPolicy": "always",
                "imagePullPolicy": "on-create",
                "settings": {"image": "r/m:1", "createOptions": "{}", "imageHash": ""},
                "env": {"A": {"value": "5"}}, "exitCode": 0, "statusDescription": "running",
                "lastStartTimeUtc": "2026-01-31T09:01:10.0000000Z",
                "lastExitTimeUtc": "2026-01-31T09:01:00.0000000Z",
                "restartCount": 1, "lastRestartTimeUtc": "2026-01-31T09:01:10.0000000Z",
                "runtimeStatus": "running",
            },
        },
    });
    assert_eq!(report, golden);
    let last = Value::Object(document(&deployed, &turned.view, true));
    assert_eq!(last["lastDesiredStatus"]["code"], 406);
    for status in ["/systemModules/edgeAgent", "/systemModules/edgeHub", "/modules/m"] {
        assert_eq!(last.pointer(status).unwrap()["runtimeStatus"], "unknown");
    }
}

#[tokio::test]
async fn a_stopped_edge_hub_is_told_to_be_built_in() {
    let mut deployed = deployment(1, &json!({}));
    deployed.desired.system.hub.as_mut().unwrap().status = crate::manifest::DesiredStatus::Stopped;
    let report = Value::Object(document(&deployed, &View::default(), false));
    let hub = &report["systemModules"]["edgeHub"];
    assert_eq!((&hub["status"], &hub["runtimeStatus"]), (&json!("stopped"), &json!("running")));
    assert!(hub["statusDescription"].as_str().unwrap().contains("built into this process"));
}

#[tokio::test]
async fn a_report_always_fits_the_twin() {
    let bench = Bench::new();
    let mut engine = bench.engine(0).await;
    let entry = || module("r/m:1", json!({"env": {"A": {"value": "x".repeat(500)}}}));
    let modules: Object = (0..45).map(|n| (format!("module-{n}"), entry())).collect();
    let deployed = deployment(1, &Value::Object(modules));
    let turned = bench.turn(&mut engine, &deployed).await;
    let report = Value::Object(document(&deployed, &turned.view, false)).to_string();
    let mut twin = Twin::default();
    twin.patch_reported(report.as_bytes(), bench.clock.now()).unwrap();
    assert_eq!(twin.reported.values["modules"].as_object().unwrap().len(), 45);
}
