use super::*;
use crate::config::Config;

fn settings(text: &str) -> anyhow::Result<assembly::Config> {
    let config: Config = toml::from_str(text)?;
    of(&config)
}

fn of(config: &Config) -> anyhow::Result<assembly::Config> {
    let ports = crate::dev::listen::Ports::choose(&config.listen);
    crate::dev::hub::settings(config, vec!["localhost".to_owned()], &ports)
}

#[test]
fn every_type_of_endpoint_becomes_one_of_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let secret = file("secret", "canary\nmore\n");
    let hub = file("hub", "Endpoint=sb://ns/;SharedAccessKeyName=p;SharedAccessKey=Y2FuYXJ5;EntityPath=e\n");
    let azure = file(
        "azure.json",
        r#"{"properties": {"routing": {
            "endpoints": {"storageContainers": [{"name": "cold", "containerName": "c", "encoding": "json",
                "fileNameFormat": "{iothub}/{partition}/{YYYY}/{MM}/{DD}/{HH}/{mm}", "batchFrequencyInSeconds": 60,
                "maxChunkSizeInBytes": 10485760, "id": "x", "resourceGroup": "g"}],
                "eventHubs": [], "serviceBusQueues": [], "serviceBusTopics": []},
            "routes": [{"name": "all", "source": "DeviceMessages", "condition": "true", "endpointNames": ["cold"],
                "isEnabled": true}],
            "fallbackRoute": {"source": "DeviceMessages", "isEnabled": false, "endpointNames": ["events"]},
            "enrichments": [{"key": "hub", "value": "$iothubname", "endpointNames": ["cold"]}]}}}"#,
    );
    let text = format!(
        r#"
[routing]
dev_routes = false
azure_file = "{azure}"
[[routing.endpoints]]
type = "storage"
name = "local"
container = "telemetry"
folder = "/data"
batch_seconds = 10
[[routing.endpoints]]
type = "storage"
name = "bucket"
container = "telemetry"
s3 = {{ endpoint = "http://127.0.0.1:9000", access_key_id = "k", secret_access_key_file = "{secret}", allow_http = true }}
[[routing.endpoints]]
type = "webhook"
name = "hook"
url = "https://example.test/in?code=canary"
format = "single"
headers = {{ "X-Key" = "canary" }}
authorization_file = "{secret}"
signing_key_file = "{secret}"
batch = {{ messages = 10, seconds = 1.5 }}
[[routing.endpoints]]
type = "event-hub"
name = "hub"
connection_string_file = "{hub}"
[[routing.endpoints]]
type = "mqtt"
name = "broker"
url = "mqtt://user@127.0.0.1:1883"
topic = "plant/{{device}}"
version = "3.1.1"
qos = 2
password_file = "{secret}"
[[routing.routes]]
name = "hot"
condition = "level = 'hot'"
endpoints = ["hook", "hub"]
[[routing.enrichments]]
key = "site"
value = "$twin.tags.site"
endpoints = ["hook"]
"#
    );
    let config: Config = toml::from_str(&text).unwrap();
    assert!(!format!("{config:?}").contains("canary"), "{config:?}");
    assert_eq!(toml::from_str::<Config>(&config.to_toml().unwrap()).unwrap(), config);
    let settings = of(&config).unwrap();
    assert!(!format!("{settings:?}").contains("canary"), "{settings:?}");
    let stores: Vec<_> = settings.storage_endpoints.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(stores, ["local", "bucket", "cold"]);
    let others: Vec<_> = settings.routing.endpoints.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(others, ["hook", "hub", "broker"]);
    let routes: Vec<_> = settings.routes.iter().map(|r| r.name.as_str()).collect();
    assert_eq!((routes, settings.fallback_route), (vec!["hot", "all"], false));
    assert_eq!(settings.routing.enrichments.len(), 2);
    let EndpointKind::Webhook(hook) = &settings.routing.endpoints[0].kind else { panic!("a web hook") };
    assert_eq!((hook.gather.messages, hook.gather.delay), (10, Duration::from_millis(1500)));
}

#[test]
fn without_a_section_dev_has_its_own_routes() {
    let settings = settings("").unwrap();
    assert_eq!((settings.routes.len(), settings.storage_endpoints.len()), (3, 2));
    assert!(settings.fallback_route && settings.routing.endpoints.is_empty());
}

#[test]
fn what_cannot_be_is_told_with_the_name_of_the_endpoint() {
    let endpoint = |rest: &str| format!("[[routing.endpoints]]\nname = 'e1'\n{rest}");
    for (rest, wanted) in [
        ("type = 'webhook'\nurl = 'x'\nsigning_key_file = '/nowhere/key'", "/nowhere/key"),
        ("type = 'mqtt'\nurl = 'mqtt://h'\ntopic = 'a/#'", "topic"),
        ("type = 'mqtt'\nurl = 'mqtt://h'\ntopic = 'a'\nqos = 3", "qos"),
        ("type = 'storage'\ncontainer = 'c'\nbatch_seconds = -1", "batch_seconds"),
        ("type = 'storage'\ncontainer = 'c'\nfolder = '/x'\nconnection_string_file = '/y'", "only one of"),
    ] {
        let error = settings(&endpoint(rest)).unwrap_err().to_string();
        assert!(error.contains("e1") && error.contains(wanted), "{error}");
    }
    for unknown in ["type = 'queue'", "type = 'webhook'\nurl = 'x'\nulr = 'y'"] {
        assert!(settings(&endpoint(unknown)).is_err(), "{unknown}");
    }
}
