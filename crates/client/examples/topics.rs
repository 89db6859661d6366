//! Publishes and receives on ordinary topics of an MQTT server, until Ctrl-C.
//!
//! ```text
//! cargo run -p ironbrook-client --example topics -- mqtt://localhost 'plant/#' plant/7/temperature 21.5
//! ```

use ironbrook_client::topics::{Client, Message, QoS};
use std::io::Write as _;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, filter, topic, text] = arguments.as_slice() else {
        return Err("give an address, a topic filter, a topic and a text".into());
    };
    let (client, mut messages) = Client::builder(url)?.connect().await?;
    client.subscribe(filter.clone(), QoS::AtLeastOnce).await?;
    client.publish(Message::new(topic.clone(), text.clone()).qos(QoS::AtLeastOnce)).await?;
    loop {
        tokio::select! {
            received = messages.next() => match received {
                Some(received) => {
                    let text = String::from_utf8_lossy(&received.message.payload).into_owned();
                    writeln!(std::io::stdout(), "{} {text}", received.message.topic)?;
                }
                None => return Ok(()),
            },
            _ = tokio::signal::ctrl_c() => return Ok(client.close().await?),
        }
    }
}
