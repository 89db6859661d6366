//! The section `[topics]`: ordinary MQTT topics. What each setting does stands in docs/topics.md.

use super::bridges::{Bridge, BridgeDevices};
use ironbrook_pubsub::Config as Bounds;
use ironbrook_pubsub::acl::{self, Acl, PasswordHash};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Ordinary MQTT topics; off unless `listen.mqtt_topics` or `listen.mqtt_topics_tls` is set, or `on_hub_ports`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topics {
    /// Whether the hub's own ports serve ordinary topics as well; the user name decides.
    pub on_hub_ports: bool,
    /// Whether clients without user name get in.
    pub anonymous: bool,
    /// Whether identities of the hub may use ordinary topics.
    pub hub_identities: bool,
    /// Seconds between publications of figures below `$SYS/broker/`; 0 for never.
    pub sys_interval_seconds: u64,
    /// The longest keep-alive of MQTT 5.0 clients, seconds; 0 for no bound.
    pub keep_alive_max_seconds: u16,
    /// What MQTT 5.0 clients are told to make response topics of, if they ask; `%c` stands for the client id.
    pub response_information: String,
    /// Whether an MQTT 5.0 client is told that no rule allows what it wants (0x87), or only that it is not done (0x80).
    pub explain_refusals: bool,
    /// The longest a session outlives its connection, seconds.
    pub session_expiry_max_seconds: u32,
    /// Sessions, connected or not.
    pub sessions_max: usize,
    /// Filters of a session.
    pub subscriptions_max: usize,
    /// Bytes of a payload.
    pub payload_bytes_max: usize,
    /// Messages of QoS 1 and 2 a client may have under way.
    pub receive_maximum: u16,
    /// Messages in the queue of a session.
    pub queued_messages_max: usize,
    /// Bytes in the queue of a session.
    pub queued_bytes_max: usize,
    /// What becomes of a message for a full queue.
    pub when_full: WhenFull,
    /// Retained messages.
    pub retained_max: usize,
    /// Bytes of retained messages.
    pub retained_bytes_max: usize,
    /// Bytes of messages that wait for persistent sessions or are retained.
    pub stored_bytes_max: usize,
    /// Who may connect with a password.
    pub users: Vec<User>,
    /// Who may publish and subscribe what; the first that applies decides. Without any, all who get in may do all.
    pub rules: Vec<Rule>,
    /// Bridges to devices of the hub.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bridge_devices: Vec<BridgeDevices>,
    /// Bridges to other MQTT brokers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bridges: Vec<Bridge>,
    /// Whether births of Sparkplug B are kept as certificates.
    pub sparkplug: bool,
}

/// See [`ironbrook_pubsub::WhenFull`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// The message is left out there and counted.
    Drop,
    /// Nobody gets it, and the publisher is told.
    Refuse,
}

/// A user. `Debug` hides the hash.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Its name.
    pub name: String,
    /// As `ironbrook mqtt passwd` prints it.
    pub password_hash: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// For whom; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What it is about.
    #[serde(default)]
    pub access: Access,
    /// Names it is for; `%u` stands for the user name, `%c` for the client id.
    pub filter: String,
    /// Whether it denies.
    #[serde(default)]
    pub deny: bool,
}

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Publishing.
    Publish,
    /// Subscribing.
    Subscribe,
    /// Subscribing this very filter.
    #[serde(rename = "subscribe-literally")]
    SubscribeLiterally,
    /// Publishing and subscribing.
    #[default]
    Both,
}

impl Default for Topics {
    fn default() -> Self {
        let bounds = Bounds::default();
        Self {
            on_hub_ports: false,
            anonymous: false,
            hub_identities: false,
            sys_interval_seconds: 10,
            keep_alive_max_seconds: 0,
            response_information: String::new(),
            explain_refusals: true,
            session_expiry_max_seconds: u32::try_from(bounds.session_expiry_max.as_secs())
                .unwrap_or(u32::MAX),
            sessions_max: bounds.sessions_max,
            subscriptions_max: bounds.subscriptions_max,
            payload_bytes_max: bounds.payload_bytes_max,
            receive_maximum: bounds.receive_maximum,
            queued_messages_max: bounds.queued_messages_max,
            queued_bytes_max: bounds.queued_bytes_max,
            when_full: WhenFull::Drop,
            retained_max: bounds.retained_max,
            retained_bytes_max: bounds.retained_bytes_max,
            stored_bytes_max: bounds.stored_bytes_max,
            users: Vec::new(),
            rules: Vec::new(),
            bridge_devices: Vec::new(),
            bridges: Vec::new(),
            sparkplug: false,
        }
    }
}

