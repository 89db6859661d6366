//! Making shared access signatures: addresses that let somebody without a key read or write for a while.

use super::Account;
use ironbrook_model::{Timestamp, percent_encode};

/// The version of the signature's form: the newest that this account signs.
const SIGNED_VERSION: &str = "2021-12-02";

/// What a shared access signature is to allow.
#[derive(Debug, Clone)]
pub struct Share {
    /// The container.
    pub container: String,
    /// The blob; `None` for all of the container.
    pub blob: Option<String>,
    /// Letters of Azure's, in Azure's order: `r` read, `a` add, `c` create, `w` write, `d` delete, `l` list.
    pub permissions: String,
    /// Until when.
    pub expires: Timestamp,
}

/// The fields of a service signature that are signed, in the order of the text. Absent ones are empty.
///
/// Source: Azure docs "Create a service SAS", versions 2020-12-06, 2018-11-09 and 2015-04-05.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ServiceFields<'a> {
    pub permissions: &'a str,
    pub start: &'a str,
    pub expiry: &'a str,
    /// `/blob/<account>/<container>[/<blob>]`, decoded.
    pub resource: &'a str,
    pub identifier: &'a str,
    pub ip: &'a str,
    pub protocol: &'a str,
    pub version: &'a str,
    pub resource_type: &'a str,
    pub snapshot: &'a str,
    pub encryption_scope: &'a str,
    /// Cache control, disposition, encoding, language and type to answer with.
    pub answer: [&'a str; 5],
}

impl ServiceFields<'_> {
    /// The text that is signed.
    pub fn text(&self) -> String {
        let mut lines = vec![
            self.permissions,
            self.start,
            self.expiry,
            self.resource,
            self.identifier,
            self.ip,
            self.protocol,
            self.version,
        ];
        // Versions are dates, so they compare as texts.
        if self.version >= "2018-11-09" {
            lines.extend([self.resource_type, self.snapshot]);
        }
        if self.version >= "2020-12-06" {
            lines.push(self.encryption_scope);
        }
        lines.extend(self.answer);
        lines.join("\n")
    }
}

impl Account {
    /// The query of a shared access signature, signed with the primary key, without a question mark.
    pub fn sas(&self, share: &Share) -> String {
        let name = self.name();
        let mut resource = format!("/blob/{name}/{}", share.container);
        if let Some(blob) = &share.blob {
            resource.push('/');
            resource.push_str(blob);
        }
        // Whole seconds, the form every version of the protocol accepts.
        let expires = share.expires.to_utc().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let kind = if share.blob.is_some() { "b" } else { "c" };
        let fields = ServiceFields {
            permissions: &share.permissions,
            expiry: &expires,
            resource: &resource,
            version: SIGNED_VERSION,
            resource_type: kind,
            ..ServiceFields::default()
        };
        let signature = self.inner.sign_primary(&fields.text());
        format!(
            "sv={SIGNED_VERSION}&sr={kind}&sp={}&se={}&sig={}",
            share.permissions,
            percent_encode(&expires),
            percent_encode(&signature)
        )
    }

    /// The address of a container or blob with a shared access signature. `endpoint` is scheme, host and port.
    pub fn sas_url(&self, endpoint: &str, share: &Share) -> String {
        let mut url = format!("{}/{}/{}", endpoint.trim_end_matches('/'), self.name(), share.container);
        for part in share.blob.iter().flat_map(|blob| blob.split('/')) {
            url.push('/');
            url.push_str(&percent_encode(part));
        }
        url.push('?');
        url.push_str(&self.sas(share));
        url
    }
}
