//! Shared access policies: a name, two keys, rights.

use crate::SharedAccessKey;

/// Rights of a shared access policy, a set of flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Permissions(u8);

impl Permissions {
    /// No right.
    pub const NONE: Self = Self(0);
    /// Read identities.
    pub const REGISTRY_READ: Self = Self(1);
    /// Write identities.
    pub const REGISTRY_WRITE: Self = Self(2);
    /// Service side: twins, methods, C2D, events.
    pub const SERVICE_CONNECT: Self = Self(4);
    /// Device side: connect as any device.
    pub const DEVICE_CONNECT: Self = Self(8);
    /// Provisioning service: read enrolments.
    pub const ENROLLMENT_READ: Self = Self(16);
    /// Provisioning service: write enrolments.
    pub const ENROLLMENT_WRITE: Self = Self(32);
    /// Provisioning service: read what became of registrations.
    pub const REGISTRATION_STATUS_READ: Self = Self(64);
    /// Provisioning service: delete what became of registrations.
    pub const REGISTRATION_STATUS_WRITE: Self = Self(128);

    /// Both sets together.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all rights of `wanted` are in this set.
    pub const fn contains(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    /// Whether at least one right of `wanted` is in this set.
    pub const fn intersects(self, wanted: Self) -> bool {
        self.0 & wanted.0 != 0
    }
}

/// A named pair of keys with rights.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedAccessPolicy {
    /// The policy's name, a token's `skn`.
    pub name: String,
    /// First key.
    pub primary_key: SharedAccessKey,
    /// Second key, for rotation.
    pub secondary_key: SharedAccessKey,
    /// What a token of this policy may do.
    pub permissions: Permissions,
}

impl SharedAccessPolicy {
    /// The policy of a new provisioning service and its rights (Azure docs, "Control access to DPS with SAS").
    pub const PROVISIONING_OWNER: (&'static str, Permissions) = (
        "provisioningserviceowner",
        Permissions::ENROLLMENT_READ
            .union(Permissions::ENROLLMENT_WRITE)
            .union(Permissions::REGISTRATION_STATUS_READ)
            .union(Permissions::REGISTRATION_STATUS_WRITE),
    );

    /// The five policies of a new hub and their rights (Azure docs, "Control access to IoT Hub").
    pub const DEFAULTS: [(&'static str, Permissions); 5] = [
        (
            "iothubowner",
            Permissions::REGISTRY_READ
                .union(Permissions::REGISTRY_WRITE)
                .union(Permissions::SERVICE_CONNECT)
                .union(Permissions::DEVICE_CONNECT),
        ),
        ("service", Permissions::SERVICE_CONNECT),
        ("device", Permissions::DEVICE_CONNECT),
        ("registryRead", Permissions::REGISTRY_READ),
        ("registryReadWrite", Permissions::REGISTRY_READ.union(Permissions::REGISTRY_WRITE)),
    ];
}
