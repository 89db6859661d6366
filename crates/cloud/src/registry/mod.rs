//! Identities, policies, twins and waiting messages, in one embedded database.
