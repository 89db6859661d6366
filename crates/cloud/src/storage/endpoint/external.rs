//! Any other Azure Blob account, an S3 bucket or a folder as the target, through `object_store`.

mod folder;
mod s3;

use super::super::account::Mark;
use super::Error;
use bytes::Bytes;
use ironbrook_model::{ConnectionString, Timestamp};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error as StoreError, GetOptions, ObjectStore, PutMode, PutOptions, RetryConfig,
};
use std::time::Duration;

/// How long one attempt goes on; the executor comes again with the batch afterwards.
const ATTEMPT_MAX: Duration = Duration::from_secs(30);
/// Metadata of a blob: which messages it holds, so that a batch that comes again is recognised.
const FIRST_OFFSET: &str = "firstoffset";
const FIRST_ENQUEUED: &str = "firstenqueued";
const LAST_OFFSET: &str = "lastoffset";
const LAST_ENQUEUED: &str = "lastenqueued";

pub use s3::S3;

/// A container of another account, a bucket or a folder.
pub struct External {
    store: Box<dyn ObjectStore>,
    /// How a batch that comes again is recognised.
    recognises: Recognises,
}

enum Recognises {
    /// By metadata of the blob, which tells which messages it holds; names are the format's own.
    Metadata,
    /// By the name, which has the first message's offset and time: it is written again. Where nothing keeps metadata.
    Name,
    /// The same; and what is written is synced to the disk.
    NameOnDisk(folder::Folder),
}

impl External {
    /// Reads a connection string; nothing is sent yet.
    pub fn open(connection_string: &str, container: &str) -> Result<Self, Error> {
        let builder = builder(connection_string)?;
        let retry = RetryConfig { max_retries: 2, retry_timeout: ATTEMPT_MAX, ..RetryConfig::default() };
        let store = builder.with_container_name(container).with_retry(retry).build()?;
        Ok(Self { store: Box::new(store), recognises: Recognises::Metadata })
    }

    /// A bucket of S3, or of what speaks like it; nothing is sent yet.
    pub fn s3(settings: &S3, bucket: &str) -> Result<Self, Error> {
        let retry = RetryConfig { max_retries: 2, retry_timeout: ATTEMPT_MAX, ..RetryConfig::default() };
        let store = settings.builder(bucket).with_retry(retry).build()?;
        Ok(Self { store: Box::new(store), recognises: Recognises::Name })
    }

    /// A folder, made if absent.
    pub fn folder(path: &std::path::Path) -> Result<Self, Error> {
        let (store, folder) = folder::open(path)?;
        Ok(Self { store: Box::new(store), recognises: Recognises::NameOnDisk(folder) })
    }

    #[cfg(test)]
    fn over(store: impl ObjectStore) -> Self {
        Self { store: Box::new(store), recognises: Recognises::Metadata }
    }

    /// Stores messages `first` to `last` under the first of the names that is free, and says up to where messages are stored now
    /// (`last`, or later where the batch was longer when it came before) and under which name.
    pub async fn store(
        &self,
        names: &[String],
        bytes: Bytes,
        first: Mark,
        last: Mark,
    ) -> Result<(Mark, String), Error> {
        if !matches!(self.recognises, Recognises::Metadata) {
            return self.replace(names.last().map_or("", String::as_str), bytes, last).await;
        }
        for name in names {
            let path = Path::parse(name).map_err(StoreError::from)?;
            let put = |mode| {
                let options =
                    PutOptions { mode, attributes: attributes(first, last), ..PutOptions::default() };
                self.store.put_opts(&path, bytes.clone().into(), options)
            };
            match put(PutMode::Create).await {
                Ok(_) => return Ok((last, name.clone())),
                Err(StoreError::AlreadyExists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            match self.held(&path).await? {
                Some((held_first, held_last)) if held_first == first => {
                    // The same batch, stored before a crash or an answer that was lost.
                    if held_last < last {
                        put(PutMode::Overwrite).await?;
                    }
                    return Ok((held_last.max(last), name.clone()));
                }
                // Other messages: take the next name.
                _ => {}
            }
        }
        let path = names.last().cloned().unwrap_or_default();
        Err(StoreError::AlreadyExists { path, source: "all names for this batch are taken".into() }.into())
    }

    /// Writes what may be there already. Where the batch is shorter than when it came before, the rest follows in the next one.
    async fn replace(&self, name: &str, bytes: Bytes, last: Mark) -> Result<(Mark, String), Error> {
        let path = Path::parse(name).map_err(StoreError::from)?;
        self.store.put(&path, bytes.into()).await?;
        if let Recognises::NameOnDisk(folder) = &self.recognises {
            folder.sync(name).await?;
        }
        Ok((last, name.to_owned()))
    }

    /// Which messages a blob holds, by its metadata.
    async fn held(&self, path: &Path) -> Result<Option<(Mark, Mark)>, Error> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let found = self.store.get_opts(path, options).await?.attributes;
        let number = |name: &'static str| -> Option<&str> {
            found.get(&Attribute::Metadata(name.into())).map(|value| value.as_ref())
        };
        let mark = |offset, enqueued| -> Option<Mark> {
            let enqueued = Timestamp::from_millis(number(enqueued)?.parse().ok()?);
            Some(Mark { offset: number(offset)?.parse().ok()?, enqueued })
        };
        Ok(mark(FIRST_OFFSET, FIRST_ENQUEUED).zip(mark(LAST_OFFSET, LAST_ENQUEUED)))
    }
}

fn attributes(first: Mark, last: Mark) -> Attributes {
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::ContentType, "application/octet-stream".into());
    for (name, value) in [
        (FIRST_OFFSET, first.offset.to_string()),
        (FIRST_ENQUEUED, first.enqueued.as_millis().to_string()),
        (LAST_OFFSET, last.offset.to_string()),
        (LAST_ENQUEUED, last.enqueued.as_millis().to_string()),
    ] {
        attributes.insert(Attribute::Metadata(name.into()), value.into());
    }
    attributes
}

