//! Packing of short rows into long ones: which rows share one. How a packed row is computed is tb-nn's `decoder::batch`.

use std::collections::BTreeSet;

/// Best-fit decreasing (TRL's `bfd`): rows from the longest on, each put where the least room is left that still holds it.
///
/// Gives the row numbers of each pack, in the order in which packs were opened. A row longer than `capacity` gets a pack of its own.
/// Equal lengths keep their order, equal rooms take the earlier pack: the same rows always give the same packs. At most
/// 11/9 OPT + 1 packs (Johnson 1973), in O(n log n).
#[must_use]
pub fn best_fit_decreasing(lengths: &[u32], capacity: u32) -> Vec<Vec<u32>> {
    let mut order: Vec<u32> = (0..lengths.len() as u32).collect();
    order.sort_by_key(|row| std::cmp::Reverse(lengths[*row as usize]));
    let mut packs: Vec<Vec<u32>> = Vec::new();
    // (room left, pack) of every pack with room.
    let mut open: BTreeSet<(u32, u32)> = BTreeSet::new();
    for row in order {
        let length = lengths[row as usize];
        let (room, pack) = match open.range((length, 0)..).next().copied() {
            Some(fit) => {
                open.remove(&fit);
                fit
            }
            None => {
                packs.push(Vec::new());
                (capacity.max(length), packs.len() as u32 - 1)
            }
        };
        packs[pack as usize].push(row);
        if room > length {
            open.insert((room - length, pack));
        }
    }
    packs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    #[test]
    fn the_tightest_room_is_taken() {
        // 7 and 5 open packs with rooms 3 and 5; 4 fits only the second, 3 fills the first, 1 the second, 2 opens a third.
        assert_eq!(best_fit_decreasing(&[3, 5, 7, 1, 4, 2], 10), [vec![2, 0], vec![1, 4, 3], vec![5]]);
        // Too long for the capacity, equal lengths, an empty row.
        assert_eq!(best_fit_decreasing(&[2, 12, 2, 0], 4), [vec![1], vec![0, 2], vec![3]]);
        assert!(best_fit_decreasing(&[], 10).is_empty());
    }

    #[test]
    fn every_row_is_packed_once_and_packs_are_full() {
        let mut stream = Stream::new(3, 0, Purpose::Grammar, 0);
        let lengths: Vec<u32> = (0..20_000).map(|_| 1 + stream.below(500) as u32).collect();
        let packs = best_fit_decreasing(&lengths, 512);
        let mut rows: Vec<u32> = packs.concat();
        rows.sort_unstable();
        assert_eq!(rows, (0..20_000).collect::<Vec<_>>());
        let used: Vec<u32> = packs.iter().map(|pack| pack.iter().map(|row| lengths[*row as usize]).sum()).collect();
        assert!(used.iter().all(|n| *n <= 512));
        let total: u64 = lengths.iter().map(|n| u64::from(*n)).sum();
        assert!(packs.len() as u64 <= total.div_ceil(512) * 101 / 100 + 1, "{} packs for {total} tokens", packs.len());
    }
}
