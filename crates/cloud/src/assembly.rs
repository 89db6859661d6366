//! Puts the parts of a hub together.
