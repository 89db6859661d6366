//! `ironbrook mqtt bench`: how a server does with messages from this machine.
//!
//! The load comes from the same library that every other command uses, so that it needs nothing but the binary. It shows what a
//! user of this machine can expect; the figures that the project compares itself by come from `cargo xtask bench mqtt`.

mod histogram;
mod report;
mod work;

use super::connect::{Server, qos};
use crate::commands::OutputFormat;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use ironbrook_client::topics::QoS;

/// Clients of one run; each holds a connection.
const CLIENTS_MAX: u32 = 10_000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    server: Server,
    /// What is measured.
    #[arg(value_enum)]
    scenario: Scenario,
    /// How many clients stand on the side that has many.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)), value_name = "N")]
    clients: u32,
    /// How many messages are published, in all.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    messages: u64,
    /// Bytes of each payload.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(8..=1_048_576), value_name = "BYTES")]
    size: u32,
    /// QoS of all messages and subscriptions.
    #[arg(long, short = 'q', default_value = "1", value_parser = qos, value_name = "QOS")]
    qos: QoS,
    /// How many messages each publisher has under way; 1 waits for each acknowledgement.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=16_384), value_name = "N")]
    in_flight: u16,
    /// Topics begin with this.
    #[arg(long, default_value = "ironbrook-bench", value_name = "PREFIX")]
    prefix: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Many publish, nobody is subscribed: from publishing to the acknowledgement.
    Ingest,
    /// Many publish, one is subscribed to all: from publishing to the subscriber.
    FanIn,
    /// One publishes, many are subscribed: from publishing to each subscriber.
    FanOut,
}

impl Scenario {
    /// How many publish, and how many are subscribed.
    fn sides(self, clients: u32) -> (u32, u32) {
        match self {
            Self::Ingest => (clients, 0),
            Self::FanIn => (clients, 1),
            Self::FanOut => (1, clients),
        }
    }
}

/// Runs the command.
pub(super) async fn run(args: Args, output: OutputFormat) -> anyhow::Result<()> {
    let (_, subscribers) = args.scenario.sides(args.clients);
    let bar = bar(args.messages * u64::from(subscribers.max(1)));
    let outcome = tokio::select! {
        outcome = work::run(&args, &bar) => outcome,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("stopped before the end")),
    };
    bar.finish_and_clear();
    report::print(&args, &outcome?, output)
}

fn bar(messages: u64) -> ProgressBar {
    let bar = ProgressBar::new(messages);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} {per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}
