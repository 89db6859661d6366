//! Opening a container of any account compatible with Azure Blob storage, from its connection string.

use crate::commands::connection::Target;
use anyhow::{Context as _, bail};
use http::Method;
use ironbrook_model::ConnectionString;
use object_store::azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::path::Path;
use object_store::signer::Signer as _;
use object_store::{Certificate, ClientOptions, ObjectStore};
use std::sync::Arc;
use std::time::Duration;

/// Account and key every storage emulator has (Azure docs, "Use the Azurite emulator").
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
const EMULATOR_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const EMULATOR_ENDPOINT: &str = "http://127.0.0.1:10000/devstoreaccount1";

/// Opens a container.
pub fn open(target: &Target, container: &str) -> anyhow::Result<Arc<dyn ObjectStore>> {
    Ok(Arc::new(azure(target, container)?))
}

/// Stores a blob and gives a URL that reads it for a while.
pub async fn publish(
    target: &Target,
    container: &str,
    path: &Path,
    content: Vec<u8>,
    good_for: Duration,
) -> anyhow::Result<String> {
    let store = azure(target, container)?;
    store.put(path, content.into()).await.with_context(|| format!("container {container}"))?;
    let url = store.signed_url(Method::GET, path, good_for).await;
    Ok(url.context("a URL can be signed only with the account's key")?.to_string())
}

fn azure(target: &Target, container: &str) -> anyhow::Result<MicrosoftAzure> {
    let parts = ConnectionString::parse(&target.connection_string)?;
    let emulator = parts.get("UseDevelopmentStorage").is_some_and(|flag| flag.eq_ignore_ascii_case("true"));
    let account = if emulator { EMULATOR_ACCOUNT } else { parts.get("AccountName").unwrap_or_default() };
    let endpoint = endpoint(&parts, account, emulator)?;
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_container_name(container)
        .with_endpoint(endpoint.clone())
        .with_client_options(client_options(target, &endpoint)?);
    builder = match (emulator, parts.get("AccountKey"), parts.get("SharedAccessSignature")) {
        (true, _, _) => builder.with_access_key(EMULATOR_KEY),
        (_, Some(key), _) => builder.with_access_key(key),
        (_, None, Some(sas)) => builder.with_config(AzureConfigKey::SasKey, sas.trim_start_matches('?')),
        (_, None, None) => {
            bail!("the storage connection string has neither AccountKey nor SharedAccessSignature")
        }
    };
    builder.build().context("the storage connection string cannot be used")
}

fn endpoint(parts: &ConnectionString, account: &str, emulator: bool) -> anyhow::Result<String> {
    if let Some(endpoint) = parts.get("BlobEndpoint") {
        return Ok(endpoint.trim_end_matches('/').to_owned());
    }
    if emulator {
        return Ok(EMULATOR_ENDPOINT.to_owned());
    }
    if account.is_empty() {
        bail!("the storage connection string has neither AccountName nor BlobEndpoint");
    }
    let protocol = parts.get("DefaultEndpointsProtocol").unwrap_or("https");
    let suffix = parts.get("EndpointSuffix").unwrap_or("core.windows.net");
    Ok(format!("{protocol}://{account}.blob.{suffix}"))
}

fn client_options(target: &Target, endpoint: &str) -> anyhow::Result<ClientOptions> {
    let mut options = ClientOptions::new().with_allow_http(endpoint.starts_with("http://"));
    if let Some(ca) = target.ca.as_ref().filter(|_| endpoint.starts_with("https://")) {
        let pem =
            std::fs::read(ca).with_context(|| format!("the CA file {} cannot be read", ca.display()))?;
        for certificate in Certificate::from_pem_bundle(&pem).context("the CA file is not PEM")? {
            options = options.with_root_certificate(certificate);
        }
    }
    Ok(options)
}

/// A prefix as the store takes it: whole path segments.
pub fn prefix(text: Option<&str>) -> anyhow::Result<Option<Path>> {
    text.map(|text| Path::parse(text).with_context(|| format!("the prefix {text:?} is not a path")))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint_of(text: &str) -> anyhow::Result<String> {
        let parts = ConnectionString::parse(text).unwrap();
        endpoint(&parts, parts.get("AccountName").unwrap_or_default(), text.contains("UseDev"))
    }

    #[test]
    fn the_endpoint_comes_from_any_form_of_connection_string() {
        let own =
            endpoint_of("AccountName=a;AccountKey=AAAA;BlobEndpoint=http://127.0.0.1:10000/a/").unwrap();
        assert_eq!(own, "http://127.0.0.1:10000/a");
        assert_eq!(endpoint_of("UseDevelopmentStorage=true").unwrap(), EMULATOR_ENDPOINT);
        let public =
            "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=AAAA;EndpointSuffix=core.windows.net";
        assert_eq!(endpoint_of(public).unwrap(), "https://a.blob.core.windows.net");
        assert!(endpoint_of("AccountKey=AAAA").is_err());
    }

    #[test]
    fn an_account_without_secret_is_refused_and_the_key_is_not_shown() {
        let target = |text: &str| Target { connection_string: text.to_owned(), ca: None, address: None };
        assert!(open(&target("AccountName=a"), "c").unwrap_err().to_string().contains("AccountKey"));
        let error = open(&target("AccountName=a;AccountKey=canary!"), "c").unwrap_err();
        assert!(!format!("{error:#}").contains("canary"), "{error:#}");
    }
}
