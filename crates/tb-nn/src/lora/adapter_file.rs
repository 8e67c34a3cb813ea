//! PEFT's two files, `adapter_config.json` and `adapter_model.safetensors`, both ways. Nothing here computes.

use super::{Factor, LoraConfig};
use crate::checkpoint::{read_json, write_json, write_tensors};
use crate::weights::Weights;
use crate::{Error, Result};
use candle_core::Tensor;
use std::collections::BTreeMap;
use std::path::Path;
use tb_core::adapter::Role;

const CONFIG: &str = "adapter_config.json";
const MODEL: &str = "adapter_model.safetensors";
/// What stands before every name in the file.
pub(crate) const PREFIX: &str = "base_model.model.";

/// PEFT's key of one tensor of a module, such as `base_model.model.<path>.lora_A.weight`.
pub(crate) fn peft_name(path: &str, role: Role, factor: Factor) -> String {
    let which = match (role, factor) {
        (Role::Linear | Role::Head, Factor::A) => "lora_A.weight",
        (Role::Linear | Role::Head, Factor::B) => "lora_B.weight",
        (Role::Embedding, Factor::A) => "lora_embedding_A",
        (Role::Embedding, Factor::B) => "lora_embedding_B",
        (_, Factor::Bias) => "lora_B.bias",
        (_, Factor::Magnitude) => "lora_magnitude_vector",
    };
    format!("{PREFIX}{path}.{which}")
}

/// What `adapter_config.json` in `dir` says.
///
/// Errors name the file and the field that cannot be used.
pub fn read_adapter_config(dir: &Path) -> Result<LoraConfig> {
    let path = dir.join(CONFIG);
    LoraConfig::from_json(&read_json(&path)?).map_err(|e| Error::file(&path, e))
}

/// Reads the configuration and maps the weights of the adapter in `dir`.
pub(crate) fn read_adapter(dir: &Path) -> Result<(LoraConfig, Weights)> {
    let config = read_adapter_config(dir)?;
    let model = dir.join(MODEL);
    if !model.is_file() {
        let pickle = dir.join("adapter_model.bin");
        if pickle.is_file() {
            return Err(Error::file(
                pickle,
                "is a pickle file, which can run any program when it is opened, so it is not read: save the adapter as safetensors",
            ));
        }
    }
    Ok((config, Weights::open_file(&model)?))
}

/// Writes both files; the configuration last, so that a folder with one is complete.
pub(crate) fn write_adapter(dir: &Path, config: &LoraConfig, tensors: &[(String, Tensor)]) -> Result<()> {
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    write_tensors(&dir.join(MODEL), tensors, &metadata)?;
    write_json(&dir.join(CONFIG), &config.to_json())
}
