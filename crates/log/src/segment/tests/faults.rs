//! Failing syncs, full disks, full buffers.

use super::*;

#[tokio::test]
async fn a_failed_sync_poisons_for_ever_and_a_restart_heals() {
    let memory = Memory::new();
    let log = Arc::new(open(&memory));
    append_events(&log, 3).await;
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.tail(P0, Offset(50)).await }
    });
    memory.fail_sync(1);
    let ticket = append(&log, &[EVENTS], 0, "3").unwrap();
    assert!(matches!(log.durable(ticket).await, Err(Error::Poisoned)));
    assert!(matches!(waiting.await.unwrap(), Err(Error::Poisoned)));
    assert!(matches!(append(&log, &[EVENTS], 0, "x"), Err(Error::Poisoned)));
    assert!(matches!(log.room(P0).await, Err(Error::Poisoned)));
    assert!(matches!(log.read(P0, EVENTS, Offset(0), 1, 1).await, Err(Error::Poisoned)));
    assert!(matches!(log.durable(Ticket { partition: P0, offset: Offset(0) }).await, Err(Error::Poisoned)));
    log.close().await;
    assert!(matches!(log.tail(P0, Offset(0)).await, Err(Error::Poisoned)), "the reason stays");
}

#[tokio::test]
async fn what_a_restart_shows_after_a_failed_sync_survives_a_power_cut() {
    // One of the first syncs fails: of records, of a new segment, of its folder.
    for nth in 1..12 {
        let memory = Memory::new();
        let log = open_with(&memory, Config { segment_bytes: 200, ..config() });
        memory.fail_sync(nth);
        for number in 0..12 {
            let ticket = append(&log, &[EVENTS], 0, &number.to_string());
            if ticket.is_err() || log.durable(ticket.unwrap()).await.is_err() {
                break;
            }
        }
        assert!(matches!(append(&log, &[EVENTS], 0, "x"), Err(Error::Poisoned)), "sync {nth}");
        drop(log);
        // The operating system's cache still has what the disk has not.
        let log = open(&memory);
        append_events(&log, 1).await;
        let shown = texts(&read_all(&log, EVENTS).await);
        for seed in 0..4 {
            let found = texts(&read_all(&open(&memory.power_cut(seed)), EVENTS).await);
            assert_eq!(found, shown, "sync {nth} seed {seed}");
        }
    }
}

#[tokio::test]
async fn one_failed_sync_of_many_partitions_poisons_all() {
    let memory = Memory::new();
    let sync = SyncPolicy::Group { max_delay: Duration::from_secs(60), max_bytes: 40 * 47 };
    let log = open_with(&memory, Config { partitions: 40, sync, ..config() });
    memory.fail_sync(20);
    let body = Bytes::from_static(b"x");
    let tickets: Vec<_> = (0..40)
        .map(|number| {
            let record =
                Append { enqueued: Timestamp::default(), queues: &[EVENTS], header: b"", body: &body };
            log.append(PartitionId(number), record).unwrap()
        })
        .collect();
    for ticket in tickets {
        assert!(matches!(log.durable(ticket).await, Err(Error::Poisoned)));
    }
    assert_eq!(log.stats().syncs, 31, "sixteen at a time, and none after the failure");
}

