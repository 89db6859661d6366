//! `ironbrook mqtt sub`.

use super::TimedOut;
use super::connect::{Server, qos, time, watch};
use crate::commands::OutputFormat;
use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use ironbrook_client::topics::{Client, Message, Messages, QoS, Received, RetainHandling, Subscription};
use serde_json::{Map, Value, json};
use std::io::Write as _;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    server: Server,
    /// Topic filter; several are possible.
    #[arg(long = "topic", short = 't', required = true, value_name = "FILTER")]
    topics: Vec<String>,
    /// Highest QoS wanted.
    #[arg(long, short = 'q', default_value = "0", value_parser = qos, value_name = "QOS")]
    qos: QoS,
    /// Stop after so many messages.
    #[arg(long, short = 'C', value_name = "N")]
    count: Option<u64>,
    /// Stop after this time; with --count that is a failure of its own, exit code 3.
    #[arg(long, short = 'W', value_parser = time, value_name = "TIME")]
    timeout: Option<Duration>,
    /// Print the topic before each message (JSON output always has it), and properties behind it.
    #[arg(long, short = 'v')]
    verbose: bool,
    /// Leave out messages that were retained before.
    #[arg(long, short = 'R')]
    no_retained: bool,
    /// Client id; else the server chooses one.
    #[arg(long, short = 'i', default_value = "", value_name = "ID")]
    client_id: String,
    /// How long the server keeps messages for this client id while it is away; in MQTT 3.1.1 any time is for ever.
    #[arg(long, default_value = "0", value_parser = time, value_name = "TIME", requires = "client_id")]
    session_expiry: Duration,
}

/// Runs the command.
pub(super) async fn run(args: Args, output: OutputFormat) -> anyhow::Result<()> {
    let builder = args.server.builder()?.client_id(&*args.client_id).session_expiry(args.session_expiry);
    // What was not printed is not acknowledged.
    let (client, messages) = builder.acknowledge_by_hand(true).connect().await?;
    let deadline = async {
        match args.timeout {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    let outcome = tokio::select! {
        printed = subscribe_and_print(&client, messages, &args, output) => printed,
        error = watch(&client) => Err(error),
        () = deadline => match args.count {
            Some(count) => Err(TimedOut(format!("{count} messages had not come in time")).into()),
            None => Ok(()),
        },
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    let closed = client.close().await;
    outcome?;
    Ok(closed?)
}

/// Both at once: a session that goes on brings messages before the answer to a subscription.
async fn subscribe_and_print(
    client: &Client,
    mut messages: Messages,
    args: &Args,
    output: OutputFormat,
) -> anyhow::Result<()> {
    let mut subscribing = std::pin::pin!(subscribe(client, args).fuse());
    let mut printing = std::pin::pin!(print(&mut messages, args, output));
    loop {
        tokio::select! {
            subscribed = &mut subscribing => subscribed?,
            printed = &mut printing => return printed,
        }
    }
}

async fn subscribe(client: &Client, args: &Args) -> anyhow::Result<()> {
    let wish = |filter: &String| {
        let mut wish = Subscription::new(filter.as_str(), args.qos);
        if args.no_retained && args.server.is_v5() {
            wish.retain_handling = RetainHandling::DoNotSend;
        }
        wish
    };
    let granted = client.subscribe_all(args.topics.iter().map(wish).collect()).await?;
    for (filter, granted) in args.topics.iter().zip(granted) {
        match granted {
            Ok(qos) if qos < args.qos => {
                tracing::warn!(target: "ironbrook", filter, granted = qos as u8, "the server grants less than was asked for");
            }
            Ok(_) => {}
            Err(reason) => bail!("the server refused {filter:?}: {reason}; check its access list"),
        }
    }
    Ok(())
}

async fn print(messages: &mut Messages, args: &Args, output: OutputFormat) -> anyhow::Result<()> {
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut stdout = std::io::stdout();
    while left > 0 {
        let Some(received) = messages.next().await else {
            // Who watches the connection says why it ended.
            return std::future::pending().await;
        };
        // MQTT 3.1.1 cannot ask to be spared them.
        if args.no_retained && received.message.retain {
            received.acknowledge();
            continue;
        }
        let line = match output {
            OutputFormat::Json => json(&received).to_string().into_bytes(),
            OutputFormat::Table => text(&received.message, args.verbose),
        };
        match stdout.write_all(&line).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush()) {
            // A reader that has seen enough (`head`) is no failure.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            other => other.context("standard output cannot be written")?,
        }
        received.acknowledge();
        left -= 1;
    }
    Ok(())
}

/// The payload as it came, for people and pipes.
fn text(message: &Message, verbose: bool) -> Vec<u8> {
    let mut line = Vec::new();
    if verbose {
        line.extend_from_slice(visible(&message.topic).as_bytes());
        line.push(b' ');
    }
    line.extend_from_slice(&message.payload);
    if verbose {
        for (name, value) in properties(message) {
            let value = match value {
                Value::String(value) => visible(&value),
                other => other.to_string(),
            };
            line.extend_from_slice(format!("\n    {name} = {value}").as_bytes());
        }
    }
    line
}

/// Text of others without control characters, which could steer a terminal.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// One JSON object for programs. A payload of UTF-8 stands as text, any other as base64.
fn json(received: &Received) -> Value {
    let message = &received.message;
    let payload = match std::str::from_utf8(&message.payload) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": STANDARD.encode(&message.payload) }),
    };
    json!({
        "topic": &*message.topic,
        "payload": payload,
        "qos": message.qos as u8,
        "retain": message.retain,
        "duplicate": received.duplicate,
        "properties": properties(message),
    })
}

fn properties(message: &Message) -> Map<String, Value> {
    let properties = &message.properties;
    let mut shown = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            shown.insert(name.to_owned(), value);
        }
    };
    put("text", properties.is_text.map(Value::from));
    put("expiry", properties.expiry.map(Value::from));
    put("content_type", properties.content_type.as_deref().map(Value::from));
    put("response_topic", properties.response_topic.as_deref().map(Value::from));
    let correlation = properties.correlation_data.as_ref().map(|data| match std::str::from_utf8(data) {
        Ok(text) => Value::from(text),
        Err(_) => json!({ "base64": STANDARD.encode(data) }),
    });
    put("correlation", correlation);
    // Pairs and not members: names may come several times.
    let user: Vec<_> = properties.user.iter().map(|(name, value)| json!([name, value])).collect();
    put("user", Some(user).filter(|user| !user.is_empty()).map(Value::from));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_client::topics::{Properties, UserProperties};

    #[test]
    fn text_is_the_payload_alone_and_verbose_shows_the_rest_harmlessly() {
        let properties = Properties {
            content_type: Some("text/\x1b[31mplain".into()),
            user: UserProperties::from_pairs([("a", "1"), ("a", "2")]).unwrap(),
            ..Properties::default()
        };
        let message = Message::new("t", &b"\xff\x00"[..]).properties(properties);
        assert_eq!(text(&message, false), b"\xff\x00");
        let shown = text(&message, true);
        assert!(shown.starts_with(b"t \xff\x00\n    content_type = text/ [31mplain\n"));
        assert!(shown.ends_with(b"\n    user = [[\"a\",\"1\"],[\"a\",\"2\"]]"));
    }
}
