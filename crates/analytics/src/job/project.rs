//! A project of Visual Studio Code.

use super::datasource::{Datasource, DatasourceKind};
use super::error::JobError;
use super::node::Node;
use super::parse::{Settings, distinct, json};
use super::part::{
    FunctionBinding, InputKind, JobFunction, JobInput, JobOutput, LocalFile, batching, compression_of,
    input_serialization, noted, output_format,
};
use super::{Job, JobNote};
use crate::format::{Compression, InputFormat, OutputFormat};

type Read<'a> = &'a mut dyn FnMut(&str) -> Result<String, String>;

/// How many files a project may have.
const MAX_FILES: usize = 1000;

pub(super) fn job(root: &str, read: Read<'_>) -> Result<Job, JobError> {
    let value = json(root, "asaproj.json: ")?;
    let root = Node::root(&value, "asaproj.json: ");
    let name = root.text("name")?.unwrap_or_default().to_owned();
    let start = root.required_text("startFile", "the file with the query, as job.asaql")?;
    let query = file(read, start)?.trim_start_matches('\u{feff}').to_owned();
    let configurations = root.items("configurations")?;
    if configurations.len() > MAX_FILES {
        let path = root.below("configurations");
        let found = format!("{} files", configurations.len());
        return Err(JobError::Value { path, found, allowed: "at most 1000 files" });
    }
    let mut notes = Vec::new();
    let mut parts = Vec::new();
    for configuration in &configurations {
        let path = configuration.required_text("filePath", "a file of the project")?.replace('\\', "/");
        let kind = configuration.text("subType")?.unwrap_or_default().to_ascii_lowercase();
        parts.push((kind, path));
    }
    let mut settings = None;
    for (_, path) in parts.iter().filter(|(kind, _)| kind == "jobconfig") {
        let value = json(&file(read, path)?, &format!("{path}: "))?;
        settings = Some(Settings::parse(&Node::root(&value, &format!("{path}: ")), &mut notes)?);
    }
    let nothing = serde_json::Value::Null;
    let settings = settings.map_or_else(|| Settings::parse(&Node::root(&nothing, ""), &mut notes), Ok)?;
    let (mut inputs, mut outputs, mut functions, mut locals) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (kind, path) in &parts {
        if let Some(stem) = path.strip_suffix(".js") {
            let name = stem.rsplit('/').next().unwrap_or_default().to_owned();
            let binding = FunctionBinding::JavaScript { script: file(read, path)? };
            functions.push(JobFunction { name, aggregate: None, binding });
            continue;
        }
        if !matches!(kind.as_str(), "input" | "inputmock" | "output") {
            if kind != "jobconfig" {
                let message = format!("files of kind {kind} mean nothing here");
                notes.push(JobNote { path: path.clone(), message });
            }
            continue;
        }
        let place = format!("{path}: ");
        let value = json(&file(read, path)?, &place)?;
        let node = Node::root(&value, &place);
        match kind.as_str() {
            "input" => inputs.push(input(&node, &mut notes)?),
            "inputmock" => locals.push(local(&node, path)?),
            _ => outputs.push(output(&node, &settings.locale, &mut notes)?),
        }
    }
    for (name, kind, local) in locals {
        match inputs.iter_mut().find(|input| input.name.eq_ignore_ascii_case(&name)) {
            Some(input) => input.local = Some(local),
            None => {
                let (datasource, format) = (Datasource::file(&local.path), local.format);
                inputs.push(JobInput { name, kind, datasource, format, local: Some(local) });
            }
        }
    }
    distinct("inputs", inputs.iter().map(|input| &input.name))?;
    distinct("outputs", outputs.iter().map(|output| &output.name))?;
    distinct("functions", functions.iter().map(|function| &function.name))?;
    Ok(settings.job(name, query, inputs, outputs, functions, notes))
}

