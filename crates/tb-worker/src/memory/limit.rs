//! The worker's allocator: it counts what is held in large pieces, and while a step is watched it says so when that passes the limit.
//! Nothing is refused here; the step ends with an error at its next operation (`tb_nn::pressure`), before the system ends the process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tb_nn::pressure;

use super::field;

/// Smaller pieces are not counted: counting costs, and they add up to little.
const COUNTED_BYTES: usize = 32 << 10;
/// Part of the limit that is left for what an operation takes before the next look.
const SPARE_SHARE: u64 = 32;
/// And at least this much.
const SPARE_BYTES: u64 = 8 << 20;
/// The user's own limit for a worker, such as `6G`.
const VARIABLE: &str = "TONEBRIDGE_MEMORY_LIMIT";

static HELD: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Counts, and passes everything on to the system's allocator.
pub struct Counting;

fn took(bytes: usize) {
    if bytes < COUNTED_BYTES {
        return;
    }
    let held = HELD.fetch_add(bytes, Ordering::Relaxed) + bytes;
    if held > LIMIT.load(Ordering::Relaxed) && WATCHED.load(Ordering::Relaxed) {
        pressure::press();
    }
}

fn gave(bytes: usize) {
    if bytes >= COUNTED_BYTES {
        HELD.fetch_sub(bytes, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator with the same arguments; the counters are atomic and never allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        gave(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        took(size);
        gave(layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// While it lives, passing the limit is said to the running operations.
pub struct Watch(());

/// Begins to watch.
#[must_use]
pub fn watch() -> Watch {
    pressure::relieve();
    WATCHED.store(true, Ordering::Relaxed);
    Watch(())
}

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHED.store(false, Ordering::Relaxed);
        pressure::relieve();
    }
}

/// The memory that this process may have in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// How much.
    pub bytes: u64,
    /// Who says so, in words.
    pub who: &'static str,
}

/// The lowest ceiling over this process: the user's own limit, its control group's, or the shell's (`ulimit`); none if there is none.
#[must_use]
pub fn ceiling() -> Option<Ceiling> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = field(&status, "RssAnon:").unwrap_or(0);
    let own = std::env::var(VARIABLE).ok().and_then(|text| parse_size(&text));
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    // What a ulimit counts beyond the resident memory (reserved addresses, mapped files) is there already and stays.
    let beyond = |name| field(&status, name).unwrap_or(0).saturating_sub(resident);
    let address = soft_limit(&limits, "Max address space").map(|n| n.saturating_sub(beyond("VmSize:")));
    let data = soft_limit(&limits, "Max data size").map(|n| n.saturating_sub(beyond("VmData:")));
    let found = [
        own.map(|bytes| Ceiling { bytes, who: "the limit set for this worker" }),
        control_group(resident).map(|bytes| Ceiling { bytes, who: "the limit of its control group" }),
        address.map(|bytes| Ceiling { bytes, who: "the limit on its address space (ulimit -v)" }),
        data.map(|bytes| Ceiling { bytes, who: "the limit on its data (ulimit -d)" }),
    ];
    found.into_iter().flatten().min_by_key(|c| c.bytes)
}

/// Sets the limit of what is held from the ceiling over this process, less what is not counted. Look again whenever a phase begins.
pub fn arm() {
    let limit = ceiling().map_or(usize::MAX, |ceiling| {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let held = HELD.load(Ordering::Relaxed) as u64;
        let uncounted = field(&status, "RssAnon:").unwrap_or(0).saturating_sub(held);
        let spare = (ceiling.bytes / SPARE_SHARE).max(SPARE_BYTES);
        usize::try_from(ceiling.bytes.saturating_sub(uncounted + spare)).unwrap_or(usize::MAX)
    });
    LIMIT.store(limit, Ordering::Relaxed);
}

/// A soft limit of /proc/self/limits, in bytes; none if it is unlimited.
fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    limits.lines().find_map(|l| l.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// `6G`, `512M`, `100K` or a number of bytes.
fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = match text.chars().last()?.to_ascii_uppercase() {
        'K' => (&text[..text.len() - 1], 1 << 10),
        'M' => (&text[..text.len() - 1], 1 << 20),
        'G' => (&text[..text.len() - 1], 1_u64 << 30),
        _ => (text, 1),
    };
    number.trim().parse::<u64>().ok()?.checked_mul(unit)
}

/// What the control groups of this process leave for it: a group's limit, less what its other processes hold in memory of their own.
fn control_group(resident: u64) -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    group_folders(&groups)
        .into_iter()
        .filter_map(|(folder, limit, held)| {
            let limit: u64 = fs::read_to_string(folder.join(limit)).ok()?.trim().parse().ok()?;
            let statistics = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
            let all = statistics.lines().find_map(|l| l.strip_prefix(held)?.trim().parse::<u64>().ok()).unwrap_or(0);
            // The first version writes "no limit" as a number near the largest.
            (limit < 1 << 60).then_some(limit.saturating_sub(all.saturating_sub(resident)))
        })
        .min()
}

/// The folders of the memory groups that a process is in, from its own up to the root, each with the names of its limit and of its
/// processes' own memory; of both versions of control groups.
fn group_folders(groups: &str) -> Vec<(PathBuf, &'static str, &'static str)> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(kinds), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (root, limit, held) = if kinds.is_empty() {
            ("/sys/fs/cgroup", "memory.max", "anon ")
        } else if kinds.split(',').any(|kind| kind == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "total_rss ")
        } else {
            continue;
        };
        for part in Path::new(path.trim_start_matches('/')).ancestors() {
            found.push((Path::new(root).join(part), limit, held));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_unit() {
        assert_eq!(parse_size("6G"), Some(6 << 30));
        assert_eq!(parse_size(" 512m "), Some(512 << 20));
        assert_eq!(parse_size("100"), Some(100));
        assert!(parse_size("much").is_none() && parse_size("").is_none());
    }

    #[test]
    fn limits_are_found_in_the_systems_files() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max data size             unlimited            unlimited            bytes     \n\
                      Max address space         8589934592           unlimited            bytes     \n";
        assert_eq!(soft_limit(limits, "Max address space"), Some(8 << 30));
        assert_eq!(soft_limit(limits, "Max data size"), None);
        assert_eq!(field("VmSize:\t  20 kB\nRssAnon:\t 1234 kB\n", "RssAnon:"), Some(1234 * 1024));
    }

    #[test]
    fn both_kinds_of_control_groups_are_looked_at_up_to_the_root() {
        let of =
            |text| group_folders(text).into_iter().map(|(path, ..)| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(of("0::/a/b\n"), ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup/"]);
        assert_eq!(of("5:cpu,memory:/x\n4:cpuset:/y\n"), ["/sys/fs/cgroup/memory/x", "/sys/fs/cgroup/memory/"]);
    }

    #[test]
    fn large_pieces_are_counted() {
        let before = HELD.load(Ordering::Relaxed);
        let piece = vec![1_u8; 64 << 20];
        assert!(HELD.load(Ordering::Relaxed) >= before.saturating_sub(32 << 20) + piece.len() - (1 << 20));
    }
}
