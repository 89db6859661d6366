//! Passwords as PBKDF2 hashes. PBKDF2 because aws-lc-rs has it, which is linked already; Argon2 would be one crate more.

use aws_lc_rs::{pbkdf2, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

const NAME: &str = "pbkdf2-sha256";
/// What new hashes are made with (OWASP's figure of 2023 for people's passwords).
const ITERATIONS: NonZeroU32 = NonZeroU32::new(600_000).unwrap();
/// The most a stored hash may ask for, so that a line in a file cannot stop the broker.
const ITERATIONS_MAX: u32 = 10_000_000;
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// The hash of a password, as text `pbkdf2-sha256$iterations$salt$hash` with salt and hash in base64 without padding.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

/// Why a text is no hash, or no hash could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordHashError {
    /// Not in the form of [`PasswordHash`].
    #[error(
        "a password hash is written `pbkdf2-sha256$iterations$salt$hash`; make one with the password command"
    )]
    Format,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes for a salt")]
    Random,
}

impl PasswordHash {
    /// The hash of a password with a new salt. Slow on purpose.
    pub fn new(password: &[u8]) -> Result<Self, PasswordHashError> {
        Self::with(password, ITERATIONS)
    }

    /// The same with fewer or more iterations: long random secrets of machines need few.
    pub fn with(password: &[u8], iterations: NonZeroU32) -> Result<Self, PasswordHashError> {
        let mut salt = vec![0; SALT_BYTES];
        rand::fill(&mut salt).map_err(|_| PasswordHashError::Random)?;
        let mut hash = vec![0; HASH_BYTES];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password, &mut hash);
        Ok(Self { iterations, salt, hash })
    }

    /// Whether it is the hash of a password. Takes the same time whatever the difference.
    pub fn verify(&self, password: &[u8]) -> bool {
        pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA256, self.iterations, &self.salt, password, &self.hash).is_ok()
    }

    /// Salt and iterations, which SCRAM tells a client.
    pub(super) fn salting(&self) -> (Vec<u8>, NonZeroU32) {
        (self.salt.clone(), self.iterations)
    }

    /// The same for a user nobody knows, made of 16 bytes or more.
    pub(super) fn salting_of_nobody(random: &[u8]) -> (Vec<u8>, NonZeroU32) {
        (random.iter().copied().take(SALT_BYTES).collect(), ITERATIONS)
    }

    /// What SCRAM calls the salted password.
    pub(super) fn salted(&self) -> &[u8] {
        &self.hash
    }

    /// Takes as long as a check.
    pub(super) fn verify_nothing(password: &[u8]) {
        let nobody = Self { iterations: ITERATIONS, salt: vec![0; SALT_BYTES], hash: vec![0; HASH_BYTES] };
        let _ = nobody.verify(password);
    }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (salt, hash) = (BASE64.encode(&self.salt), BASE64.encode(&self.hash));
        write!(f, "{NAME}${}${salt}${hash}", self.iterations)
    }
}

/// Without salt and hash: they would end in logs.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

impl FromStr for PasswordHash {
    type Err = PasswordHashError;

    fn from_str(text: &str) -> Result<Self, PasswordHashError> {
        let parse = || {
            let mut parts = text.split('$');
            let (name, iterations, salt, hash) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
            let iterations: NonZeroU32 = iterations.parse().ok()?;
            let (salt, hash) = (BASE64.decode(salt).ok()?, BASE64.decode(hash).ok()?);
            let fits = parts.next().is_none()
                && name == NAME
                && iterations.get() <= ITERATIONS_MAX
                && salt.len() >= 8
                && hash.len() == HASH_BYTES;
            fits.then_some(Self { iterations, salt, hash })
        };
        parse().ok_or(PasswordHashError::Format)
    }
}
