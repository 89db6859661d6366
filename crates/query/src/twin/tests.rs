use super::*;
use proptest::prelude::*;
use serde_json::json;

fn twins() -> Vec<Json> {
    let twin = |id: &str, site: Option<&str>, temperature: Json| {
        json!({"deviceId": id, "status": "enabled", "connectionState": "Connected",
               "tags": site.map_or(json!({}), |site| json!({"site": site})),
               "properties": {"desired": {"my-key": 1}, "reported": {"t": temperature, "list": [1, 2],
                              "$metadata": {"t": {"$lastUpdated": "2026-01-31T09:00:00Z"}}}}})
    };
    vec![
        twin("d1", Some("north"), json!(10)),
        twin("d2", Some("south"), json!(20)),
        twin("d3", Some("north"), json!(30.5)),
        twin("d4", None, Json::Null),
    ]
}

#[track_caller]
fn run(text: &str) -> Json {
    Json::Array(TwinQuery::parse(text).unwrap().run(twins()))
}

#[track_caller]
fn ids(condition: &str) -> Vec<String> {
    let query = TwinQuery::parse(&format!("SELECT * FROM devices WHERE {condition}")).unwrap();
    query.run(twins()).iter().map(|t| t["deviceId"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn where_clauses_of_the_documentation() {
    assert_eq!(ids("tags.site = 'north'"), ["d1", "d3"]);
    assert_eq!(ids("DEVICEID IN ['d2', 'd4']"), ["d2", "d4"]);
    assert_eq!(ids("deviceId NIN [\"d2\"] and STARTSWITH(deviceId, 'd')"), ["d1", "d3", "d4"]);
    assert_eq!(ids("properties.reported.t >= 20 AND status != 'disabled'"), ["d2", "d3"]);
    assert_eq!(ids("IS_DEFINED(tags.site) AND NOT tags.site <> 'south'"), ["d2"]);
    assert_eq!(ids("properties.reported.t = null"), ["d4"]);
    assert_eq!(ids("properties.desired.[[my-key]] = 1 AND properties.reported.list[1] = 2").len(), 4);
    assert_eq!(ids("properties.reported.$metadata.t.$lastUpdated < '2027'").len(), 4);
    assert_eq!(ids("devices.tags.site = 'south'"), ["d2"]);
}

#[test]
fn missing_members_match_nothing_even_unequal_rule_query_02() {
    assert_eq!(ids("tags.site != 'north'"), ["d2"]);
    assert!(ids("NOT (tags.nonsense = 1)").is_empty());
    assert!(ids("properties.reported.t = '10'").is_empty());
}

#[test]
fn projections_hold_what_is_there_rule_query_03() {
    assert_eq!(
        run("SELECT DeviceId, tags.site AS place, properties.reported.t FROM devices WHERE deviceId = 'd1'"),
        json!([{"deviceId": "d1", "place": "north", "t": 10}])
    );
    assert_eq!(run("SELECT tags.site FROM devices WHERE deviceId = 'd4'"), json!([{}]));
    assert_eq!(run("SELECT TOP 2 deviceId FROM devices"), json!([{"deviceId": "d1"}, {"deviceId": "d2"}]));
}

#[test]
fn aggregates_and_groups() {
    assert_eq!(run("SELECT COUNT() AS n FROM devices"), json!([{"n": 4}]));
    assert_eq!(run("SELECT COUNT(*) FROM devices WHERE status = 'x'"), json!([{"COUNT": 0}]));
    assert_eq!(
        run(
            "SELECT tags.site AS site, COUNT() AS n, AVG(properties.reported.t) AS mean FROM devices GROUP BY tags.site"
        ),
        json!([{"site": "north", "n": 2, "mean": 20.25}, {"site": "south", "n": 1, "mean": 20}, {"n": 1}])
    );
    assert_eq!(
        run(
            "SELECT SUM(properties.reported.t) AS s, MIN(properties.reported.t) AS l, MAX(properties.reported.t) AS m FROM devices"
        ),
        json!([{"s": 60.5, "l": 10, "m": 30.5}])
    );
}

#[test]
fn tells_source_and_item_type() {
    let of = |text: &str| {
        let query = TwinQuery::parse(text).unwrap();
        (query.source(), query.item_type().name(), query.is_row_by_row())
    };
    assert_eq!(of("select * from Devices.Modules"), (Source::Modules, "twin", true));
    assert_eq!(
        of("SELECT * FROM devices.jobs WHERE devices.jobs.status = 'x'"),
        (Source::Jobs, "deviceJob", true)
    );
    assert_eq!(of("SELECT COUNT() AS n FROM devices"), (Source::Devices, "raw", false));
}

#[test]
fn jobs_are_filtered_by_members_of_the_job() {
    let query = TwinQuery::parse("SELECT * FROM devices.jobs WHERE devices.jobs.deviceId = 'd1'").unwrap();
    assert_eq!(query.run([json!({"deviceId": "d1"}), json!({"deviceId": "d2"})]).len(), 1);
}

#[test]
fn errors_name_the_place() {
    for (text, wanted) in [
        ("", "line 1, column 1: SELECT is needed"),
        ("SELECT * FROM devices WHERE", "line 1, column 28: a value is needed"),
        ("SELECT * FROM twins", "line 1, column 15: there is nothing named twins"),
        (
            "SELECT * FROM devices\nORDER BY deviceId",
            "line 2, column 1: an operator or the end is needed, found ORDER",
        ),
        ("SELECT 1 FROM devices", "line 1, column 8: this column needs a name"),
        ("SELECT deviceId, COUNT() FROM devices", "line 1, column 1: column deviceId must stand in GROUP BY"),
        ("SELECT * FROM devices GROUP BY status", "line 1, column 1: GROUP BY needs columns"),
        ("SELECT TOP x * FROM devices", "line 1, column 12: a whole number is needed"),
    ] {
        let error = TwinQuery::parse(text).unwrap_err().to_string();
        assert!(error.starts_with(wanted), "{text}: {error}");
    }
}

#[test]
fn target_conditions_stand_alone() {
    let condition = TargetCondition::parse("tags.site = 'north' AND deviceId = 'd1'").unwrap();
    assert!(condition.matches(&twins()[0]) && !condition.matches(&twins()[1]));
}

#[test]
fn target_conditions_take_all_none_or_modules() {
    let parse = |text| TargetCondition::parse(text).unwrap();
    assert!(parse(" * ").matches(&twins()[0]) && !parse("").matches(&twins()[0]));
    let modules = parse("FROM devices.modules WHERE devices.modules.moduleId = 'm'");
    assert_eq!(modules.source(), Source::Modules);
    assert!(modules.matches(&json!({"moduleId": "m"})) && !modules.matches(&json!({"moduleId": "x"})));
    assert!(parse("from devices.modules").matches(&json!({})));
    assert!(TargetCondition::parse("FROM devices.jobs WHERE a = 1").is_err());
    let error = TargetCondition::parse("tags.a = ").unwrap_err();
    assert_eq!((error.line, error.column), (1, 10));
}

#[test]
fn a_target_condition_tells_what_it_reads() {
    let condition = TargetCondition::parse("tags.a = 1 AND properties.reported.fw.v > 2").unwrap();
    for (names, reads) in [
        (&["tags"][..], true),
        (&["properties", "reported"], true),
        (&["properties", "reported", "fw", "v", "deeper"], true),
        (&["properties", "desired"], false),
        (&["connectionState"], false),
    ] {
        assert_eq!(condition.reads(names), reads, "{names:?}");
    }
}

#[test]
fn a_count_is_known_without_the_documents() {
    let query = TwinQuery::parse("SELECT COUNT() AS n, COUNT() FROM devices").unwrap();
    assert!(query.is_count() && query.takes_all());
    assert_eq!(query.counted(7), [json!({"n": 7, "COUNT": 7})]);
    for text in ["SELECT * FROM devices", "SELECT COUNT(), MAX(version) FROM devices"] {
        assert!(!TwinQuery::parse(text).unwrap().is_count(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_text_is_an_error_or_runs(list in ".{0,20}", rest in ".{0,30}") {
        if let Ok(query) = TwinQuery::parse(&format!("SELECT {list} FROM devices {rest}")) {
            query.run(twins());
        }
    }

    #[test]
    fn groups_count_every_matching_document_once(sites in proptest::collection::vec(0_u8..4, 0..20)) {
        let documents: Vec<_> = sites.iter().map(|site| json!({"tags": {"site": site}})).collect();
        let query = TwinQuery::parse("SELECT tags.site, COUNT() AS n FROM devices GROUP BY tags.site").unwrap();
        let total: u64 = query.run(documents).iter().map(|row| row["n"].as_u64().unwrap()).sum();
        prop_assert_eq!(total, sites.len() as u64);
    }
}
