//! Answers about containers and listings.

use super::super::Account;
use super::super::error::{Code, Error};
use super::super::listing::ListBlobs;
use super::reply::{self, put};
use super::request::Request;
use super::xml::{self, Asked};
use axum::body::Body;
use axum::http::{Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

impl Account {
    /// Create Container.
    pub(super) async fn answer_create_container(
        &self,
        request: &Request,
        name: &str,
    ) -> Result<Response<Body>, Error> {
        if request.header("x-ms-blob-public-access").is_some() {
            return Err(Code::PublicAccessNotPermitted.into());
        }
        let container = self.create_container(name, request.metadata()).await?;
        Ok(reply::versioned(StatusCode::CREATED, container.etag, container.modified))
    }

    /// Delete Container.
    pub(super) async fn answer_delete_container(
        &self,
        request: &Request,
        name: &str,
    ) -> Result<Response<Body>, Error> {
        self.delete_container(name, request.conditions()?).await?;
        Ok(reply::empty(StatusCode::ACCEPTED))
    }

    /// Get Container Properties, Get Container Metadata.
    pub(super) async fn answer_container(
        &self,
        request: &Request,
        name: &str,
    ) -> Result<Response<Body>, Error> {
        let container = self.container(name).await?;
        request.conditions()?.check_read(container.etag, container.modified)?;
        let mut response = reply::versioned(StatusCode::OK, container.etag, container.modified);
        let headers = response.headers_mut();
        reply::put_metadata(headers, &container.metadata);
        reply::put_lease(headers);
        put(headers, "x-ms-has-immutability-policy", "false");
        put(headers, "x-ms-has-legal-hold", "false");
        Ok(response)
    }

    /// Set Container Metadata.
    pub(super) async fn answer_set_container_metadata(
        &self,
        request: &Request,
        name: &str,
    ) -> Result<Response<Body>, Error> {
        let (metadata, conditions) = (request.metadata(), request.conditions()?);
        let container = self.set_container_metadata(name, metadata, conditions).await?;
        Ok(reply::versioned(StatusCode::OK, container.etag, container.modified))
    }

    /// Get Container ACL.
    pub(super) async fn answer_container_acl(&self, name: &str) -> Result<Response<Body>, Error> {
        let container = self.container(name).await?;
        let mut response = xml::reply(xml::NO_POLICIES.to_owned());
        reply::put_version(response.headers_mut(), container.etag, container.modified);
        Ok(response)
    }

    /// List Containers.
    pub(super) async fn answer_list_containers(&self, request: &Request) -> Result<Response<Body>, Error> {
        let page = Page::of(request, self.name())?;
        let asked = page.asked(request);
        let found = self.list_containers(asked.prefix, page.from.as_deref(), page.max.unwrap_or(0)).await?;
        let next = found.next.as_deref().map(marker).unwrap_or_default();
        Ok(xml::reply(xml::containers(&asked, &found, &next)))
    }

    /// List Blobs.
    pub(super) async fn answer_list_blobs(
        &self,
        request: &Request,
        container: &str,
    ) -> Result<Response<Body>, Error> {
        let page = Page::of(request, self.name())?;
        let asked = page.asked(request);
        let what = ListBlobs {
            prefix: asked.prefix.to_owned(),
            delimiter: request.query("delimiter").filter(|d| !d.is_empty()).map(str::to_owned),
            from: page.from.clone(),
            max: page.max.unwrap_or(0),
        };
        let found = self.list_blobs(container, what.clone()).await?;
        let next = found.next.as_deref().map(marker).unwrap_or_default();
        Ok(xml::reply(xml::blobs(&asked, container, &what, &found, &next)))
    }
}

/// Markers are opaque to clients: the next name, in letters that need no escaping anywhere.
fn marker(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(name)
}

/// The part of a request that says which page.
struct Page {
    endpoint: String,
    from: Option<String>,
    max: Option<usize>,
}

impl Page {
    fn of(request: &Request, account: &str) -> Result<Self, Code> {
        let marker = request.query("marker").filter(|m| !m.is_empty());
        let from = marker
            .map(|text| {
                let bytes = URL_SAFE_NO_PAD.decode(text).ok();
                bytes.and_then(|b| String::from_utf8(b).ok()).ok_or(Code::InvalidQueryParameterValue)
            })
            .transpose()?;
        let max = request
            .query("maxresults")
            .map(|text| match text.parse() {
                Ok(0) => Err(Code::OutOfRangeQueryParameterValue),
                Ok(max) => Ok(max),
                Err(_) => Err(Code::InvalidQueryParameterValue),
            })
            .transpose()?;
        let scheme = if request.peer.as_ref().is_some_and(|peer| peer.tls) { "https" } else { "http" };
        let host = request.header("host").unwrap_or("localhost");
        Ok(Self { endpoint: format!("{scheme}://{host}/{account}/"), from, max })
    }

    fn asked<'a>(&'a self, request: &'a Request) -> Asked<'a> {
        let include = request.query("include").unwrap_or_default();
        Asked {
            endpoint: &self.endpoint,
            prefix: request.query("prefix").unwrap_or_default(),
            marker: request.query("marker").unwrap_or_default(),
            max: self.max,
            with_metadata: include.split(',').any(|one| one.trim() == "metadata"),
        }
    }
}
