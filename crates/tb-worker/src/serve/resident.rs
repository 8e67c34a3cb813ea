//! The model in memory: one base with its tokenizer, the adapters used last, and keys and values of the prompts read last. Adapters are put
//! on and taken off the one base; a base without an adapter is the base as it was loaded.

use candle_core::Device;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tb_core::ErrorCode;
use tb_core::run_folder::{Decoding, Framing};
use tb_core::serving::{Load, Loaded, Prompt};
use tb_data::model_folder::{adapter_quantization, read_config};
use tb_data::tokenize::{TextTokenizer, conversation_ids};
use tb_nn::decoder::{Adapter, Decoder, bytes_to_answer};
use tb_nn::generate::{GenerationConfig, Prefixes, Shared};

use crate::error::{Failure, Result};
use crate::{device, generate, models};

/// Adapters that stay in memory at most.
const KEPT_ADAPTERS: usize = 16;
/// Bytes of adapters that stay in memory; the one in use stays whatever its size.
const KEPT_ADAPTER_BYTES: usize = 1 << 30;
/// Bytes of keys and values that stay in memory for prompts that begin as earlier ones did.
const KEPT_PREFIX_BYTES: usize = 1 << 28;
/// What prompts to the base alone are kept under.
const BARE: u64 = 0;

/// A base model, its tokenizer and its adapters.
pub struct Resident {
    load: Load,
    decoder: Decoder,
    tokenizer: TextTokenizer,
    /// In order of use, the last one at the end.
    adapters: Vec<Arc<Held>>,
    /// Adapters that were read so far.
    read: u64,
    worn: Worn,
    prefixes: Prefixes,
}

/// An adapter in memory.
pub struct Held {
    file: AdapterFile,
    adapter: Adapter,
    /// Its own, from 1: an adapter that is read again is another one.
    number: u64,
}

/// A folder and the state of its files: one that was written again is another adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AdapterFile {
    folder: PathBuf,
    states: [(SystemTime, u64); 2],
}

/// What the decoder wears.
enum Worn {
    Nothing,
    This(Arc<Held>),
    /// A change of adapters did not come to its end.
    Unclear,
}

impl Resident {
    /// Loads a base model, unless it is there already. A worker holds one base in its life.
    ///
    /// # Errors
    /// Another base is there, the base cannot be used, or it does not fit into memory.
    pub fn load_into(place: &mut Option<Self>, load: &Load) -> Result<Loaded> {
        let begun = Instant::now();
        if let Some(resident) = place.as_ref() {
            if resident.load != *load {
                let message = format!("Nothing was loaded: this worker holds {}.", resident.load.base.display());
                return Err(Failure::new(ErrorCode::Conflict, message).hint("Start another worker."));
            }
            return Ok(resident.loaded(begun));
        }
        let device = device::open(&load.device)?;
        check_room(load, &device)?;
        let tokenizer = models::tokenizer(&load.base)?;
        let dtype = device::dtype(load.dtype, &device);
        let decoder = Decoder::load_to_answer(&load.base, dtype, load.quantization, &device)?;
        let resident = Self {
            load: load.clone(),
            decoder,
            tokenizer,
            adapters: Vec::new(),
            read: BARE,
            worn: Worn::Nothing,
            prefixes: Prefixes::new(KEPT_PREFIX_BYTES),
        };
        let loaded = resident.loaded(begun);
        *place = Some(resident);
        Ok(loaded)
    }

    fn loaded(&self, begun: Instant) -> Loaded {
        Loaded {
            parameters: self.decoder.config().parameter_count(),
            context: self.context() as u32,
            load_ms: begun.elapsed().as_millis() as u64,
        }
    }

    /// Positions that the base was made for.
    pub fn context(&self) -> usize {
        self.decoder.config().max_position_embeddings
    }

    /// The tokenizer of the base.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// The tokens of a prompt, and how it was framed.
    ///
    /// # Errors
    /// A template that refuses the conversation.
    pub fn prompt_ids(&self, prompt: &Prompt) -> Result<(Vec<u32>, Framing)> {
        Ok(match prompt {
            Prompt::Text { text } => (self.tokenizer.encode_with_special(text)?, Framing::Plain),
            Prompt::Messages { messages } => conversation_ids(&self.tokenizer, messages)?,
        })
    }

