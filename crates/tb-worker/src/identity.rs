//! A run's identity: the hash of everything that its result depends on. Paths and thread counts are not part of it.

use std::path::Path;

use serde_json::{Value, json};
use tb_core::run_folder::TrainTask;
use tb_data::files::{model_sha256, sha256_bytes, sha256_file};
use tb_data::gguf::is_gguf;

use crate::device;
use crate::error::Result;

/// SHA-256 over the base model: its weight files or GGUF file, or of a folder without weights its configuration and tokenizer.
///
/// # Errors
/// A file that cannot be read.
pub fn base_sha256(base: &Path) -> Result<String> {
    if is_gguf(base) {
        return Ok(model_sha256(base)?);
    }
    let has_weights = std::fs::read_dir(base)?
        .filter_map(std::result::Result::ok)
        .any(|entry| entry.path().extension().is_some_and(|e| e == "safetensors"));
    if has_weights {
        return Ok(model_sha256(base)?);
    }
    let mut parts = Vec::new();
    for name in ["config.json", "tokenizer.json"] {
        if base.join(name).is_file() {
            parts.push(json!([name, sha256_file(&base.join(name))?]));
        }
    }
    Ok(sha256_bytes(canonical(&Value::Array(parts)).as_bytes()))
}

/// The hash of spec, data, base and code version.
///
/// # Errors
/// An adapter file that cannot be read.
pub fn identity(task: &TrainTask, device_id: &str, base: &str, data: &str, eval_data: Option<&str>) -> Result<String> {
    let mut hyperparameters = serde_json::to_value(&task.hyperparameters).unwrap_or_default();
    if let Some(all) = hyperparameters.as_object_mut() {
        // A product is summed in the same order whatever the number of threads.
        all.remove("num_threads");
        // What is only looked at changes no weight.
        all.remove("eval_samples");
    }
    let adapter = match &task.model.adapter {
        Some(folder) => Some(sha256_file(&folder.join("adapter_model.safetensors"))?),
        None => None,
    };
    let what = json!({
        "adapter": adapter,
        "base": base,
        "code": device::CODE,
        "data": data,
        "device": device_id,
        "eval_data": eval_data,
        "eval_mapping": task.eval_data.as_ref().map(|d| &d.mapping),
        "hyperparameters": hyperparameters,
        "mapping": task.data.mapping,
        "method": task.method,
    });
    Ok(sha256_bytes(canonical(&what).as_bytes()))
}

/// JSON without spaces, keys in order.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let fields: Vec<String> =
                keys.into_iter().map(|k| format!("{}:{}", Value::from(k.as_str()), canonical(&map[k]))).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tb_core::recipe::{Hyperparameters, Method};
    use tb_core::run_folder::{DataSource, ModelSource};

    fn task(path: &str, seed: u64, num_threads: u32) -> TrainTask {
        TrainTask {
            method: Method::Sft,
            model: ModelSource { base: path.into(), adapter: None },
            data: DataSource { path: path.into(), mapping: None },
            eval_data: None,
            hyperparameters: Hyperparameters { seed, num_threads, ..Hyperparameters::default() },
        }
    }

    #[test]
    fn paths_and_threads_do_not_matter_but_seed_and_data_do() {
        let of = |path, seed, threads, data| identity(&task(path, seed, threads), "cpu", "base", data, None).unwrap();
        let first = of("/a", 1, 1, "d");
        assert_eq!(first, of("/b", 1, 2, "d"));
        assert_ne!(first, of("/a", 2, 1, "d"));
        assert_ne!(first, of("/a", 1, 1, "e"));
    }

    #[test]
    fn the_order_of_keys_does_not_matter() {
        let (a, b) = (
            json!({"x": [1, {"b": 2, "a": null}], "k": "\"q\""}),
            json!({"k": "\"q\"", "x": [1, {"a": null, "b": 2}]}),
        );
        assert_eq!(canonical(&a), canonical(&b));
        assert_eq!(canonical(&a), r#"{"k":"\"q\"","x":[1,{"a":null,"b":2}]}"#);
    }
}
