//! The storage account and the storage endpoint: where telemetry becomes files that data people read.
//!
//! [`account`] is a built-in storage account with the part of the Azure Blob REST protocol that stock `azure-storage-blob`
//! clients use. [`endpoint`] writes routed messages as JSON-lines or Avro blobs, into that account or any other.
//! Neither knows routes or devices: the executor in `hub` hands batches over.

pub mod account;
pub mod endpoint;
