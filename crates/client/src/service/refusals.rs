//! Why devices and modules were not let in.

use super::{ServiceClient, array};
use crate::error::Result;
use http::Method;
use ironbrook_model::{DeviceId, percent_encode};
use serde_json::Value;

impl ServiceClient {
    /// The last refusals of a device and its modules, or of all, newest first: who, when, how often, why, from where.
    pub async fn refusals(&self, device: Option<&DeviceId>) -> Result<Vec<Value>> {
        let path = match device {
            Some(device) => format!("/devices/{}/refusals?", percent_encode(device.as_str())),
            None => "/refusals?".to_owned(),
        };
        array(self.call(Method::GET, &path, None).await?, "the list of refusals")
    }
}
