//! Shared access policies.

use super::error::Error;
use super::store::Store;
use super::{Registry, tables};
use ironbrook_model::{Permissions, SharedAccessKey, SharedAccessPolicy};
use redb::ReadableTable;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

/// Rights and their words, in the order management APIs print them.
const WORDS: [(&str, Permissions); 8] = [
    ("RegistryRead", Permissions::REGISTRY_READ),
    ("RegistryWrite", Permissions::REGISTRY_WRITE),
    ("ServiceConnect", Permissions::SERVICE_CONNECT),
    ("DeviceConnect", Permissions::DEVICE_CONNECT),
    ("EnrollmentRead", Permissions::ENROLLMENT_READ),
    ("EnrollmentWrite", Permissions::ENROLLMENT_WRITE),
    ("RegistrationStatusRead", Permissions::REGISTRATION_STATUS_READ),
    ("RegistrationStatusWrite", Permissions::REGISTRATION_STATUS_WRITE),
];

/// Reads `RegistryRead, ServiceConnect`; `Err` has the word that is none.
pub fn parse_permissions(text: &str) -> Result<Permissions, String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).try_fold(Permissions::NONE, |all, word| {
        let found = WORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
        found.map(|(_, right)| all.union(*right)).ok_or_else(|| word.to_owned())
    })
}

/// The words of a set of rights, separated by comma and space.
pub fn permissions_text(permissions: Permissions) -> String {
    let words: Vec<_> =
        WORDS.iter().filter(|(_, right)| permissions.contains(*right)).map(|(name, _)| *name).collect();
    words.join(", ")
}

/// Reads all policies; at the first start the five defaults are made, each with random keys.
pub(super) fn load_or_create(store: &Store) -> Result<HashMap<String, Arc<SharedAccessPolicy>>, Error> {
    let stored = store.read_now(|tx| {
        let table = tx.open_table(tables::POLICIES)?;
        let mut policies = HashMap::new();
        for row in table.iter()? {
            let policy: SharedAccessPolicy = tables::decode("policy", row?.1.value())?;
            policies.insert(policy.name.clone(), Arc::new(policy));
        }
        Ok(policies)
    })?;
    if !stored.is_empty() {
        return Ok(stored);
    }
    let defaults = SharedAccessPolicy::DEFAULTS.map(|(name, permissions)| SharedAccessPolicy {
        name: name.to_owned(),
        primary_key: SharedAccessKey::generate(),
        secondary_key: SharedAccessKey::generate(),
        permissions,
    });
    write(store, &defaults)?;
    Ok(defaults.into_iter().map(|p| (p.name.clone(), Arc::new(p))).collect())
}

fn write(store: &Store, policies: &[SharedAccessPolicy]) -> Result<(), Error> {
    store.write_now(|changes| {
        let mut table = changes.tx.open_table(tables::POLICIES)?;
        for policy in policies {
            table.insert(policy.name.as_str(), tables::encode("policy", policy)?.as_slice())?;
        }
        Ok(())
    })
}

impl Registry {
    /// Stores policies, replacing those of the same name. Blocks.
    pub(super) fn put_policies(&self, policies: Vec<SharedAccessPolicy>) -> Result<(), Error> {
        write(&self.inner.store, &policies)?;
        let mut all = self.inner.policies.write().unwrap_or_else(PoisonError::into_inner);
        all.extend(policies.into_iter().map(|p| (p.name.clone(), Arc::new(p))));
        Ok(())
    }

    /// Makes a policy with random keys, where there is none of that name. Blocks.
    pub(crate) fn ensure_policy(&self, name: &str, permissions: Permissions) -> Result<(), Error> {
        if self.policy_now(name).is_some() {
            return Ok(());
        }
        self.put_policies(vec![SharedAccessPolicy {
            name: name.to_owned(),
            primary_key: SharedAccessKey::generate(),
            secondary_key: SharedAccessKey::generate(),
            permissions,
        }])
    }

    /// A policy by exact name.
    pub(super) fn policy_now(&self, name: &str) -> Option<Arc<SharedAccessPolicy>> {
        self.inner.policies.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_read_and_printed() {
        let (_, owner) = SharedAccessPolicy::DEFAULTS[0];
        let text = permissions_text(owner);
        assert_eq!(text, "RegistryRead, RegistryWrite, ServiceConnect, DeviceConnect");
        assert_eq!(parse_permissions(&text), Ok(owner));
        assert_eq!(parse_permissions("registryread,Fly"), Err("Fly".to_owned()));
    }
}
