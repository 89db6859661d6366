//! `ironbrook import` and `ironbrook export`: all identities of a hub with their keys and twins, as lines of JSON.
//!
//! The lines are those of Azure's own export, so what an Azure hub wrote is read here and the other way round. With a file the
//! command does the work; with the URI of a container (a URL with a signature) the hub does.

use super::client;
use crate::commands::Global;
use crate::commands::connection::Where;
use anyhow::{Context as _, bail};
use http::Method;
use ironbrook_client::{DeviceId, ServiceClient};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::time::Duration;

/// Items in one request, as many as a hub takes.
const BULK: usize = 100;
/// Items in one page.
const PAGE: usize = 1000;
/// Longest line in bytes.
const LINE_LEN_MAX: usize = 1 << 20;
/// How often one asks how far the hub has come.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// Options of `ironbrook import`.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    #[command(flatten)]
    at: Where,
    /// What to do with items that name no `importMode`.
    #[arg(long, default_value = "createOrUpdate", value_name = "MODE")]
    mode: String,
    /// The blob in the container.
    #[arg(long, default_value = "devices.txt", value_name = "NAME")]
    blob_name: String,
    /// A file with one item a line, or the URI of a container with a signature that lets read and write.
    #[arg(value_name = "FILE|URI")]
    from: String,
}

/// Options of `ironbrook export`.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    #[command(flatten)]
    at: Where,
    /// Leave keys out.
    #[arg(long)]
    without_keys: bool,
    /// The blob in the container.
    #[arg(long, default_value = "devices.txt", value_name = "NAME")]
    blob_name: String,
    /// A file to make, or the URI of a container with a signature that lets write.
    #[arg(value_name = "FILE|URI")]
    to: String,
}

