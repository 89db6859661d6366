//! XML bodies, out and in.

use super::super::blocks::{BlockChoice, BlockList, BlockSource};
use super::super::error::Code;
use super::super::listing::{Entry, ListBlobs, Listing, PAGE_MAX};
use super::super::record::{Blob, Container, Metadata};
use super::time;
use axum::body::Body;
use axum::http::Response;
use ironbrook_model::percent_encode;
use quick_xml::Reader;
use quick_xml::escape::escape;
use quick_xml::events::Event;
use std::fmt::Write as _;
use uuid::Uuid;

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>";

/// Get Blob Service Properties: nothing is switched on.
pub const SERVICE_PROPERTIES: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?><StorageServiceProperties>\
    <Logging><Version>1.0</Version><Delete>false</Delete><Read>false</Read><Write>false</Write>\
    <RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></Logging>\
    <HourMetrics><Version>1.0</Version><Enabled>false</Enabled>\
    <RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></HourMetrics>\
    <MinuteMetrics><Version>1.0</Version><Enabled>false</Enabled>\
    <RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></MinuteMetrics>\
    <Cors /><DeleteRetentionPolicy><Enabled>false</Enabled></DeleteRetentionPolicy>\
    <StaticWebsite><Enabled>false</Enabled></StaticWebsite></StorageServiceProperties>";

/// Get Container ACL: no stored policies.
pub const NO_POLICIES: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?><SignedIdentifiers />";

/// An answer with an XML body.
pub fn reply(body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    super::reply::put(response.headers_mut(), "content-type", "application/xml");
    response
}

/// The body of an error.
pub fn error(code: Code, request_id: Uuid) -> String {
    let (name, message) = (code.as_str(), escape(code.message()));
    format!("{HEAD}<Error><Code>{name}</Code><Message>{message}\nRequestId:{request_id}</Message></Error>")
}

/// What both listings say back of their request.
pub struct Asked<'a> {
    /// `http://127.0.0.1:10000/account/`
    pub endpoint: &'a str,
    pub prefix: &'a str,
    pub marker: &'a str,
    pub max: Option<usize>,
    pub with_metadata: bool,
}

impl Asked<'_> {
    fn push(&self, xml: &mut String) {
        element(xml, "Prefix", self.prefix);
        element(xml, "Marker", self.marker);
        if let Some(max) = self.max {
            element(xml, "MaxResults", &max.min(PAGE_MAX).to_string());
        }
    }
}

/// List Containers.
pub fn containers(asked: &Asked<'_>, page: &Listing<(String, Container)>, next: &str) -> String {
    let mut xml = format!("{HEAD}<EnumerationResults ServiceEndpoint=\"{}\">", escape(asked.endpoint));
    asked.push(&mut xml);
    xml.push_str("<Containers>");
    for (name, container) in &page.entries {
        xml.push_str("<Container>");
        element(&mut xml, "Name", name);
        xml.push_str("<Properties>");
        element(&mut xml, "Last-Modified", &time::http(container.modified));
        element(&mut xml, "Etag", &format!("\"{}\"", container.etag));
        xml.push_str("<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState>");
        xml.push_str(
            "<HasImmutabilityPolicy>false</HasImmutabilityPolicy><HasLegalHold>false</HasLegalHold>",
        );
        xml.push_str("</Properties>");
        if asked.with_metadata {
            push_metadata(&mut xml, &container.metadata);
        }
        xml.push_str("</Container>");
    }
    xml.push_str("</Containers>");
    element(&mut xml, "NextMarker", next);
    xml.push_str("</EnumerationResults>");
    xml
}

/// List Blobs.
pub fn blobs(
    asked: &Asked<'_>,
    container: &str,
    what: &ListBlobs,
    page: &Listing<Entry>,
    next: &str,
) -> String {
    let (endpoint, container) = (escape(asked.endpoint), escape(container));
    let mut xml =
        format!("{HEAD}<EnumerationResults ServiceEndpoint=\"{endpoint}\" ContainerName=\"{container}\">");
    asked.push(&mut xml);
    if let Some(delimiter) = &what.delimiter {
        element(&mut xml, "Delimiter", delimiter);
    }
    xml.push_str("<Blobs>");
    for entry in &page.entries {
        match entry {
            Entry::Prefix(name) => {
                xml.push_str("<BlobPrefix>");
                push_name(&mut xml, name);
                xml.push_str("</BlobPrefix>");
            }
            Entry::Blob(name, blob) => {
                xml.push_str("<Blob>");
                push_name(&mut xml, name);
                push_properties(&mut xml, blob);
                if asked.with_metadata {
                    push_metadata(&mut xml, &blob.metadata);
                }
                xml.push_str("</Blob>");
            }
        }
    }
    xml.push_str("</Blobs>");
    element(&mut xml, "NextMarker", next);
    xml.push_str("</EnumerationResults>");
    xml
}

