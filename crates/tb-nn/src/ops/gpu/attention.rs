//! Causal attention on a GPU: tensor cores for bf16 heads of 64 or 128, by Hopper's own instructions where it is one, else the kernels for heads
//! of any size.

use candle_core::{DType, Result};

use super::{Gpu, Param, Values, View, suffix};
use crate::ops::attention::{Core, Dims, Sight};

/// Largest head of the kernels.
pub(super) const MOST_SIZE: usize = 256;
/// Warps of a block of the kernels for any size, one per query or key.
const WARPS: usize = 4;

/// The result of attention, and what its backward needs of it.
pub(crate) struct Attended {
    /// (B, T, H, D).
    pub(crate) out: Values,
    /// (B, T, H) f32.
    pub(crate) log_sums: Values,
}

/// A kernel on tensor cores, and the shared memory that a block of it asks for, in bytes.
#[derive(Clone, Copy)]
struct Kernel {
    name: &'static str,
    shared: usize,
}

/// The kernels on tensor cores for heads of one size.
struct Tiled {
    forward: Kernel,
    of_queries: Kernel,
    of_keys: Kernel,
    /// What their names end with.
    of_size: &'static str,
    /// Queries or keys of a block.
    tile: usize,
    threads: u32,
    /// Hopper's: the grid has the heads before the tiles, and a block of `of_keys` adds up any number of query heads.
    hopper: bool,
}

/// What it costs to write, read and add one part of a tile's dk and dv, in products of a tile of queries with a tile of keys on one
/// multiprocessor: 2,048 bytes for each value of a head, at 3 TB/s, against 131,072 operations, at a 132nd of 450 TFLOP/s.
const JOIN: usize = 3;

impl Tiled {
    /// That of a call, where it has one.
    fn of(gpu: &Gpu, core: &Core, dtype: DType) -> Option<Self> {
        let of_size = match (dtype, core.dims.size) {
            (DType::BF16, 64) => "_64",
            (DType::BF16, 128) => "_128",
            _ => return None,
        };
        // Hopper's kernels look for the highest score before they scale it.
        let hopper = gpu.hopper && core.sight.scale > 0.0;
        Some(if hopper { Self::wgmma(core.dims.size, of_size) } else { Self::mma(core.dims.size, of_size) })
    }

    /// The kernels of `attention_mma.cu`.
    fn mma(size: usize, of_size: &'static str) -> Self {
        let tile = 64;
        // Keys, or queries in the backward of keys, that a block holds at a time.
        let held = if size == 64 { 64 } else { 32 };
        let rows_bytes = |rows: usize| rows * (size + 8) * 2;
        let of_queries = rows_bytes(2 * tile + 2 * held);
        Self {
            forward: Kernel { name: "attention_mma", shared: rows_bytes(tile + 4 * held) },
            of_queries: Kernel { name: "attention_mma_dq", shared: of_queries },
            // And each query's sum and delta.
            of_keys: Kernel { name: "attention_mma_dkv", shared: of_queries + 2 * held * 4 },
            of_size,
            tile,
            threads: 128,
            hopper: false,
        }
    }

    /// The kernels of `attention_wgmma.cu`.
    fn wgmma(size: usize, of_size: &'static str) -> Self {
        let tile = 128;
        // Tiles that stay, then places for so many rows of two operands, with numbers of each row and four barriers. They begin at a
        // multiple of 1,024 bytes.
        let shared = |tiles: usize, (places, rows): (usize, usize), row_numbers: usize| {
            1024 + tiles * tile * size * 2 + places * (rows * (2 * size * 2 + row_numbers * 4) + 4 * 8)
        };
        let keys = (2, 128);
        let queries = if size == 64 { (2, 128) } else { (3, 64) };
        Self {
            forward: Kernel { name: "attention_wgmma", shared: shared(1, keys, 0) },
            of_queries: Kernel { name: "attention_wgmma_dq", shared: shared(2, keys, 0) },
            // Each query's sum and delta.
            of_keys: Kernel { name: "attention_wgmma_dkv", shared: shared(2, queries, 2) },
            of_size,
            tile,
            threads: 384,
            hopper: true,
        }
    }

