//! Encryption for modules: AES-256-GCM with a key of this device that no module ever sees.
//!
//! The module's id and generation and the caller's initialisation vector are authenticated with the text, so what one module had
//! encrypted no other can have decrypted. The nonce is random and stands before the ciphertext: a caller who uses one vector
//! twice does no harm.

use super::{Error, ModuleIdentity, files};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use ironbrook_model::SharedAccessKey;
use std::path::Path;

const FILE: &str = "encryption-key";
const KEY_LEN: usize = 32;

/// The text cannot be decrypted: changed on the way, of another module, or with another initialisation vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Undecipherable;

/// Encrypts and decrypts.
pub(crate) struct Cipher(RandomizedNonceKey);

impl Cipher {
    /// Opens the device's key, or makes it at first use.
    pub fn open(home: &Path) -> Result<Self, Error> {
        let path = home.join(FILE);
        let bytes = match files::read(&path)? {
            Some(bytes) if bytes.len() == KEY_LEN => bytes,
            Some(_) => {
                return Err(Error::Certificate(format!(
                    "{} is damaged; restore it, or remove it and lose what modules have encrypted",
                    path.display()
                )));
            }
            None => {
                let bytes = SharedAccessKey::generate().hmac_sha256(b"encryption").to_vec();
                files::write(&path, &bytes, 0o600)?;
                bytes
            }
        };
        let key = SharedAccessKey::from_bytes(&bytes).hmac_sha256(b"ironbrook workload encryption 1");
        let key = RandomizedNonceKey::new(&AES_256_GCM, &key)
            .map_err(|_| Error::Certificate("AES-256-GCM cannot be set up".to_owned()))?;
        Ok(Self(key))
    }

    /// Nonce, ciphertext and tag; `None` where the text is too long for the cipher.
    pub fn encrypt(&self, module: &ModuleIdentity, vector: &[u8], plaintext: &[u8]) -> Option<Vec<u8>> {
        let mut text = plaintext.to_vec();
        let aad = Aad::from(associated(module, vector));
        let nonce = self.0.seal_in_place_append_tag(aad, &mut text).ok()?;
        Some([nonce.as_ref().as_slice(), &text].concat())
    }

    pub fn decrypt(
        &self,
        module: &ModuleIdentity,
        vector: &[u8],
        ciphertext: &[u8],
    ) -> Result<Vec<u8>, Undecipherable> {
        let (nonce, text) = ciphertext.split_first_chunk::<NONCE_LEN>().ok_or(Undecipherable)?;
        let mut text = text.to_vec();
        let aad = Aad::from(associated(module, vector));
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let len = self.0.open_in_place(nonce, aad, &mut text).map_err(|_| Undecipherable)?.len();
        text.truncate(len);
        Ok(text)
    }
}

/// Each part behind its length, so that no two triples give the same bytes.
fn associated(module: &ModuleIdentity, vector: &[u8]) -> Vec<u8> {
    let parts = [module.module_id.as_str().as_bytes(), module.generation_id.as_bytes(), vector];
    parts.iter().flat_map(|part| [&(part.len() as u64).to_be_bytes()[..], part].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_model::ModuleId;

    fn module(id: &str, generation: &str) -> ModuleIdentity {
        ModuleIdentity {
            module_id: ModuleId::new(id.to_owned()).unwrap(),
            generation_id: generation.to_owned(),
            managed_by: String::new(),
        }
    }

    #[test]
    fn only_the_same_module_generation_and_vector_decrypt_also_after_a_restart() {
        let home = tempfile::tempdir().unwrap();
        let cipher = Cipher::open(home.path()).unwrap();
        let text = cipher.encrypt(&module("m", "1"), b"iv", b"secret").unwrap();
        let cipher = Cipher::open(home.path()).unwrap();
        assert_eq!(cipher.decrypt(&module("m", "1"), b"iv", &text).unwrap(), b"secret");
        for (id, generation, vector) in
            [("n", "1", "iv"), ("m", "2", "iv"), ("m", "1", "iw"), ("m1", "", "iv")]
        {
            let decrypted = cipher.decrypt(&module(id, generation), vector.as_bytes(), &text);
            assert_eq!(decrypted, Err(Undecipherable), "{id} {generation} {vector}");
        }
    }

    #[test]
    fn changed_and_short_texts_are_refused_and_empty_ones_are_not() {
        let home = tempfile::tempdir().unwrap();
        let cipher = Cipher::open(home.path()).unwrap();
        let module = module("m", "1");
        let text = cipher.encrypt(&module, b"", b"").unwrap();
        assert_eq!(cipher.decrypt(&module, b"", &text).unwrap(), b"");
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1;
            assert_eq!(cipher.decrypt(&module, b"", &changed), Err(Undecipherable));
            assert_eq!(cipher.decrypt(&module, b"", &text[..at]), Err(Undecipherable));
        }
        let again = cipher.encrypt(&module, b"", b"").unwrap();
        assert_ne!(text, again, "a vector used twice must give two ciphertexts");
    }
}