fn push_properties(xml: &mut String, blob: &Blob) {
    xml.push_str("<Properties>");
    element(xml, "Creation-Time", &time::http(blob.created));
    element(xml, "Last-Modified", &time::http(blob.modified));
    element(xml, "Etag", &blob.etag.to_string());
    element(xml, "Content-Length", &blob.len.to_string());
    let own = &blob.headers;
    for (name, value) in [
        ("Content-Type", own.content_type.as_deref().or(Some("application/octet-stream"))),
        ("Content-Encoding", own.content_encoding.as_deref()),
        ("Content-Language", own.content_language.as_deref()),
        ("Content-MD5", own.content_md5.as_deref()),
        ("Cache-Control", own.cache_control.as_deref()),
        ("Content-Disposition", own.content_disposition.as_deref()),
    ] {
        element(xml, name, value.unwrap_or_default());
    }
    xml.push_str("<BlobType>BlockBlob</BlobType><AccessTier>Hot</AccessTier>");
    xml.push_str("<AccessTierInferred>true</AccessTierInferred><LeaseStatus>unlocked</LeaseStatus>");
    xml.push_str("<LeaseState>available</LeaseState><ServerEncrypted>false</ServerEncrypted></Properties>");
}

fn push_metadata(xml: &mut String, metadata: &Metadata) {
    xml.push_str("<Metadata>");
    for (name, value) in metadata {
        element(xml, name, value);
    }
    xml.push_str("</Metadata>");
}

/// rule BLOB-04: a name that XML 1.0 cannot carry is percent-encoded and marked.
fn push_name(xml: &mut String, name: &str) {
    if name.chars().all(is_xml) {
        element(xml, "Name", name);
    } else {
        let _ = write!(xml, "<Name Encoded=\"true\">{}</Name>", percent_encode(name));
    }
}

fn is_xml(c: char) -> bool {
    // Carriage return and the like would be normalised away by readers.
    !c.is_control() && c != '\u{FFFE}' && c != '\u{FFFF}'
}

fn element(xml: &mut String, name: &str, text: &str) {
    if text.is_empty() {
        let _ = write!(xml, "<{name} />");
    } else {
        let _ = write!(xml, "<{name}>{}</{name}>", escape(text));
    }
}

/// Get Block List.
pub fn block_list(list: &BlockList, with_committed: bool, with_uncommitted: bool) -> String {
    let mut xml = format!("{HEAD}<BlockList>");
    for (wanted, name, blocks) in [
        (with_committed, "CommittedBlocks", &list.committed),
        (with_uncommitted, "UncommittedBlocks", &list.uncommitted),
    ] {
        if wanted {
            let _ = write!(xml, "<{name}>");
            for (id, len) in blocks {
                let _ = write!(xml, "<Block><Name>{}</Name><Size>{len}</Size></Block>", escape(id.as_str()));
            }
            let _ = write!(xml, "</{name}>");
        }
    }
    xml.push_str("</BlockList>");
    xml
}

/// The body of Put Block List. The order of the entries is the order of the content.
pub fn parse_block_list(body: &[u8]) -> Result<Vec<BlockChoice>, Code> {
    let mut reader = Reader::from_reader(body);
    let mut list = Vec::new();
    let mut current: Option<(BlockSource, String)> = None;
    loop {
        match reader.read_event().map_err(|_| Code::InvalidXmlDocument)? {
            Event::Start(start) if start.local_name().as_ref() == b"BlockList" => {}
            Event::Start(start) if current.is_none() => {
                current = Some((source(start.local_name().as_ref())?, String::new()));
            }
            Event::Text(text) => {
                if let Some((_, id)) = &mut current {
                    // Base64 holds nothing that XML would escape.
                    id.push_str(text.decode().map_err(|_| Code::InvalidXmlDocument)?.trim());
                }
            }
            Event::End(end) if end.local_name().as_ref() == b"BlockList" => {}
            Event::End(_) => {
                let (source, id) = current.take().ok_or(Code::InvalidXmlDocument)?;
                list.push(BlockChoice { id, source });
            }
            Event::Start(_) | Event::GeneralRef(_) => return Err(Code::InvalidXmlDocument),
            Event::Eof => return Ok(list),
            _ => {}
        }
    }
}

fn source(name: &[u8]) -> Result<BlockSource, Code> {
    match name {
        b"Committed" => Ok(BlockSource::Committed),
        b"Uncommitted" => Ok(BlockSource::Uncommitted),
        b"Latest" => Ok(BlockSource::Latest),
        _ => Err(Code::InvalidXmlDocument),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn block_list_keeps_its_order() {
        let body = "<?xml version='1.0' encoding='utf-8'?>\n<BlockList>\n <Latest>QQ==</Latest>\
                    <Committed>Qg==</Committed><Uncommitted>Qw==</Uncommitted></BlockList>";
        let list = parse_block_list(body.as_bytes()).unwrap();
        let ids: Vec<_> = list.iter().map(|c| (c.id.as_str(), c.source)).collect();
        assert_eq!(
            ids,
            [
                ("QQ==", BlockSource::Latest),
                ("Qg==", BlockSource::Committed),
                ("Qw==", BlockSource::Uncommitted)
            ]
        );
    }

    #[test]
    fn broken_block_lists_are_refused() {
        for bad in [
            "<BlockList><Oldest>QQ==</Oldest></BlockList>",
            "<BlockList><Latest>",
            "<a></b>",
            "<BlockList><Latest><Latest>",
        ] {
            let found = parse_block_list(bad.as_bytes());
            assert!(found.is_err() || found.as_ref().is_ok_and(Vec::is_empty), "{bad}: {found:?}");
        }
    }

    #[test]
    fn names_that_xml_cannot_carry_are_marked_blob_04() {
        let mut xml = String::new();
        push_name(&mut xml, "a\u{1}b");
        push_name(&mut xml, "a&b<c>");
        assert_eq!(xml, "<Name Encoded=\"true\">a%01b</Name><Name>a&amp;b&lt;c&gt;</Name>");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_bytes_are_read_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_block_list(&body);
        }
    }
}
