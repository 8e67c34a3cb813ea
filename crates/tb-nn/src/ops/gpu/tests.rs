//! Every operation on a GPU against its twin on the CPU: results and gradients, in f32 and in bf16. They need a GPU and are run by
//! `cargo xtask gpu-check`.
#![allow(clippy::print_stderr)] // Its figures are what it is run for.

use std::sync::{Arc, OnceLock};

use candle_core::{DType, Device, Tensor, Var};
use tb_core::decoder_config::Activation;
use tb_core::quantization::{FourBitType, Quantization, Scales};
use tb_core::random::{Purpose, Stream};
use tb_core::recipe::Dtype;

use crate::error::Result;
use crate::ops::WeightGrad;
use crate::ops::attention::{Sight, Spans, causal_attention};
use crate::ops::attention_block::{AttentionBlock, Turning, attention_block};
use crate::ops::cross_entropy::{linear_cross_entropy, token_logprobs};
use crate::ops::decode_attention::{CachedRow, decode_attention};
use crate::ops::embedding::embedding;
use crate::ops::gated::gated;
use crate::ops::gradient_check::noise;
use crate::ops::inputs::Inputs;
use crate::ops::linear::{Dropout, dropped, frozen_linear, full_linear, lora_linear};
use crate::ops::mlp_block::{MlpBlock, mlp_block};
use crate::ops::projection::{Adapter, Projection};
use crate::ops::rms_norm::{FrozenNorm, rms_norm};
use crate::ops::rope::{Positions, rope};
use crate::ops::rows::pick_rows;
use crate::optim::adamw::{AdamW, AdamWConfig};
use crate::optim::{Gradients, clip::clip};
use crate::quant::{Quantised, Rounding};

/// What an f32 operation may differ by, relative to the norm: sums run in another order.
const F32: f64 = 2e-5;
/// What a bf16 operation may differ by from the same in f32.
const BF16: f64 = 2e-2;

fn gpu() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| crate::cuda::open(0).expect("a GPU"))
}

/// Where, and in what numbers, an operation is computed.
struct Place<'a> {
    device: &'a Device,
    dtype: DType,
}

impl Place<'_> {
    /// A constant of the operation.
    fn put(&self, t: &Tensor) -> Tensor {
        t.to_dtype(DType::BF16).unwrap().to_dtype(self.dtype).unwrap().to_device(self.device).unwrap()
    }
}

fn host(t: &Tensor) -> Vec<f32> {
    t.to_device(&Device::Cpu).unwrap().to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The relative distance of two tensors.
fn off(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.dims(), want.dims());
    let (mut off, mut size) = (0f64, 0f64);
    for (a, b) in host(got).into_iter().zip(host(want)) {
        off += f64::from(a - b).powi(2);
        size += f64::from(b).powi(2);
    }
    if off.is_nan() { f64::INFINITY } else { (off / size.max(1e-12)).sqrt() }
}

/// Result and gradients of the operation there; inputs of which `keeps` says so stay f32 whatever the numbers (adapters).
fn run(
    place: &Place,
    inputs: &[Tensor],
    keeps: &[usize],
    f: &dyn Fn(&Place, &[Tensor]) -> Result<Tensor>,
) -> Vec<Tensor> {
    let var = |(i, t): (usize, &Tensor)| {
        let rounded = if keeps.contains(&i) { t.to_device(place.device).unwrap() } else { place.put(t) };
        Var::from_tensor(&rounded).unwrap()
    };
    let vars: Vec<Var> = inputs.iter().enumerate().map(var).collect();
    let tracked: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = f(place, &tracked).unwrap();
    let weights = noise(y.dims(), 99).unwrap().to_device(place.device).unwrap();
    let weights = weights.to_dtype(DType::BF16).unwrap().to_dtype(y.dtype()).unwrap();
    let store = (&y * weights).unwrap().sum_all().unwrap().backward().unwrap();
    std::iter::once(y.detach()).chain(vars.iter().filter_map(|v| store.get(v).cloned())).collect()
}

