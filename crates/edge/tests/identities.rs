//! The daemon against a whole hub: module identities that the hub then believes, signed for through the workload socket.

#![allow(clippy::unwrap_used, reason = "what the tests share fails as they do")]

use ironbrook_client::{Builder, DeviceRegistryClient, Message, Workload};
use ironbrook_edge::daemon::{Config, Daemon, Error};
use ironbrook_hub::seams::SystemClock;
use ironbrook_log::Memory;
use ironbrook_model::{ConnectionString, DeviceId, Identity, ModuleId};
use ironbrook_testkit::{Node, Place};
use std::path::Path;
use std::sync::Arc;

const SEED: &str = r#"{"devices": [{"deviceId": "edge-1", "iotEdge": true}]}"#;

/// A daemon of a device whose connection string is `text`.
fn open(node: &Node, text: &str, folder: &Path) -> Daemon {
    let registry = DeviceRegistryClient::builder(text).unwrap().trust(node.trust()).address(node.address());
    let parts = ConnectionString::parse(text).unwrap();
    let config = Config {
        hub_host: parts.require("HostName").unwrap().to_owned(),
        device: DeviceId::new("edge-1").unwrap(),
        device_key: parts.require_key("SharedAccessKey").unwrap(),
        gateway_host: "localhost".to_owned(),
        names: Vec::new(),
        extra_trust: None,
        data_dir: folder.to_owned(),
        runtime_dir: Some(folder.to_owned()),
    };
    Daemon::open(config, Arc::new(registry.build().unwrap()), Arc::new(SystemClock)).unwrap()
}

#[tokio::test]
async fn a_module_that_the_daemon_made_connects_with_what_its_socket_signs() {
    let node = Node::start_at(Arc::new(Memory::new()), SEED, &Place::default()).await.unwrap();
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let daemon = open(&node, node.connection_string("edge-1"), folder.path());
    for name in ["m", "edgeHub"] {
        let environment = daemon.add_module(name).await.unwrap();
        let get = |name: &str| environment.variables.iter().find(|(n, _)| n == name).unwrap().1.clone();
        let module = ModuleId::new(get("IOTEDGE_MODULEID")).unwrap();
        let workload = Workload::new(
            &get("IOTEDGE_WORKLOADURI"),
            &get("IOTEDGE_APIVERSION"),
            module.clone(),
            &get("IOTEDGE_MODULEGENERATIONID"),
        )
        .unwrap();
        assert_eq!(workload.trust_bundle().await.unwrap(), *daemon.trust_bundle_pem());
        let identity = Identity::module(DeviceId::new("edge-1").unwrap(), module);
        let client = Builder::with_signer("localhost", identity, Arc::new(workload))
            .trust(node.trust())
            .address(node.address())
            .connect()
            .await
            .unwrap();
        client.send(Message::new(name)).await.unwrap();
        client.close().await.unwrap();
    }
    let modules = daemon.identities().await.unwrap();
    let mut names: Vec<&str> = modules.iter().map(|module| module.module_id.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["$edgeAgent", "$edgeHub", "m"]);
    assert!(modules.iter().all(|module| module.is_managed_here()));
    daemon.remove_identity("m").await.unwrap();
    daemon.remove_identity("m").await.unwrap();
    assert_eq!(daemon.identities().await.unwrap().len(), 2);

    // Without the hub what is known goes on, and what is not waits.
    node.stop().await;
    daemon.ensure_identity("edgeHub").await.unwrap();
    assert!(matches!(daemon.ensure_identity("m").await, Err(Error::NoIdentity(_))));
}

#[tokio::test]
async fn a_wrong_device_key_is_said_clearly() {
    let node = Node::start_at(Arc::new(Memory::new()), SEED, &Place::default()).await.unwrap();
    let text = "HostName=localhost;DeviceId=edge-1;SharedAccessKey=Y2FuYXJ5";
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let daemon = open(&node, text, folder.path());
    let error = daemon.ensure_identity("m").await.unwrap_err().to_string();
    assert!(error.contains("the hub refuses the device's credential") && !error.contains("Y2Fu"), "{error}");
    node.stop().await;
}
