//! Who may connect, publish and subscribe: users with passwords, and rules. What no rule allows is denied.

mod password;
mod rules;
mod scram;
#[cfg(test)]
mod tests;

pub use password::{PasswordHash, PasswordHashError};
pub use rules::{Access, Rule, RuleError, Rules};
pub use scram::{SCRAM_SHA_256, Scram, ScramStep};

use std::collections::HashMap;
use std::sync::Arc;

/// The user of the broker's own side, e.g. of a bridge: every rule allows it everything but publishing below `$`. Nobody can log
/// in as it: no identity has a space, and [`Acl::user`] does not take it.
pub const INTERNAL_USER: &str = "$internal side";

/// The users and rules of a broker; replaced as a whole when they change.
#[derive(Debug, Clone, Default)]
pub struct Acl {
    users: HashMap<String, PasswordHash>,
    rules: Vec<Rule>,
    anonymous: bool,
}

impl Acl {
    /// No user, no rule: nobody may do anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everybody may do everything: for tests and for machines that nobody else can reach.
    pub fn open() -> Self {
        let all = |access| Rule::new(None, true, access, "#");
        let rules = [Access::Publish, Access::Subscribe].into_iter().filter_map(|access| all(access).ok());
        Self { users: HashMap::new(), rules: rules.collect(), anonymous: true }
    }

    /// Lets clients without user name connect; rules for all users are for them too.
    pub fn allow_anonymous(mut self) -> Self {
        self.anonymous = true;
        self
    }

    /// Adds a user, or replaces its password. [`INTERNAL_USER`] is nobody who logs in.
    pub fn user(mut self, name: impl Into<String>, password: PasswordHash) -> Self {
        let name = name.into();
        if name != INTERNAL_USER {
            self.users.insert(name, password);
        }
        self
    }

    /// Adds a rule behind those there are; the first that applies decides.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Whether a client is who it says. Takes as long for an unknown user as for a wrong password, and that is long on purpose
    /// (about a tenth of a second): call it on a thread that may block.
    pub fn authenticate(&self, user: Option<&str>, password: Option<&[u8]>) -> bool {
        match (user, password) {
            (None, None) => self.anonymous,
            (Some(user), Some(password)) => match self.users.get(user) {
                Some(hash) => hash.verify(password),
                None => {
                    PasswordHash::verify_nothing(password);
                    false
                }
            },
            _ => false,
        }
    }

    /// Whether who was let in by the users `before` still may be here: by the same password, or without one. A name that had no
    /// password there was let in by others, who know when that is over.
    pub(crate) fn still_admits(&self, user: Option<&str>, before: &Self) -> bool {
        match user.map(|user| before.users.get(user).map(|hash| (user, hash))) {
            None => self.anonymous || !before.anonymous,
            Some(None) => true,
            Some(Some((user, hash))) => self.users.get(user) == Some(hash),
        }
    }

    /// The rules of one client, with its names filled in.
    pub fn rules_of(&self, user: Option<&str>, client_id: &str) -> Arc<Rules> {
        if user == Some(INTERNAL_USER) {
            return Arc::new(Rules::everything());
        }
        Arc::new(Rules::of(&self.rules, user, client_id))
    }
}
