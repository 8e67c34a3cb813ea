use super::{Match, Nearest, nearest_in_shards, nearest_rows, overlap};
use crate::metrics::chrf;

/// A small grammar that yields `count` different sentences in two scripts.
fn sentences(count: usize, offset: usize) -> Vec<String> {
    let who = ["Ann", "Bert", "Carla", "Dmitri", "Eve", "Farid", "Grace"];
    let what = ["report", "invoice", "meeting room", "draft contract", "budget", "new schedule", "door key", "slides"];
    let when = ["today", "by Friday", "before noon", "on 3 May", "next week", "at 10:30"];
    let why = ["the client waits", "we are late", "nobody has it", "it is wrong", "the boss asked", "I forgot mine"];
    (0..count)
        .map(|i| {
            let k = i * 31 + offset;
            let (a, b, c, d) = (who[k % 7], what[k / 7 % 8], when[k / 56 % 6], why[k / 336 % 6]);
            match k % 3 {
                0 => format!("hey {a}, send me the {b} {c}, {d} ({i})"),
                1 => format!("{a}に{b}を{c}までに送って、{d}から{i}"),
                _ => format!("need {b} from {a} {c} cause {d} #{i}"),
            }
        })
        .collect()
}

fn by_comparing_all(sources: &[String], query: &str) -> Option<Match> {
    let mut best: Option<Match> = None;
    for (row, source) in sources.iter().enumerate() {
        let score = chrf::sentence(source, query);
        if score > best.map_or(0.0, |best| best.chrf) {
            best = Some(Match { row, chrf: score });
        }
    }
    best
}

#[test]
fn the_index_finds_what_comparing_all_rows_finds() {
    let sources = sentences(200, 0);
    let index = Nearest::new(&sources);
    for query in sentences(40, 17).iter().chain(&["zz".to_owned(), "送".to_owned(), "aaaaaaaaaaaa".to_owned()]) {
        assert_eq!(index.find(query), by_comparing_all(&sources, query), "{query}");
    }
}

#[test]
fn shards_do_not_change_the_result() {
    let (sources, queries) = (sentences(150, 0), sentences(30, 5));
    let whole = nearest_rows(&sources, &queries);
    assert_eq!(nearest_in_shards(&sources, &queries, 700), whole);
    assert_eq!(nearest_in_shards(&sources, &queries, 0), whole);
    assert!(whole.iter().all(Option::is_some));
}

#[test]
fn the_first_of_equal_rows_wins_and_a_stranger_finds_none() {
    let index = Nearest::new(&["abc", "xyz", "abc"]);
    assert_eq!(index.find("abc"), Some(Match { row: 0, chrf: 100.0 }));
    assert_eq!(index.find("日本"), None);
    assert_eq!(index.find(""), None);
    assert_eq!(Nearest::new::<&str>(&[]).find("abc"), None);
    assert_eq!(nearest_rows::<&str, &str>(&[], &["a"]), [None]);
}

#[test]
fn overlap_counts_verbatim_rows_and_places_the_quantiles() {
    let got = overlap(&["send it now", "thank you"], &["send  it now ", "日本", "thank you"]).unwrap();
    assert_eq!(got.rows, 3);
    assert!((got.verbatim_share - 2.0 / 3.0).abs() < 1e-12);
    assert!((got.chrf_p10 - 20.0).abs() < 1e-9);
    assert_eq!((got.chrf_p50, got.chrf_p90), (100.0, 100.0));
    assert_eq!(overlap::<_, &str>(&["a"], &[]), None);
    assert_eq!(overlap::<&str, _>(&[], &["a"]).unwrap().chrf_p90, 0.0);
}

/// The size of the built-in sample. A regression to comparing all rows would take minutes, not this.
#[test]
fn the_sample_is_searched_quickly() {
    let (sources, queries) = (sentences(6000, 0), sentences(300, 11));
    assert_eq!(nearest_rows(&sources, &queries).iter().flatten().count(), 300);
}