    /// Each tile's first token of its run, the tile's first token in the run, and the run's tokens.
    fn tiles(&self, runs: &[(usize, usize)]) -> Vec<[u32; 3]> {
        let of_run = |&(base, length): &(usize, usize)| {
            (0..length).step_by(self.tile).map(move |first| [base as u32, first as u32, length as u32])
        };
        let mut tiles: Vec<[u32; 3]> = runs.iter().flat_map(of_run).collect();
        // Those that see most keys first, so that the blocks finish together.
        tiles.sort_by_key(|[_, first, _]| std::cmp::Reverse(*first));
        tiles
    }

    fn grid(&self, tiles: usize, heads: usize) -> (u32, u32) {
        let (tiles, heads) = (tiles as u32, heads as u32);
        if self.hopper { (heads, tiles) } else { (tiles, heads) }
    }

    /// How many tiles of queries see each tile of keys.
    fn seen_by(&self, core: &Core) -> Vec<usize> {
        let (tile, window) = (self.tile, core.sight.window);
        let of_run = |&(_, length): &(usize, usize)| {
            (0..length).step_by(tile).map(move |first| {
                let end = window.map_or(length, |window| length.min((first + tile - 1).saturating_add(window)));
                (end - first).div_ceil(tile)
            })
        };
        core.runs.iter().flat_map(of_run).collect()
    }

    /// In how many parts dk and dv are made, by blocks of their own: a divisor of the query heads of a group.
    ///
    /// The time is at least that of the longest block, and at least an equal share of all the work for each of the `units`
    /// multiprocessors. As the longest blocks start first, it is about the larger of the two: causal tiles of long runs balance from two
    /// blocks per multiprocessor on. More parts make shorter blocks, but have to be joined. The divisor is taken that costs least.
    fn parts(&self, core: &Core, units: usize) -> usize {
        let Dims { heads, kv_heads, .. } = core.dims;
        let group = heads / kv_heads;
        if !self.hopper {
            return group;
        }
        let seen_by = self.seen_by(core);
        let (longest, all) = (seen_by.iter().copied().max().unwrap_or(0), seen_by.iter().sum::<usize>());
        let cost = |parts: &usize| {
            let join = if *parts == 1 { 0 } else { JOIN * seen_by.len() * kv_heads * parts };
            (longest * (group / parts) * units).max(all * heads) + join
        };
        (1..=group).filter(|parts| group % parts == 0).min_by_key(cost).unwrap_or(group)
    }
}

/// How a call is computed.
struct Way {
    /// On tensor cores.
    tiled: Option<Tiled>,
    /// Either the tiles, or the number of each token's run followed by the runs, as words.
    lists: Vec<u32>,
    /// Tiles, or words before the runs.
    count: usize,
    /// Whether some tokens are in no run.
    padded: bool,
}

pub(super) fn sight_params(sight: Sight) -> [Param; 3] {
    [sight.scale.into(), sight.soft_cap.unwrap_or(0.0).into(), (sight.window.unwrap_or(0) as i32).into()]
}

