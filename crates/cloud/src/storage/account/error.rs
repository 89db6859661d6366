//! Why the account did not do something, with the codes of the Blob protocol.

use std::sync::Arc;

/// A code of the Blob protocol. Source: Azure docs "Common REST API error codes" and "Blob Storage error codes".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Code {
    /// The signature does not match what it should sign.
    AuthenticationFailed,
    /// A shared access signature before its start or after its end; the wire knows it as `AuthenticationFailed`.
    SignatureNotInTime,
    /// A request whose date is more than 15 minutes off; the wire knows it as `AuthenticationFailed`.
    DateTooFar,
    /// Another method of authorization than shared key or shared access signature.
    InvalidAuthenticationInfo,
    /// No authorization was given.
    NoAuthenticationInformation,
    /// A shared access signature without the permission needed.
    AuthorizationPermissionMismatch,
    /// A shared access signature for HTTPS used over plain HTTP.
    AuthorizationProtocolMismatch,
    /// An account signature that does not cover this type of resource.
    AuthorizationResourceTypeMismatch,
    /// An account signature that does not cover blobs.
    AuthorizationServiceMismatch,
    /// A shared access signature used from another address.
    AuthorizationSourceIPMismatch,
    /// A blob of that name is there, and the caller asked not to replace one.
    BlobAlreadyExists,
    /// No such blob.
    BlobNotFound,
    /// A block longer or an id more than the blob's limits allow.
    BlockCountExceedsLimit,
    /// A list of more than 50 000 blocks.
    BlockListTooLong,
    /// A condition in the headers does not hold.
    ConditionNotMet,
    /// A container of that name is there.
    ContainerAlreadyExists,
    /// No such container.
    ContainerNotFound,
    /// A failure of ours; the log says more.
    InternalError,
    /// Only block blobs exist here.
    InvalidBlobType,
    /// A block id that is not base64 or not as long as the blob's others.
    InvalidBlobOrBlock,
    /// A block that was never put, or is gone.
    InvalidBlockList,
    /// A header with a value out of its grammar.
    InvalidHeaderValue,
    /// The body ended before its announced length, or went on after it.
    InvalidInput,
    /// A `Content-MD5` that is not base64 of 16 bytes.
    InvalidMd5,
    /// A metadata name or value that is not allowed.
    InvalidMetadata,
    /// A query parameter with a value out of its grammar.
    InvalidQueryParameterValue,
    /// A range behind the end of the blob.
    InvalidRange,
    /// A container or blob name that breaks the naming rules.
    InvalidResourceName,
    /// A request address that cannot be read.
    InvalidUri,
    /// A body that is not the XML expected.
    InvalidXmlDocument,
    /// The body does not have the MD5 announced.
    Md5Mismatch,
    /// More than 8 KiB of metadata.
    MetadataTooLarge,
    /// A PUT without a length.
    MissingContentLengthHeader,
    /// A header that must be there is not.
    MissingRequiredHeader,
    /// A query parameter that must be there is not.
    MissingRequiredQueryParameter,
    /// A condition in the headers holds not, and the answer would be what the client already has.
    NotModified,
    /// Part of the protocol this account does not have.
    NotImplemented,
    /// The client sent its body too slowly.
    OperationTimedOut,
    /// A query parameter out of its bounds.
    OutOfRangeQueryParameterValue,
    /// Anonymous access to containers does not exist here.
    PublicAccessNotPermitted,
    /// The body is larger than allowed.
    RequestBodyTooLarge,
    /// Something that is neither a container nor a blob.
    ResourceNotFound,
    /// Too much at once, or the disk is full; come again.
    ServerBusy,
    /// A method that the resource does not have.
    UnsupportedHttpVerb,
}

