//! Keys for encryption at rest: a file of master keys, and what is derived from them for each segment.

use aws_lc_rs::aead::{self, LessSafeKey, UnboundKey};
use aws_lc_rs::hkdf::{self, HKDF_SHA256};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Bytes of a master key.
const KEY_BYTES: usize = 32;
/// Bytes of the chance that each segment's key is derived with.
pub(crate) const SEGMENT_SALT_BYTES: usize = 32;
/// No file of keys is longer; a larger one is not one.
const MAX_FILE_BYTES: u64 = 64 << 10;
/// What stands in a file of keys in the place of the first key to write new segments without encryption.
const NONE: &str = "none";

const ID_INFO: &[u8] = b"ironbrook log key id v1";
const SEGMENT_INFO: &[u8] = b"ironbrook log segment v1";

/// Names a master key without telling it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub(crate) [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A file of keys that cannot be used. The text never quotes what stands in it.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("the key file {path} cannot be read: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It has no key.
    #[error("the key file has no key; `openssl rand -hex 32` makes one")]
    Empty,
    /// A line that is not a key.
    #[error(
        "line {0} of the key file is not a key, which is 64 hexadecimal digits; `openssl rand -hex 32` makes one"
    )]
    Line(usize),
    /// The same key twice.
    #[error("line {0} of the key file has a key that stands there before")]
    Twice(usize),
}

/// The master keys of a log: one for new segments, and all with which older ones can be read.
///
/// Without any key nothing is encrypted. `Debug` shows the keys' names only.
#[derive(Clone, Default)]
pub struct Keys {
    current: Option<Arc<MasterKey>>,
    all: Vec<Arc<MasterKey>>,
}

struct MasterKey {
    id: KeyId,
    secret: [u8; KEY_BYTES],
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all.iter().map(|key| key.id)).finish()
    }
}

impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        self.current() == other.current()
            && self.all.iter().map(|key| key.id).eq(other.all.iter().map(|key| key.id))
    }
}

impl Eq for Keys {}

impl Keys {
    /// Reads a file of keys. Blocks.
    ///
    /// # Errors
    /// A file that cannot be read or is not one of keys.
    pub fn from_file(path: &Path) -> Result<Self, KeyFileError> {
        let failed = |source| KeyFileError::Read { path: path.display().to_string(), source };
        let length = std::fs::metadata(path).map_err(failed)?.len();
        if length > MAX_FILE_BYTES {
            return Err(failed(std::io::Error::other("it is far too long for a file of keys")));
        }
        warn_if_others_may_read(path);
        Self::parse(&std::fs::read_to_string(path).map_err(failed)?)
    }

    /// Reads the text of a file of keys: one key a line, 64 hexadecimal digits; `#` begins a comment. The first key is for new
    /// segments, the others are for reading older ones. `none` in the place of the first key ends encryption: new segments
    /// are written in plain, older ones can be read.
    ///
    /// # Errors
    /// A line that is no key, or none at all.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let mut keys = Self::default();
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let mut lines = lines.zip(1..).filter(|(line, _)| !line.is_empty()).peekable();
        let is_off = lines.next_if(|(line, _)| *line == NONE).is_some();
        for (line, number) in lines {
            let secret = from_hex(line).ok_or(KeyFileError::Line(number))?;
            let key = MasterKey { id: id_of(&secret), secret };
            if keys.find(key.id).is_some() {
                return Err(KeyFileError::Twice(number));
            }
            keys.all.push(Arc::new(key));
        }
        if keys.all.is_empty() && !is_off {
            return Err(KeyFileError::Empty);
        }
        keys.current = keys.all.first().filter(|_| !is_off).cloned();
        Ok(keys)
    }

    /// The key that new segments are encrypted with; `None` where they are not.
    pub fn current(&self) -> Option<KeyId> {
        self.current.as_ref().map(|key| key.id)
    }

    fn find(&self, id: KeyId) -> Option<&MasterKey> {
        self.all.iter().find(|key| key.id == id).map(|key| &**key)
    }

    /// What a segment's records are sealed with; `None` without its master key.
    pub(crate) fn cipher(
        &self,
        id: KeyId,
        salt: &[u8; SEGMENT_SALT_BYTES],
        (partition, base): (u16, u64),
    ) -> Option<Cipher> {
        let master = self.find(id)?;
        let (partition, base) = (partition.to_le_bytes(), base.to_le_bytes());
        let info = [SEGMENT_INFO, &partition, &base];
        let derived = hkdf::Salt::new(HKDF_SHA256, salt).extract(&master.secret);
        // The length asked for is the algorithm's own, which is never too long.
        let key: UnboundKey = derived.expand(&info, &aead::AES_256_GCM).ok()?.into();
        Some(Cipher(LessSafeKey::new(key)))
    }
}

/// The key of one segment.
pub(crate) struct Cipher(pub(crate) LessSafeKey);

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher(<hidden>)")
    }
}

fn id_of(secret: &[u8; KEY_BYTES]) -> KeyId {
    let mut derived = [0; KEY_BYTES];
    let key = hkdf::Salt::new(HKDF_SHA256, &[]).extract(secret);
    // As long as one block of the hash, which is never too long.
    let _ = key.expand(&[ID_INFO], HKDF_SHA256).and_then(|key| key.fill(&mut derived));
    let mut id = [0; 8];
    id.copy_from_slice(&derived[..8]);
    KeyId(id)
}

fn from_hex(text: &str) -> Option<[u8; KEY_BYTES]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * KEY_BYTES {
        return None;
    }
    let mut bytes = [0; KEY_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(0)? << 4 | digit(1)?;
    }
    Some(bytes)
}

fn warn_if_others_may_read(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    if std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0) {
        tracing::warn!(path = %path.display(), "others may read the key file; `chmod 600` keeps them out");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1F";
    const TWO: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn the_first_key_is_for_new_segments_and_all_are_known() {
        let keys = Keys::parse(&format!("# of May\n\n {TWO} # new\n{ONE}\n")).unwrap();
        assert_eq!(keys.current(), Keys::parse(TWO).unwrap().current());
        let old = Keys::parse(ONE).unwrap().current().unwrap();
        assert!(keys.find(old).is_some() && keys.current() != Some(old));
        let off = Keys::parse(&format!("none\n{ONE}")).unwrap();
        assert!(off.current().is_none() && off.find(old).is_some());
    }

    #[test]
    fn what_is_no_key_is_named_by_its_line_and_never_quoted() {
        for text in [&ONE[1..], &format!("{ONE}00"), "none none", &ONE.replace('a', "g")] {
            let error = Keys::parse(&format!("# key\n{text}")).unwrap_err().to_string();
            assert!(error.starts_with("line 2 ") && !error.contains("0506"), "{error}");
        }
        assert!(matches!(Keys::parse("# nothing\n"), Err(KeyFileError::Empty)));
        assert!(matches!(Keys::parse(&format!("{ONE}\n{ONE}")), Err(KeyFileError::Twice(2))));
    }

    #[test]
    fn debug_shows_names_only() {
        let keys = Keys::parse(ONE).unwrap();
        let id = keys.current().unwrap().to_string();
        assert_eq!(format!("{keys:?}"), format!("[{id}]"));
        assert!(!ONE.to_lowercase().contains(&id));
    }

    #[test]
    fn a_key_that_others_cannot_read_comes_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.key");
        assert!(Keys::from_file(&path).unwrap_err().to_string().contains("log.key"));
        std::fs::write(&path, ONE).unwrap();
        assert_eq!(Keys::from_file(&path).unwrap(), Keys::parse(ONE).unwrap());
    }
}
