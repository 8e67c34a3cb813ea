//! Keys and values of texts that were read, kept for the texts that begin as they did: blocks of [`BLOCK`] tokens in memory that is bounded,
//! of which the one used longest ago leaves first. How a text is read on from them is in `generate/prefill.rs`.
//!
//! A block is known by what its numbers depend on: the adapter that was worn, the frequencies that its text turned by, and every token up
//! to its last. Blocks hang on those before them, so that texts with a common beginning share its blocks.

use std::collections::HashMap;

use super::cache::{Layer, RowCache};
use super::prefill::BLOCK;

/// Blocks of texts that were read by one base model.
#[derive(Debug)]
pub struct Prefixes {
    budget_bytes: usize,
    bytes: usize,
    /// Counts uses, and names blocks.
    clock: u64,
    blocks: HashMap<Place, Block>,
}

/// The blocks that were read with one adapter.
#[derive(Debug)]
pub struct Shared<'a> {
    prefixes: &'a mut Prefixes,
    adapter: u64,
}

/// What a block follows, and its own tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    after: After,
    ids: Vec<u32>,
}

/// What a block follows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum After {
    /// Nothing: the adapter, and the reach of the text (see [`super::cache::reach`]).
    Nothing(u64, Vec<usize>),
    /// The block of this name.
    Block(u64),
}

#[derive(Debug)]
struct Block {
    name: u64,
    adapter: u64,
    /// Blocks before it.
    depth: usize,
    used: u64,
    layers: Vec<Layer>,
}

impl Block {
    fn bytes(&self) -> usize {
        self.layers.iter().map(|(keys, values)| size_of_val(keys.as_slice()) + size_of_val(values.as_slice())).sum()
    }
}

impl Prefixes {
    /// An empty store that never holds more than this; with 0 it keeps nothing.
    #[must_use]
    pub fn new(budget_bytes: usize) -> Self {
        Self { budget_bytes, bytes: 0, clock: 0, blocks: HashMap::new() }
    }

    /// Bytes of the keys and values that are held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The blocks of the adapter that the caller calls so: another number for every adapter and for every state of one.
    pub fn of(&mut self, adapter: u64) -> Shared<'_> {
        Shared { prefixes: self, adapter }
    }

    /// Drops every block of an adapter.
    pub fn forget(&mut self, adapter: u64) {
        self.blocks.retain(|_, block| block.adapter != adapter);
        self.bytes = self.blocks.values().map(Block::bytes).sum();
    }

    /// Drops the block used longest ago; of those that were used together the last, so that none hangs on nothing.
    fn drop_oldest(&mut self) {
        let oldest = self.blocks.iter().min_by_key(|(_, block)| (block.used, std::cmp::Reverse(block.depth)));
        if let Some(place) = oldest.map(|(place, _)| place.clone()) {
            self.bytes -= self.blocks.remove(&place).map_or(0, |block| block.bytes());
        }
    }
}

