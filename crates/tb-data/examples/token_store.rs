//! How long a million tokenised rows take to write and to open again, the digest checked. Prints one JSON line.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use serde_json::json;
use tb_core::random::{Purpose, Stream};
use tb_data::tokenize::store::{self, StoreBuilder};

const ROWS: usize = 1_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("bench-token-store-{}", std::process::id()));
    let mut stream = Stream::new(1, 0, Purpose::Grammar, 0);
    let ids: Vec<u32> = (0..4096).map(|_| stream.below(100_000) as u32).collect();
    let labels: Vec<i32> = ids.iter().enumerate().map(|(t, id)| if t % 3 == 0 { -100 } else { *id as i32 }).collect();
    let mut builder = StoreBuilder::new(100_000);
    let mut tokens = 0;
    for _ in 0..ROWS {
        let (at, n) = (stream.below(4000) as usize, 32 + stream.below(64) as usize);
        builder.push(&ids[at..at + n], &labels[at..at + n])?;
        tokens += n;
    }
    let started = Instant::now();
    drop(builder.write(&folder, "bench", b"{}")?);
    let write_s = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let opened = store::open(&folder, "bench")?.ok_or("the store is not whole")?;
    let open_s = started.elapsed().as_secs_f64();
    let bytes = std::fs::read_dir(&folder)?.filter_map(|e| e.ok()?.metadata().ok()).map(|m| m.len()).sum::<u64>();
    println!(
        "{}",
        json!({ "rows": opened.len(), "tokens": tokens, "size_bytes": bytes, "write_and_open_s": write_s, "open_s": open_s })
    );
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
