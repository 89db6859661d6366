//! Sends a message to a device, as a service does.
//!
//! ```text
//! cargo run -p ironbrook-client --example send_message -- "<service connection string>" ironbrook-data/ca/ca.pem thermistor-1 '{"interval": 2}'
//! ```

use ironbrook_client::{DeviceId, Identity, Message, ServiceClient};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [connection_string, ca_file, device, text] = arguments.as_slice() else {
        return Err("give a service connection string, the CA file, a device id and a text".into());
    };
    let client = ServiceClient::builder(connection_string)?.ca_file(ca_file)?.build()?;
    let device = Identity::device(DeviceId::new(device.as_str())?);
    client.send_message(&device, &Message::new(text.clone())).await?;
    Ok(())
}
