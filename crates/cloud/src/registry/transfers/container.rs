//! A blob container by the URL that gives access to it.

use super::Failure;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::Uri;
use object_store::azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore as _, RetryConfig, WriteMultipart};
use std::time::Duration;

/// How long one request is tried.
const ATTEMPT_MAX: Duration = Duration::from_secs(30);
/// Blocks of an upload under way at a time.
const BLOCKS_MAX: usize = 4;

/// A container of any Azure Blob account, or of this hub's own. The URL holds a signature: it stands in no error.
pub(super) struct Container {
    store: MicrosoftAzure,
}

impl Container {
    /// From `https://account.blob.example/container?signature` or `http://host:port/account/container?signature`.
    pub fn open(url: &str) -> Result<Self, Failure> {
        let bad = |what: &str| Failure::Wish(format!("the container's URI cannot be used: {what}"));
        let uri: Uri = url.trim().parse().map_err(|_| bad("it is no URI"))?;
        let (scheme, authority) = match (uri.scheme_str(), uri.authority()) {
            (Some(scheme @ ("http" | "https")), Some(authority)) => (scheme, authority),
            _ => return Err(bad("it begins neither with https:// nor with http://")),
        };
        if authority.as_str().contains('@') {
            return Err(bad("it holds a user name"));
        }
        let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
        let (account, endpoint, container) = match parts[..] {
            [container] => {
                let account = authority.host().split('.').next().unwrap_or_default();
                (account, format!("{scheme}://{authority}"), container)
            }
            [account, container] => (account, format!("{scheme}://{authority}/{account}"), container),
            _ => return Err(bad("its path names no container")),
        };
        let signature =
            uri.query().filter(|query| !query.is_empty()).ok_or_else(|| bad("it has no signature"))?;
        let retry = RetryConfig { max_retries: 2, retry_timeout: ATTEMPT_MAX, ..RetryConfig::default() };
        let store = MicrosoftAzureBuilder::new()
            .with_account(account)
            .with_allow_http(scheme == "http")
            .with_endpoint(endpoint)
            .with_container_name(container)
            .with_config(AzureConfigKey::SasKey, signature)
            .with_retry(retry)
            .build();
        Ok(Self { store: store.map_err(|_| bad("its parts make no sense"))? })
    }

    /// A blob's size and content.
    pub async fn read(
        &self,
        name: &str,
    ) -> Result<(u64, BoxStream<'static, Result<Bytes, Failure>>), Failure> {
        let found = self.store.get(&path(name)?).await.map_err(|error| failure(name, &error))?;
        let (size, name) = (found.meta.size, name.to_owned());
        Ok((size, found.into_stream().map_err(move |error| failure(&name, &error)).boxed()))
    }

    /// Replaces a blob by these bytes.
    pub async fn write(&self, name: &str, bytes: Bytes) -> Result<(), Failure> {
        let put = self.store.put(&path(name)?, bytes.into()).await;
        put.map(drop).map_err(|error| failure(name, &error))
    }

    /// Begins to replace a blob, block by block; nothing is seen of it before its end.
    pub async fn begin(&self, name: &str) -> Result<Upload, Failure> {
        let upload = self.store.put_multipart(&path(name)?).await.map_err(|error| failure(name, &error))?;
        Ok(Upload { writer: WriteMultipart::new(upload), name: name.to_owned() })
    }
}

/// A blob that is being written.
pub(super) struct Upload {
    writer: WriteMultipart,
    name: String,
}

impl Upload {
    /// Adds bytes; waits while too many blocks are under way.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let room = self.writer.wait_for_capacity(BLOCKS_MAX).await;
        room.map_err(|error| failure(&self.name, &error))?;
        self.writer.write(bytes);
        Ok(())
    }

    /// Makes the blob.
    pub async fn finish(self) -> Result<(), Failure> {
        let Self { writer, name } = self;
        writer.finish().await.map(drop).map_err(|error| failure(&name, &error))
    }
}

fn path(name: &str) -> Result<Path, Failure> {
    Path::parse(name).map_err(|_| Failure::Wish(format!("'{name}' is no name of a blob")))
}

/// The store's own words may quote the URL, and whoever chose it may not learn by them what only this machine can reach.
fn failure(name: &str, error: &StoreError) -> Failure {
    Failure::Container(match error {
        StoreError::NotFound { .. } => format!("there is no blob '{name}', or no such container"),
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
            format!("the signature does not allow what '{name}' needs: read, write, create and add")
        }
        _ => format!("the container cannot be reached, or refused '{name}'"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_containers_are_read_and_faults_hide_the_signature() {
        for good in [
            "https://acc.blob.core.windows.net/box?sv=2021&sig=eA%3D%3D",
            "http://127.0.0.1:10000/acc/box?sv=2021&sig=eA%3D%3D",
        ] {
            assert!(Container::open(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "ftp://h/box?sig=canary",
            "https://acc.blob.core.windows.net?sig=canary",
            "https://acc.blob.core.windows.net/a/b/c?sig=canary",
            "https://user@h/box?sig=canary",
            "https://h/box",
        ] {
            let Err(failure) = Container::open(bad) else { panic!("{bad} was accepted") };
            assert!(!failure.to_string().contains("canary"), "{failure}");
        }
    }
}
