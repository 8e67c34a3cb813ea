//! Quantised weights against bitsandbytes' own, bit for bit, and products with them against products with the dequantised ones.

use super::four_bit::BlockScales;
use super::*;
use crate::checkpoint::read_tensors;
use crate::ops::gradient_check::{assert_close, check, noise, same_bits_on_any_threads};
use crate::ops::linear::{frozen_linear, lora_linear};
use candle_core::{DType, Var};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use tb_core::quantization::{FourBitType, Scales};
use tb_core::recipe::Dtype;

fn golden() -> HashMap<String, Tensor> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/nn/quant");
    read_tensors(&folder.join("values.safetensors"), &Device::Cpu).unwrap()
}

fn floats(t: &Tensor) -> Vec<f32> {
    t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn four_bit(kind: FourBitType, scales: Scales) -> Quantization {
    Quantization::FourBit { kind, scales, compute: Dtype::Auto }
}

/// Every form, with its name in the golden file.
fn forms() -> Vec<(String, Quantization)> {
    let four = FourBitType::ALL
        .iter()
        .flat_map(|kind| Scales::ALL.iter().map(move |scales| (format!("{kind}.{scales}"), four_bit(*kind, *scales))));
    four.chain([("int8".to_owned(), Quantization::EightBit)]).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    // The two zeros of FP4 are one number.
    values.iter().map(|v| if *v == 0.0 { 0 } else { v.to_bits() }).collect()
}

#[test]
fn codes_scales_and_dequantised_weights_are_bitsandbytes_own() {
    let all = golden();
    let mut compared = 0;
    for name in ["plain", "odd", "tail", "one", "tiny", "outliers", "zeros", "edges", "many"] {
        let weight = &all[&format!("{name}.weight")];
        let shape = weight.dims2().unwrap();
        for (form, quantization) in forms() {
            let made = Quantised::new(&floats(weight), shape, quantization, Rounding::F32).unwrap();
            let want = |part: &str| all.get(&format!("{name}.{form}.{part}"));
            let same = |part: &str, got: &[f32]| {
                if let Some(want) = want(part) {
                    assert_eq!(bits(got), bits(&floats(want)), "{name} {form} {part}");
                }
            };
            let same_bytes = |part: &str, got: &[u8]| {
                if let Some(want) = want(part) {
                    assert_eq!(got, want.flatten_all().unwrap().to_vec1::<u8>().unwrap(), "{name} {form} {part}");
                }
            };
            match &made.form {
                Form::Int8(form) => {
                    let (values, scales) = form.parts();
                    same_bytes("values", &values.iter().map(|v| *v as u8).collect::<Vec<_>>());
                    same("scales", scales);
                }
                Form::FourBit(form) => {
                    let (packed, scales) = form.parts();
                    same_bytes("packed", packed);
                    match scales {
                        BlockScales::Plain(scales) => same("absmax", scales),
                        BlockScales::Double { bytes, outer, offset } => {
                            same("offset", &[*offset]);
                            same("outer", outer);
                            same_bytes("absmax", bytes);
                        }
                    }
                }
                Form::Q8_0(_) => unreachable!("nothing is quantised so"),
            }
            same("dequantised", &floats(&made.dequantise().unwrap()));
            compared += usize::from(want("dequantised").is_some());
            assert_eq!(made.size_bytes() as u64, quantization.matrix_bytes(shape.0, shape.1), "{name} {form}");
        }
    }
    assert_eq!(compared, 8 * 5);
    assert!(all.contains_key("many.nf4.double.outer"));
}

#[test]
fn the_maps_of_256_levels_are_bitsandbytes_own() {
    let all = golden();
    assert_eq!(bits(Map::signed().levels()), bits(&floats(&all["map.signed"])));
    assert_eq!(bits(Map::unsigned().levels()), bits(&floats(&all["map.unsigned"])));
}

#[test]
fn any_run_of_rows_is_a_part_of_the_whole() {
    let values = floats(&noise(&[37, 45], 3).unwrap());
    for (name, quantization) in forms() {
        let made = Quantised::new(&values, (37, 45), quantization, Rounding::F32).unwrap();
        let whole = floats(&made.dequantise().unwrap());
        for (first, rows) in [(0, 1), (1, 1), (3, 17), (36, 1), (0, 37)] {
            let mut part = vec![f32::NAN; rows * 45];
            made.rows_into(first, &mut part);
            assert_eq!(part, whole[first * 45..][..rows * 45], "{name} from {first}");
        }
    }
}

#[test]
fn a_rounded_weight_is_the_nearest_bfloat16() {
    let values = floats(&noise(&[8, 64], 3).unwrap());
    for (_, quantization) in forms() {
        let of =
            |rounding| floats(&Quantised::new(&values, (8, 64), quantization, rounding).unwrap().dequantise().unwrap());
        let want: Vec<f32> = of(Rounding::F32).iter().map(|v| bf16::from_f32(*v).to_f32()).collect();
        assert_eq!(of(Rounding::Bf16), want);
    }
}

#[test]
fn products_and_gradients_are_those_of_the_dequantised_weight() -> Result<()> {
    // 700 x 600 is two panels.
    for (outputs, inputs) in [(19, 33), (700, 600)] {
        let (x, bias) = (noise(&[9, inputs], 1)?, noise(&[outputs], 2)?);
        let (a, b) = (noise(&[3, inputs], 4)?, noise(&[outputs, 3], 5)?);
        for (name, quantization) in forms() {
            let values = floats(&(noise(&[outputs, inputs], 6)? * 0.05)?);
            let made = Arc::new(Quantised::new(&values, (outputs, inputs), quantization, Rounding::F32)?);
            let dense = made.dequantise()?;
            let got = frozen_linear(&x, &made, Some(&bias))?;
            assert_close(&got, &frozen_linear(&x, &dense, Some(&bias))?, 1e-5);
            let vars = [Var::from_tensor(&x)?, Var::from_tensor(&a)?, Var::from_tensor(&b)?];
            let [x, a, b] = &vars;
            let got = lora_linear(x, &made, Some(&bias), a, b, 1.7, None)?.sqr()?.sum_all()?.backward()?;
            let want = lora_linear(x, &dense, Some(&bias), a, b, 1.7, None)?.sqr()?.sum_all()?.backward()?;
            for v in &vars {
                let scale = floats(want.get(v).unwrap()).iter().fold(1f32, |m, g| m.max(g.abs()));
                let close = |t: &Tensor| t.affine(1.0 / f64::from(scale), 0.0);
                assert_close(&close(got.get(v).unwrap())?, &close(want.get(v).unwrap())?, 1e-5);
            }
            if inputs == 33 {
                check(&[x.as_detached_tensor(), a.as_detached_tensor(), b.as_detached_tensor()], |t| {
                    lora_linear(&t[0], &made, None, &t[1], &t[2], 1.7, None)
                });
            } else if name == "nf4.double" {
                same_bits_on_any_threads(&[x.as_detached_tensor()], |t| frozen_linear(&t[0], &made, None));
            }
        }
    }
    Ok(())
}

#[test]
fn what_cannot_be_quantised_is_refused() {
    let new = |values: &[f32], quantization| Quantised::new(values, (1, 2), quantization, Rounding::F32);
    for (_, quantization) in forms() {
        for bad in [f32::NAN, f32::INFINITY] {
            let error = new(&[1.0, bad], quantization).unwrap_err().to_string();
            assert!(error.contains("finite"), "{error}");
        }
        assert!(new(&[1.0], quantization).is_err());
    }
    assert!(new(&[1.0, 1e5], Quantization::EightBit).unwrap_err().to_string().contains("float16"));
    assert!(new(&[1.0, 1e5], four_bit(FourBitType::Nf4, Scales::Double)).is_ok());
}