/// Panics unless the GPU gives what the CPU gives, in f32 and in bf16; says the largest distance.
fn agrees_with(name: &str, inputs: &[Tensor], keeps: &[usize], f: &dyn Fn(&Place, &[Tensor]) -> Result<Tensor>) {
    let want = run(&Place { device: &Device::Cpu, dtype: DType::F32 }, inputs, keeps, f);
    for (dtype, bound) in [(DType::F32, F32), (DType::BF16, BF16)] {
        let got = run(&Place { device: gpu(), dtype }, inputs, keeps, f);
        assert_eq!(got.len(), want.len(), "{name} {dtype:?}: not the same gradients");
        let offs: Vec<f64> = got.iter().zip(&want).map(|(a, b)| off(a, b)).collect();
        let worst = offs.iter().copied().fold(0.0, f64::max);
        eprintln!("gpu {name:<34} {dtype:?}: {worst:.1e}");
        assert!(worst <= bound, "{name} {dtype:?}: {offs:?}");
        // The same bits each time.
        let again = run(&Place { device: gpu(), dtype }, inputs, keeps, f);
        assert!(got.iter().zip(&again).all(|(a, b)| host(a) == host(b)), "{name} {dtype:?}: other bits");
    }
}

fn agrees(name: &str, inputs: &[Tensor], f: impl Fn(&Place, &[Tensor]) -> Result<Tensor>) {
    agrees_with(name, inputs, &[], &f);
}

#[test]
#[ignore = "needs an NVIDIA GPU: cargo xtask gpu-check"]
fn gpu_elementwise() -> Result<()> {
    for (n, c) in [(3, 33), (130, 576), (40, 2048)] {
        let (x, w) = (noise(&[n, c], 1)?, noise(&[c], 2)?);
        agrees("rms_norm", std::slice::from_ref(&x), |p, t| rms_norm(&t[0], &p.put(&w), 1e-5, WeightGrad::Frozen));
        agrees("rms_norm, f32 weight", std::slice::from_ref(&x), |p, t| {
            rms_norm(&t[0], &w.to_device(p.device)?, 1e-5, WeightGrad::Frozen)
        });
        let up = noise(&[n, c], 3)?;
        for activation in [Activation::Silu, Activation::GeluTanh] {
            agrees("gated", &[x.clone(), up.clone()], |_, t| gated(&t[0], &t[1], activation));
        }
        let dropout = Dropout { p: 0.3, stream: Stream::new(3, 1, Purpose::Dropout, 4), first_row: 2 };
        agrees("dropped", &[x.reshape((1, n, c))?], |_, t| dropped(&t[0], dropout));
    }
    let table = noise(&[16, 3], 4)?;
    let (cos, sin) = (table.cos()?, table.sin()?);
    for positions in
        [Positions::From(2), Positions::Rows(vec![1, 5]), Positions::Tokens((0..14).map(|t| t % 9).collect())]
    {
        agrees("rope", &[noise(&[2, 7, 3, 8], 5)?], |p, t| {
            rope(&t[0], &cos.to_device(p.device)?, &sin.to_device(p.device)?, &positions)
        });
    }
    let w = noise(&[31, 48], 6)?;
    agrees("embedding", &[noise(&[7, 48], 1)?], |p, t| {
        Ok((embedding(&[4, 30, 0, 4, 7, 7, 1], &p.put(&w), WeightGrad::Frozen)? + &t[0])?)
    });
    agrees("pick_rows", &[noise(&[7, 48], 1)?], |_, t| pick_rows(&t[0], &[0, 2, 6]));
    Ok(())
}

