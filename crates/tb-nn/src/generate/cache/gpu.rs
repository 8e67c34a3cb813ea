//! The caches of rows on a GPU: one buffer per row, filled by the prompt, read and made longer by every step. A step is recorded, so that the
//! host starts it as a whole.

use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Tensor};

use super::RowCache;
use crate::decoder::rope::Angles;
use crate::decoder::{AdapterSwitch, Batch, Context, Decoder, WeightsKey};
use crate::ops::gpu::{Cache, CachedRows, Gpu, Recording, read_gpu};
use crate::ops::projection::Joined;
use crate::{Error, Result, profile};

/// Recorded steps that a decoder keeps: numbers of rows, and adapters that take turns.
const KEPT_STEPS: usize = 16;

/// The recorded steps of a decoder, those used last at the end.
#[derive(Default)]
pub(crate) struct Steps(Mutex<Vec<(Of, Step)>>);

/// What a step is of: the weights that it goes through (`Decoder::weights_key`), and its rows.
type Of = (WeightsKey, AdapterSwitch, usize);

/// One token in each of so many rows, at places that stay.
struct Step {
    /// (B, 1, C).
    x: Tensor,
    angles: Angles,
    caches: CachedRows,
    /// What rows that are not there write to.
    spare: Cache,
    /// (B, V) f32, without a soft cap.
    logits: Tensor,
    way: Way,
}

/// How a step is done.
enum Way {
    /// It never was.
    New,
    /// It was, once.
    Warm,
    Recorded {
        recording: Recording,
        /// What it reads of the adapter, which may be taken off and put on again.
        _joined: Vec<Joined>,
    },
    /// Operation by operation: the driver cannot record it.
    Refused,
}

/// Takes keys and values (B, T, K, D) of one layer of the prompts.
pub(super) fn fill(
    decoder: &Decoder,
    batch: &Batch,
    caches: &mut [RowCache],
    layer: usize,
    k: &Tensor,
    v: &Tensor,
) -> Result<()> {
    let (gpu, config) = (Gpu::of_tensor(k)?, decoder.config());
    let width = config.num_key_value_heads * config.head_dim;
    read_gpu!(gpu, k = k);
    read_gpu!(gpu, v = v);
    for (row, (cache, tokens)) in caches.iter_mut().zip(&batch.lengths).enumerate() {
        if cache.gpu.is_none() {
            cache.gpu = Some(Cache::new(gpu, (config.num_hidden_layers, width), tokens + 1, decoder.dtype())?);
        }
        let (from, len) = (row * batch.width * width, tokens * width);
        let cache = cache.gpu.as_mut().expect("it was just made");
        cache.fill(gpu, layer, k.part(from, len), v.part(from, len))?;
    }
    Ok(())
}

/// Adds one token, embedded as x (B, 1, C), to each row; logits after it, (B, V).
pub(super) fn extend(decoder: &Decoder, x: &Tensor, caches: &mut [&mut RowCache], ctx: Context) -> Result<Tensor> {
    let gpu = Gpu::of_device(decoder.device())?;
    let lengths: Vec<usize> = caches.iter().map(|c| c.tokens() + 1).collect();
    let filled = caches
        .iter_mut()
        .map(|cache| cache.gpu.as_mut().ok_or_else(|| Error::State { what: "a row was not read on this GPU".into() }));
    let caches = filled.collect::<Result<Vec<_>>>()?;
    if !can_record(decoder, ctx) {
        let angles = Angles::of_last(&decoder.model().ropes, &lengths)?;
        let caches = gpu.step_caches(caches.into_iter())?;
        return decoder.capped(through(decoder, x, &angles, &caches, ctx)?);
    }
    let rows = lengths.len();
    let of = (decoder.weights_key(), ctx.adapter, rows.next_power_of_two());
    let mut steps = decoder.steps().0.lock().unwrap_or_else(PoisonError::into_inner);
    let mut step = match steps.iter().position(|(held, _)| *held == of) {
        Some(at) => steps.remove(at).1,
        None => Step::new(gpu, decoder, of.2)?,
    };
    gpu.put_caches(&step.caches, caches.into_iter(), &step.spare)?;
    step.angles.put(&decoder.model().ropes, &lengths)?;
    {
        read_gpu!(gpu, from = x);
        read_gpu!(gpu, to = step.x);
        gpu.copy(to.part(0, from.len()), from)?;
    }
    step.run(gpu, decoder, ctx)?;
    let logits = step.logits.narrow(0, 0, rows)?.copy()?;
    if steps.len() == KEPT_STEPS {
        steps.remove(0);
    }
    steps.push((of, step));
    decoder.capped(logits)
}

/// Whether a step can be recorded: all of it is done on the device, and nothing is timed.
fn can_record(decoder: &Decoder, ctx: Context) -> bool {
    let model = decoder.model();
    let head = model.plain_head(ctx.adapter).is_some();
    head && !profile::is_on() && model.blocks.iter().all(|block| block.is_plain(ctx))
}

/// Logits (B, V) after all layers, f32 without a soft cap.
fn through(decoder: &Decoder, x: &Tensor, angles: &Angles, caches: &CachedRows, ctx: Context) -> Result<Tensor> {
    let (model, rows) = (decoder.model(), x.dim(0)?);
    let mut x = x.clone();
    for (layer, block) in model.blocks.iter().enumerate() {
        x = block.step_on_gpu(&x, angles, (caches, layer), ctx)?.detach();
    }
    let x = model.norm.forward(&x, ctx)?.detach().reshape((rows, decoder.config().hidden_size))?; // (B, C)
    decoder.uncapped(&x)
}

impl Step {
    fn new(gpu: &Gpu, decoder: &Decoder, rows: usize) -> Result<Self> {
        let (config, device, model) = (decoder.config(), decoder.device(), decoder.model());
        let width = config.num_key_value_heads * config.head_dim;
        Ok(Self {
            x: Tensor::zeros((rows, 1, config.hidden_size), decoder.dtype(), device)?,
            angles: Angles::places(&model.ropes, rows)?,
            caches: CachedRows::new(gpu, rows)?,
            spare: Cache::of_one(gpu, (config.num_hidden_layers, width), decoder.dtype())?,
            logits: Tensor::zeros((rows, config.vocab_size), DType::F32, device)?,
            way: Way::New,
        })
    }

    /// The first time as it is, from the third time on as it was recorded the second time.
    fn run(&mut self, gpu: &Gpu, decoder: &Decoder, ctx: Context) -> Result<()> {
        if let Way::Recorded { recording, .. } = &mut self.way {
            return Ok(recording.start()?);
        }
        let work = || -> Result<()> {
            let made = through(decoder, &self.x, &self.angles, &self.caches, ctx)?;
            read_gpu!(gpu, from = made);
            read_gpu!(gpu, to = self.logits);
            Ok(gpu.copy(to, from)?)
        };
        work()?;
        self.way = match self.way {
            Way::New => Way::Warm,
            Way::Warm => gpu.recorded(work)?.map_or(Way::Refused, |recording| {
                let blocks = decoder.model().blocks.iter();
                Way::Recorded { recording, _joined: blocks.flat_map(|block| block.joined()).cloned().collect() }
            }),
            Way::Recorded { .. } | Way::Refused => Way::Refused,
        };
        Ok(())
    }
}
