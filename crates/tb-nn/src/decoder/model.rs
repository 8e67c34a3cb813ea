//! The stack: embedding, blocks, final norm, output layer, with the checkpoint's names. Passes over a batch are here; files and adapters are in `decoder.rs`.

use super::AdapterSwitch;
use super::batch::Batch;
use super::block::Block;
use super::linear::{Context, Linear, Replacement, Tuned};
use super::noise::noisy;
use super::norm::Norm;
use super::param::{Builder, LinearWeight, Parameter};
use super::recompute::{Checkpointing, recomputed};
use super::rope::{Angles, RopeTable};
use crate::Result;
use crate::lora::LoraLayer;
use crate::ops::WeightGrad;
use crate::ops::constant::ConstantRef;
use crate::ops::embedding::embedding;
use crate::ops::linear::{full_linear, gain};
use candle_core::{DType, Tensor};
use std::sync::Arc;
use tb_core::decoder_config::{DecoderConfig, EMBEDDING, EmbeddingScale, HEAD, HeadKind};

/// What a pass keeps for a backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Graph {
    /// What training needs.
    Kept(Checkpointing),
    /// Nothing: there will be none.
    Dropped,
}

/// All weights of a decoder.
pub(crate) struct Model {
    pub(crate) embedding: LinearWeight,
    pub(crate) blocks: Vec<Arc<Block>>,
    pub(crate) norm: Norm,
    /// `None` where the embedding is the output layer.
    pub(crate) head: Option<LinearWeight>,
    pub(crate) ends: Ends,
    /// Factor of the embedded tokens.
    embedding_scale: Option<f64>,
    pub(crate) ropes: Vec<RopeTable>,
}

/// What an adapter puts on embedding and output layer. Where one tensor serves as both, each end has its own: as in PEFT, what is
/// learnt for one does not reach the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends {
    pub(crate) embedding_lora: Option<LoraLayer>,
    pub(crate) embedding: Tuned,
    pub(crate) head_lora: Option<LoraLayer>,
    pub(crate) head: Tuned,
}

impl Model {
    pub(crate) fn build(b: &Builder<'_>, config: &DecoderConfig) -> Result<Self> {
        let shape = (config.vocab_size, config.hidden_size);
        Ok(Self {
            embedding: b.weight(&format!("{EMBEDDING}.weight"), shape)?,
            blocks: (0..config.num_hidden_layers)
                .map(|layer| Block::build(b, config, layer).map(Arc::new))
                .collect::<Result<_>>()?,
            norm: Norm::build(b, config, "model.norm", config.hidden_size)?,
            head: match config.head {
                HeadKind::Tied => None,
                HeadKind::Untied => Some(b.weight(&format!("{HEAD}.weight"), shape)?),
            },
            ends: Ends::default(),
            embedding_scale: match config.layout().embedding {
                EmbeddingScale::One => None,
                // To f32 first, and to the model's dtype where it is multiplied, as in transformers.
                EmbeddingScale::RootWidth => Some(f64::from((config.hidden_size as f64).sqrt() as f32)),
            },
            ropes: config.ropes.iter().map(|rope| RopeTable::new(rope, b.device)).collect(),
        })
    }

