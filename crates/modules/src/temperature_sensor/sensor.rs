//! The sensor without its connection: readings out, wishes in.

use super::console::{Console, excerpt};
use super::control::{Command, Wish, commands};
use super::model::Machine;
use super::settings::{Settings, TimeSpan};
use super::telemetry::{Telemetry, message};
use ironbrook_client::Message;
use ironbrook_hub::seams::Clock;
use ironbrook_model::Timestamp;
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// State shared by the loops of the module.
pub(super) struct Sensor {
    pub settings: Settings,
    pub console: Console,
    pub clock: Arc<dyn Clock>,
    delay: watch::Sender<Duration>,
    is_sending: AtomicBool,
    is_reset: AtomicBool,
}

impl Sensor {
    pub(super) fn new(settings: Settings, console: Console, clock: Arc<dyn Clock>) -> Self {
        let delay = watch::Sender::new(settings.delay);
        let (is_sending, is_reset) = (AtomicBool::new(true), AtomicBool::new(false));
        Self { settings, console, clock, delay, is_sending, is_reset }
    }

    /// Takes readings on time and hands over those that are to be sent, until there were as many as configured.
    ///
    /// Readings wait while nobody takes them, so that none is lost and none is out of order.
    pub(super) async fn measure(&self, mut rng: StdRng, out: mpsc::Sender<Message>) {
        let batch = uuid::Builder::from_random_bytes(rng.random()).into_uuid().to_string();
        let mut machine = Machine::new(&self.settings);
        let mut delay = self.delay.subscribe();
        let mut number = 1;
        let mut due = self.clock.now();
        while self.settings.count.is_none_or(|count| number <= count) {
            if self.is_reset.swap(false, Ordering::Relaxed) {
                machine.reset();
            }
            let reading = machine.step(&mut rng);
            if self.is_sending.load(Ordering::Relaxed) {
                let now = self.clock.now();
                let body = Telemetry::new(reading, now).to_json();
                self.console.line(format_args!("\t{now}> Sending message: {number}, Body: [{body}]"));
                if out.send(message(body, number, &batch)).await.is_err() {
                    return;
                }
                number += 1;
            }
            due = self.wait(due, &mut delay).await;
        }
    }

    /// Waits until the next reading is due and gives that time. One that is late is not made up for, and a clock that is set back
    /// does not hold the next one up.
    async fn wait(&self, last: Timestamp, delay: &mut watch::Receiver<Duration>) -> Timestamp {
        loop {
            let (delay_now, now) = (*delay.borrow_and_update(), self.clock.now());
            let due = last.plus(delay_now).clamp(now, now.plus(delay_now));
            tokio::select! {
                () = self.clock.sleep_until(due) => return due,
                // A shorter delay holds at once, not after the old one has run out.
                Ok(()) = delay.changed() => {}
            }
        }
    }

    /// Obeys a message on the input `control`. One that cannot be read is told and forgotten: were it refused, it would come again
    /// and again, and no other after it.
    pub(super) fn obey(&self, body: &[u8]) {
        self.console.line(format_args!("Received message Body: [{}]", excerpt(body)));
        match commands(body) {
            Ok(commands) if commands.contains(&Command::Reset) => {
                self.console.line(format_args!("Resetting the temperature"));
                self.reset();
            }
            Ok(_) => {}
            Err(reason) => self.console.line(format_args!("The message is no command: {reason}")),
        }
    }

    /// Answers a direct method. 501: what stock SDKs answer for a method that nobody handles.
    pub(super) fn method(&self, name: &str) -> (i32, Value) {
        if !name.eq_ignore_ascii_case("reset") {
            return (501, Value::Null);
        }
        self.console.line(format_args!("Resetting the temperature, as a direct method asks"));
        self.reset();
        (200, Value::Null)
    }

    /// Takes effect with the next reading.
    fn reset(&self) {
        self.is_reset.store(true, Ordering::Relaxed);
    }

    /// Does what desired properties ask for.
    pub(super) fn apply(&self, desired: &Map<String, Value>) {
        let (wish, faults) = Wish::read(desired);
        for fault in faults {
            self.console.line(format_args!("Desired property ignored: {fault}"));
        }
        if let Some(delay) = wish.delay {
            self.delay.send_if_modified(|now| std::mem::replace(now, delay) != delay);
        }
        if let Some(send) = wish.send
            && self.is_sending.swap(send, Ordering::Relaxed) != send
        {
            let state = if send { "enabled" } else { "disabled, readings go on unsent" };
            self.console.line(format_args!("Sending {state}"));
        }
    }

    /// What is reported back.
    pub(super) fn report(&self) -> Value {
        let seconds = self.delay.borrow().as_secs_f64();
        let interval = if seconds.fract() == 0.0 { json!(seconds as u64) } else { json!(seconds) };
        json!({ "SendData": self.is_sending.load(Ordering::Relaxed), "SendInterval": interval })
    }

