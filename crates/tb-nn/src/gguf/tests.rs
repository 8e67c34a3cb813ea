use super::*;
use crate::checkpoint::read_tensors;
use std::collections::BTreeSet;
use tb_core::gguf::TensorType;

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/nn/gguf")
}

#[test]
fn every_format_expands_to_the_bits_of_the_reference() {
    let weights = GgufWeights::open(&golden().join("types.gguf")).unwrap();
    let expected = read_tensors(&golden().join("types.safetensors"), &Device::Cpu).unwrap();
    let mut seen = BTreeSet::new();
    for (label, theirs) in &expected {
        let Some((kind, name)) = label.split_once('.').filter(|(_, name)| name.starts_with("model.")) else { continue };
        let (_, _, info) = weights.find(name).unwrap();
        assert_eq!(info.kind.name(), kind, "{name}");
        let ours = weights.tensor(name, theirs.shape(), DType::F32, &Device::Cpu).unwrap();
        let bits = |t: &Tensor| -> Vec<u32> {
            t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
        };
        assert_eq!(bits(&ours), bits(theirs), "{label}");
        seen.insert(info.kind.code());
    }
    let all: BTreeSet<u32> = TensorType::ALL.into_iter().map(|kind| kind.code()).collect();
    assert_eq!(seen, all);
}

#[test]
fn a_value_that_is_not_finite_is_refused_by_the_tensors_name() {
    let file = golden().join("llama_f16.gguf");
    let mut bytes = std::fs::read(&file).unwrap();
    let (_, header, ..) = open(&file).unwrap();
    let at = (header.data_start + header.tensors["blk.1.ffn_up.weight"].offset) as usize + 100;
    bytes[at..at + 2].copy_from_slice(&half::f16::NAN.to_le_bytes());
    let copy = std::env::temp_dir().join(format!("tb-nn-nan-{}.gguf", std::process::id()));
    std::fs::write(&copy, bytes).unwrap();
    let weights = GgufWeights::open(&copy).unwrap();
    let name = "model.layers.1.mlp.up_proj.weight";
    let shape = weights.shape_of(name).unwrap().to_vec();
    let error = weights.tensor(name, shape, DType::F32, &Device::Cpu).unwrap_err().to_string();
    std::fs::remove_file(&copy).unwrap();
    assert!(error.contains("blk.1.ffn_up.weight") && error.contains("not finite"), "{error}");
}

/// Blocks of llama.cpp's own library. It is built with fused multiply-adds, so a sum may end in another last bit and a search in another
/// of two equally good scales; what must agree is nearly every block, and the error of all of them.
#[test]
fn blocks_are_those_of_llama_cpp() {
    let golden = read_tensors(&golden().join("quantised.safetensors"), &Device::Cpu).unwrap();
    let values: Vec<f32> = golden["x"].flatten_all().unwrap().to_vec1().unwrap();
    for kind in
        [TensorType::Q5_0, TensorType::Q5_1, TensorType::Q8_0, TensorType::Q4K, TensorType::Q5K, TensorType::Q6K]
    {
        let theirs: Vec<u8> = golden[kind.name()].to_vec1().unwrap();
        let mut ours = vec![0_u8; theirs.len()];
        quantise::quantise(kind, &values, &mut ours);
        let size = kind.block_bytes();
        let other = ours.chunks(size).zip(theirs.chunks(size)).filter(|(a, b)| a != b).count();
        let error = |bytes: &[u8]| -> f64 {
            let mut back = vec![0.0; values.len()];
            dequantise::dequantise(kind, bytes, &mut back);
            back.iter().zip(&values).map(|(a, b)| f64::from(a - b).powi(2)).sum()
        };
        let (a, b) = (error(&ours), error(&theirs));
        assert!(a <= b * 1.001 + 1e-12, "{}: {a} {b}", kind.name());
        assert!(other * 4 <= theirs.len() / size, "{}: {other} blocks differ", kind.name());
    }
}
