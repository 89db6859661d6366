//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's side, for the users there are: a stored PBKDF2 hash is just what SCRAM calls
//! the salted password. Channel binding is not offered.

use super::Acl;
use super::password::PasswordHash;
use aws_lc_rs::{constant_time, digest, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::sync::{Arc, LazyLock};

/// The name of the mechanism, for the authentication method of MQTT 5.0.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

const NONCE_BYTES: usize = 18;
const KEY_BYTES: usize = 32;

/// What the salts of users that nobody knows are made with.
static NOBODY: LazyLock<hmac::Key> = LazyLock::new(|| {
    let random = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new());
    random.unwrap_or_else(|_| hmac::Key::new(hmac::HMAC_SHA256, &[]))
});

/// What a step led to.
#[derive(Debug, PartialEq, Eq)]
pub enum ScramStep {
    /// This is to be sent, and an answer waited for.
    Continue(String),
    /// The client is this user; the last text proves the server to it.
    Done {
        /// Who it is.
        user: String,
        /// What is to be sent with the success.
        data: String,
    },
}

/// One authentication.
pub struct Scram {
    acl: Arc<Acl>,
    begun: Option<Begun>,
}

/// After the first step.
struct Begun {
    user: String,
    /// `None` for a user nobody knows, who is told so only at the end.
    hash: Option<PasswordHash>,
    /// The header that the client has to repeat.
    header: String,
    nonce: String,
    /// The client's first message without its header, and the server's.
    said: String,
}

impl Scram {
    /// An authentication against the users of these rules.
    pub fn new(acl: Arc<Acl>) -> Self {
        Self { acl, begun: None }
    }

    /// Takes what the client says. `None` refuses it: the text is none of SCRAM, the user is unknown, or the proof is wrong.
    pub fn step(&mut self, text: &[u8]) -> Option<ScramStep> {
        let text = std::str::from_utf8(text).ok()?;
        match self.begun.take() {
            None => self.first(text),
            Some(begun) => begun.last(text),
        }
    }

    fn first(&mut self, text: &str) -> Option<ScramStep> {
        // `n,,` or `y,,`: no channel binding, and no other identity to act as.
        let (header, bare) = text.split_at_checked(3)?;
        if !matches!(header, "n,," | "y,,") {
            return None;
        }
        let mut parts = bare.split(',');
        let user = name(parts.next()?.strip_prefix("n=")?)?;
        let theirs = parts.next()?.strip_prefix("r=").filter(|nonce| !nonce.is_empty())?;
        let mut ours = [0; NONCE_BYTES];
        rand::fill(&mut ours).ok()?;
        let nonce = format!("{theirs}{}", BASE64.encode(ours));
        let hash = self.acl.users.get(&user).cloned();
        let (salt, iterations) = match &hash {
            Some(hash) => hash.salting(),
            // The same one each time, as if there were such a user.
            None => PasswordHash::salting_of_nobody(hmac::sign(&NOBODY, user.as_bytes()).as_ref()),
        };
        let server = format!("r={nonce},s={},i={iterations}", BASE64.encode(salt));
        let said = format!("{bare},{server}");
        self.begun = Some(Begun { user, hash, header: BASE64.encode(header), nonce, said });
        Some(ScramStep::Continue(server))
    }
}

impl Begun {
    fn last(self, text: &str) -> Option<ScramStep> {
        let (without_proof, proof) = text.rsplit_once(",p=")?;
        let mut parts = without_proof.split(',');
        let header = parts.next()?.strip_prefix("c=")?;
        let nonce = parts.next()?.strip_prefix("r=")?;
        let proof: [u8; KEY_BYTES] = BASE64.decode(proof).ok()?.try_into().ok()?;
        let said = format!("{},{without_proof}", self.said);
        let salted = self.hash.as_ref()?.salted();
        let stored = digest::digest(&digest::SHA256, sign(salted, b"Client Key").as_ref());
        let signature = sign(stored.as_ref(), said.as_bytes());
        let mut key = proof;
        key.iter_mut().zip(signature.as_ref()).for_each(|(byte, other)| *byte ^= other);
        let shown = digest::digest(&digest::SHA256, &key);
        let proven = constant_time::verify_slices_are_equal(shown.as_ref(), stored.as_ref()).is_ok();
        if !proven || header != self.header || nonce != self.nonce {
            return None;
        }
        let server = sign(sign(salted, b"Server Key").as_ref(), said.as_bytes());
        Some(ScramStep::Done { user: self.user, data: format!("v={}", BASE64.encode(server)) })
    }
}

