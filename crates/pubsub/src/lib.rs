//! Ordinary MQTT topics: the core of a publish/subscribe broker for MQTT 3.1.1 and 5.0.
//!
//! Start with [`Broker`]: a door [connects](Broker::connect) a client and gets a [`SessionHandle`], which takes what the
//! client sends and gives what is to be sent to it. In the order the data goes: [`acl`] says who may, [`topic`] finds the
//! subscribers of a name, [`retained`] keeps the last message of each name, [`session`] is what one client is owed, and
//! `journal` writes on disk what has to outlive the process. [`sys`] counts.
//!
//! What is *not* here: packets and sockets (the doors' part, with keep-alive), and devices, twins and routes, which are
//! other crates' words. Time is handed in with each call.

pub mod acl;
mod broker;
mod config;
mod journal;
mod message;
mod reason;
pub mod retained;
pub mod session;
pub mod sys;
pub mod topic;

pub use broker::{
    Answer, Broker, ClientInfo, Connected, Granted, OpenError, Rechecked, SessionHandle, Wakes,
};
pub use config::{Config, WhenFull};
pub use message::{
    Message, Properties, Publish, QoS, RetainHandling, Subscription, SubscriptionOptions, Version, Will,
};
pub use reason::Reason;
pub use session::{Outgoing, OutgoingPublish};
