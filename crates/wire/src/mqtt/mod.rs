//! MQTT on bytes.
//!
//! [`v4`] is MQTT 3.1.1 (protocol level 4). Version 5.0 (level 5) has other packet layouts and will be a module beside it.

pub mod v4;
