use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(1_790_000_000 + seconds)
}

fn texts(log: &ModuleLog, query: LogQuery) -> Vec<String> {
    log.read(query).unwrap().into_iter().map(|line| line.text).collect()
}

#[test]
fn lines_are_found_by_number_and_time_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let log = ModuleLog::open(folder.path()).unwrap();
    for n in 0..5 {
        log.append(at(n), &[format!("line {n} ")]).unwrap();
    }
    let log = ModuleLog::open(folder.path()).unwrap();
    let all = LogQuery::default();
    assert_eq!(texts(&log, all), ["line 0 ", "line 1 ", "line 2 ", "line 3 ", "line 4 "]);
    assert_eq!(texts(&log, LogQuery { tail: Some(2), ..all }), ["line 3 ", "line 4 "]);
    assert!(texts(&log, LogQuery { tail: Some(0), ..all }).is_empty());
    assert_eq!(
        texts(&log, LogQuery { since: Some(at(1)), until: Some(at(2)), ..all }),
        ["line 1 ", "line 2 "]
    );
}

#[test]
fn two_files_bound_the_size_and_positions_go_on_over_them() {
    let folder = tempfile::tempdir().unwrap();
    let log = ModuleLog::with_len_max(folder.path(), 200).unwrap();
    let mut position = None;
    for n in 0..40 {
        log.append(at(n), &[format!("{n}")]).unwrap();
        let new = log.read(LogQuery { after: position, ..LogQuery::default() }).unwrap();
        // Whoever follows sees each line once, also over a change of files.
        assert_eq!(new.iter().map(|line| line.text.clone()).collect::<Vec<_>>(), [n.to_string()]);
        position = Some(new[0].position);
    }
    let size: u64 = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert!(size <= 400, "{size}");
    let kept = texts(&log, LogQuery::default());
    assert_eq!(kept.last().unwrap(), "39");
    assert!(kept.len() > 6 && kept.len() < 14, "{kept:?}");
}

#[test]
fn a_torn_line_is_left_out_and_a_closed_log_takes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = ModuleLog::open(folder.path()).unwrap();
    log.append(at(0), &["whole".to_owned()]).unwrap();
    fs::OpenOptions::new()
        .append(true)
        .open(folder.path().join("log"))
        .unwrap()
        .write_all(b"2026-01-")
        .unwrap();
    assert_eq!(texts(&ModuleLog::open(folder.path()).unwrap(), LogQuery::default()), ["whole"]);
    log.close();
    log.append(at(1), &["late".to_owned()]).unwrap();
    assert_eq!(texts(&log, LogQuery::default()), ["whole"]);
}