impl Code {
    /// The code as it stands in the answer.
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// Why an authorization failed, for the log: the wire tells a stranger less.
    pub fn reason(self) -> &'static str {
        match self {
            Self::AuthenticationFailed => "the signature does not match; check account name and key",
            Self::SignatureNotInTime => {
                "the shared access signature is not valid now; sign a new one, check the clocks"
            }
            Self::DateTooFar => "the request's date is more than 15 minutes off; check the client's clock",
            other => other.message(),
        }
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        self.row().1
    }

    /// The text for people.
    pub fn message(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::AuthenticationFailed | Self::SignatureNotInTime | Self::DateTooFar => (
                "AuthenticationFailed",
                403,
                "Server failed to authenticate the request. Make sure the value of the Authorization header is formed correctly including the signature.",
            ),
            Self::InvalidAuthenticationInfo => (
                "InvalidAuthenticationInfo",
                400,
                "Only shared key and shared access signatures are accepted by this account.",
            ),
            Self::NoAuthenticationInformation => (
                "NoAuthenticationInformation",
                401,
                "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.",
            ),
            Self::AuthorizationPermissionMismatch => (
                "AuthorizationPermissionMismatch",
                403,
                "This request is not authorized to perform this operation using this permission.",
            ),
            Self::AuthorizationProtocolMismatch => (
                "AuthorizationProtocolMismatch",
                403,
                "This request is not authorized to perform this operation using this protocol.",
            ),
            Self::AuthorizationResourceTypeMismatch => (
                "AuthorizationResourceTypeMismatch",
                403,
                "This request is not authorized to perform this operation using this resource type.",
            ),
            Self::AuthorizationServiceMismatch => (
                "AuthorizationServiceMismatch",
                403,
                "This request is not authorized to perform this operation using this service.",
            ),
            Self::AuthorizationSourceIPMismatch => (
                "AuthorizationSourceIPMismatch",
                403,
                "This request is not authorized to perform this operation using this source IP.",
            ),
            Self::BlobAlreadyExists => ("BlobAlreadyExists", 409, "The specified blob already exists."),
            Self::BlobNotFound => ("BlobNotFound", 404, "The specified blob does not exist."),
            Self::BlockCountExceedsLimit => (
                "BlockCountExceedsLimit",
                409,
                "The uncommitted block count cannot exceed the maximum limit of 100,000 blocks.",
            ),
            Self::BlockListTooLong => {
                ("BlockListTooLong", 400, "The block list may not contain more than 50,000 blocks.")
            }
            Self::ConditionNotMet => (
                "ConditionNotMet",
                412,
                "The condition specified using HTTP conditional header(s) is not met.",
            ),
            Self::ContainerAlreadyExists => {
                ("ContainerAlreadyExists", 409, "The specified container already exists.")
            }
            Self::ContainerNotFound => ("ContainerNotFound", 404, "The specified container does not exist."),
            Self::InternalError => {
                ("InternalError", 500, "The server encountered an internal error. Please retry the request.")
            }
            Self::InvalidBlobType => (
                "InvalidBlobType",
                409,
                "The blob type is invalid for this operation: this account holds block blobs only.",
            ),
            Self::InvalidBlobOrBlock => {
                ("InvalidBlobOrBlock", 400, "The specified blob or block content is invalid.")
            }
            Self::InvalidBlockList => ("InvalidBlockList", 400, "The specified block list is invalid."),
            Self::InvalidHeaderValue => (
                "InvalidHeaderValue",
                400,
                "The value for one of the HTTP headers is not in the correct format.",
            ),
            Self::InvalidInput => ("InvalidInput", 400, "One of the request inputs is not valid."),
            Self::InvalidMd5 => (
                "InvalidMd5",
                400,
                "The MD5 value specified in the request is invalid. MD5 value must be 128 bits and base64-encoded.",
            ),
            Self::InvalidMetadata => (
                "InvalidMetadata",
                400,
                "The metadata specified is invalid. It has characters that are not permitted.",
            ),
            Self::InvalidQueryParameterValue => (
                "InvalidQueryParameterValue",
                400,
                "Value for one of the query parameters specified in the request URI is invalid.",
            ),
            Self::InvalidRange => {
                ("InvalidRange", 416, "The range specified is invalid for the current size of the resource.")
            }
            Self::InvalidResourceName => {
                ("InvalidResourceName", 400, "The specified resource name contains invalid characters.")
            }
            Self::InvalidUri => {
                ("InvalidUri", 400, "The requested URI does not represent any resource on the server.")
            }
            Self::InvalidXmlDocument => {
                ("InvalidXmlDocument", 400, "XML specified is not syntactically valid.")
            }
            Self::Md5Mismatch => (
                "Md5Mismatch",
                400,
                "The MD5 value specified in the request did not match with the MD5 value calculated by the server.",
            ),
            Self::MetadataTooLarge => (
                "MetadataTooLarge",
                400,
                "The size of the specified metadata exceeds the maximum size permitted.",
            ),
            Self::MissingContentLengthHeader => {
                ("MissingContentLengthHeader", 411, "The Content-Length header was not specified.")
            }
            Self::MissingRequiredHeader => (
                "MissingRequiredHeader",
                400,
                "An HTTP header that's mandatory for this request is not specified.",
            ),
            Self::MissingRequiredQueryParameter => (
                "MissingRequiredQueryParameter",
                400,
                "A query parameter that's mandatory for this request is not specified.",
            ),
            Self::NotModified => (
                "ConditionNotMet",
                304,
                "The condition specified using HTTP conditional header(s) is not met.",
            ),
            Self::NotImplemented => {
                ("NotImplemented", 501, "The requested operation is not implemented by this storage account.")
            }
            Self::OperationTimedOut => {
                ("OperationTimedOut", 408, "The operation could not be completed within the permitted time.")
            }
            Self::OutOfRangeQueryParameterValue => (
                "OutOfRangeQueryParameterValue",
                400,
                "One of the query parameters specified in the request URI is outside the permissible range.",
            ),
            Self::PublicAccessNotPermitted => {
                ("PublicAccessNotPermitted", 409, "Public access is not permitted on this storage account.")
            }
            Self::RequestBodyTooLarge => (
                "RequestBodyTooLarge",
                413,
                "The request body is too large and exceeds the maximum permissible limit.",
            ),
            Self::ResourceNotFound => ("ResourceNotFound", 404, "The specified resource does not exist."),
            Self::ServerBusy => (
                "ServerBusy",
                503,
                "The server is currently unable to receive requests. Please retry your request.",
            ),
            Self::UnsupportedHttpVerb => {
                ("UnsupportedHttpVerb", 405, "The resource doesn't support the specified HTTP verb.")
            }
        }
    }
}

