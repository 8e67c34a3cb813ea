//! Decoding on a GPU: the keys and values of each row, and the attention of one new token to them.

use std::sync::Arc;

use candle_core::{DType, Result};
use cudarc::driver::CudaSlice;

use super::attention::{MOST_SIZE, sight_params};
use super::{ARRIVALS, Gpu, Param, Values, View, suffix};
use crate::ops::attention::Sight;

/// Blocks that a step of attention is cut into where there are few rows and heads: about two for each multiprocessor of a large GPU.
const BLOCKS_WANTED: usize = 264;
/// Most shares that the keys of a row are cut into.
const MOST_SHARES: usize = 16;

/// The keys and values of one row, all layers: (layers, 2, capacity, width), keys before values.
pub(crate) struct Cache {
    values: Values,
    layers: usize,
    width: usize,
    capacity: usize,
    /// Tokens held.
    tokens: usize,
}

/// Tokens that a cache has room for at first, and by how many its room is rounded up.
const ROOM: usize = 256;

impl Cache {
    /// An empty cache with room for so many tokens of `width` values in each layer.
    pub(crate) fn new(gpu: &Gpu, (layers, width): (usize, usize), tokens: usize, dtype: DType) -> Result<Self> {
        Self::with_room(gpu, (layers, width), tokens.next_multiple_of(ROOM).max(ROOM), dtype)
    }

    /// With room for one token.
    pub(crate) fn of_one(gpu: &Gpu, shape: (usize, usize), dtype: DType) -> Result<Self> {
        Self::with_room(gpu, shape, 1, dtype)
    }

    fn with_room(gpu: &Gpu, (layers, width): (usize, usize), capacity: usize, dtype: DType) -> Result<Self> {
        let values = gpu.new_values(layers * 2 * capacity * width, dtype)?;
        Ok(Self { values, layers, width, capacity, tokens: 0 })
    }

    /// Makes room for another token and counts it.
    fn grow(&mut self, gpu: &Gpu) -> Result<()> {
        if self.tokens == self.capacity {
            let capacity = 2 * self.capacity;
            let mut wider = gpu.new_values(self.layers * 2 * capacity * self.width, self.values.dtype())?;
            let row = self.capacity * self.width;
            gpu.paste(&mut wider, 2 * row, 0, self.values.view(), row)?;
            (self.values, self.capacity) = (wider, capacity);
        }
        self.tokens += 1;
        Ok(())
    }

    /// What a kernel is told of it, and how many tokens it holds.
    fn words(&self, tokens: usize) -> [u32; CACHE_WORDS] {
        let [low, high] = super::halves(self.values.view().at());
        [low, high, tokens as u32, self.capacity as u32]
    }

    /// Takes the keys and values (tokens, width) of a whole prompt in one layer.
    pub(crate) fn fill(&mut self, gpu: &Gpu, layer: usize, keys: View, values: View) -> Result<()> {
        let row = self.capacity * self.width;
        for (half, from) in [keys, values].into_iter().enumerate() {
            gpu.copy(self.values.view().part((2 * layer + half) * row, from.len()), from)?;
        }
        self.tokens = keys.len() / self.width;
        Ok(())
    }
}

/// Several rows' caches in one step.
pub(crate) struct CachedRows {
    table: Arc<CudaSlice<u32>>,
    rows: usize,
}

impl CachedRows {
    /// A place for the caches of so many rows, which [`Gpu::put_caches`] says.
    pub(crate) fn new(gpu: &Gpu, rows: usize) -> Result<Self> {
        Ok(Self { table: gpu.new_list(rows * CACHE_WORDS)?, rows })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }
}

/// Words of a cache in the table of a step: where it begins, the tokens that it holds, its room.
const CACHE_WORDS: usize = 4;

impl Gpu {
    /// Makes room for a new token in each cache; the caches must stay until the step is over.
    pub(crate) fn step_caches<'a>(&self, caches: impl Iterator<Item = &'a mut Cache>) -> Result<CachedRows> {
        let table = self.grown(caches)?;
        Ok(CachedRows { rows: table.len() / CACHE_WORDS, table: self.uploaded(&table)? })
    }

    /// As [`Self::step_caches`], into a place that is there; rows beyond the caches write to `spare`.
    pub(crate) fn put_caches<'a>(
        &self,
        to: &CachedRows,
        caches: impl Iterator<Item = &'a mut Cache>,
        spare: &Cache,
    ) -> Result<()> {
        let mut table = self.grown(caches)?;
        while table.len() < to.rows * CACHE_WORDS {
            table.extend(spare.words(1));
        }
        self.write(&to.table, &table)
    }

    fn grown<'a>(&self, caches: impl Iterator<Item = &'a mut Cache>) -> Result<Vec<u32>> {
        let mut table = Vec::new();
        for cache in caches {
            cache.grow(self)?;
            table.extend(cache.words(cache.tokens));
        }
        Ok(table)
    }

    /// Adds each row's new key and value (B, K, D) to its cache and attends to all of it: q and the result are (B, H, D).
    pub(crate) fn decode_attention(
        &self,
        caches: &CachedRows,
        layer: usize,
        (q, k, v): (View, View, View),
        (heads, kv_heads, size): (usize, usize, usize),
        sight: Sight,
    ) -> Result<Values> {
        // By the lanes that share a key.
        let (kernel, lanes) = match size {
            ..=64 => ("decode_attention_8", 8),
            65..=128 => ("decode_attention_16", 16),
            129..=MOST_SIZE => ("decode_attention_32", 32),
            _ => candle_core::bail!("attention on a GPU takes heads of at most {MOST_SIZE} values, got {size}"),
        };
        let out = self.new_values(q.len(), q.dtype())?;
        let tasks = caches.rows * heads;
        let shares = if tasks > ARRIVALS { 1 } else { (BLOCKS_WANTED / tasks.max(1)).clamp(1, MOST_SHARES) };
        let parts = if shares > 1 { tasks * shares * (8 * lanes + 2) } else { 1 };
        let parts = self.new_values(parts, DType::F32)?;
        let head: [Param; 10] = [
            out.view().into(),
            parts.view().into(),
            self.address(&self.arrived).into(),
            q.into(),
            k.into(),
            v.into(),
            self.address(&caches.table).into(),
            (layer as i32).into(),
            (heads as i32).into(),
            (kv_heads as i32).into(),
        ];
        let mut params: Vec<Param> =
            head.into_iter().chain([(size as i32).into()]).chain(sight_params(sight)).collect();
        let grid = (caches.rows as u32, heads as u32, shares as u32);
        // SAFETY: the table names caches that live until the step is over, each with room for its new token.
        unsafe { self.launch_with((kernel, suffix(q.dtype())), (grid, 256), 0, &mut params)? };
        Ok(out)
    }
}
