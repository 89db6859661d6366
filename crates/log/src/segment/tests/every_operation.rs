//! A fixed workload with one fault, at each of its operations in turn: nothing acknowledged is lost, nothing made up is served.

use super::*;
use std::collections::BTreeMap;

/// Records of the workload, in segments of a few.
const RECORDS: u64 = 24;
const SEGMENT_BYTES: u64 = 420;
/// Ends of the power tried at each operation.
const SEEDS: u64 = 4;
/// Blocks that writes are torn by. No smaller than a header: disks write sectors of 512 bytes or more, and it is in the first.
const BLOCKS: [usize; 2] = [256, 512];

/// What was handed over and what was acknowledged, by offset.
#[derive(Default)]
struct Ledger {
    sent: BTreeMap<u64, String>,
    acknowledged: u64,
    trimmed: u64,
}

fn configs() -> [Config; 2] {
    let plain = Config { segment_bytes: SEGMENT_BYTES, ..config() };
    [Config { keys: keys(KEY_1), ..plain.clone() }, plain]
}

fn try_open(memory: &Memory, config: &Config) -> Result<SegmentLog, Error> {
    SegmentLog::open(Arc::new(memory.clone()), Path::new("log"), config.clone())
}

/// Appends in groups of one to three, trims, starts anew in between. Ends at the first failure.
async fn workload(memory: &Memory, config: &Config, ledger: &mut Ledger) -> Result<(), Error> {
    for life in 0..2 {
        let log = try_open(memory, config)?;
        for number in life * RECORDS / 2..(life + 1) * RECORDS / 2 {
            let body = format!("{number}:{}", "x".repeat(usize::try_from(number * 7 % 90).unwrap()));
            let queue = if number % 3 == 1 { OTHER } else { EVENTS };
            let ticket = append(&log, &[queue], 0, &body)?;
            ledger.sent.insert(ticket.offset.0, body);
            if number % 4 != 2 {
                log.durable(ticket).await?;
                ledger.acknowledged = ticket.offset.0 + 1;
            }
            if number == RECORDS * 3 / 4 {
                ledger.trimmed = RECORDS / 2;
                log.trim(P0, Offset(ledger.trimmed)).await?;
            }
        }
        let end = log.bounds(P0).end.0;
        log.close().await;
        log.shared.check().err().filter(|error| !matches!(error, Error::Closed)).map_or(Ok(()), Err)?;
        ledger.acknowledged = ledger.acknowledged.max(end);
    }
    Ok(())
}

/// How many operations the workload has.
async fn operations(config: &Config) -> u64 {
    let memory = Memory::new();
    workload(&memory, config, &mut Ledger::default()).await.unwrap();
    memory.operations()
}

/// All that was acknowledged is there, in order, and nothing that was not sent. Returns how many records there are.
async fn check(memory: &Memory, config: &Config, ledger: &Ledger, what: &str) -> usize {
    let log = match try_open(memory, config) {
        Ok(log) => log,
        Err(error) => panic!("{what}: {error}"),
    };
    let mut found = BTreeMap::new();
    for queue in [EVENTS, OTHER] {
        let records = read_all(&log, queue).await;
        assert!(records.is_sorted_by_key(|record| record.offset), "{what}: order");
        found.extend(records.into_iter().map(|record| (record.offset.0, record)));
    }
    for (offset, record) in &found {
        let sent = ledger.sent.get(offset).unwrap_or_else(|| panic!("{what}: {offset} was never sent"));
        assert_eq!(&record.body[..], sent.as_bytes(), "{what}: {offset}");
    }
    for offset in ledger.trimmed..ledger.acknowledged {
        assert!(found.contains_key(&offset), "{what}: {offset} was acknowledged and is lost");
    }
    found.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_power_goes_off_at_each_operation() {
    for config in configs() {
        for nth in 0..=operations(&config).await {
            let (memory, mut ledger) = (Memory::new(), Ledger::default());
            memory.power_off_after(nth);
            let _ = workload(&memory, &config, &mut ledger).await;
            for seed in 0..SEEDS {
                let what = format!("power off after {nth}, seed {seed}, {:?}", config.keys);
                let found = memory.power_cut(seed);
                check(&found, &config, &ledger, &what).await;
                // What was shown once is there after the next cut too.
                check(&found.power_cut(seed), &config, &ledger, &what).await;
                for block in BLOCKS {
                    let what = format!("{what}, blocks of {block}");
                    check(&memory.power_cut_by_block(seed, block), &config, &ledger, &what).await;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_operation_fails_once() {
    for config in configs() {
        for nth in 1..=operations(&config).await {
            let (memory, mut ledger) = (Memory::new(), Ledger::default());
            memory.fail_operation(nth);
            let done = workload(&memory, &config, &mut ledger).await;
            // What waits for a sync shares it with what comes later, so that a run may have fewer operations.
            assert!(done.is_err() || memory.operations() < nth, "{nth}: a failure is told");
            memory.heal();
            let what = format!("operation {nth} failed, {:?}", config.keys);
            check(&memory.power_cut(nth), &config, &ledger, &format!("{what}, power cut")).await;
            // The end of the process alone. Of what failed somebody may have seen nothing, so the disk may have it or not.
            let (memory, mut ledger) = (Memory::new(), Ledger::default());
            memory.fail_operation(nth);
            let _ = workload(&memory, &config, &mut ledger).await;
            memory.heal();
            check(&memory, &config, &ledger, &what).await;
            check(&memory.power_cut(nth), &config, &ledger, &format!("{what}, then a power cut")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_is_full_at_each_length() {
    for config in configs() {
        let whole = Memory::new();
        workload(&whole, &config, &mut Ledger::default()).await.unwrap();
        for capacity in (0..whole.used() + 200).step_by(61) {
            let (memory, mut ledger) = (Memory::new(), Ledger::default());
            memory.set_capacity(Some(capacity));
            let _ = tokio::time::timeout(Duration::from_millis(30), workload(&memory, &config, &mut ledger))
                .await;
            memory.set_capacity(None);
            check(&memory, &config, &ledger, &format!("full at {capacity}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_byte_rots() {
    for config in configs() {
        let (memory, mut ledger) = (Memory::new(), Ledger::default());
        workload(&memory, &config, &mut ledger).await.unwrap();
        let folder = Path::new("log/00000");
        let whole = check(&memory, &config, &ledger, "nothing rots").await;
        // One record may be lost, and is no longer asked for.
        let lenient = Ledger { acknowledged: 0, ..ledger };
        for name in memory.list(folder).unwrap() {
            let path = folder.join(&name);
            let len = memory.open(&path, false).unwrap().len().unwrap();
            for byte in 0..len {
                let bit = u8::try_from(byte % 8).unwrap();
                memory.flip_bit(&path, byte, bit);
                let what = format!("{name} byte {byte}");
                // A copy: the last record, if it is not sound, is cut.
                let found = check(&memory.copy(), &config, &lenient, &what).await;
                assert!(found + 1 >= whole, "{what}: {found} of {whole}");
                memory.flip_bit(&path, byte, bit);
            }
        }
    }
}
