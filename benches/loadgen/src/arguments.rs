//! The options of `loadgen`; the README has their meaning.

use crate::die;

const USAGE: &str = "\
loadgen --addr HOST:PORT [--pubs N] [--subs N] [--idle N] [--qos 0|1] [--sub-qos 0|1]
  [--payload BYTES] [--window N] [--batch N] [--rate MSGS_PER_S] [--secs S] [--warm S] [--closed N]
  [--topic TPL] [--filter TPL] [--client-id TPL] [--user TPL] [--pass TPL] [--creds FILE] [--persistent]
  [--keepalive S] [--pid PID]... [--threads N] [--tls] [--tls-ver 1.2|1.3] [--resume] [--connecting N]
  [--hold S] [--name LABEL] [--tsv] [--header] [--pin CPU] [--drain-max S]
TPL: {id} is the connection's number within its kind, {kind} is pub, sub or idle.";

/// The smallest payload: the send time and a value.
const PAYLOAD_MIN: usize = 40;
/// The largest window: packet ids have 16 bits.
const WINDOW_MAX: usize = 60_000;

/// What is to be done.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "named as the options, which the README explains")]
pub struct Arguments {
    pub addr: String,
    pub pubs: usize,
    pub subs: usize,
    pub idle: usize,
    pub qos: u8,
    pub sub_qos: u8,
    pub payload: usize,
    pub window: usize,
    pub batch: usize,
    pub rate: f64,
    pub secs: f64,
    pub warm: f64,
    pub closed: u64,
    pub topic: String,
    pub filter: String,
    pub client_id: String,
    pub user: String,
    pub pass: String,
    pub creds: Option<String>,
    pub clean: bool,
    pub keep_alive: u16,
    pub pids: Vec<u32>,
    pub threads: usize,
    pub tls: bool,
    pub tls_version: String,
    pub resume: bool,
    pub connecting: usize,
    pub hold: f64,
    pub name: String,
    pub tsv: bool,
    pub header: bool,
    pub pin: Option<usize>,
    pub drain_max: f64,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            addr: "127.0.0.1:1883".into(),
            pubs: 0,
            subs: 0,
            idle: 0,
            qos: 0,
            sub_qos: 0,
            payload: 256,
            window: 64,
            batch: 0,
            rate: 0.0,
            secs: 5.0,
            warm: 0.5,
            closed: 0,
            topic: "bench/{id}".into(),
            filter: "bench/#".into(),
            client_id: "lg-{kind}-{id}".into(),
            user: String::new(),
            pass: String::new(),
            creds: None,
            clean: true,
            keep_alive: 600,
            pids: Vec::new(),
            threads: 1,
            tls: false,
            tls_version: String::new(),
            resume: false,
            connecting: 64,
            hold: 0.0,
            name: String::new(),
            tsv: false,
            header: false,
            pin: None,
            drain_max: 20.0,
        }
    }
}

impl Arguments {
    /// Reads them; ends the program where they make no sense.
    pub fn parse(words: impl Iterator<Item = String>) -> Self {
        let mut arguments = Self::default();
        let mut sub_qos = None;
        let mut words = words;
        while let Some(option) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| die(&format!("{option} needs a value")));
            match option.as_str() {
                "--sub-qos" => sub_qos = Some(number(&value()) as u8),
                "--help" | "-h" => {
                    println!("{USAGE}");
                    std::process::exit(0)
                }
                _ => {
                    if !arguments.set_flag(&option) && !arguments.set(&option, &mut value) {
                        die(&format!("no option {option}\n{USAGE}"));
                    }
                }
            }
        }
        arguments.sub_qos = sub_qos.unwrap_or(arguments.qos);
        arguments.payload = arguments.payload.max(PAYLOAD_MIN);
        arguments.window = arguments.window.clamp(1, WINDOW_MAX);
        arguments.threads = arguments.threads.max(1);
        arguments
    }

    /// False if it is none of those without a value.
    fn set_flag(&mut self, option: &str) -> bool {
        match option {
            "--persistent" => self.clean = false,
            "--tls" => self.tls = true,
            "--resume" => self.resume = true,
            "--tsv" => self.tsv = true,
            "--header" => self.header = true,
            _ => return false,
        }
        true
    }

    /// False if there is no such option; then no value was asked for.
    fn set(&mut self, option: &str, value: &mut dyn FnMut() -> String) -> bool {
        match option {
            "--addr" => self.addr = value(),
            "--pubs" => self.pubs = number(&value()) as usize,
            "--subs" => self.subs = number(&value()) as usize,
            "--idle" => self.idle = number(&value()) as usize,
            "--qos" => self.qos = number(&value()) as u8,
            "--payload" => self.payload = number(&value()) as usize,
            "--window" => self.window = number(&value()) as usize,
            "--batch" => self.batch = number(&value()) as usize,
            "--rate" => self.rate = number(&value()),
            "--secs" => self.secs = number(&value()),
            "--warm" => self.warm = number(&value()),
            "--closed" => self.closed = number(&value()) as u64,
            "--topic" => self.topic = value(),
            "--filter" => self.filter = value(),
            "--client-id" => self.client_id = value(),
            "--user" => self.user = value(),
            "--pass" => self.pass = value(),
            "--creds" => self.creds = Some(value()),
            "--keepalive" => self.keep_alive = number(&value()) as u16,
            "--pid" => self.pids.push(number(&value()) as u32),
            "--threads" => self.threads = number(&value()) as usize,
            "--tls-ver" => (self.tls, self.tls_version) = (true, value()),
            "--connecting" => self.connecting = number(&value()) as usize,
            "--hold" => self.hold = number(&value()),
            "--name" => self.name = value(),
            "--pin" => self.pin = Some(number(&value()) as usize),
            "--drain-max" => self.drain_max = number(&value()),
            _ => return false,
        }
        true
    }
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| die(&format!("not a number: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let words = "--qos 1 --window 99999 --tls-ver 1.2 --pid 1 --pid 2 --tsv --payload 1";
        let read = Arguments::parse(words.split(' ').map(str::to_owned));
        assert_eq!((read.qos, read.sub_qos, read.window, read.payload), (1, 1, WINDOW_MAX, PAYLOAD_MIN));
        assert!(read.tls && read.tsv && read.pids == [1, 2]);
    }
}