#[tokio::test]
async fn a_full_disk_pushes_back_keeps_what_was_taken_and_heals_alone() {
    let memory = Memory::new();
    let log = open(&memory);
    append_events(&log, 3).await;
    memory.set_capacity(Some(memory.used() + 100));
    let mut tickets = Vec::new();
    let filling = async {
        while !log.stats().disk_full {
            match append(&log, &[EVENTS], 0, &(tickets.len() + 3).to_string()) {
                Ok(ticket) => tickets.push(ticket),
                Err(error) => assert!(matches!(error, Error::Full), "{error}"),
            }
            // A moment for the writer to find out.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within("a full disk", filling).await;
    assert!(matches!(append(&log, &[EVENTS], 0, "too much"), Err(Error::Full)));
    assert_eq!(texts(&read_all(&log, EVENTS).await)[..3], numbers(0..3), "reading goes on");
    memory.set_capacity(None);
    within("room", log.room(P0)).await.unwrap();
    let ticket = append(&log, &[EVENTS], 0, &(tickets.len() + 3).to_string()).unwrap();
    log.durable(ticket).await.unwrap();
    assert_eq!(texts(&read_all(&log, EVENTS).await), numbers(0..tickets.len() as u64 + 4));
    drop(log);
    let log = open(&memory.power_cut(1));
    assert_eq!(texts(&read_all(&log, EVENTS).await), numbers(0..tickets.len() as u64 + 4));
    assert_eq!(log.damaged(), 0);
}

#[tokio::test]
async fn a_log_closes_on_a_full_disk() {
    let memory = Memory::new();
    let log = open(&memory);
    memory.set_capacity(Some(memory.used()));
    let ticket = append(&log, &[EVENTS], 0, "x").unwrap();
    log.close().await;
    assert!(matches!(log.durable(ticket).await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_full_buffer_pushes_back_until_it_is_durable() {
    let memory = Memory::new();
    let log = open_with(&memory, Config { buffer_bytes: 500, ..config() });
    let mut taken = 0_u64;
    for _ in 0..50 {
        while append(&log, &[EVENTS], 0, &taken.to_string()).is_ok() {
            taken += 1;
        }
        assert!(log.stats().gathered_bytes <= 500 + 60);
        within("room", log.room(P0)).await.unwrap();
    }
    log.close().await;
    assert_eq!(texts(&read_all(&open(&memory), EVENTS).await), numbers(0..taken));
}

#[tokio::test]
async fn a_delayed_group_is_one_sync() {
    let memory = Memory::new();
    let sync = SyncPolicy::Group { max_delay: Duration::from_secs(60), max_bytes: 10 * 51 + 90 * 52 };
    let log = open_with(&memory, Config { sync, segment_bytes: 1 << 20, ..config() });
    let mut last = None;
    for number in 0..100 {
        last = Some(append(&log, &[EVENTS], 0, &number.to_string()).unwrap());
    }
    log.durable(last.unwrap()).await.unwrap();
    assert_eq!(log.stats().syncs, 1);
}

#[tokio::test]
async fn without_syncs_the_end_of_a_process_loses_nothing() {
    let memory = Memory::new();
    let log = open_with(&memory, Config { sync: SyncPolicy::Never, ..config() });
    append_events(&log, 200).await;
    let before = log.stats().syncs;
    assert!(before < 5, "only finished segments: {before}");
    let last = log.shared.partitions[0].view().segments.back().unwrap().header.base.offset;
    let found = texts(&read_all(&open(&memory.power_cut(1)), EVENTS).await);
    let finished = usize::try_from(last).unwrap();
    assert_eq!(found[..finished], numbers(0..last), "finished segments survive a power cut");
    let memory = Memory::new();
    append_events(&open_with(&memory, Config { sync: SyncPolicy::Never, ..config() }), 200).await;
    assert_eq!(texts(&read_all(&open(&memory), EVENTS).await), numbers(0..200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_share_syncs() {
    let memory = Memory::new();
    let log = Arc::new(open_with(&memory, Config { segment_bytes: 1 << 20, ..config() }));
    let mut tasks = tokio::task::JoinSet::new();
    for device in 0..20 {
        let log = log.clone();
        tasks.spawn(async move {
            for number in 0..50 {
                let ticket = append(&log, &[EVENTS], 0, &format!("{device} {number}")).unwrap();
                log.durable(ticket).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert!(log.stats().syncs <= 1000);
    let mut next = [0; 20];
    for text in texts(&read_all(&log, EVENTS).await) {
        let (device, number) = text.split_once(' ').unwrap();
        let device: usize = device.parse().unwrap();
        assert_eq!(number.parse(), Ok(next[device]), "order per device");
        next[device] += 1;
    }
    assert_eq!(next, [50; 20]);
}

#[tokio::test]
async fn a_full_buffer_waits_for_no_company() {
    let memory = Memory::new();
    let sync = SyncPolicy::Group { max_delay: Duration::from_secs(3600), max_bytes: usize::MAX };
    let log = open_with(&memory, Config { buffer_bytes: 500, sync, ..config() });
    while append(&log, &[EVENTS], 0, "x").is_ok() {}
    within("room", log.room(P0)).await.unwrap();
    append(&log, &[EVENTS], 0, "y").unwrap();
}
