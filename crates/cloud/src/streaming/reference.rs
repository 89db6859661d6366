//! Reference data of a job: blobs that are read when it starts, and again when they change.

use super::definition::{Definition, Input};
use crate::storage::account::{self, Account, Etag};
use ironbrook_analytics::Query;
use ironbrook_analytics::value::{JsonReader, Record};
use std::sync::Arc;

/// Largest blob, in bytes.
const BLOB_BYTES_MAX: u64 = 64 << 20;

/// Why reference data cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The blob.
    #[error("the blob {blob} in {container} for the input {input} cannot be read: {error}")]
    Blob { input: String, container: String, blob: String, error: account::Error },
    /// Too large.
    #[error("the blob {blob} for the input {input} has {len} bytes; {BLOB_BYTES_MAX} are allowed")]
    TooLarge { input: String, blob: String, len: u64 },
    /// Not JSON objects.
    #[error("the blob {blob} for the input {input} cannot be used: {reason}")]
    Rows { input: String, blob: String, reason: String },
}

/// One input of reference data.
#[derive(Debug)]
pub(super) struct Reference {
    /// Index in the query.
    pub(super) input: usize,
    name: String,
    container: String,
    blob: String,
    etag: Option<Etag>,
}

impl Reference {
    /// Those of a query.
    pub(super) fn all(query: &Query, definition: &Definition) -> Vec<Self> {
        let inputs = query.inputs().iter().enumerate().filter(|(_, input)| input.reference);
        let found = inputs.filter_map(|(number, input)| match definition.input(&input.name)? {
            Input::Reference { container, blob } => Some(Self {
                input: number,
                name: input.name.to_string(),
                container: container.clone(),
                blob: blob.clone(),
                etag: None,
            }),
            Input::Events { .. } => None,
        });
        found.collect()
    }

    /// Its rows, where they are other than those read last.
    pub(super) async fn read(
        &mut self,
        account: &Account,
        query: &Query,
    ) -> Result<Option<Vec<Arc<Record>>>, Error> {
        let (input, blob) = (self.name.clone(), self.blob.clone());
        let failed = |error| Error::Blob {
            input: self.name.clone(),
            container: self.container.clone(),
            blob: self.blob.clone(),
            error,
        };
        let found = account.open_blob(&self.container, &self.blob).await.map_err(failed)?;
        if self.etag == Some(found.blob.etag) {
            return Ok(None);
        }
        if found.blob.len > BLOB_BYTES_MAX {
            return Err(Error::TooLarge { input, blob, len: found.blob.len });
        }
        let bytes = account.get(&self.container, &self.blob).await.map_err(failed)?;
        let (mut rows, mut bad) = (Vec::new(), None);
        JsonReader::new(query.json_options()).read(&bytes, &mut |row| match row {
            Ok(row) => rows.push(row),
            Err(error) => bad = Some(error),
        });
        if let Some(error) = bad {
            return Err(Error::Rows { input, blob, reason: error.to_string() });
        }
        self.etag = Some(found.blob.etag);
        Ok(Some(rows))
    }
}
