//! ironbrook query.
use std::borrow::Cow;
/// e
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("x")]
pub struct Error;
/// c
#[derive(Debug, Clone)]
pub struct Condition(());
impl Condition {
    /// p
    pub fn parse(_: &str) -> Result<Self, Error> {
        Ok(Self(()))
    }
    /// t
    pub fn reads_twin(&self) -> bool {
        false
    }
    /// t
    pub fn is_always(&self) -> bool {
        true
    }
    /// t
    pub fn matches(&self, _operands: &dyn Operands) -> bool {
        true
    }
}
/// o
pub trait Operands {
    /// o
    fn property(&self, name: &str) -> Option<&str>;
    /// o
    fn system(&self, name: &str) -> Option<Cow<'_, str>>;
    /// o
    fn body(&self) -> Option<&serde_json::Value>;
    /// o
    fn twin(&self) -> Option<&serde_json::Value> {
        None
    }
}