fn sign(key: &[u8], text: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text)
}

/// A name with `,` and `=` written as they are.
fn name(escaped: &str) -> Option<String> {
    let mut name = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((before, after)) = rest.split_once('=') {
        name.push_str(before);
        name.push(match after.get(..2)? {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        rest = &after[2..];
    }
    name.push_str(rest);
    Some(name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn scram() -> Scram {
        let hash = PasswordHash::with(b"pencil", NonZeroU32::new(4096).unwrap()).unwrap();
        Scram::new(Arc::new(Acl::new().user("a=b,c", hash)))
    }

    /// The client's side, written from the RFC.
    fn answer(server: &str, bare: &str, password: &[u8]) -> (String, String) {
        let part = |name: &str| server.split(',').find_map(|part| part.strip_prefix(name)).unwrap();
        let salt = BASE64.decode(part("s=")).unwrap();
        let iterations: NonZeroU32 = part("i=").parse().unwrap();
        let mut salted = [0; 32];
        aws_lc_rs::pbkdf2::derive(
            aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256,
            iterations,
            &salt,
            password,
            &mut salted,
        );
        let without_proof = format!("c=biws,r={}", part("r="));
        let said = format!("{bare},{server},{without_proof}");
        let mut proof: [u8; 32] = sign(&salted, b"Client Key").as_ref().try_into().unwrap();
        let stored = digest::digest(&digest::SHA256, &proof);
        let signature = sign(stored.as_ref(), said.as_bytes());
        proof.iter_mut().zip(signature.as_ref()).for_each(|(byte, other)| *byte ^= other);
        let server = sign(sign(&salted, b"Server Key").as_ref(), said.as_bytes());
        (format!("{without_proof},p={}", BASE64.encode(proof)), format!("v={}", BASE64.encode(server)))
    }

    #[test]
    fn who_knows_the_password_gets_in_and_sees_that_the_server_knows_it_too() {
        let mut scram = scram();
        let bare = "n=a=3Db=2Cc,r=fyko";
        let Some(ScramStep::Continue(server)) = scram.step(format!("n,,{bare}").as_bytes()) else { panic!() };
        assert!(server.starts_with("r=fyko") && server.contains(",i=4096"), "{server}");
        let (last, data) = answer(&server, bare, b"pencil");
        assert_eq!(scram.step(last.as_bytes()), Some(ScramStep::Done { user: "a=b,c".into(), data }));
    }

    #[test]
    fn wrong_passwords_unknown_users_and_texts_of_others_are_refused() {
        for (bare, password) in [("n=a=3Db=2Cc,r=x", b"wrong!"), ("n=nobody,r=x", b"pencil")] {
            let mut scram = scram();
            let Some(ScramStep::Continue(server)) = scram.step(format!("n,,{bare}").as_bytes()) else {
                panic!("a user is not told yet")
            };
            let (last, _) = answer(&server, bare, password);
            assert_eq!(scram.step(last.as_bytes()), None);
        }
        for text in ["", "n,,", "p=tls-unique,,n=u,r=x", "n,a=v,n=u,r=x", "n,,n=u", "n,,n=u,r=", "n,,n==,r=x"]
        {
            assert_eq!(scram().step(text.as_bytes()), None, "{text}");
        }
        let mut replayed = scram();
        let Some(ScramStep::Continue(server)) = replayed.step(b"n,,n=a=3Db=2Cc,r=x") else { panic!() };
        let (last, _) = answer(&server, "n=a=3Db=2Cc,r=x", b"pencil");
        let mut other = scram();
        other.step(b"n,,n=a=3Db=2Cc,r=x");
        assert_eq!(other.step(last.as_bytes()), None, "each has a nonce of its own");
    }
}