impl Way {
    fn of(gpu: &Gpu, core: &Core, dtype: DType) -> Result<Self> {
        let Dims { rows, tokens, size, .. } = core.dims;
        if size > MOST_SIZE {
            candle_core::bail!("attention on a GPU takes heads of at most {MOST_SIZE} values, got {size}");
        }
        let tiled = Tiled::of(gpu, core, dtype);
        let held: usize = core.runs.iter().map(|(_, length)| length).sum();
        let padded = held < rows * tokens;
        if let Some(kernels) = &tiled {
            let tiles = kernels.tiles(&core.runs);
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

impl Gpu {
    /// Attention of q (B, T, H, D) over k and v (B, T, K, D).
    pub(crate) fn attention(&self, core: &Core, q: View, k: View, v: View) -> Result<Attended> {
        let Dims { rows, tokens, heads, kv_heads, size } = core.dims;
        let way = Way::of(self, core, q.dtype())?;
        let out = way.new_values(self, q.len(), q.dtype())?;
        let log_sums = way.new_values(self, rows * tokens * heads, DType::F32)?;
        let lists = self.uploaded(&way.lists)?;
        let at = self.address(&lists);
        let mut params: Vec<Param> = vec![out.view().into(), log_sums.view().into(), q.into(), k.into(), v.into()];
        let heads_of: [Param; 2] = [(heads as i32).into(), (kv_heads as i32).into()];
        // SAFETY: the lists name tokens of the batch; every value has the shape that the sizes say.
        unsafe {
            if let Some(tiled) = &way.tiled {
                params.push(at.into());
                params.extend(heads_of);
                params.extend(sight_params(core.sight));
                self.launch_tiled((tiled, tiled.forward), tiled.grid(way.count, heads), &mut params)?;
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
        let way = Way::of(self, core, q.dtype())?;
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
        if let Some(tiled) = &way.tiled {
            let tail: Vec<Param> = inputs.into_iter().chain([at.into()]).chain(heads_of).chain(sight).collect();
            // SAFETY: as in the forward.
            let [dk, dv] = unsafe { self.tiled_back(core, (&way, tiled), dq.view(), &tail)? };
            return Ok([dq, dk, dv]);
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

    /// Starts a kernel on tensor cores.
    ///
    /// # Safety
    /// As [`Self::launch`].
    unsafe fn launch_tiled(
        &self,
        (tiled, kernel): (&Tiled, Kernel),
        grid: (u32, u32),
        params: &mut [Param],
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.launch((kernel.name, tiled.of_size), (grid, tiled.threads), kernel.shared, params) }
    }

    /// Writes dq and gives dk and dv; `tail`: the kernels' parameters after those.
    ///
    /// # Safety
    /// As [`Self::launch`].
    unsafe fn tiled_back(
        &self,
        core: &Core,
        (way, tiled): (&Way, &Tiled),
        dq: View,
        tail: &[Param],
    ) -> Result<[Values; 2]> {
        let Dims { rows, tokens, heads, kv_heads, size } = core.dims;
        let (n, parts) = (rows * tokens * kv_heads * size, tiled.parts(core, self.units));
        // Where there is one part, Hopper's kernel writes the result itself.
        let whole = tiled.hopper && parts == 1;
        let dtype = if whole { DType::BF16 } else { DType::F32 };
        let [dk, dv] = [way.new_values(self, n * parts, dtype)?, way.new_values(self, n * parts, dtype)?];
        // SAFETY: the caller's promise.
        unsafe {
            let mut params: Vec<Param> = [dq.into()].into_iter().chain(tail.iter().copied()).collect();
            self.launch_tiled((tiled, tiled.of_queries), tiled.grid(way.count, heads), &mut params)?;
            let mut params: Vec<Param> =
                [dk.view().into(), dv.view().into()].into_iter().chain(tail.iter().copied()).collect();
            if tiled.hopper {
                params.push((parts as i32).into());
            }
            self.launch_tiled((tiled, tiled.of_keys), tiled.grid(way.count, kv_heads * parts), &mut params)?;
        }
        if whole {
            return Ok([dk, dv]);
        }
        Ok([self.joined(dk.view(), (parts, size), n)?, self.joined(dv.view(), (parts, size), n)?])
    }

    /// The sums of the parts of each head.
    fn joined(&self, from: View, (parts, size): (usize, usize), n: usize) -> Result<Values> {
        let out = self.new_values(n, DType::BF16)?;
        let mut params = [out.view().into(), from.into(), (parts as i32).into(), (size as i32).into(), n.into()];
        // SAFETY: there are `parts` heads for each of the result's.
        unsafe { self.over(("attention_join", ""), n, &mut params)? };
        Ok(out)
    }
}