#[test]
#[ignore = "needs an NVIDIA GPU: cargo xtask gpu-check"]
fn gpu_linears() -> Result<()> {
    for (n, o, i, r) in [(5, 7, 33, 3), (130, 96, 64, 8), (61, 40, 40, 5), (256, 320, 576, 16), (70, 64, 96, 24)] {
        let (x, w, b) = (noise(&[2, n, i], 1)?, noise(&[o, i], 2)?, noise(&[o], 3)?);
        agrees("frozen_linear", std::slice::from_ref(&x), |p, t| frozen_linear(&t[0], &p.put(&w), Some(&p.put(&b))));
        agrees("full_linear", &[x.clone(), w.clone()], |_, t| full_linear(&t[0], &t[1], None));
        // As where every weight trains: weights in f32 whatever the activations are.
        agrees_with("full_linear, bias", &[x.clone(), w.clone(), b.clone()], &[1, 2], &|_, t| {
            full_linear(&t[0], &t[1], Some(&t[2]))
        });
        let (la, lb) = (noise(&[r, i], 4)?, noise(&[o, r], 5)?);
        let dropout = Dropout { p: 0.3, stream: Stream::new(3, 1, Purpose::Dropout, 4), first_row: 2 };
        for dropout in [None, Some(dropout)] {
            agrees_with("lora_linear", &[x.clone(), la.clone(), lb.clone()], &[1, 2], &|p, t| {
                lora_linear(&t[0], &p.put(&w), Some(&p.put(&b)), &t[1], &t[2], 1.7, dropout)
            });
        }
        let values = host(&w);
        let four = |kind, scales| Quantization::FourBit { kind, scales, compute: Dtype::Auto };
        for (name, form) in [
            ("int8", Quantization::EightBit),
            ("nf4", four(FourBitType::Nf4, Scales::Plain)),
            ("nf4, double", four(FourBitType::Nf4, Scales::Double)),
            ("fp4", four(FourBitType::Fp4, Scales::Plain)),
        ] {
            for rounding in [Rounding::F32, Rounding::Bf16] {
                let matrix = Arc::new(Quantised::new(&values, (o, i), form, rounding)?);
                // To the last bit.
                let device = super::Gpu::of_tensor(&Tensor::zeros(1, DType::F32, gpu())?)?;
                let there = device.dequantised(&matrix, DType::F32)?.into_tensor((o, i));
                assert_eq!(host(&there), host(&matrix.dequantise()?), "{name} {rounding:?}");
                if rounding == Rounding::Bf16 {
                    agrees(name, std::slice::from_ref(&x), |_, t| frozen_linear(&t[0], &matrix, None));
                }
            }
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs an NVIDIA GPU: cargo xtask gpu-check"]
fn gpu_attention() -> Result<()> {
    let within: &[[&[usize]; 2]] = &[[&[150], &[3, 70, 64]]];
    // Across tiles of 128; and short runs, of whose keys one block adds up several query heads on Hopper.
    let across: &[[&[usize]; 2]] = &[[&[300], &[129, 128, 30]], [&[40, 1, 64, 50, 33, 100], &[128, 20, 7, 66, 3, 60]]];
    for (heads, kv_heads, size, t, batches) in [
        (4, 2, 6, 150, within),
        (3, 3, 80, 150, within),
        (4, 2, 64, 150, within),
        (6, 2, 128, 150, within),
        (2, 1, 256, 150, within),
        (4, 2, 64, 300, across),
        (12, 2, 128, 300, across),
    ] {
        let qkv =
            [noise(&[2, t, heads, size], 1)?, noise(&[2, t, kv_heads, size], 2)?, noise(&[2, t, kv_heads, size], 3)?];
        let scale = 1.0 / (size as f32).sqrt();
        for (window, soft_cap) in [(None, None), (Some(40), None), (Some(100), Some(0.7)), (None, Some(2.0))] {
            let sight = Sight { scale, window, soft_cap };
            let name = format!("attention {size}, {t} tokens, window {}", window.unwrap_or(0));
            agrees(&name, &qkv, |_, t| causal_attention(&t[0], &t[1], &t[2], sight, None));
            for lengths in batches {
                let spans = Spans::from_rows(lengths, t)?;
                agrees(&name, &qkv, |_, t| causal_attention(&t[0], &t[1], &t[2], sight, Some(&spans)));
            }
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs an NVIDIA GPU: cargo xtask gpu-check"]
fn gpu_cross_entropy() -> Result<()> {
    for (n, v, c) in [(5, 11, 8), (37, 1301, 64), (300, 5000, 96)] {
        let (hidden, head) = (noise(&[n, c], 1)?, noise(&[v, c], 2)?);
        let targets: Vec<u32> = (0..n).map(|i| ((i * 7 + 3) % v) as u32).collect();
        for cap in [None, Some(3.0)] {
            agrees("linear_cross_entropy", std::slice::from_ref(&hidden), |p, t| {
                linear_cross_entropy(&t[0], &p.put(&head), &targets, cap, WeightGrad::Frozen)
            });
            agrees("linear_cross_entropy, trained head", &[hidden.clone(), head.clone()], |_, t| {
                linear_cross_entropy(&t[0], &t[1], &targets, cap, WeightGrad::Trained)
            });
            let here = token_logprobs(&hidden, &head, &targets, cap)?;
            let there = token_logprobs(&hidden.to_device(gpu())?, &head.to_device(gpu())?, &targets, cap)?;
            assert!(here.iter().zip(&there).all(|(a, b)| (a - b).abs() < 1e-4), "token_logprobs");
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs an NVIDIA GPU: cargo xtask gpu-check"]
fn gpu_few_rows() -> Result<()> {
    let small = |dims: &[usize], lane: u64| -> Result<Tensor> { Ok((noise(dims, lane)? * 0.2)?) };
    for (c, f, r) in [(40, 56, 3), (96, 160, 8), (576, 1000, 40)] {
        let mlp = [small(&[f, c], 1)?, small(&[f, c], 2)?, small(&[c, f], 3)?];
        let (norm, biases) = (noise(&[c], 4)?, [noise(&[f], 5)?, noise(&[f], 6)?, noise(&[c], 7)?]);
        let ab = [small(&[r, c], 8)?, small(&[f, r], 9)?, small(&[r, f], 10)?, small(&[c, r], 11)?];
        for n in [1, 2, 5, 8, 9, 16, 17] {
            let x = noise(&[n, 1, c], 12)?;
            agrees("frozen_linear, few rows", std::slice::from_ref(&x), |p, t| {
                frozen_linear(&t[0], &p.put(&mlp[0]), Some(&p.put(&biases[0])))
            });
            agrees_with("mlp_block, few rows", &[std::slice::from_ref(&x), &ab].concat(), &[1, 2, 3, 4], &|p, t| {
                let on: Vec<Tensor> = mlp.iter().map(|w| p.put(w)).collect();
                // One bias is f32 whatever the activations are.
                let bias = [biases[0].to_device(p.device)?, p.put(&biases[1]), p.put(&biases[2])];
                let part = |k: usize| Projection { weight: (&on[k]).into(), bias: Some(&bias[k]), adapter: None };
                let gate = Projection { adapter: adapter(&t[1], &t[2], None), ..part(0) };
                let down = Projection { adapter: adapter(&t[3], &t[4], None), ..part(2) };
                let norm = p.put(&norm);
                let block = MlpBlock {
                    before: Some(FrozenNorm { weight: &norm, eps: 1e-5 }),
                    inputs: Inputs::Separate([gate, part(1)]),
                    activation: Activation::Silu,
                    down,
                    after: None,
                    joined: None,
                    width: f,
                };
                mlp_block(&t[0], &block)
            });
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs an NVIDIA GPU: cargo xtask gpu-check"]
fn gpu_decode_attention() -> Result<()> {
    let lengths = [1, 2, 37, 300, 3000];
    for (heads, kv_heads, size) in [(4, 2, 6), (3, 3, 80), (4, 2, 64), (12, 2, 128), (2, 1, 256)] {
        let (rows, width) = (lengths.len(), kv_heads * size);
        let all = |lane| lengths.iter().map(move |n| noise(&[*n, kv_heads, size], lane + *n as u64));
        let (keys, values) = (all(1).collect::<Result<Vec<_>>>()?, all(2).collect::<Result<Vec<_>>>()?);
        let q = noise(&[rows, 1, heads, size], 3)?;
        for (window, soft_cap) in [(None, None), (Some(40), None), (None, Some(2.0)), (Some(700), Some(0.7))] {
            let sight = Sight { scale: 1.0 / (size as f32).sqrt(), window, soft_cap };
            for (dtype, bound) in [(DType::F32, F32), (DType::BF16, BF16)] {
                let place = Place { device: gpu(), dtype };
                let rounded = |t: &Tensor| host(&t.to_dtype(DType::BF16).unwrap());
                let held: Vec<_> = keys.iter().zip(&values).map(|(k, v)| (rounded(k), rounded(v))).collect();
                let held: Vec<_> = held.iter().map(|(k, v)| CachedRow { keys: k, values: v }).collect();
                let here = q.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
                let want = decode_attention(&here, &held, kv_heads, sight)?;

                let device = super::Gpu::of_device(gpu())?;
                let mut caches = Vec::new();
                for (k, v) in keys.iter().zip(&values) {
                    let before = k.dim(0)? - 1;
                    // In the second of two layers.
                    let mut cache = super::Cache::new(device, (2, width), 1 + before, dtype)?;
                    let (k, v) =
                        (place.put(&k.narrow(0, 0, before.max(1))?), place.put(&v.narrow(0, 0, before.max(1))?));
                    super::read_gpu!(device, k = k);
                    super::read_gpu!(device, v = v);
                    cache.fill(device, 1, k.part(0, before * width), v.part(0, before * width))?;
                    caches.push(cache);
                }
                let last = |all: &[Tensor]| -> Result<Tensor> {
                    let last: Vec<Tensor> =
                        all.iter().map(|t| t.narrow(0, t.dim(0).unwrap() - 1, 1).unwrap()).collect();
                    Ok(place.put(&Tensor::cat(&last, 0)?))
                };
                let step = device.step_caches(caches.iter_mut())?;
                let (on_q, k, v) = (place.put(&q), last(&keys)?, last(&values)?);
                super::read_gpu!(device, on_q = on_q);
                super::read_gpu!(device, k = k);
                super::read_gpu!(device, v = v);
                let shape = (heads, kv_heads, size);
                let run =
                    || device.decode_attention(&step, 1, (on_q, k, v), shape, sight).map(|y| y.into_tensor(q.shape()));
                let got = run()?;
                let worst = off(&got, &want);
                eprintln!("gpu decode_attention {size} {dtype:?}: {worst:.1e}");
                assert!(worst <= bound, "{size} {window:?} {dtype:?}: {worst}");
                assert_eq!(host(&run()?), host(&got), "other bits");
            }
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs an NVIDIA GPU: cargo xtask gpu-check"]
fn gpu_best_logits() -> Result<()> {
    let best = |rows: &[&[f32]]| -> Result<Vec<Option<u32>>> {
        let (v, all) = (rows[0].len(), rows.concat());
        let logits = Tensor::from_vec(all, (rows.len(), v), gpu())?;
        let device = super::Gpu::of_tensor(&logits)?;
        super::read_gpu!(device, logits = logits);
        Ok(device.best_logits(logits, v)?)
    };
    let low = [f32::NEG_INFINITY; 3];
    let got = best(&[&[1.0, 3.0, 3.0], &[f32::NAN, 3.0, 3.0], &low, &[-2.0, -1.0, -1.5], &[0.0, f32::INFINITY, 1.0]])?;
    assert_eq!(got, [Some(1), None, Some(0), Some(1), Some(1)]);
    // Equals far apart, and beside the largest by a little less.
    let many: Vec<f32> =
        (0..70_001).map(|i| if i % 20_000 == 11_111 { 7.5 } else { (i % 997) as f32 / 200.0 }).collect();
    assert_eq!(best(&[&many])?, [Some(11_111)]);
    Ok(())
}

fn adapter<'a>(a: &'a Tensor, b: &'a Tensor, dropout: Option<Dropout>) -> Option<Adapter<'a>> {
    Some(Adapter { a, b, scaling: 1.5, dropout })
}

#[test]
#[ignore = "needs an NVIDIA GPU: cargo xtask gpu-check"]
fn gpu_blocks() -> Result<()> {
    let (rows, t, c, h, k, d, f, r) = (2, 70, 96, 4, 2, 64, 160, 8);
    let shape = |o: usize, i: usize, lane: u64| -> Result<Tensor> { Ok((noise(&[o, i], lane)? * 0.2)?) };
    let (q, o) = (h * d, c);
    let weights = [shape(q, c, 1)?, shape(k * d, c, 2)?, shape(k * d, c, 3)?, shape(o, q, 4)?];
    let joined = Tensor::cat(&weights[..3], 0)?;
    let mlp = [shape(f, c, 5)?, shape(f, c, 6)?, shape(c, f, 7)?];
    let norms = [noise(&[c], 8)?, noise(&[d], 9)?, noise(&[c], 10)?];
    let angles: Vec<f32> = (0..t * d / 2).map(|e| (e / (d / 2)) as f32 / (1 + e % (d / 2)) as f32).collect();
    let angles = Tensor::from_vec(angles, (t, d / 2), &Device::Cpu)?;
    let (cos, sin) = (angles.cos()?, angles.sin()?);
    let spans = Spans::from_rows(&[&[70][..], &[30, 33]], t)?;
    let x = noise(&[rows, t, c], 11)?;
    let ab = [
        shape(r, c, 12)?,
        shape(q, r, 13)?,
        shape(r, q, 14)?,
        shape(c, r, 15)?,
        shape(r, c, 16)?,
        shape(f, r, 17)?,
        shape(r, c, 18)?,
        shape(k * d, r, 19)?,
    ];
    let dropout = Dropout { p: 0.2, stream: Stream::new(3, 1, Purpose::Dropout, 4), first_row: 2 };
    for (name, after, normed, is_joined, dropout) in [
        ("llama", false, false, false, None),
        ("llama, dropout", false, false, false, Some(dropout)),
        ("gemma", true, true, false, None),
        ("phi", false, false, true, Some(dropout)),
    ] {
        agrees_with(
            &format!("attention_block, {name}"),
            &[std::slice::from_ref(&x), &ab[..4], &ab[6..]].concat(),
            &[1, 2, 3, 4, 5, 6],
            &|p, t| {
                let on: Vec<Tensor> = weights.iter().map(|w| p.put(w)).collect();
                let (joined, norm, heads, last) =
                    (p.put(&joined), p.put(&norms[0]), p.put(&norms[1]), p.put(&norms[2]));
                let (cos, sin) = (cos.to_device(p.device)?, sin.to_device(p.device)?);
                let plain = |w| Projection { weight: w, bias: None, adapter: None };
                let inputs = match is_joined {
                    true => Inputs::Joined(plain((&joined).into())),
                    false => Inputs::Separate([
                        Projection { adapter: adapter(&t[1], &t[2], dropout), ..plain((&on[0]).into()) },
                        plain((&on[1]).into()),
                        plain((&on[2]).into()),
                    ]),
                };
                let of_head = FrozenNorm { weight: &heads, eps: 1e-5 };
                let block = AttentionBlock {
                    before: Some(FrozenNorm { weight: &norm, eps: 1e-5 }),
                    inputs,
                    query_key: normed.then_some([of_head, of_head]),
                    rotation: Some(Turning { cos: &cos, sin: &sin, positions: &Positions::From(0) }),
                    output: Projection { adapter: adapter(&t[3], &t[4], dropout), ..plain((&on[3]).into()) },
                    after: after.then_some(FrozenNorm { weight: &last, eps: 1e-5 }),
                    heads: h,
                    kv_heads: k,
                    size: d,
                    sight: Sight::scaled(0.125),
                    joined: None,
                    spans: Some(&spans),
                };
                attention_block(&t[0], &block)
            },
        );
        agrees_with(&format!("mlp_block, {name}"), &[x.clone(), ab[4].clone(), ab[5].clone()], &[1, 2], &|p, t| {
            let on: Vec<Tensor> = mlp.iter().map(|w| p.put(w)).collect();
            let (norm, last) = (p.put(&norms[0]), p.put(&norms[2]));
            let plain = |w| Projection { weight: w, bias: None, adapter: None };
            let both = Tensor::cat(&on[..2], 0)?;
            let inputs = match is_joined {
                true => Inputs::Joined(plain((&both).into())),
                false => Inputs::Separate([
                    Projection { adapter: adapter(&t[1], &t[2], dropout), ..plain((&on[0]).into()) },
                    plain((&on[1]).into()),
                ]),
            };
            let block = MlpBlock {
                before: Some(FrozenNorm { weight: &norm, eps: 1e-5 }),
                inputs,
                activation: Activation::Silu,
                down: plain((&on[2]).into()),
                after: after.then_some(FrozenNorm { weight: &last, eps: 1e-5 }),
                joined: None,
                width: f,
            };
            mlp_block(&t[0], &block)
        });
    }
    Ok(())
}

#[test]
#[ignore = "needs an NVIDIA GPU: cargo xtask gpu-check"]
fn gpu_adamw() -> Result<()> {
    let steps = |device: &Device| -> Result<(Vec<f32>, f64)> {
        let vars = [("a.weight", noise(&[70, 9], 1)?), ("norm.weight", noise(&[5], 2)?)]
            .map(|(name, t)| (name.to_owned(), Var::from_tensor(&t.to_device(device).unwrap()).unwrap()));
        let config = AdamWConfig { weight_decay: 0.1, ..AdamWConfig::default() };
        let mut adamw = AdamW::new(vars.to_vec(), config);
        let mut norm = 0.0;
        for step in 0..5 {
            let mut gradients = Gradients::new();
            for part in 0..2 {
                let weights = vars
                    .iter()
                    .map(|(_, v)| noise(v.dims(), 10 + step + 5 * part)?.to_device(device).map_err(Into::into));
                let weights = weights.collect::<Result<Vec<_>>>()?;
                let loss = ((vars[0].1.as_tensor() * &weights[0])?.sum_all()?
                    + (vars[1].1.as_tensor() * &weights[1])?.sum_all()?)?;
                gradients.add(&vars, &loss.backward()?)?;
            }
            norm = clip(&mut gradients, 1.0)?;
            adamw.step(&gradients, 1e-2)?;
        }
        let moments = adamw.state()?.into_iter().flat_map(|(_, t)| host(&t));
        Ok((vars.iter().flat_map(|(_, v)| host(v)).chain(moments).collect(), norm))
    };
    let ((here, norm), (there, gpu_norm)) = (steps(&Device::Cpu)?, steps(gpu())?);
    assert!((norm - gpu_norm).abs() < 1e-6 * norm, "{norm} {gpu_norm}");
    let worst = here.iter().zip(&there).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    eprintln!("gpu adamw: {worst:.1e}");
    assert!(here.len() == there.len() && worst < 1e-6, "{worst}");
    Ok(())
}
