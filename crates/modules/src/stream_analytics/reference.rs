//! Reference data: files of the machine, read when a query begins. Source: Azure docs "Azure Stream Analytics on IoT Edge",
//! "Reference data".

use super::inputs::InputSettings;
use super::program::Fault;
use ironbrook_analytics::Query;
use ironbrook_analytics::value::Record;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio::io::AsyncReadExt as _;

/// Largest file, in bytes: as of an input's payload.
const FILE_LEN_MAX: u64 = 64 << 20;

/// Where the rows of an input are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceSettings {
    /// The file, from the root of the machine's file system.
    pub path: String,
    /// Anything: the file is read again when this changes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// How the file is written.
    #[serde(flatten)]
    pub format: InputSettings,
}

/// The rows of an input.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// Which input of the query.
    pub(super) input: usize,
    pub(super) rows: Arc<[Arc<Record>]>,
}

/// Reads the rows of all inputs of reference data of a query.
pub(super) async fn read(
    query: &Query,
    settings: &BTreeMap<String, ReferenceSettings>,
) -> Result<Vec<Table>, Fault> {
    let mut tables = Vec::new();
    for (name, settings) in settings {
        // What the query does not read need not be there.
        let Some(input) = query.input(name) else { continue };
        let rows = rows(query, settings).await;
        let rows = rows.map_err(|reason| {
            Fault::new(format_args!("the reference data {name}, {}: {reason}", settings.path))
        })?;
        tables.push(Table { input, rows });
    }
    Ok(tables)
}

async fn rows(query: &Query, settings: &ReferenceSettings) -> Result<Arc<[Arc<Record>]>, String> {
    let path = Path::new(&settings.path);
    if !path.is_absolute() {
        return Err("the path must begin at the root of the machine's file system".to_owned());
    }
    let text = |error: std::io::Error| error.to_string();
    let file = tokio::fs::File::open(path).await.map_err(text)?;
    if !file.metadata().await.map_err(text)?.is_file() {
        return Err("it is no file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(FILE_LEN_MAX + 1).read_to_end(&mut bytes).await.map_err(text)?;
    if bytes.len() as u64 > FILE_LEN_MAX {
        return Err(format!("it has more than {} MiB", FILE_LEN_MAX >> 20));
    }
    let mut rows = Vec::new();
    let mut wrong = None;
    settings.format.to_format().reader(query.json_options()).read(&bytes, &mut |row| match row {
        Ok(row) => rows.push(row),
        Err(error) => drop(wrong.get_or_insert(error)),
    });
    match wrong {
        Some(error) => Err(error.to_string()),
        None => Ok(rows.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_analytics::Options;
    use ironbrook_analytics::value::Value;
    use serde_json::json;

    const QUERY: &str = "SELECT i.v, r.name INTO o FROM i JOIN r ON i.k = r.k";

    async fn read_from(path: &Path, settings: serde_json::Value) -> Result<Vec<Table>, Fault> {
        let options = Options { reference: vec!["R".to_owned()], ..Options::default() };
        let query = Query::compile(QUERY, &options).unwrap();
        let mut settings = settings;
        settings["path"] = json!(path);
        let settings = BTreeMap::from([("R".to_owned(), serde_json::from_value(settings).unwrap())]);
        read(&query, &settings).await
    }

    #[tokio::test]
    async fn rows_come_from_files_of_every_format() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        for (settings, text) in [
            (json!({}), "[{\"k\":1,\"name\":\"a\"},{\"k\":2,\"name\":\"b\"}]"),
            (json!({ "format": "csv", "delimiter": ";" }), "k;name\n1;a\n2;b\n"),
        ] {
            std::fs::write(&path, text).unwrap();
            let tables = read_from(&path, settings).await.unwrap();
            let names: Vec<Value> =
                tables[0].rows.iter().filter_map(|row| row.get("name").cloned()).collect();
            assert_eq!(names, [Value::text("a"), Value::text("b")]);
            assert_eq!((tables.len(), tables[0].input), (1, 1));
        }
    }

    #[tokio::test]
    async fn a_fault_names_the_input_the_file_and_the_cause() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.json");
        let fault = async |path: &Path| read_from(path, json!({})).await.unwrap_err().to_string();
        let missing = fault(&path).await;
        assert!(missing.contains("reference data R") && missing.contains("rows.json"), "{missing}");
        std::fs::write(&path, "[{\"k\":1},{\"k\":]").unwrap();
        assert!(fault(&path).await.contains("no JSON at byte"), "{}", fault(&path).await);
        assert!(fault(folder.path()).await.contains("it is no file"));
        assert!(fault(Path::new("rows.json")).await.contains("must begin at the root"));
    }
}
