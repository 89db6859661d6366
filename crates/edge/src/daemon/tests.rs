use super::testing::{World, ask, config};
use super::*;
use http::{Method, StatusCode};
use serde_json::Value;

#[tokio::test]
async fn a_module_is_told_all_that_stock_clients_read() {
    let world = World::new();
    let ModuleEnvironment { variables, socket } = world.daemon.add_module("m").await.unwrap();
    let get = |name: &str| &variables.iter().find(|(n, _)| n == name).unwrap().1;
    for (name, value) in [
        ("IOTEDGE_APIVERSION", "2022-08-03"),
        ("IOTEDGE_AUTHSCHEME", "sasToken"),
        ("IOTEDGE_DEVICEID", "edge-1"),
        ("IOTEDGE_MODULEID", "m"),
        ("IOTEDGE_MODULEGENERATIONID", "g3"),
        ("IOTEDGE_IOTHUBHOSTNAME", "hub.example.test"),
        ("IOTEDGE_GATEWAYHOSTNAME", "gateway.example.test"),
    ] {
        assert_eq!(get(name), value, "{name}");
    }
    assert_eq!(get("IOTEDGE_WORKLOADURI"), &format!("unix://{}", socket.display()));
    assert_eq!(world.daemon.add_module("m").await.unwrap().socket, socket, "adding twice changes nothing");
    let system = world.daemon.add_module("edgeHub").await.unwrap();
    assert!(system.variables.contains(&("IOTEDGE_MODULEID".to_owned(), "$edgeHub".to_owned())));
    assert_eq!(world.daemon.add_module("$edgeHub").await.unwrap().socket, system.socket);
}

#[tokio::test]
async fn sockets_come_and_go_with_their_modules() {
    let world = World::new();
    let first = world.daemon.add_module("m").await.unwrap().socket;
    let management = world.daemon.management_socket().to_owned();
    world.daemon.remove_module("m");
    assert!(!first.exists());
    let again = world.daemon.add_module("m").await.unwrap().socket;
    assert_eq!(again, first);
    assert_eq!(ask(&again, Method::GET, "/trust-bundle", Value::Null).await.0, StatusCode::OK);
    let stop = CancellationToken::new();
    stop.cancel();
    world.daemon.run(stop).await;
    assert!(!again.exists() && !management.parent().unwrap().exists());
}

#[tokio::test]
async fn a_second_daemon_on_a_folder_is_refused_and_a_killed_one_is_not_in_the_way() {
    let world = World::new();
    let open =
        || Daemon::open(config(world.folder.path()), world.registry.clone(), Arc::new(world.clock.clone()));
    let second = open().err().unwrap().to_string();
    assert!(second.contains("another process"), "{second}");
    let (folder, registry) = (world.folder, world.registry);
    let socket = world.daemon.management_socket().to_owned();
    let stop = CancellationToken::new();
    stop.cancel();
    world.daemon.run(stop).await;
    // What `kill -9` leaves.
    files::make_folder(socket.parent().unwrap()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let again = World::in_folder(folder, registry);
    assert_eq!(again.daemon.management_socket(), socket);
}

#[tokio::test]
async fn sockets_end_with_the_last_handle() {
    let world = World::new();
    let socket = world.daemon.add_module("m").await.unwrap().socket;
    let tracker = world.daemon.inner.tracker.clone();
    drop(world.daemon);
    tracker.close();
    tokio::time::timeout(Duration::from_secs(60), tracker.wait()).await.unwrap();
    assert!(!socket.exists());
}
