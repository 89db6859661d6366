//! A device in a screenful: telemetry, messages from the hub, a direct method, the twin.
//!
//! ```text
//! cargo run -p ironbrook-client --example send_telemetry -- "<device connection string>" ironbrook-data/ca/ca.pem
//! ```

use ironbrook_client::{DeviceClient, Message, SystemProperty};
use serde_json::json;
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let connection_string = arguments.next().ok_or("give a device connection string")?;
    let mut builder = DeviceClient::builder(&connection_string)?;
    if let Some(ca_file) = arguments.next() {
        builder = builder.ca_file(ca_file)?;
    }
    // Fails if the first attempt fails; from then on the client reconnects and renews its token by itself.
    let client = builder.connect().await?;

    // Messages from the hub, completed once they are printed.
    let mut messages = client.messages().await?;
    tokio::spawn(async move {
        while let Some(received) = messages.next().await {
            let text = String::from_utf8_lossy(&received.message.body).into_owned();
            tracing::info!(text, "message from the hub");
            if let Err(error) = received.complete().await {
                tracing::warn!(%error, "it will come again");
            }
        }
    });

    // Direct methods: any call is answered with its own payload.
    let methods = client.clone();
    tokio::spawn(async move {
        methods.serve_methods(|name, payload| async move { (200, json!({ name: payload })) }).await
    });

    // The twin: what is wanted, and what is so.
    let twin = client.twin().await?;
    client.report(&json!({ "example": true, "desiredVersion": twin.desired_version })).await?;

    for number in 0..10 {
        let body = json!({ "temperature": 20.0 + f64::from(number) / 10.0 });
        let mut message = Message::new(body.to_string());
        message.system.set(SystemProperty::ContentType, "application/json");
        message.system.set(SystemProperty::ContentEncoding, "utf-8");
        client.send(message).await?; // the hub has stored it
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    client.close().await?;
    Ok(())
}
