//! The HTTPS service API.
