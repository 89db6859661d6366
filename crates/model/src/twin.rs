//! Device and module twins: the document, merging, versions, metadata, limits. No storage.