    /// A decoding with the base's end tokens.
    ///
    /// # Errors
    /// As `generate::config`.
    pub fn config(&self, decoding: &Decoding) -> Result<GenerationConfig> {
        generate::config(decoding, &self.load.base, &self.tokenizer)
    }

    /// The adapter in a folder: from memory if it is there and its files have not changed, else from the files.
    ///
    /// # Errors
    /// Files that are missing, damaged or of another model.
    pub fn adapter(&mut self, folder: &Path) -> Result<Arc<Held>> {
        let file = AdapterFile::look(folder)?;
        let known = self.adapters.iter().position(|held| held.file == file);
        let held = match known {
            Some(at) => self.adapters.remove(at),
            None => {
                if let Some(old) = self.adapters.iter().position(|held| held.file.folder == file.folder) {
                    self.take_leave(old);
                }
                self.check_form(folder)?;
                let adapter = self.decoder.read_adapter(folder)?;
                self.read += 1;
                Arc::new(Held { adapter, file, number: self.read })
            }
        };
        self.adapters.push(Arc::clone(&held));
        let bytes = |held: &[Arc<Held>]| held.iter().map(|h| h.adapter.size_bytes()).sum::<usize>();
        while self.adapters.len() > 1
            && (self.adapters.len() > KEPT_ADAPTERS || bytes(&self.adapters) > KEPT_ADAPTER_BYTES)
        {
            self.take_leave(0);
        }
        Ok(held)
    }

    /// Drops an adapter, and what was read with it.
    fn take_leave(&mut self, at: usize) {
        let left = self.adapters.remove(at);
        self.prefixes.forget(left.number);
    }

    /// Refuses an adapter that was trained on the base in another form than this one.
    fn check_form(&self, folder: &Path) -> Result<()> {
        if adapter_quantization(folder)? == self.load.quantization {
            return Ok(());
        }
        let message = format!(
            "Nothing was generated: the adapter in {} was trained on its base in another form than the one here.",
            folder.display()
        );
        Err(Failure::new(ErrorCode::Conflict, message)
            .hint("Load the base as quantization_config.json beside it says."))
    }

    /// As [`Self::decoder`], with what is kept of the prompts that were read so.
    pub fn reading(&mut self, adapter: Option<&Arc<Held>>) -> (&Decoder, Shared<'_>) {
        self.decoder(adapter);
        (&self.decoder, self.prefixes.of(adapter.map_or(BARE, |held| held.number)))
    }

    /// The decoder with an adapter, or as the base alone.
    pub fn decoder(&mut self, adapter: Option<&Arc<Held>>) -> &Decoder {
        let as_it_is = match (&self.worn, adapter) {
            (Worn::Nothing, None) => true,
            (Worn::This(worn), Some(wanted)) => Arc::ptr_eq(worn, wanted),
            (Worn::Nothing, Some(_)) | (Worn::This(_), None) | (Worn::Unclear, _) => false,
        };
        if !as_it_is {
            self.worn = Worn::Unclear;
            self.decoder.wear(adapter.map(|held| &held.adapter));
            self.worn = adapter.map_or(Worn::Nothing, |held| Worn::This(Arc::clone(held)));
        }
        &self.decoder
    }
}

impl AdapterFile {
    fn look(folder: &Path) -> Result<Self> {
        let state = |name: &str| -> Result<(SystemTime, u64)> {
            let path = folder.join(name);
            let meta = std::fs::metadata(&path).map_err(|e| Failure::from(e).within(path.display()))?;
            Ok((meta.modified()?, meta.len()))
        };
        let states = [state("adapter_config.json")?, state("adapter_model.safetensors")?];
        Ok(Self { folder: folder.to_owned(), states })
    }
}

/// Refuses a base that the free memory cannot hold, before the system has to end the process.
fn check_room(load: &Load, device: &Device) -> Result<()> {
    let config = read_config(&load.base)?;
    let dtype = device::dtype(load.dtype, device);
    let need = match load.quantization.or(config.stored_quantization()) {
        Some(quantization) => quantization.base_bytes(&config, dtype.size_in_bytes() as u64),
        None => bytes_to_answer(&load.base, dtype)?,
    };
    match device::free_bytes(device) {
        Some(free) if free < need => {
            let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
            let message = format!(
                "Nothing was loaded: {} needs {:.1} GiB, {:.1} are free.",
                load.base.display(),
                gib(need),
                gib(free)
            );
            Err(Failure::new(ErrorCode::OutOfMemory, message).hint("Close programs, or use a smaller model."))
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
