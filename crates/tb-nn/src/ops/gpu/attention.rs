//! Causal attention on a GPU: tensor cores for bf16 heads of 64 or 128, else the kernels for heads of any size.

use std::sync::Arc;

use candle_core::{DType, Result};
use cudarc::driver::CudaSlice;

use super::{Gpu, Param, Values, View, suffix};
use crate::ops::attention::{Core, Dims, Sight};

/// Largest head of the kernels.
const MOST_SIZE: usize = 256;
/// Queries or keys of a block on tensor cores, and its threads.
const TILE: usize = 64;
const TILE_THREADS: u32 = 128;
/// Warps of a block otherwise, one per query or key.
const WARPS: usize = 4;

/// The result of attention, and what its backward needs of it.
pub(crate) struct Attended {
    /// (B, T, H, D).
    pub(crate) out: Values,
    /// (B, T, H) f32.
    pub(crate) log_sums: Values,
}

/// How a call is computed.
struct Way {
    /// On tensor cores: kernels by the size of a head.
    tiled: Option<&'static str>,
    /// Either the tiles, or the number of each token's run followed by the runs, as words.
    lists: Vec<u32>,
    /// Tiles, or words before the runs.
    count: usize,
    /// Whether some tokens are in no run.
    padded: bool,
}

fn sight_params(sight: Sight) -> [Param; 3] {
    [sight.scale.into(), sight.soft_cap.unwrap_or(0.0).into(), (sight.window.unwrap_or(0) as i32).into()]
}

impl Way {
    fn of(core: &Core, dtype: DType) -> Result<Self> {
        let Dims { rows, tokens, size, .. } = core.dims;
        if size > MOST_SIZE {
            candle_core::bail!("attention on a GPU takes heads of at most {MOST_SIZE} values, got {size}");
        }
        let tiled = match (dtype, size) {
            (DType::BF16, 64) => Some("_64"),
            (DType::BF16, 128) => Some("_128"),
            _ => None,
        };
        let held: usize = core.runs.iter().map(|(_, length)| length).sum();
        let padded = held < rows * tokens;
        if tiled.is_some() {
            let mut tiles: Vec<[u32; 3]> = Vec::new();
            for (base, length) in &core.runs {
                tiles.extend((0..*length).step_by(TILE).map(|first| [*base as u32, first as u32, *length as u32]));
            }
            // Those that see most keys first, so that the blocks finish together.
            tiles.sort_by_key(|[_, first, _]| std::cmp::Reverse(*first));
            return Ok(Self { tiled, count: tiles.len(), lists: tiles.concat(), padded });
        }
        let mut lists = vec![u32::MAX; rows * tokens];
        for (run, (base, length)) in core.runs.iter().enumerate() {
            lists[*base..base + length].fill(run as u32);
        }
        let count = lists.len();
        lists.extend(core.runs.iter().flat_map(|(base, length)| [*base as u32, *length as u32]));
        Ok(Self { tiled, lists, count, padded })
    }

    /// Values that the kernels write only where there are tokens.
    fn new_values(&self, gpu: &Gpu, len: usize, dtype: DType) -> Result<Values> {
        if self.padded { gpu.zeros(len, dtype) } else { gpu.new_values(len, dtype) }
    }
}

/// Keys, or queries in the backward of keys, that a block on tensor cores holds at a time.
fn held_at_once(size: usize) -> usize {
    if size == 64 { 64 } else { 32 }
}

/// Shared memory of so many rows of a head of `size`.
fn rows_bytes(rows: usize, size: usize) -> usize {
    rows * (size + 8) * 2
}

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
        let capacity = tokens.next_multiple_of(ROOM).max(ROOM);
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

