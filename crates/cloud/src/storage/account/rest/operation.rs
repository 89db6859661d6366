//! What a request asks for, told by verb, target and two query parameters, and the right it needs.

use super::super::error::Code;
use super::request::{Request, Target};
use axum::http::Method;

/// All the account can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// GET `/?comp=list`
    ListContainers,
    /// GET `/?restype=service&comp=properties`
    ServiceProperties,
    /// GET or HEAD anything with `restype=account&comp=properties`
    AccountInformation,
    /// PUT `/c?restype=container`
    CreateContainer,
    /// DELETE `/c?restype=container`
    DeleteContainer,
    /// GET or HEAD `/c?restype=container[&comp=metadata]`
    ContainerProperties,
    /// PUT `/c?restype=container&comp=metadata`
    SetContainerMetadata,
    /// GET or HEAD `/c?restype=container&comp=acl`
    ContainerAcl,
    /// GET `/c?restype=container&comp=list`
    ListBlobs,
    /// GET `/c/b`
    GetBlob,
    /// HEAD `/c/b`, GET or HEAD `/c/b?comp=metadata`
    BlobProperties,
    /// PUT `/c/b`
    PutBlob,
    /// PUT `/c/b?comp=block`
    PutBlock,
    /// PUT `/c/b?comp=blocklist`
    PutBlockList,
    /// GET `/c/b?comp=blocklist`
    GetBlockList,
    /// PUT `/c/b?comp=metadata`
    SetBlobMetadata,
    /// PUT `/c/b?comp=properties`
    SetBlobHeaders,
    /// DELETE `/c/b`
    DeleteBlob,
}

/// What a shared access signature must allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    /// Letter of the resource type in an account signature: `s`ervice, `c`ontainer, `o`bject.
    pub resource_type: char,
    /// One of these letters must be among the permissions; none needed if empty.
    pub permissions: &'static str,
    /// Whether a service signature (one container or blob) can allow it at all.
    pub by_service_signature: bool,
}

impl Operation {
    /// Reads the operation off a request.
    pub fn of(request: &Request) -> Result<Self, Code> {
        let comp = request.query("comp").unwrap_or_default();
        let restype = request.query("restype").unwrap_or_default();
        let method = &request.method;
        let reads = method == Method::GET || method == Method::HEAD;
        if restype == "account" && comp == "properties" && reads {
            return Ok(Self::AccountInformation);
        }
        match &request.target {
            Target::Account => Self::of_account(method, restype, comp),
            Target::Container(_) => Self::of_container(method, restype, comp),
            Target::Blob(..) => Self::of_blob(method, comp),
        }
    }

    fn of_account(method: &Method, restype: &str, comp: &str) -> Result<Self, Code> {
        match (method.as_str(), restype, comp) {
            ("GET", "", "list") => Ok(Self::ListContainers),
            ("GET", "service", "properties") => Ok(Self::ServiceProperties),
            _ => Err(unknown(comp)),
        }
    }

    fn of_container(method: &Method, restype: &str, comp: &str) -> Result<Self, Code> {
        match (method.as_str(), restype, comp) {
            ("PUT", "container", "") => Ok(Self::CreateContainer),
            ("DELETE", "container", "") => Ok(Self::DeleteContainer),
            ("GET" | "HEAD", "container", "" | "metadata") => Ok(Self::ContainerProperties),
            ("PUT", "container", "metadata") => Ok(Self::SetContainerMetadata),
            ("GET" | "HEAD", "container", "acl") => Ok(Self::ContainerAcl),
            ("GET", "container", "list") => Ok(Self::ListBlobs),
            _ => Err(unknown(comp)),
        }
    }

    fn of_blob(method: &Method, comp: &str) -> Result<Self, Code> {
        match (method.as_str(), comp) {
            ("GET", "") => Ok(Self::GetBlob),
            ("HEAD", "") | ("GET" | "HEAD", "metadata") => Ok(Self::BlobProperties),
            ("PUT", "") => Ok(Self::PutBlob),
            ("PUT", "block") => Ok(Self::PutBlock),
            ("PUT", "blocklist") => Ok(Self::PutBlockList),
            ("GET", "blocklist") => Ok(Self::GetBlockList),
            ("PUT", "metadata") => Ok(Self::SetBlobMetadata),
            ("PUT", "properties") => Ok(Self::SetBlobHeaders),
            ("DELETE", "") => Ok(Self::DeleteBlob),
            _ => Err(unknown(comp)),
        }
    }

    /// The right it needs. Source: Azure docs "Create a service SAS" and "Create an account SAS", permission tables.
    pub fn right(self) -> Right {
        let (resource_type, permissions, by_service_signature) = match self {
            Self::ListContainers => ('s', "l", false),
            Self::ServiceProperties => ('s', "r", false),
            Self::AccountInformation => ('*', "", true),
            Self::CreateContainer => ('c', "wc", false),
            Self::DeleteContainer => ('c', "d", false),
            Self::ContainerProperties => ('c', "r", false),
            Self::SetContainerMetadata => ('c', "w", false),
            // Only the owner of a key may see who has access: no signature can carry the permission `*`.
            Self::ContainerAcl => ('c', "*", false),
            Self::ListBlobs => ('c', "l", true),
            Self::GetBlob | Self::BlobProperties | Self::GetBlockList => ('o', "r", true),
            Self::PutBlob | Self::PutBlock | Self::PutBlockList => ('o', "wc", true),
            Self::SetBlobMetadata | Self::SetBlobHeaders => ('o', "w", true),
            Self::DeleteBlob => ('o', "d", true),
        };
        Right { resource_type, permissions, by_service_signature }
    }
}

/// A part of the protocol we do not have is told from a verb that fits nothing.
fn unknown(comp: &str) -> Code {
    if comp.is_empty() { Code::UnsupportedHttpVerb } else { Code::NotImplemented }
}
