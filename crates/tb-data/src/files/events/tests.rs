//! What a reader and the next writer see after every way in which a write can be cut.

use tb_core::run_folder::Level;

use super::*;

fn note(text: &str) -> RunEventBody {
    RunEventBody::Note { level: Level::Info, message: text.into() }
}

fn numbers(events: &[RunEvent]) -> Vec<u64> {
    events.iter().map(|e| e.n).collect()
}

#[test]
fn numbers_go_on_over_a_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    let mut writer = EventWriter::open(&path).unwrap();
    assert_eq!(writer.append(5, note("一")).unwrap().n, 1);
    writer.append(6, note("line\nbreak")).unwrap();
    writer.sync().unwrap();
    drop(writer);
    let mut writer = EventWriter::open(&path).unwrap();
    assert_eq!(writer.last_n(), 2);
    assert_eq!(writer.append(7, note("three")).unwrap().n, 3);
    let all = read_after(&path, 0).unwrap();
    assert_eq!(numbers(&all), [1, 2, 3]);
    assert_eq!(all[1].body, note("line\nbreak"));
    assert_eq!(numbers(&read_after(&path, 2).unwrap()), [3]);
}

#[test]
fn a_cut_at_any_byte_loses_at_most_the_last_event() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    let mut writer = EventWriter::open(&path).unwrap();
    (0..3).for_each(|i| drop(writer.append(i, note("こんにちは")).unwrap()));
    let whole = std::fs::read(&path).unwrap();
    let ends: Vec<usize> = (0..whole.len()).filter(|i| whole[*i] == b'\n').map(|i| i + 1).collect();
    for cut in 0..=whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let kept = ends.iter().filter(|end| **end <= cut).count() as u64;
        assert_eq!(read_after(&path, 0).unwrap().len() as u64, kept, "cut at {cut}");
        let mut writer = EventWriter::open(&path).unwrap();
        assert_eq!(writer.append(9, note("after")).unwrap().n, kept + 1, "cut at {cut}");
        assert_eq!(numbers(&read_after(&path, 0).unwrap()), (1..=kept + 1).collect::<Vec<_>>());
    }
}

#[test]
fn zeros_that_a_power_cut_left_at_the_end_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    EventWriter::open(&path).unwrap().append(1, note("a")).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend([0; 40]);
    bytes.push(b'\n');
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(numbers(&read_after(&path, 0).unwrap()), [1]);
    assert_eq!(EventWriter::open(&path).unwrap().append(2, note("b")).unwrap().n, 2);
    assert_eq!(numbers(&read_after(&path, 0).unwrap()), [1, 2]);
}

#[test]
fn damage_in_the_middle_is_named_with_its_line_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    let mut writer = EventWriter::open(&path).unwrap();
    (0..3).for_each(|i| drop(writer.append(i, note("x")).unwrap()));
    let mut bytes = std::fs::read(&path).unwrap();
    let second = bytes.iter().position(|b| *b == b'\n').unwrap() + 3;
    bytes[second] = 0xff;
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(read_after(&path, 0), Err(Error::BadLine { line: 2, .. })));
    assert!(matches!(EventWriter::open(&path), Err(Error::BadLine { line: 2, .. })));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_gap_in_the_numbers_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    let line = |n| serde_json::to_string(&RunEvent { n, at_ms: 0, body: note("x") }).unwrap() + "\n";
    std::fs::write(&path, [line(1), line(3), line(4)].concat()).unwrap();
    assert!(matches!(read_after(&path, 0), Err(Error::BadLine { line: 2, .. })));
}

#[test]
fn a_tail_gives_each_event_once_whatever_pieces_it_sees() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    let mut writer = EventWriter::open(&path).unwrap();
    (0..4).for_each(|i| drop(writer.append(i, note("piece")).unwrap()));
    let whole = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let mut tail = EventTail::new(path.clone(), 1);
    assert!(tail.poll().unwrap().is_empty());
    let mut seen = Vec::new();
    for end in 0..=whole.len() {
        std::fs::write(&path, &whole[..end]).unwrap();
        seen.extend(numbers(&tail.poll().unwrap()));
    }
    assert_eq!(seen, [2, 3, 4]);
    assert_eq!(tail.offset(), whole.len() as u64);
    std::fs::write(&path, b"").unwrap();
    assert!(matches!(tail.poll(), Err(Error::BadFile { .. })));
}

#[test]
fn a_tail_goes_on_after_a_torn_line_was_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    EventWriter::open(&path).unwrap().append(1, note("a")).unwrap();
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(br#"{"n":2,"at_m"#).unwrap();
    let mut tail = EventTail::new(path.clone(), 0);
    assert_eq!(numbers(&tail.poll().unwrap()), [1]);
    EventWriter::open(&path).unwrap().append(2, note("b")).unwrap();
    assert_eq!(numbers(&tail.poll().unwrap()), [2]);
}