impl Gpu {
    /// Makes room for a new token in each cache; the caches must stay until the step is over.
    pub(crate) fn step_caches<'a>(&self, caches: impl Iterator<Item = &'a mut Cache>) -> Result<CachedRows> {
        let mut table = Vec::new();
        for cache in caches {
            cache.grow(self)?;
            table.extend(super::halves(cache.values.view().at()));
            table.extend([cache.tokens as u32, cache.capacity as u32]);
        }
        Ok(CachedRows { rows: table.len() / 4, table: self.uploaded(&table)? })
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
        if size > MOST_SIZE {
            candle_core::bail!("attention on a GPU takes heads of at most {MOST_SIZE} values, got {size}");
        }
        let out = self.new_values(q.len(), q.dtype())?;
        let (table, layer) = (self.address(&caches.table), layer as i32);
        let rows = caches.rows as u32;
        // SAFETY: the table names caches that live until the step is over, each with room for its new token.
        unsafe {
            let mut params = [table.into(), k.into(), v.into(), layer.into(), ((kv_heads * size) as i32).into()];
            self.launch(("cache_append", suffix(q.dtype())), ((rows, 1), 256), 0, &mut params)?;
            let head: [Param; 7] = [
                out.view().into(),
                q.into(),
                table.into(),
                layer.into(),
                (heads as i32).into(),
                (kv_heads as i32).into(),
                (size as i32).into(),
            ];
            let mut params: Vec<Param> = head.into_iter().chain(sight_params(sight)).collect();
            self.launch(("decode_attention", suffix(q.dtype())), ((rows, heads as u32), 256), 0, &mut params)?;
        }
        Ok(out)
    }

    /// Attention of q (B, T, H, D) over k and v (B, T, K, D).
    pub(crate) fn attention(&self, core: &Core, q: View, k: View, v: View) -> Result<Attended> {
        let Dims { rows, tokens, heads, kv_heads, size } = core.dims;
        let way = Way::of(core, q.dtype())?;
        let out = way.new_values(self, q.len(), q.dtype())?;
        let log_sums = way.new_values(self, rows * tokens * heads, DType::F32)?;
        let lists = self.uploaded(&way.lists)?;
        let at = self.address(&lists);
        let mut params: Vec<Param> = vec![out.view().into(), log_sums.view().into(), q.into(), k.into(), v.into()];
        let heads_of: [Param; 2] = [(heads as i32).into(), (kv_heads as i32).into()];
        // SAFETY: the lists name tokens of the batch; every value has the shape that the sizes say.
        unsafe {
            if let Some(of_size) = way.tiled {
                params.push(at.into());
                params.extend(heads_of);
                params.extend(sight_params(core.sight));
                let grid = (way.count as u32, heads as u32);
                self.launch(
                    ("attention_mma", of_size),
                    (grid, TILE_THREADS),
                    rows_bytes(TILE + 4 * held_at_once(size), size),
                    &mut params,
                )?;
            } else {
                let lists: [Param; 3] =
                    [at.into(), (at + 4 * way.count as u64).into(), ((rows * tokens) as i32).into()];
                params.extend(lists);
                params.extend(heads_of);
                params.push((size as i32).into());
                params.extend(sight_params(core.sight));
                let grid = ((rows * tokens).div_ceil(WARPS) as u32, heads as u32);
                self.launch(("attention", suffix(q.dtype())), (grid, 32 * WARPS as u32), 0, &mut params)?;
            }
        }
        Ok(Attended { out, log_sums })
    }

    /// dq, dk and dv.
    pub(crate) fn attention_back(
        &self,
        core: &Core,
        [q, k, v]: [View; 3],
        (out, log_sums): (View, View),
        dy: View,
    ) -> Result<[Values; 3]> {
        let Dims { rows, tokens, heads, kv_heads, size } = core.dims;
        let way = Way::of(core, q.dtype())?;
        let dtype = q.dtype();
        let deltas = self.new_values(rows * tokens * heads, DType::F32)?;
        let lists = self.uploaded(&way.lists)?;
        let at = self.address(&lists);
        let count = rows * tokens * heads;
        // SAFETY: as in the forward.
        unsafe {
            let mut params = [deltas.view().into(), out.into(), dy.into(), (count as i32).into(), (size as i32).into()];
            let grid = (count.div_ceil(WARPS) as u32, 1);
            self.launch(("attention_deltas", suffix(dtype)), (grid, 32 * WARPS as u32), 0, &mut params)?;
        }
        let inputs: [Param; 6] = [q.into(), k.into(), v.into(), dy.into(), log_sums.into(), deltas.view().into()];
        let dq = way.new_values(self, q.len(), dtype)?;
        let heads_of: [Param; 2] = [(heads as i32).into(), (kv_heads as i32).into()];
        let sight = sight_params(core.sight);
        if let Some(of_size) = way.tiled {
            let parts = [way.new_values(self, q.len(), DType::F32)?, way.new_values(self, q.len(), DType::F32)?];
            let grid = (way.count as u32, heads as u32);
            let tail: Vec<Param> = inputs.into_iter().chain([at.into()]).chain(heads_of).chain(sight).collect();
            let held = held_at_once(size);
            let of_queries = rows_bytes(2 * TILE + 2 * held, size);
            // And each query's sum and delta.
            let of_keys = of_queries + 2 * held * 4;
            // SAFETY: as in the forward.
            unsafe {
                let mut params: Vec<Param> = [dq.view().into()].into_iter().chain(tail.clone()).collect();
                self.launch(("attention_mma_dq", of_size), (grid, TILE_THREADS), of_queries, &mut params)?;
                let mut params: Vec<Param> =
                    [parts[0].view().into(), parts[1].view().into()].into_iter().chain(tail).collect();
                self.launch(("attention_mma_dkv", of_size), (grid, TILE_THREADS), of_keys, &mut params)?;
            }
            let [dk, dv] = parts.map(|part| self.joined(part.view(), (heads / kv_heads, size), k.len()));
            return Ok([dq, dk?, dv?]);
        }
        let grads = [self.new_values(k.len(), dtype)?, self.new_values(v.len(), dtype)?];
        let tail: Vec<Param> = inputs
            .into_iter()
            .chain([at.into(), (at + 4 * way.count as u64).into(), ((rows * tokens) as i32).into()])
            .chain(heads_of)
            .chain([(size as i32).into()])
            .chain(sight)
            .collect();
        let blocks = (rows * tokens).div_ceil(WARPS) as u32;
        // SAFETY: as in the forward.
        unsafe {
            let mut params: Vec<Param> = [dq.view().into()].into_iter().chain(tail.clone()).collect();
            self.launch(("attention_dq", suffix(dtype)), ((blocks, heads as u32), 32 * WARPS as u32), 0, &mut params)?;
            let mut params: Vec<Param> =
                [grads[0].view().into(), grads[1].view().into()].into_iter().chain(tail).collect();
            let grid = (blocks, kv_heads as u32);
            self.launch(("attention_dkv", suffix(dtype)), (grid, 32 * WARPS as u32), 0, &mut params)?;
        }
        let [dk, dv] = grads;
        Ok([dq, dk, dv])
    }

    /// The sums over the query heads of each group.
    fn joined(&self, parts: View, (group, size): (usize, usize), n: usize) -> Result<Values> {
        let out = self.new_values(n, DType::BF16)?;
        let mut params = [out.view().into(), parts.into(), (group as i32).into(), (size as i32).into(), n.into()];
        // SAFETY: the parts hold `group` heads for each of the result's.
        unsafe { self.over(("attention_join", ""), n, &mut params)? };
        Ok(out)
    }
}