/// An account by its connection string; what is missing is the container.
pub(crate) fn builder(connection_string: &str) -> Result<MicrosoftAzureBuilder, Error> {
    let wrong = |what: String| Error::ConnectionString(what);
    let parts = ConnectionString::parse(connection_string).map_err(|error| wrong(error.to_string()))?;
    if parts.get("UseDevelopmentStorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(MicrosoftAzureBuilder::new().with_use_emulator(true));
    }
    let protocol = parts.get("DefaultEndpointsProtocol").unwrap_or("https");
    let suffix = parts.get("EndpointSuffix").unwrap_or("core.windows.net");
    let name = parts.get("AccountName");
    let endpoint = match (parts.get("BlobEndpoint"), name) {
        (Some(endpoint), _) => endpoint.trim_end_matches('/').to_owned(),
        (None, Some(name)) => format!("{protocol}://{name}.blob.{suffix}"),
        (None, None) => return Err(wrong("AccountName or BlobEndpoint is missing".into())),
    };
    let account = name.map(str::to_owned).or_else(|| account_of(&endpoint));
    let account = account.ok_or_else(|| wrong("AccountName is missing".into()))?;
    let builder = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_allow_http(endpoint.starts_with("http://"))
        .with_endpoint(endpoint);
    match (parts.get("AccountKey"), parts.get("SharedAccessSignature")) {
        (Some(key), _) => Ok(builder.with_access_key(key)),
        (None, Some(signature)) => {
            Ok(builder.with_config(AzureConfigKey::SasKey, signature.trim_start_matches('?')))
        }
        (None, None) => Err(wrong("AccountKey or SharedAccessSignature is missing".into())),
    }
}

/// The account's name in `https://name.blob.example` or `http://127.0.0.1:10000/name`.
fn account_of(endpoint: &str) -> Option<String> {
    let rest = endpoint.split_once("://")?.1;
    match rest.split_once('/') {
        Some((_, path)) => path.split('/').next().map(str::to_owned),
        None => rest.split('.').next().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    fn mark(offset: u64) -> Mark {
        Mark { offset, enqueued: Timestamp::from_millis(1000 + offset as i64) }
    }

    fn names() -> Vec<String> {
        vec!["hub/00/a".into(), "hub/00/a-1".into()]
    }

    async fn text(external: &External, name: &str) -> Option<String> {
        let found = external.store.get(&Path::from(name)).await.ok()?;
        Some(String::from_utf8(found.bytes().await.unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn batch_that_comes_again_is_recognised() {
        let external = External::over(InMemory::new());
        let store = |text: &'static str, first, last| {
            external.store(&NAMES, Bytes::from(text), mark(first), mark(last))
        };
        static NAMES: std::sync::LazyLock<Vec<String>> = std::sync::LazyLock::new(names);
        let (at, name) = store("0..5", 0, 5).await.unwrap();
        assert_eq!((at, name.as_str()), (mark(5), "hub/00/a"));
        // Longer: the blob grows. Shorter: it stays, and what it holds is known.
        assert_eq!(store("0..7", 0, 7).await.unwrap().0, mark(7));
        assert_eq!(store("0..3", 0, 3).await.unwrap().0, mark(7));
        assert_eq!(text(&external, "hub/00/a").await.as_deref(), Some("0..7"));
        // Other messages of the same minute never replace it.
        assert_eq!(store("8..9", 8, 9).await.unwrap(), (mark(9), "hub/00/a-1".to_owned()));
        assert_eq!(text(&external, "hub/00/a").await.as_deref(), Some("0..7"));
        assert_eq!(text(&external, "hub/00/a-1").await.as_deref(), Some("8..9"));
        assert!(store("10..", 10, 11).await.is_err());
    }

    #[tokio::test]
    async fn a_folder_gets_each_batch_once_and_is_made_where_it_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a").join("b");
        let external = External::folder(&path).unwrap();
        let store = |text: &'static str, first, last, name: &str| {
            let names = [format!("hub/{first}"), name.to_owned()];
            let bytes = Bytes::from(text);
            let external = &external;
            async move { external.store(&names, bytes, mark(first), mark(last)).await.unwrap() }
        };
        assert_eq!(store("0..5", 0, 5, "hub/00/x-0.json").await, (mark(5), "hub/00/x-0.json".to_owned()));
        store("0..7", 0, 7, "hub/00/x-0.json").await;
        store("8..9", 8, 9, "hub/00/x-8.json").await;
        let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap();
        assert_eq!(
            (read("hub/00/x-0.json"), read("hub/00/x-8.json")),
            ("0..7".to_owned(), "8..9".to_owned())
        );
        let files = std::fs::read_dir(path.join("hub/00")).unwrap().count();
        assert_eq!(files, 2, "nothing is left beside them");
    }

    #[test]
    fn connection_strings_are_read() {
        for good in [
            "UseDevelopmentStorage=true",
            "DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=a2V5;EndpointSuffix=core.windows.net",
            "AccountName=acc;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:10000/acc;",
            "BlobEndpoint=http://127.0.0.1:10000/acc;SharedAccessSignature=sv=2021-12-02&ss=b&sig=eA%3D%3D",
        ] {
            External::open(good, "box").unwrap_or_else(|error| panic!("{good}: {error}"));
        }
        for bad in ["", "AccountName=acc", "AccountKey=a2V5", "nonsense"] {
            let Err(error) = External::open(bad, "box") else { panic!("{bad} was accepted") };
            assert!(!error.to_string().contains("a2V5"), "no secret in {error}");
        }
    }
}