fn file(read: Read<'_>, path: &str) -> Result<String, JobError> {
    // A project names its own files and no others.
    if path.starts_with('/') || path.contains(':') || path.split('/').any(|part| part == "..") {
        let reason = "a file of a project lies in its folder".to_owned();
        return Err(JobError::File { file: path.to_owned(), reason });
    }
    read(path).map_err(|reason| JobError::File { file: path.to_owned(), reason })
}

fn kind(node: &Node<'_>) -> Result<InputKind, JobError> {
    match node.text("Type")?.map(str::to_ascii_lowercase).as_deref() {
        None | Some("data stream" | "stream") => Ok(InputKind::Stream),
        Some("reference data" | "reference") => Ok(InputKind::Reference),
        Some(other) => Err(node.value_error("Type", other, "Data Stream or Reference Data")),
    }
}

fn input(node: &Node<'_>, notes: &mut Vec<JobNote>) -> Result<JobInput, JobError> {
    let name = node.required_text("Name", "what the query calls the input")?.to_owned();
    let datasource = noted(datasource(node)?, node, notes);
    let serialization = match node.member("Serialization") {
        Some(inner) => input_serialization(&inner, inner.text("Type")?, &inner)?,
        None => Default::default(),
    };
    // The misspelt one is the one that projects have.
    let mut compression = Compression::None;
    for member in ["CompressionType", "CompresssionType"] {
        if let Some(name) = node.text(member)? {
            compression = compression_of(node, member, name)?;
        }
    }
    let format = InputFormat { serialization, compression };
    Ok(JobInput { name, kind: kind(node)?, datasource, format, local: None })
}

/// A file for tests: which input it stands for, and where it is. `from` is the file that says so.
fn local(node: &Node<'_>, from: &str) -> Result<(String, InputKind, LocalFile), JobError> {
    let name = node.required_text("InputAlias", "the input that the file stands for")?.to_owned();
    let path = node.required_text("FilePath", "a file with events")?.replace('\\', "/");
    // Paths in a file of a project begin where that file is.
    let path = match from.rsplit_once('/') {
        Some((folder, _)) if !path.starts_with('/') && !path.contains(':') => format!("{folder}/{path}"),
        _ => path,
    };
    let serialization = match node.text("Format")? {
        Some(ty) => input_serialization(node, Some(ty), node)?,
        None => Default::default(),
    };
    let format = InputFormat { serialization, compression: Compression::None };
    Ok((name, kind(node)?, LocalFile { path, format }))
}

fn output(node: &Node<'_>, locale: &str, notes: &mut Vec<JobNote>) -> Result<JobOutput, JobError> {
    let name = node.required_text("Name", "what the query calls the output")?.to_owned();
    let datasource = noted(datasource(node)?, node, notes);
    let format = match node.member("Serialization") {
        Some(inner) => output_format(&inner, &inner, locale)?,
        None => OutputFormat::default(),
    };
    Ok(JobOutput { name, datasource, format, batching: batching(node, "MinimumRows", "MaximumTime")? })
}

/// The datasource's own members stand in a member of which all others are null.
fn datasource(node: &Node<'_>) -> Result<Datasource, JobError> {
    let ty = node.required_text("DataSourceType", "the datasource's type, as Event Hub")?;
    let known = [
        "EventHubProperties",
        "IoTHubProperties",
        "BlobStorageProperties",
        "BlobReferenceProperties",
        "ServiceBusQueueProperties",
        "ServiceBusTopicProperties",
        "AzureFunctionProperties",
        "EdgeHubProperties",
    ];
    let own = known.iter().find_map(|name| node.member(name));
    let datasource = Datasource::of(ty, own.as_ref().unwrap_or(node))?;
    Ok(match datasource.kind {
        DatasourceKind::Other if ty.eq_ignore_ascii_case("Reference Blob") => Datasource {
            ty: ty.to_owned(),
            ..Datasource::of("Microsoft.Storage/Blob", own.as_ref().unwrap_or(node))?
        },
        _ => datasource,
    })
}