    /// Says what will be done.
    pub(super) fn introduce(&self) {
        let Settings { delay, count, transport, .. } = &self.settings;
        let delay = TimeSpan(*delay);
        match count {
            Some(count) => {
                self.console.line(format_args!("Sends {count} messages, one each {delay} (hh:mm:ss)"));
            }
            None => {
                self.console.line(format_args!("Sends messages without end, one each {delay} (hh:mm:ss)"))
            }
        }
        self.console.line(format_args!("Transport: MQTT over TLS (ClientTransportType is {transport})"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temperature_sensor::testing::{Log, PausedClock};
    use rand::SeedableRng as _;

    fn sensor(settings: Settings) -> (Arc<Sensor>, Log) {
        let log = Log::default();
        let console = Console::new(Box::new(log.clone()));
        (Arc::new(Sensor::new(settings, console, Arc::new(PausedClock::new()))), log)
    }

    fn start(sensor: &Arc<Sensor>) -> mpsc::Receiver<Message> {
        let (out, readings) = mpsc::channel(1);
        let sensor = sensor.clone();
        tokio::spawn(async move { sensor.measure(StdRng::seed_from_u64(1), out).await });
        readings
    }

    fn body(message: &Message) -> Value {
        serde_json::from_slice(&message.body).unwrap()
    }

    async fn next(readings: &mut mpsc::Receiver<Message>) -> Value {
        body(&readings.recv().await.unwrap())
    }

    fn desired(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn messages_come_on_time_numbered_until_the_count_is_reached() {
        let (sensor, log) = sensor(Settings { count: Some(3), ..Settings::default() });
        let mut readings = start(&sensor);
        let began = tokio::time::Instant::now();
        let mut batches = Vec::new();
        for number in 1..=3_u64 {
            let message = readings.recv().await.unwrap();
            assert_eq!(began.elapsed(), Duration::from_secs(5 * (number - 1)));
            let property = |name| message.properties.get(name).unwrap().to_string();
            assert_eq!(property("sequenceNumber"), number.to_string());
            batches.push(uuid::Uuid::parse_str(&property("batchId")).unwrap());
            let time = Timestamp::parse(body(&message)["timeCreated"].as_str().unwrap()).unwrap();
            assert_eq!(time, sensor.clock.now());
        }
        assert!(batches.iter().all(|batch| *batch == batches[0]));
        assert_eq!(readings.recv().await, None);
        assert_eq!(log.text().matches("Sending message: ").count(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_below_zero_never_ends_and_nought_sends_nothing() {
        let (endless, _) = sensor(Settings { count: None, ..Settings::default() });
        let mut readings = start(&endless);
        for _ in 0..1000 {
            readings.recv().await.unwrap();
        }
        let (none, _) = sensor(Settings { count: Some(0), ..Settings::default() });
        assert_eq!(start(&none).recv().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reset_takes_effect_with_the_next_reading() {
        let (sensor, log) = sensor(Settings { count: None, ..Settings::default() });
        let mut readings = start(&sensor);
        let temperature = |reading: &Value| reading["machine"]["temperature"].as_f64().unwrap();
        for reset in [|s: &Sensor| s.obey(br#"[{"command":"reset"}]"#), |s: &Sensor| drop(s.method("reset"))]
        {
            while temperature(&next(&mut readings).await) < 60.0 {}
            reset(&sensor);
            // One reading may have been on its way.
            next(&mut readings).await;
            let after = temperature(&next(&mut readings).await);
            assert!((20.5..24.0).contains(&after), "{after}");
        }
        sensor.obey(b"x");
        assert_eq!(sensor.method("explode").0, 501);
        let log = log.text();
        assert!(log.contains("Received message Body: [[{\"command\":\"reset\"}]]"), "{log}");
        assert_eq!(log.matches("Resetting").count(), 2);
        assert!(log.contains("The message is no command"), "{log}");
    }

    #[tokio::test(start_paused = true)]
    async fn while_sending_is_disabled_the_machine_goes_on_and_the_count_does_not() {
        let (sensor, log) = sensor(Settings { count: None, ..Settings::default() });
        let mut readings = start(&sensor);
        let first = readings.recv().await.unwrap();
        sensor.apply(&desired(json!({ "SendData": false })));
        assert_eq!(sensor.report(), json!({ "SendData": false, "SendInterval": 5 }));
        let quiet = tokio::time::timeout(Duration::from_secs(500), readings.recv()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        sensor.apply(&desired(json!({ "SendData": true })));
        let second = readings.recv().await.unwrap();
        assert_eq!(second.properties.get("sequenceNumber").map(|n| &**n), Some("2"));
        let rise = body(&second)["machine"]["temperature"].as_f64().unwrap()
            - body(&first)["machine"]["temperature"].as_f64().unwrap();
        assert!(rise > 30.0, "{rise}");
        assert!(log.text().contains("Sending disabled"), "{}", log.text());
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_interval_holds_at_once() {
        let delay = Duration::from_secs(3600);
        let (sensor, _) = sensor(Settings { delay, count: None, ..Settings::default() });
        let mut readings = start(&sensor);
        readings.recv().await.unwrap();
        let began = tokio::time::Instant::now();
        sensor.apply(&desired(json!({ "SendInterval": 7 })));
        readings.recv().await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(7));
        readings.recv().await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(14));
        sensor.apply(&desired(json!({ "SendInterval": "soon" })));
        assert_eq!(sensor.report(), json!({ "SendData": true, "SendInterval": 7 }));
    }

    #[tokio::test(start_paused = true)]
    async fn readings_wait_for_a_slow_connection_and_none_is_lost_or_made_up_for() {
        let (sensor, _) = sensor(Settings { count: None, ..Settings::default() });
        let mut readings = start(&sensor);
        tokio::time::sleep(Duration::from_secs(600)).await;
        let mut times = Vec::new();
        for number in 1..=5_u64 {
            let message = readings.recv().await.unwrap();
            let sent = message.properties.get("sequenceNumber").unwrap().to_string();
            assert_eq!(sent, number.to_string());
            times.push(Timestamp::parse(body(&message)["timeCreated"].as_str().unwrap()).unwrap());
        }
        // After the pause the rhythm is the old one, without a burst.
        assert_eq!(times[4].since(times[3]), Duration::from_secs(5));
        assert_eq!(times[3].since(times[2]), Duration::from_secs(5));
    }
}
