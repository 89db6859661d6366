//! Definitions as the service and its editors write them.

use super::*;
use crate::Query;
use crate::format::{Compression, Decimal, Delimiter, InputSerialization, JsonLayout, OutputFormat};
use std::collections::BTreeMap;

const RESOURCE: &str = r#"{
    "id": "/subscriptions/0/resourceGroups/plant/providers/Microsoft.StreamAnalytics/streamingjobs/alerts",
    "name": "alerts", "type": "Microsoft.StreamAnalytics/streamingjobs", "location": "West Europe",
    "properties": {
        "sku": {"name": "Standard"}, "jobType": "Cloud",
        "eventsOutOfOrderPolicy": "Drop", "eventsOutOfOrderMaxDelayInSeconds": 7,
        "eventsLateArrivalMaxDelayInSeconds": 60, "outputErrorPolicy": "Drop",
        "dataLocale": "de-DE", "compatibilityLevel": "1.2",
        "inputs": [
            {"name": "readings", "properties": {"type": "Stream",
                "datasource": {"type": "Microsoft.Devices/IotHubs", "properties": {
                    "iotHubNamespace": "plant-hub", "endpoint": "messages/events",
                    "sharedAccessPolicyName": "iothubowner", "sharedAccessPolicyKey": "c2VjcmV0",
                    "consumerGroupName": "asa"}},
                "compression": {"type": "GZip"},
                "serialization": {"type": "Json", "properties": {"encoding": "UTF8"}}}},
            {"name": "limits", "properties": {"type": "Reference",
                "datasource": {"type": "Microsoft.Storage/Blob", "properties": {
                    "storageAccounts": [{"accountName": "plant", "accountKey": "c2VjcmV0"}],
                    "container": "ref", "pathPattern": "limits/{date}/{time}/limits.csv",
                    "dateFormat": "yyyy/MM/dd", "timeFormat": "HH"}},
                "serialization": {"type": "Csv", "properties": {"fieldDelimiter": ";", "encoding": "UTF8"}}}}],
        "transformation": {"name": "t", "properties": {"streamingUnits": 3, "query":
            "SELECT r.id, udf.twice(r.value) AS twice INTO files FROM readings r JOIN limits l ON r.id = l.id"}},
        "outputs": [
            {"name": "files", "properties": {
                "timeWindow": "00:01:00", "sizeWindow": 2000,
                "datasource": {"type": "Microsoft.Storage/Blob", "properties": {
                    "storageAccounts": [{"accountName": "plant"}], "container": "out"}},
                "serialization": {"type": "Csv", "properties": {"fieldDelimiter": "\t"}}}},
            {"name": "board", "properties": {"datasource": {"type": "PowerBI", "properties": {"table": "t"}}}}],
        "functions": [
            {"name": "twice", "properties": {"type": "Scalar", "properties": {
                "inputs": [{"dataType": "any"}], "output": {"dataType": "any"},
                "binding": {"type": "Microsoft.StreamAnalytics/JavascriptUdf",
                    "properties": {"script": "function main(x) { return 2 * x; }"}}}}},
            {"name": "score", "properties": {"type": "Scalar", "properties": {
                "binding": {"type": "Microsoft.MachineLearning/WebService", "properties": {}}}}}]}}"#;

#[test]
fn the_resource_becomes_a_job() {
    let job = Job::parse(RESOURCE).unwrap();
    assert_eq!(
        (job.name.as_str(), job.level, job.compatibility),
        ("alerts", Level::Extended, Compatibility::V1_2)
    );
    let policies = job.policies();
    assert_eq!(
        (policies.late_arrival, policies.out_of_order),
        (Duration::from_secs(60), Duration::from_secs(7))
    );
    assert_eq!((policies.on_violation, job.on_output_error), (OnViolation::Drop, OnOutputError::Drop));
    let readings = job.input("READINGS").unwrap();
    assert_eq!(
        readings.datasource.kind,
        DatasourceKind::IotHub {
            hub: "plant-hub".into(),
            endpoint: "messages/events".into(),
            consumer_group: "asa".into()
        }
    );
    assert_eq!(readings.format.compression, Compression::GZip);
    let limits = job.input("limits").unwrap();
    assert_eq!(limits.kind, InputKind::Reference);
    let csv = InputSerialization::Csv { delimiter: Delimiter::Semicolon, header: true };
    assert_eq!(job.formats().of("limits").serialization, csv);
    let DatasourceKind::Blob(container) = &limits.datasource.kind else { panic!("{limits:?}") };
    assert_eq!((container.account.as_str(), container.container.as_str()), ("plant", "ref"));
    let files = job.output("files").unwrap();
    assert_eq!(files.format, OutputFormat::Csv { delimiter: Delimiter::Tab, decimal: Decimal::Comma });
    assert_eq!(files.batching, Batching { rows: Some(2000), time: Some(Duration::from_secs(60)) });
    let board = job.output("board").unwrap();
    assert_eq!((board.datasource.ty.as_str(), &board.datasource.kind), ("PowerBI", &DatasourceKind::Other));
    assert_eq!(board.datasource.properties.text("Table"), Some("t"));
    let notes: Vec<_> = job.notes.iter().map(|note| note.path.as_str()).collect();
    assert_eq!(
        notes,
        [
            "properties.outputs[1].properties.datasource",
            "properties.functions[1].properties.properties.binding"
        ]
    );
    Query::compile(&job.query, &job.options().unwrap()).unwrap();
    assert!(!format!("{job:?}").contains("c2VjcmV0"), "keys do not show");
}