fn is_uri(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// Runs `ironbrook import`.
#[allow(clippy::print_stderr, reason = "what was done, for people")]
pub async fn import(args: ImportArgs, _global: &Global) -> anyhow::Result<()> {
    let client = client(&args.at)?;
    if is_uri(&args.from) {
        let body = json!({
            "type": "import", "inputBlobContainerUri": args.from, "inputBlobName": args.blob_name,
            "outputBlobContainerUri": args.from, "storageAuthenticationType": "keyBased",
        });
        return by_hub(&client, &body).await;
    }
    let path = Path::new(&args.from);
    let file = BufReader::new(File::open(path).with_context(|| args.from.clone())?);
    // Edge devices first, then other devices, then modules: each needs those before it.
    let mut ranks: [Vec<Value>; 3] = Default::default();
    for (number, line) in file.lines().enumerate() {
        let line = line.with_context(|| args.from.clone())?;
        if line.trim().is_empty() {
            continue;
        }
        let place = || format!("{}, line {}", args.from, number + 1);
        if line.len() > LINE_LEN_MAX {
            bail!("{} is longer than {LINE_LEN_MAX} bytes", place());
        }
        // The parser's words may quote a key.
        let mut item: Value =
            serde_json::from_str(&line).map_err(|_| anyhow::anyhow!("{} is not JSON", place()))?;
        let Value::Object(members) = &mut item else { bail!("{} is no object", place()) };
        if members.get("importMode").is_none_or(Value::is_null) {
            members.insert("importMode".to_owned(), args.mode.clone().into());
        }
        let rank = match members.get("moduleId").is_some_and(|module| !module.is_null()) {
            true => 2,
            false => usize::from(item["capabilities"]["iotEdge"] != true),
        };
        ranks[rank].push(item);
    }
    let (mut all, mut refused) = (0, 0);
    for items in ranks {
        for group in items.chunks(BULK) {
            all += group.len();
            for error in bulk(&client, group).await? {
                refused += 1;
                eprintln!(
                    "{}: {} {}",
                    text(&error["deviceId"]),
                    text(&error["errorCode"]),
                    text(&error["errorStatus"])
                );
            }
        }
    }
    eprintln!("{} items done, {refused} refused", all - refused);
    if refused > 0 {
        bail!("{refused} of {all} items were refused");
    }
    Ok(())
}

/// One request; gives the errors of its items.
async fn bulk(client: &ServiceClient, items: &[Value]) -> anyhow::Result<Vec<Value>> {
    let answer = client.bulk(items).await?;
    Ok(answer["errors"].as_array().cloned().unwrap_or_default())
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Runs `ironbrook export`.
#[allow(clippy::print_stderr, reason = "what was done, for people")]
pub async fn export(args: ExportArgs, _global: &Global) -> anyhow::Result<()> {
    let client = client(&args.at)?;
    if is_uri(&args.to) {
        let body = json!({
            "type": "export", "outputBlobContainerUri": args.to, "outputBlobName": args.blob_name,
            "excludeKeysInExport": args.without_keys, "storageAuthenticationType": "keyBased",
        });
        return by_hub(&client, &body).await;
    }
    let part = format!("{}.part", args.to);
    let mut file = BufWriter::new(create(Path::new(&part)).with_context(|| part.clone())?);
    let (mut count, mut next) = (0, None);
    loop {
        let (devices, more) = client.devices_page(next, PAGE).await?;
        for device in devices {
            let id = DeviceId::new(text(&device["deviceId"]))?;
            let mut items = vec![device];
            items.extend(client.list_modules(&id).await?);
            for item in items {
                let line = item_of(&client, item, args.without_keys).await?;
                writeln!(file, "{line}").with_context(|| part.clone())?;
                count += 1;
            }
        }
        next = more;
        if next.is_none() {
            break;
        }
    }
    file.flush().and_then(|()| file.get_ref().sync_all()).with_context(|| part.clone())?;
    std::fs::rename(&part, &args.to).with_context(|| args.to.clone())?;
    eprintln!("{count} identities written to {}", args.to);
    Ok(())
}

/// A file for its owner alone: it holds keys.
fn create(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// A line of an export.
async fn item_of(client: &ServiceClient, mut record: Value, without_keys: bool) -> anyhow::Result<Value> {
    let identity = super::identity::identity_of(&record)?;
    let mut twin = client.twin(&identity).await?;
    if without_keys {
        record["authentication"]["symmetricKey"] = json!({ "primaryKey": null, "secondaryKey": null });
    }
    let mut item = Map::new();
    for (name, value) in [
        ("id", record["deviceId"].take()),
        ("moduleId", record["moduleId"].take()),
        ("eTag", record["etag"].take()),
        ("managedBy", record["managedBy"].take()),
        ("status", record["status"].take()),
        ("statusReason", record["statusReason"].take()),
        ("authentication", record["authentication"].take()),
        ("twinETag", twin["etag"].take()),
        ("tags", twin["tags"].take()),
        ("properties", twin["properties"].take()),
        ("capabilities", record["capabilities"].take()),
        ("deviceScope", record["deviceScope"].take()),
        ("parentScopes", record["parentScopes"].take()),
    ] {
        if !value.is_null() {
            item.insert(name.to_owned(), value);
        }
    }
    Ok(Value::Object(item))
}

/// Lets the hub do it, and waits.
#[allow(clippy::print_stderr, reason = "what was done, for people")]
async fn by_hub(client: &ServiceClient, body: &Value) -> anyhow::Result<()> {
    let made = client.request(Method::POST, "/jobs/create", Some(body), None).await?;
    let id = made["jobId"].as_str().context("the hub's answer names no job")?.to_owned();
    loop {
        let job = client.request(Method::GET, &format!("/jobs/{id}"), None, None).await?;
        match job["status"].as_str() {
            Some("completed") => {
                eprintln!("done");
                return Ok(());
            }
            Some("failed" | "cancelled") => {
                bail!("{}: {}", text(&job["status"]), text(&job["failureReason"]))
            }
            _ => tokio::time::sleep(ASK_EVERY).await,
        }
    }
}
