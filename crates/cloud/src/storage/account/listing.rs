//! Listings, in pages: containers by name, blobs by name, flat or by folder.

use super::Account;
use super::error::{Code, Error};
use super::index::decode;
use super::record::{Blob, Container};
use redb::ReadableTable as _;

/// Most entries of a page.
pub(super) const PAGE_MAX: usize = 5000;

/// What blobs to list.
#[derive(Debug, Clone, Default)]
pub struct ListBlobs {
    /// Names start with this.
    pub prefix: String,
    /// Names that go on with this after the prefix are shown as one folder.
    pub delimiter: Option<String>,
    /// Where to go on: the `next` of the page before.
    pub from: Option<String>,
    /// Most entries of the page; 0 means as many as allowed, 5000.
    pub max: usize,
}

/// An entry of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A blob and its name.
    Blob(String, Blob),
    /// A folder: the common start of names, delimiter included.
    Prefix(String),
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T> {
    /// In order of names.
    pub entries: Vec<T>,
    /// Where the next page starts, if there is one.
    pub next: Option<String>,
}

impl Account {
    /// A page of containers.
    pub async fn list_containers(
        &self,
        prefix: &str,
        from: Option<&str>,
        max: usize,
    ) -> Result<Listing<(String, Container)>, Error> {
        let (prefix, max) = (prefix.to_owned(), page_len(max));
        let start = from.unwrap_or_default().max(&prefix).to_owned();
        self.blocking(move |inner| {
            inner.index.read(|read| {
                let mut entries = Vec::new();
                for entry in read.containers()?.range(start.as_str()..)? {
                    let (key, value) = entry?;
                    let name = key.value();
                    if !name.starts_with(&prefix) {
                        break;
                    }
                    if entries.len() == max {
                        return Ok(Listing { entries, next: Some(name.to_owned()) });
                    }
                    entries.push((name.to_owned(), decode(value.value(), "a container")?));
                }
                Ok(Listing { entries, next: None })
            })
        })
        .await
    }

    /// A page of blobs.
    pub async fn list_blobs(&self, container: &str, what: ListBlobs) -> Result<Listing<Entry>, Error> {
        let container = container.to_owned();
        self.blocking(move |inner| {
            inner.index.read(|read| {
                if read.container(&container)?.is_none() {
                    return Err(Code::ContainerNotFound.into());
                }
                list(&read.blobs()?, &container, &what)
            })
        })
        .await
    }
}

fn page_len(max: usize) -> usize {
    if max == 0 { PAGE_MAX } else { max.min(PAGE_MAX) }
}

fn list(
    table: &impl redb::ReadableTable<(&'static str, &'static str), &'static [u8]>,
    container: &str,
    what: &ListBlobs,
) -> Result<Listing<Entry>, Error> {
    let max = page_len(what.max);
    let mut start = what.from.as_deref().unwrap_or_default().max(&what.prefix).to_owned();
    let mut entries = Vec::new();
    // Each folder starts the range anew behind itself, so that a folder costs one look-up however much is in it.
    'range: loop {
        for entry in table.range((container, start.as_str())..)? {
            let (key, value) = entry?;
            let (of, name) = key.value();
            if of != container || !name.starts_with(&what.prefix) {
                break 'range;
            }
            if entries.len() == max {
                return Ok(Listing { entries, next: Some(name.to_owned()) });
            }
            if let Some(folder) = folder_of(name, what) {
                let Some(behind) = successor(folder) else { break 'range };
                entries.push(Entry::Prefix(folder.to_owned()));
                start = behind;
                continue 'range;
            }
            entries.push(Entry::Blob(name.to_owned(), decode(value.value(), "a blob")?));
        }
        break;
    }
    Ok(Listing { entries, next: None })
}

/// The start of a name up to the first delimiter after the prefix.
fn folder_of<'n>(name: &'n str, what: &ListBlobs) -> Option<&'n str> {
    let delimiter = what.delimiter.as_deref().filter(|d| !d.is_empty())?;
    let at = name[what.prefix.len()..].find(delimiter)?;
    Some(&name[..what.prefix.len() + at + delimiter.len()])
}

/// The first text behind all texts that start with `text`; `None` if there is none.
fn successor(text: &str) -> Option<String> {
    let mut chars: Vec<char> = text.chars().collect();
    while let Some(last) = chars.pop() {
        // UTF-8 sorts like the code points; between U+D7FF and U+E000 there are no characters.
        let next = if last == '\u{D7FF}' { Some('\u{E000}') } else { char::from_u32(last as u32 + 1) };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn successor_of_the_last_text_is_none() {
        assert_eq!(successor("a/"), Some("a0".into()));
        assert_eq!(successor("a\u{10FFFF}"), Some("b".into()));
        assert_eq!(successor("\u{D7FF}"), Some("\u{E000}".into()));
        assert_eq!(successor("\u{10FFFF}"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn successor_is_behind_every_text_with_the_prefix(prefix in ".{1,4}", tail in ".{0,4}") {
            if let Some(behind) = successor(&prefix) {
                let text = format!("{prefix}{tail}");
                prop_assert!(behind > text);
                prop_assert!(!behind.starts_with(&prefix));
            }
        }
    }
}
