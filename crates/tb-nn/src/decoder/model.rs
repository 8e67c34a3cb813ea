//! The stack: embedding, blocks, final norm, output layer, with the checkpoint's names. Passes over a batch are here; files and adapters are in `decoder.rs`.

use super::batch::Batch;
use super::block::Block;
use super::linear::{Context, Linear};
use super::noise::noisy;
use super::norm::Norm;
use super::param::{Builder, Parameter};
use super::recompute::{Checkpointing, recomputed};
use super::rope::{Angles, RopeTable};
use crate::Result;
use crate::ops::embedding::embedding;
use candle_core::Tensor;
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
    pub(crate) embedding: Parameter,
    pub(crate) blocks: Vec<Arc<Block>>,
    pub(crate) norm: Norm,
    /// `None` where the embedding is the output layer.
    head: Option<Parameter>,
    /// Factor of the embedded tokens.
    embedding_scale: Option<f64>,
    pub(crate) ropes: Vec<RopeTable>,
}

impl Model {
    pub(crate) fn build(b: &Builder<'_>, config: &DecoderConfig) -> Result<Self> {
        let shape = (config.vocab_size, config.hidden_size);
        Ok(Self {
            embedding: b.matrix(&format!("{EMBEDDING}.weight"), shape)?,
            blocks: (0..config.num_hidden_layers)
                .map(|layer| Block::build(b, config, layer).map(Arc::new))
                .collect::<Result<_>>()?,
            norm: Norm::build(b, config, "model.norm", config.hidden_size)?,
            head: match config.head {
                HeadKind::Tied => None,
                HeadKind::Untied => Some(b.matrix(&format!("{HEAD}.weight"), shape)?),
            },
            embedding_scale: match config.layout().embedding {
                EmbeddingScale::One => None,
                // To f32 first, and to the model's dtype where it is multiplied, as in transformers.
                EmbeddingScale::RootWidth => Some(f64::from((config.hidden_size as f64).sqrt() as f32)),
            },
            ropes: config.ropes.iter().map(|rope| RopeTable::new(rope, b.device)).collect(),
        })
    }

    /// The output layer's weight (V, C).
    pub(crate) fn head(&self) -> &Parameter {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// Embedded ids, (B, T, C).
    pub(crate) fn embed(&self, ids: &[u32], rows: usize, width: usize) -> Result<Tensor> {
        let flat = embedding(ids, self.embedding.tensor(), self.embedding.grad())?; // (B*T, C)
        let flat = match self.embedding_scale {
            None => flat,
            Some(scale) => (flat * scale)?,
        };
        let c = flat.dim(1)?;
        Ok(flat.reshape((rows, width, c))?)
    }

    /// Hidden states after the final norm, (B, T, C).
    pub(crate) fn hidden(&self, batch: &Batch, ctx: Context, graph: Graph) -> Result<Tensor> {
        let mut x = noisy(self.embed(&batch.ids, batch.rows, batch.width)?, batch, ctx)?;
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
        self.norm.forward(&x)
    }

    /// Every linear that can carry an adapter, in layer order.
    pub(crate) fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.blocks.iter().flat_map(|b| b.linears())
    }

    /// (checkpoint name, parameter) of everything, in layer order.
    pub(crate) fn parameters(&self) -> Vec<(String, &Parameter)> {
        let mut all = vec![(format!("{EMBEDDING}.weight"), &self.embedding)];
        all.extend(self.blocks.iter().flat_map(|block| block.parameters()));
        all.push(self.norm.parameter());
        if let Some(head) = &self.head {
            all.push((format!("{HEAD}.weight"), head));
        }
        all
    }
}
