//! Imports and exports as callers ask for them, as stored, and as shown.

use super::Failure;
use super::container::Container;
use ironbrook_model::{ErrorCode, Refusal, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Names of blobs where the caller does not choose.
const DEVICES: &str = "devices.txt";
const CONFIGURATIONS: &str = "configurations.txt";

/// An import or export as callers ask for it; `Debug` hides the containers, whose URIs hold signatures.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransferWish {
    /// `import` or `export`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The container with the items of an import.
    pub input_blob_container_uri: Option<String>,
    /// The blob with the items; `devices.txt` where left out.
    pub input_blob_name: Option<String>,
    /// The container an export goes to, and the errors of an import.
    pub output_blob_container_uri: Option<String>,
    /// The blob an export goes to; `devices.txt` where left out.
    pub output_blob_name: Option<String>,
    /// Whether an export leaves keys out.
    pub exclude_keys_in_export: Option<bool>,
    /// Must be `keyBased`, where given: containers are opened by the signature in their URI.
    pub storage_authentication_type: Option<String>,
    /// Whether configurations go along.
    pub include_configurations: Option<bool>,
    /// The blob with configurations; `configurations.txt` where left out.
    pub configurations_blob_name: Option<String>,
}

impl std::fmt::Debug for TransferWish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransferWish").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What is to be done.
pub(super) enum Request {
    Import(Import),
    Export(Export),
}

/// Blobs of an import.
pub(super) struct Import {
    pub input: Container,
    pub items: String,
    pub configurations: Option<String>,
    /// Where errors go.
    pub errors: Container,
}

/// Blobs of an export.
pub(super) struct Export {
    pub output: Container,
    pub items: String,
    pub configurations: Option<String>,
    pub with_keys: bool,
}

/// Where a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Status {
    Enqueued,
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// A transfer as stored. No signature is in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Transfer {
    pub is_import: bool,
    pub started: Timestamp,
    pub ended: Option<Timestamp>,
    pub status: Status,
    /// In percent.
    pub progress: u8,
    pub failure: Option<String>,
    input: Option<String>,
    input_name: Option<String>,
    output: Option<String>,
    output_name: Option<String>,
    exclude_keys: bool,
    configurations: Option<String>,
}

impl Transfer {
    /// It ended.
    pub fn end(&mut self, status: Status, failure: Option<String>, now: Timestamp) {
        if status == Status::Completed {
            self.progress = 100;
        }
        (self.status, self.failure, self.ended) = (status, failure, Some(now));
    }

    /// As the service API shows it.
    pub fn view(&self, id: &str) -> Value {
        json!({
            "jobId": id,
            "type": if self.is_import { "import" } else { "export" },
            "status": self.status,
            "progress": self.progress,
            "startTimeUtc": self.started.to_string(),
            "endTimeUtc": self.ended.map(|time| time.to_string()),
            "inputBlobContainerUri": self.input,
            "inputBlobName": self.input_name,
            "outputBlobContainerUri": self.output,
            "outputBlobName": self.output_name,
            "excludeKeysInExport": self.exclude_keys,
            "storageAuthenticationType": "keyBased",
            "includeConfigurations": self.configurations.is_some(),
            "configurationsBlobName": self.configurations,
            "failureReason": self.failure,
        })
    }
}

impl TransferWish {
    /// Checks all of it. 400004 and 400008.
    pub(super) fn check(self, now: Timestamp) -> Result<(Transfer, Request), Refusal> {
        let invalid = |text: String| Refusal::new(ErrorCode::ArgumentInvalid, text);
        let open = |name: &str, uri: Option<&String>| {
            let uri =
                uri.filter(|uri| !uri.is_empty()).ok_or_else(|| invalid(format!("{name} is missing")))?;
            Container::open(uri).map_err(|failure: Failure| {
                Refusal::new(ErrorCode::BlobContainerValidationError, format!("{name}: {failure}"))
            })
        };
        let method = self.storage_authentication_type.as_deref().unwrap_or("keyBased");
        if !method.eq_ignore_ascii_case("keyBased") {
            return Err(invalid(format!(
                "storageAuthenticationType {method} is not there; give a URI with a signature"
            )));
        }
        let (input_uri, output_uri) = (self.input_blob_container_uri, self.output_blob_container_uri);
        let named = |name: Option<String>, default: &str| {
            name.filter(|name| !name.is_empty()).unwrap_or_else(|| default.to_owned())
        };
        let (input_name, output_name) =
            (named(self.input_blob_name, DEVICES), named(self.output_blob_name, DEVICES));
        let configurations = self
            .include_configurations
            .unwrap_or(false)
            .then(|| named(self.configurations_blob_name, CONFIGURATIONS));
        let exclude_keys = self.exclude_keys_in_export.unwrap_or(false);
        let output = open("outputBlobContainerUri", output_uri.as_ref())?;
        let kind = self.kind.unwrap_or_default();
        let request = match kind.to_ascii_lowercase().as_str() {
            "import" => Request::Import(Import {
                input: open("inputBlobContainerUri", input_uri.as_ref())?,
                items: input_name.clone(),
                configurations: configurations.clone(),
                errors: output,
            }),
            "export" => Request::Export(Export {
                output,
                items: output_name.clone(),
                configurations: configurations.clone(),
                with_keys: !exclude_keys,
            }),
            _ => return Err(invalid(format!("type '{kind}' is not known; there are import and export"))),
        };
        let is_import = matches!(request, Request::Import(_));
        let transfer = Transfer {
            is_import,
            started: now,
            ended: None,
            status: Status::Enqueued,
            progress: 0,
            failure: None,
            input: input_uri.filter(|_| is_import).map(|uri| unsigned(&uri)),
            input_name: is_import.then_some(input_name),
            output: output_uri.map(|uri| unsigned(&uri)),
            output_name: (!is_import).then_some(output_name),
            exclude_keys,
            configurations,
        };
        Ok((transfer, request))
    }
}

/// A URI without its query, which is the signature.
fn unsigned(uri: &str) -> String {
    uri.split('?').next().unwrap_or_default().to_owned()
}