impl Topics {
    /// Whether nobody can get in.
    pub fn is_closed(&self) -> bool {
        !self.anonymous && self.users.is_empty() && !self.hub_identities
    }

    /// Settings and bounds of the broker.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            receive_maximum: self.receive_maximum,
            queued_messages_max: self.queued_messages_max,
            queued_bytes_max: self.queued_bytes_max,
            when_full: match self.when_full {
                WhenFull::Drop => ironbrook_pubsub::WhenFull::DropNewest,
                WhenFull::Refuse => ironbrook_pubsub::WhenFull::Refuse,
            },
            payload_bytes_max: self.payload_bytes_max,
            session_expiry_max: Duration::from_secs(self.session_expiry_max_seconds.into()),
            sessions_max: self.sessions_max,
            subscriptions_max: self.subscriptions_max,
            retained_max: self.retained_max,
            retained_bytes_max: self.retained_bytes_max,
            stored_bytes_max: self.stored_bytes_max,
            ..Bounds::default()
        }
    }

    /// Users and rules.
    ///
    /// # Errors
    /// What is wrong, with the key.
    pub fn acl(&self) -> Result<Acl, String> {
        let mut acl = if self.anonymous { Acl::new().allow_anonymous() } else { Acl::new() };
        for user in &self.users {
            let hash: PasswordHash = user
                .password_hash
                .parse()
                .map_err(|error| format!("topics.users: {}: {error} (`ironbrook mqtt passwd`)", user.name))?;
            acl = acl.user(&user.name, hash);
        }
        let everything = [
            Rule { user: None, access: Access::Both, filter: "#".into(), deny: false },
            Rule { user: None, access: Access::Subscribe, filter: "$SYS/#".into(), deny: false },
            Rule { user: None, access: Access::Subscribe, filter: "$sparkplug/#".into(), deny: false },
        ];
        let rules = if self.rules.is_empty() { &everything[..] } else { &self.rules[..] };
        for rule in rules {
            let of = |access| {
                acl::Rule::new(rule.user.as_deref(), !rule.deny, access, &rule.filter)
                    .map_err(|error| format!("topics.rules: {}: {error}", rule.filter))
            };
            let accesses: &[acl::Access] = match rule.access {
                Access::Publish => &[acl::Access::Publish],
                Access::Subscribe => &[acl::Access::Subscribe],
                Access::SubscribeLiterally => &[acl::Access::SubscribeLiterally],
                Access::Both => &[acl::Access::Publish, acl::Access::Subscribe],
            };
            for access in accesses {
                acl = acl.rule(of(*access)?);
            }
        }
        Ok(acl)
    }

    /// Values that would be taken and then serve nobody.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { users, receive_maximum, queued_messages_max, payload_bytes_max, sessions_max, .. } = self;
        for (holds, message) in [
            (users.iter().all(|user| !user.name.is_empty()), "topics.users: each needs a name"),
            (*receive_maximum > 0, "topics.receive_maximum: at least 1"),
            (*queued_messages_max > 0, "topics.queued_messages_max: at least 1"),
            (*payload_bytes_max > 0, "topics.payload_bytes_max: at least 1"),
            (*sessions_max > 0, "topics.sessions_max: at least 1"),
        ] {
            if !holds {
                return Err(message.to_owned());
            }
        }
        if users.iter().any(|user| user.name == acl::INTERNAL_USER) {
            return Err(format!("topics.users: {:?} is the broker itself", acl::INTERNAL_USER));
        }
        self.check_bridges()?;
        self.acl().map(drop)
    }
}