/// Why the account did not do something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The request is not acceptable; the code says why.
    #[error("{}: {}", .0.as_str(), .0.message())]
    Refused(Code),
    /// A file could not be read or written.
    #[error("the account's files failed: {0}; free disk space or check the disk")]
    Io(Arc<std::io::Error>),
    /// The index could not be read or written.
    #[error("the account's index failed: {0}; free disk space or check the disk")]
    Index(Arc<redb::Error>),
    /// A record of the index that cannot be read.
    #[error("the account's index holds a damaged record of {0}")]
    Record(&'static str),
    /// The folder was written by a version this one does not know.
    #[error(
        "the account's index has format {found}, this version reads format {known}; use the newer version"
    )]
    Format {
        /// What is on disk.
        found: u64,
        /// What we know.
        known: u64,
    },
    /// A sync of the index failed earlier.
    #[error("the account is poisoned by a failed sync; restart to recover from disk")]
    Poisoned,
    /// The work was stopped, because the process ends.
    #[error("the account is stopping")]
    Stopping,
}

impl Error {
    /// The code a client is told.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused(code) => *code,
            Self::Stopping => Code::ServerBusy,
            Self::Io(error) if is_full(error) => Code::ServerBusy,
            Self::Index(error) if matches!(&**error, redb::Error::Io(e) if is_full(e)) => Code::ServerBusy,
            Self::Io(_) | Self::Index(_) | Self::Record(_) | Self::Format { .. } | Self::Poisoned => {
                Code::InternalError
            }
        }
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

impl From<Code> for Error {
    fn from(code: Code) -> Self {
        Self::Refused(code)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// redb has one error type per step; all of them are one thing to us.
macro_rules! from_redb {
    ($($step:ident),*) => {$(
        impl From<redb::$step> for Error {
            fn from(error: redb::$step) -> Self {
                Self::Index(Arc::new(error.into()))
            }
        }
    )*};
}
from_redb!(DatabaseError, TransactionError, TableError, StorageError, CommitError);