#[test]
fn a_template_becomes_the_same_job() {
    let mut resource: serde_json::Value = serde_json::from_str(RESOURCE).unwrap();
    let inside = serde_json::json!({"$schema": "…", "resources": [resource]});
    let whole = Job::parse(RESOURCE).unwrap();
    assert_eq!(Job::parse(&inside.to_string()).unwrap(), whole);

    // As the portal exports it: every part by itself, under the job's name.
    let properties = resource["properties"].as_object_mut().unwrap();
    let mut parts = Vec::new();
    for kind in ["inputs", "outputs", "functions"] {
        for part in properties.remove(kind).unwrap().as_array().unwrap() {
            let name = format!("[concat(parameters('job_name'), '/{}')]", part["name"].as_str().unwrap());
            parts.push(serde_json::json!({"type": format!("Microsoft.StreamAnalytics/streamingjobs/{kind}"),
                "name": name, "properties": part["properties"]}));
        }
    }
    let transformation = properties.remove("transformation").unwrap();
    parts.push(serde_json::json!({"type": "Microsoft.StreamAnalytics/streamingjobs/transformations",
        "name": "alerts/t", "properties": transformation["properties"]}));
    resource["name"] = "[parameters('job_name')]".into();
    parts.insert(0, resource);
    let template = serde_json::json!({"parameters": {"job_name": {"defaultValue": "alerts", "type": "String"}},
        "resources": parts});
    assert_eq!(Job::parse(&template.to_string()).unwrap(), whole);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let message = |from: &str, to: &str| {
        let text = RESOURCE.replace(from, to);
        assert_ne!(text, RESOURCE, "{from}");
        Job::parse(&text).unwrap_err().to_string()
    };
    assert_eq!(
        message(r#""type": "Stream""#, r#""type": "River""#),
        "properties.inputs[0].properties.type is River; it can be Stream or Reference"
    );
    assert_eq!(
        message(r#""GZip""#, r#""Zip""#),
        "properties.inputs[0].properties.compression.type is Zip; it can be None, GZip or Deflate"
    );
    assert_eq!(
        message(r#""fieldDelimiter": ";""#, r#""fieldDelimiter": "::""#),
        "properties.inputs[1].properties.serialization.properties.fieldDelimiter is \"::\"; it can be a comma, a \
         semicolon, a space, a tab or a vertical bar"
    );
    assert_eq!(
        message(r#""name": "limits""#, r#""name": "Readings""#),
        "inputs[1].name is Readings as another one before it; names are equal ignoring case: rename one"
    );
    assert_eq!(
        message(r#""timeWindow": "00:01:00""#, r#""timeWindow": "soon""#),
        "properties.outputs[0].properties.timeWindow is soon; it can be a duration, as 00:01:00"
    );
    assert_eq!(
        message(r#""eventsOutOfOrderMaxDelayInSeconds": 7"#, r#""eventsOutOfOrderMaxDelayInSeconds": "x""#),
        "properties.eventsOutOfOrderMaxDelayInSeconds is a text, it must be a whole number"
    );
    assert_eq!(
        message(r#""name": "files", "#, ""),
        "properties.outputs[0].name is missing; it is what the query calls the output"
    );
    assert!(matches!(Job::parse("{}"), Err(JobError::NoJob)));
    assert!(matches!(Job::parse("{"), Err(JobError::Json { .. })));
    let two = format!(r#"{{"resources": [{RESOURCE}, {RESOURCE}]}}"#);
    assert!(matches!(Job::parse(&two), Err(JobError::SeveralJobs { count: 2, .. })));
}

#[test]
fn older_and_unlimited_settings_are_read() {
    let job = |settings: &str| {
        let text = format!(
            r#"{{"properties":{{{settings}"transformation":{{"properties":{{"query":"SELECT 1"}}}}}}}}"#
        );
        Job::parse(&text).unwrap()
    };
    let plain = job("");
    assert_eq!((plain.ordering, plain.on_output_error), (Ordering::default(), OnOutputError::Retry));
    let old =
        job(r#""EventsLateArrivalMaxDelayInSeconds": -1, "OutputErrorPolicy": "Stop", "jobType": "edge","#);
    assert_eq!(old.ordering.late_arrival, Duration::from_secs(20 * 86_400 - 1));
    assert_eq!((old.level, old.on_output_error), (Level::default(), OnOutputError::Retry));
}

fn project(files: &[(&str, &str)]) -> Result<Job, JobError> {
    let files: BTreeMap<&str, &str> = files.iter().copied().collect();
    Job::from_project(files["asaproj.json"], |path| {
        files.get(path).map(|text| (*text).to_owned()).ok_or_else(|| "there is no such file".to_owned())
    })
}

const PROJECT: [(&str, &str); 8] = [
    (
        "asaproj.json",
        r#"{"name": "alerts", "startFile": "alerts.asaql", "configurations": [
            {"filePath": "JobConfig.json", "subType": "JobConfig"},
            {"filePath": "Inputs\\readings.json", "subType": "Input"},
            {"filePath": "Inputs\\local_readings.json", "subType": "InputMock"},
            {"filePath": "Inputs\\local_limits.json", "subType": "InputMock"},
            {"filePath": "Outputs\\files.json", "subType": "Output"},
            {"filePath": "Functions\\twice.js", "subType": "JavaScript"}]}"#,
    ),
    ("alerts.asaql", "SELECT udf.twice(value) AS twice INTO files FROM readings"),
    (
        "JobConfig.json",
        r#"{"ScriptType": "JobConfig", "DataLocale": "en-US", "OutputErrorPolicy": "Retry",
            "EventsLateArrivalMaxDelayInSeconds": 5, "EventsOutOfOrderMaxDelayInSeconds": 1,
            "EventsOutOfOrderPolicy": "Adjust", "StreamingUnits": 3, "CompatibilityLevel": "1.2"}"#,
    ),
    (
        "Inputs/readings.json",
        r#"{"Name": "readings", "Type": "Data Stream", "DataSourceType": "Event Hub",
            "EventHubProperties": {"ConsumerGroupName": null, "EventHubName": "e", "ServiceBusNamespace": "n",
                "SharedAccessPolicyKey": null},
            "BlobStorageProperties": null,
            "Serialization": {"Encoding": "UTF8", "Type": "Avro", "FieldDelimiter": null, "Format": null},
            "CompresssionType": "None", "ScriptType": "Input"}"#,
    ),
    (
        "Inputs/local_readings.json",
        r#"{"InputAlias": "readings", "Type": "Data Stream", "Format": "Json", "FilePath": "..\\data\\readings.json",
            "ScriptType": "InputMock"}"#,
    ),
    (
        "Inputs/local_limits.json",
        "\u{feff}{\"InputAlias\": \"limits\", \"Type\": \"Reference Data\", \"Format\": \"Csv\", \"FilePath\": \"l.csv\"}",
    ),
    (
        "Outputs/files.json",
        r#"{"Name": "files", "DataSourceType": "Blob Storage", "BlobStorageProperties": {"Container": "out",
            "PathPattern": "{date}", "StorageAccounts": [{"AccountName": "plant", "AccountKey": null}]},
            "Serialization": {"Type": "Json", "Format": "Array"}, "MinimumRows": 10, "MaximumTime": "00:05:00"}"#,
    ),
    ("Functions/twice.js", "function twice(x) { return 2 * x; }"),
];

#[test]
fn a_project_becomes_a_job() {
    let job = project(&PROJECT).unwrap();
    assert_eq!((job.name.as_str(), job.ordering.out_of_order), ("alerts", Duration::from_secs(1)));
    let readings = job.input("readings").unwrap();
    let hub = DatasourceKind::EventHub {
        namespace: "n".into(),
        hub: "e".into(),
        consumer_group: "$Default".into(),
    };
    assert_eq!((&readings.datasource.kind, readings.format.serialization), (&hub, InputSerialization::Avro));
    assert_eq!(
        readings.local.as_ref().map(|local| local.path.as_str()),
        Some("Inputs/../data/readings.json")
    );
    let limits = job.input("limits").unwrap();
    assert_eq!(
        (limits.kind, &limits.datasource.kind),
        (InputKind::Reference, &DatasourceKind::File { path: "Inputs/l.csv".into() })
    );
    let files = job.output("files").unwrap();
    let DatasourceKind::Blob(container) = &files.datasource.kind else { panic!("{files:?}") };
    assert_eq!((container.container.as_str(), container.account.as_str()), ("out", "plant"));
    assert_eq!(files.format, OutputFormat::Json(JsonLayout::Array));
    assert_eq!(files.batching.time, Some(Duration::from_secs(300)));
    Query::compile(&job.query, &job.options().unwrap()).unwrap();
}

#[test]
fn a_file_of_a_project_is_named_in_what_is_wrong_with_it() {
    let mut files = PROJECT;
    files[3].1 = r#"{"Name": "readings", "DataSourceType": "Event Hub", "Serialization": {"Type": "Xml"}}"#;
    assert_eq!(
        project(&files).unwrap_err().to_string(),
        "Inputs/readings.json: Serialization.Type is Xml; it can be Json, Csv or Avro"
    );
    let mut files = PROJECT;
    files[2].1 = "{";
    assert!(project(&files).unwrap_err().to_string().starts_with("JobConfig.json: no JSON: "));
    assert_eq!(project(&PROJECT[..7]).unwrap_err().to_string(), "Functions/twice.js: there is no such file");
    for path in ["../x.asaql", "/etc/x.asaql", "c:/x.asaql"] {
        let root = format!(r#"{{"startFile": "{path}"}}"#);
        let error = project(&[("asaproj.json", &root)]).unwrap_err().to_string();
        assert_eq!(error, format!("{path}: a file of a project lies in its folder"));
    }
}