    /// The output layer's own weight (V, C), without what an adapter puts on it.
    pub(crate) fn base_head(&self) -> &LinearWeight {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// The output layer's weight (V, C), unless it carries a low-rank adapter or is held in fewer bits.
    pub(crate) fn plain_head(&self, adapter: AdapterSwitch) -> Option<&Parameter> {
        match (&self.ends.head_lora, &self.ends.head, adapter) {
            (Some(_), _, AdapterSwitch::On) => None,
            (None, Some(tuned), AdapterSwitch::On) => Some(tuned),
            (None, None, AdapterSwitch::On) | (_, _, AdapterSwitch::Off) => self.base_head().parameter(),
        }
    }

    /// The output layer with its adapter as a layer like another. Tensors are shared, not copied.
    pub(crate) fn head_layer(&self) -> Linear {
        let bare = Linear::bare(HEAD.to_owned(), self.base_head().clone(), None);
        Linear { lora: self.ends.head_lora.clone(), tuned_weight: self.ends.head.clone(), ..bare }
    }

    /// Embedded ids, (B, T, C): on the CPU in f32, in which activations stay there, else in the model's dtype.
    pub(crate) fn embed(&self, ids: &[u32], rows: usize, width: usize, ctx: Context) -> Result<Tensor> {
        let (flat, table): (Tensor, ConstantRef<'_>) = match (&self.embedding, &self.ends.embedding, ctx.adapter) {
            (_, Some(tuned), AdapterSwitch::On) => (looked_up(ids, tuned)?, tuned.tensor().into()),
            (LinearWeight::Dense(table), _, _) => (looked_up(ids, table)?, table.tensor().into()),
            (LinearWeight::Quantised(table), _, _) => (table.rows_of(ids)?, table.into()),
        };
        let dtype = self.embedding.dtype();
        let flat = flat.to_dtype(dtype)?; // (B*T, C)
        let c = flat.dim(1)?;
        let embedded = flat.reshape((rows, width, c))?;
        let lora = match (&self.ends.embedding_lora, ctx.adapter) {
            (Some(lora), AdapterSwitch::On) => lora,
            (Some(_), AdapterSwitch::Off) | (None, _) => return self.streamed(embedded),
        };
        // PEFT has no dropout here: the rows of A' are looked up, (B*T, r).
        let grad = if lora.a.var().is_some() { WeightGrad::Trained } else { WeightGrad::Frozen };
        let rank = embedding(ids, &lora.a.tensor().t()?.contiguous()?, grad)?;
        let delta = (full_linear(&rank, lora.b.tensor(), None)? * lora.scaling)?.reshape((rows, width, c))?;
        let sum = (embedded.to_dtype(DType::F32)? + delta)?;
        let sum = match &lora.magnitude {
            None => sum,
            Some(magnitude) => {
                let norms = lora.norms(magnitude, table)?;
                gain(&sum, magnitude.m.tensor(), &norms, None)?
            }
        };
        self.streamed(sum.to_dtype(dtype)?)
    }

    /// Embedded tokens, adapter included, times the family's factor, in the numbers of the activations.
    fn streamed(&self, embedded: Tensor) -> Result<Tensor> {
        let scaled = match self.embedding_scale {
            None => embedded,
            Some(scale) => (embedded * scale)?,
        };
        // Products round what they take; between them bf16 would cost the CPU time, and precision.
        let dtype = if scaled.device().is_cpu() { DType::F32 } else { scaled.dtype() };
        Ok(scaled.to_dtype(dtype)?)
    }

    /// Hidden states after the final norm, (B, T, C).
    pub(crate) fn hidden(&self, batch: &Batch, ctx: Context, graph: Graph) -> Result<Tensor> {
        let mut x = noisy(self.embed(&batch.ids, batch.rows, batch.width, ctx)?, batch, ctx)?;
        let angles = Angles::for_text(&self.ropes, batch.longest_sample(), batch.positions())?;
        let spans = batch.spans()?;
        let spans = spans.as_ref();
        for block in &self.blocks {
            x = match graph {
                Graph::Kept(Checkpointing::Off) => block.forward(&x, &angles, spans, ctx)?,
                Graph::Kept(Checkpointing::PerBlock) => recomputed(block, &x, &angles, spans, ctx)?,
                // What a block has kept for a backward pass goes with the graph.
                Graph::Dropped => block.forward(&x, &angles, spans, ctx)?.detach(),
            };
        }
        self.norm.forward(&x, ctx)
    }

    /// Every linear that can carry an adapter, in layer order.
    pub(crate) fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.blocks.iter().flat_map(|b| b.linears())
    }

    /// Every norm, in layer order.
    pub(crate) fn norms(&self) -> impl Iterator<Item = &Norm> {
        self.blocks.iter().flat_map(|b| b.norms()).chain([&self.norm])
    }

    pub(crate) fn norms_mut(&mut self) -> impl Iterator<Item = &mut Norm> {
        self.blocks.iter_mut().flat_map(|b| Arc::make_mut(b).norms_mut()).chain([&mut self.norm])
    }

    /// Puts other parameters in place of those for which `make` has one.
    pub(crate) fn replace(&mut self, make: &mut Replacement<'_>) -> Result<()> {
        if let LinearWeight::Dense(embedding) = &self.embedding
            && let Some(new) = make(&format!("{EMBEDDING}.weight"), embedding)?
        {
            self.embedding = LinearWeight::Dense(new);
        }
        if let Some(LinearWeight::Dense(head)) = &self.head
            && let Some(new) = make(&format!("{HEAD}.weight"), head)?
        {
            self.head = Some(LinearWeight::Dense(new));
        }
        for linear in self.blocks.iter_mut().flat_map(|b| Arc::make_mut(b).linears_mut()) {
            linear.replace(make)?;
        }
        self.norms_mut().try_for_each(|norm| norm.replace(make))
    }

    /// (checkpoint name, parameter) of everything, in layer order; a quantised weight is none.
    pub(crate) fn parameters(&self) -> Vec<(String, &Parameter)> {
        let embedding = self.embedding.parameter().map(|p| (format!("{EMBEDDING}.weight"), p));
        let mut all: Vec<(String, &Parameter)> = embedding.into_iter().collect();
        all.extend(self.blocks.iter().flat_map(|block| block.parameters()));
        all.push(self.norm.parameter());
        let head = self.head.as_ref().and_then(LinearWeight::parameter);
        all.extend(head.map(|p| (format!("{HEAD}.weight"), p)));
        all
    }
}

/// Rows of a table in f32 or bf16, (N, C).
fn looked_up(ids: &[u32], table: &Parameter) -> Result<Tensor> {
    embedding(ids, table.tensor(), table.grad())
}
