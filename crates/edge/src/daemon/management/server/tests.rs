use super::*;
use crate::daemon::management::{Client, ClientError, ModuleStatusProvider};
use crate::daemon::testing::{World, ask, now};
use async_trait::async_trait;
use http::Method;
use std::sync::Mutex;

/// An agent and a runtime with the modules `m` and `edgeHub`, of which the second has no log.
#[derive(Default)]
struct Fake {
    lines: Mutex<Vec<LogLine>>,
    restarted: Mutex<Vec<String>>,
}

impl Fake {
    fn write(&self, text: &str) {
        let mut lines = self.lines.lock().unwrap();
        let position = lines.len() as u64 + 1;
        lines.push(LogLine { time: now(), position, text: text.to_owned() });
    }
}

#[async_trait]
impl ModuleStatusProvider for Fake {
    fn modules(&self) -> Vec<ModuleStatus> {
        let status = |name: &str, status: &str, exit_code: Option<i64>| ModuleStatus {
            name: name.to_owned(),
            status: status.to_owned(),
            description: "Up 2 minutes".to_owned(),
            image: format!("r.test/{name}:1"),
            started: Some(now()),
            exited: exit_code.map(|_| now()),
            exit_code,
        };
        vec![status("m", "failed", Some(3)), status("edgeHub", "running", None)]
    }

    async fn restart(&self, name: &str) -> Result<(), RestartError> {
        match name {
            "m" => self.restarted.lock().unwrap().push(name.to_owned()),
            "edgeHub" => return Err(RestartError::Refused("it is built in".to_owned())),
            _ => return Err(RestartError::NotFound(name.to_owned())),
        }
        Ok(())
    }
}

#[async_trait]
impl ModuleLogs for Fake {
    async fn lines(&self, name: &str, query: LogQuery) -> Result<Vec<LogLine>, RuntimeError> {
        if name != "m" {
            return Err(RuntimeError::NotFound(name.to_owned()));
        }
        let lines = self.lines.lock().unwrap();
        let after = query.after.unwrap_or(0);
        let lines = lines.iter().filter(|line| line.position > after).cloned().collect::<Vec<_>>();
        let skipped = query.tail.map_or(0, |tail| lines.len().saturating_sub(tail));
        Ok(lines[skipped..].to_vec())
    }
}

fn world() -> (World, Arc<Fake>, Client) {
    let (world, fake) = (World::new(), Arc::new(Fake::default()));
    world.daemon.set_modules(fake.clone());
    world.daemon.set_logs(fake.clone());
    let client = Client::for_data_dir(world.folder.path()).unwrap();
    (world, fake, client)
}

async fn text(logs: &mut crate::daemon::management::Logs) -> String {
    let next = tokio::time::timeout(Duration::from_secs(60), logs.next()).await.expect("no line came");
    String::from_utf8(next.unwrap().unwrap_or_default()).unwrap()
}

#[tokio::test]
async fn modules_are_listed_in_the_stock_form_and_sorted_for_people() {
    let (world, _fake, client) = world();
    let (status, body) = ask(world.daemon.management_socket(), Method::GET, "/modules/m", Value::Null).await;
    let expected = json!({
        "id": "m", "name": "m", "type": "docker",
        "config": {"settings": {"image": "r.test/m:1", "imageHash": "", "createOptions": {}}, "env": []},
        "status": {
            "startTime": now().to_string(),
            "exitStatus": {"exitTime": now().to_string(), "statusCode": "3"},
            "runtimeStatus": {"status": "failed", "description": "Up 2 minutes"},
        },
    });
    assert_eq!((status, body), (StatusCode::OK, expected));
    let modules = client.modules().await.unwrap();
    assert_eq!(modules.iter().map(|module| module.name.as_str()).collect::<Vec<_>>(), ["edgeHub", "m"]);
    assert_eq!((&*modules[1].status, &*modules[1].config), ("failed", "r.test/m:1"));
    let error = client.module("none").await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 404, .. }), "{error}");
    assert_eq!(client.system_info().await.unwrap()["osType"], "linux");
}

#[tokio::test]
async fn a_restart_is_passed_on_and_refusals_say_why() {
    let (_world, fake, client) = world();
    client.restart("m").await.unwrap();
    assert_eq!(*fake.restarted.lock().unwrap(), ["m"]);
    assert_eq!(client.restart("edgeHub").await.unwrap_err().to_string(), "it is built in");
    assert!(matches!(client.restart("x/y").await, Err(ClientError::Refused { status: 404, .. })));
}

#[tokio::test]
async fn a_log_is_read_from_its_end_and_followed() {
    let (world, fake, client) = world();
    ["one", "two", "three"].iter().for_each(|line| fake.write(line));
    let tail = LogQuery { tail: Some(2), since: Some(now()), ..LogQuery::default() };
    let mut logs = client.logs("m", tail, false).await.unwrap();
    assert_eq!(text(&mut logs).await, "two\nthree\n");
    assert_eq!(logs.next().await.unwrap(), None);

    let mut logs = client.logs("m", LogQuery { tail: Some(1), ..LogQuery::default() }, true).await.unwrap();
    assert_eq!(text(&mut logs).await, "three\n");
    fake.write("four");
    let next = text(&mut logs);
    tokio::pin!(next);
    // Nobody tells when the follower begins to wait, so time goes on until the line is there.
    let next = loop {
        tokio::select! {
            biased;
            next = &mut next => break next,
            () = tokio::task::yield_now() => world.clock.advance(FOLLOW_EVERY),
        }
    };
    assert_eq!(next, "four\n");
}

#[tokio::test]
async fn logs_that_are_not_there_are_explained() {
    let (world, _fake, client) = world();
    let refused = client.logs("edgeHub", LogQuery::default(), false).await.unwrap_err().to_string();
    assert!(refused.contains("inside ironbrook"), "{refused}");
    assert!(client.logs("none", LogQuery::default(), false).await.is_err());
    let socket = world.daemon.management_socket();
    for query in ["tail=x", "since=x", "until="] {
        let path = format!("/modules/m/logs?api-version=2018-06-28&{query}");
        let (status, _) = crate::daemon::testing::ask_raw(socket, Method::GET, &path, "").await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test]
async fn without_an_agent_or_a_daemon_that_is_said() {
    let world = World::new();
    let client = Client::for_data_dir(world.folder.path()).unwrap();
    assert!(matches!(client.modules().await, Err(ClientError::Refused { status: 503, .. })));
    let none = tempfile::tempdir().unwrap();
    let error = Client::for_data_dir(none.path()).unwrap_err().to_string();
    assert!(error.contains("ironbrook edge run"), "{error}");
}