impl Shared<'_> {
    /// Fills an empty cache with as many blocks of this text as are held.
    pub(super) fn fill(&mut self, reach: &[usize], ids: &[u32], cache: &mut RowCache) {
        self.prefixes.clock += 1;
        let mut after = After::Nothing(self.adapter, reach.to_vec());
        for ids in ids.chunks_exact(BLOCK) {
            let Some(block) = self.prefixes.blocks.get_mut(&Place { after, ids: ids.to_vec() }) else { return };
            block.used = self.prefixes.clock;
            cache.extend(&block.layers, ids);
            after = After::Block(block.name);
        }
    }

    /// Keeps the first tokens of a cache, in whole blocks, as far as they fit; the rest of the store makes room.
    pub(super) fn keep(&mut self, reach: &[usize], cache: &RowCache, tokens: usize) {
        let prefixes = &mut *self.prefixes;
        prefixes.clock += 1;
        let used = prefixes.clock;
        let mut after = After::Nothing(self.adapter, reach.to_vec());
        for (depth, ids) in cache.ids()[..tokens].chunks_exact(BLOCK).enumerate() {
            let place = Place { after, ids: ids.to_vec() };
            if let Some(block) = prefixes.blocks.get_mut(&place) {
                block.used = used;
                after = After::Block(block.name);
                continue;
            }
            prefixes.clock += 1;
            let layers = cache.part(depth * BLOCK, BLOCK);
            let block = Block { name: prefixes.clock, adapter: self.adapter, depth, used, layers };
            let bytes = block.bytes();
            while prefixes.bytes + bytes > prefixes.budget_bytes {
                // What is left was used just now: the text itself fills the store.
                if prefixes.blocks.values().all(|block| block.used == used) {
                    return;
                }
                prefixes.drop_oldest();
            }
            after = After::Block(block.name);
            prefixes.bytes += bytes;
            prefixes.blocks.insert(place, block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 2 * BLOCK * size_of::<f32>();

    /// A cache of one layer with one value a token, which tells where it is from.
    fn cache(blocks: &[u32]) -> RowCache {
        let mut cache = RowCache::bare(1);
        for (at, block) in blocks.iter().enumerate() {
            let values = vec![(10 * at as u32 + block) as f32; BLOCK];
            cache.extend(&[(values.clone(), values)], &ids(&[*block]));
        }
        cache
    }

    fn ids(blocks: &[u32]) -> Vec<u32> {
        blocks.iter().flat_map(|block| vec![*block; BLOCK]).collect()
    }

    /// Blocks of the text that are found.
    fn found(prefixes: &mut Prefixes, adapter: u64, reach: usize, blocks: &[u32]) -> usize {
        let mut filled = RowCache::bare(1);
        prefixes.of(adapter).fill(&[reach], &ids(blocks), &mut filled);
        let n = filled.tokens() / BLOCK;
        assert_eq!(filled.part(0, n * BLOCK), cache(&blocks[..n]).part(0, n * BLOCK), "the values of this very text");
        n
    }

    fn keep(prefixes: &mut Prefixes, adapter: u64, blocks: &[u32]) {
        let cache = cache(blocks);
        prefixes.of(adapter).keep(&[0], &cache, cache.tokens());
    }

    #[test]
    fn a_text_finds_its_beginning_under_its_adapter_and_reach() {
        let mut prefixes = Prefixes::new(100 * BYTES);
        keep(&mut prefixes, 1, &[1, 2, 3]);
        keep(&mut prefixes, 1, &[1, 2, 4]);
        assert_eq!(prefixes.bytes(), 4 * BYTES, "the common blocks are held once");
        assert_eq!(found(&mut prefixes, 1, 0, &[1, 2, 4, 5]), 3);
        assert_eq!(found(&mut prefixes, 1, 0, &[1, 2]), 2);
        assert_eq!(found(&mut prefixes, 1, 0, &[2, 3]), 0, "a block belongs to what is before it");
        assert_eq!(found(&mut prefixes, 2, 0, &[1, 2, 3]), 0);
        assert_eq!(found(&mut prefixes, 1, 7, &[1, 2, 3]), 0);
        keep(&mut prefixes, 2, &[1]);
        prefixes.forget(1);
        assert_eq!((prefixes.bytes(), found(&mut prefixes, 1, 0, &[1])), (BYTES, 0));
        assert_eq!(found(&mut prefixes, 2, 0, &[1]), 1);
    }

    #[test]
    fn what_was_used_longest_ago_leaves_first_and_from_its_end() {
        let mut prefixes = Prefixes::new(4 * BYTES);
        keep(&mut prefixes, 1, &[1, 2]);
        keep(&mut prefixes, 1, &[3, 4]);
        assert_eq!(found(&mut prefixes, 1, 0, &[1, 2]), 2);
        keep(&mut prefixes, 1, &[5]);
        assert_eq!(prefixes.bytes(), 4 * BYTES);
        assert_eq!(found(&mut prefixes, 1, 0, &[3, 4]), 1, "its last block made room");
        assert_eq!(found(&mut prefixes, 1, 0, &[1, 2]), 2);
    }

    #[test]
    fn a_text_that_is_larger_than_the_store_is_kept_as_far_as_it_fits() {
        let mut prefixes = Prefixes::new(2 * BYTES);
        keep(&mut prefixes, 1, &[9]);
        keep(&mut prefixes, 1, &[1, 2, 3, 4]);
        assert_eq!((prefixes.bytes(), found(&mut prefixes, 1, 0, &[1, 2, 3, 4])), (2 * BYTES, 2));
        let mut none = Prefixes::new(0);
        keep(&mut none, 1, &[1]);
        assert_eq!((none.bytes(), found(&mut none, 1, 0, &[1])), (0, 0));
    }
}
