//! Linear layers against stock matmul, finite differences, and the rule that frozen weights get no gradient.

use candle_core::{DType, Result as CandleResult, Var};
use tb_core::random::{Purpose, Stream};

use super::*;
use crate::ops::gradient_check::{assert_close, check, noise, same_bits_on_any_threads};

const SHAPES: [(&[usize], usize); 4] = [(&[1, 1], 1), (&[2, 3, 5], 7), (&[70, 33], 19), (&[3, 1, 64], 65)];

fn plain(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> CandleResult<Tensor> {
    let y = x.broadcast_matmul(&w.t()?)?;
    b.map_or(Ok(y.clone()), |b| y.broadcast_add(b))
}

fn dropout(p: f32) -> Dropout {
    Dropout { p, stream: Stream::new(5, 1, Purpose::Dropout, 77), first_row: 2 }
}

/// The definition for x (..., T, I): word t I + i of the stream of row 2 + b, kept from p 2^32 on, and scaled.
fn masked(d: &Dropout, x: &[f32], row: usize) -> Vec<f32> {
    let word = |e: usize| d.stream.child(2 + (e / row) as u64).block_at((e % row / 4) as u32)[e % row % 4];
    let keep = |e: usize| f64::from(word(e)) >= f64::from(d.p) * 4_294_967_296.0 - 1.0;
    x.iter().enumerate().map(|(e, v)| if keep(e) { v / (1.0 - d.p) } else { 0.0 }).collect()
}

#[test]
fn dropout_does_not_depend_on_how_rows_are_cut_into_batches() -> Result<()> {
    for i in [64, 5] {
        let (w, a, b) = (noise(&[3, i], 2)?, noise(&[2, i], 4)?, noise(&[3, 2], 5)?);
        let x = noise(&[4, 70, i], 1)?;
        let of = |x: &Tensor, first_row| {
            let d = Dropout { first_row, ..dropout(0.3) };
            lora_linear(x, &w, None, &a, &b, 1.0, Some(d))
        };
        let whole = of(&x, 0)?;
        for (first, rows) in [(0, 1), (1, 2), (3, 1)] {
            // A narrower batch drops what the wider one drops in the same places.
            let part = x.narrow(0, first, rows)?.narrow(1, 0, 66)?.contiguous()?;
            assert_close(
                &of(&part, first as u32)?,
                &whole.narrow(0, first, rows)?.narrow(1, 0, 66)?.contiguous()?,
                1e-5,
            );
        }
    }
    Ok(())
}

#[test]
fn frozen_and_full_agree_with_stock_matmul_and_finite_differences() -> Result<()> {
    for (shape, o) in SHAPES {
        let i = *shape.last().unwrap();
        let (x, w, b) = (noise(shape, 1)?, noise(&[o, i], 2)?, noise(&[o], 3)?);
        for bias in [None, Some(&b)] {
            let want = plain(&x, &w, bias)?;
            assert_close(&frozen_linear(&x, &w, bias)?, &want, 1e-5);
            assert_close(&full_linear(&x, &w, bias)?, &want, 1e-5);
            check(std::slice::from_ref(&x), |t| frozen_linear(&t[0], &w, bias));
        }
        check(&[x.clone(), w.clone()], |t| full_linear(&t[0], &t[1], None));
        check(&[x, w, b], |t| full_linear(&t[0], &t[1], Some(&t[2])));
    }
    Ok(())
}

#[test]
fn lora_adds_the_scaled_product_and_has_the_right_gradients() -> Result<()> {
    for (shape, o) in SHAPES {
        let i = *shape.last().unwrap();
        for r in [1, 3, 8, 64] {
            let (x, w, bias) = (noise(shape, 1)?, noise(&[o, i], 2)?, noise(&[o], 3)?);
            let (a, b) = (noise(&[r, i], 4)?, noise(&[o, r], 5)?);
            let want = (plain(&x, &w, Some(&bias))? + (plain(&plain(&x, &a, None)?, &b, None)? * 1.7)?)?;
            assert_close(&lora_linear(&x, &w, Some(&bias), &a, &b, 1.7, None)?, &want, 3e-5);
            check(&[x, a, b], |t| lora_linear(&t[0], &w, Some(&bias), &t[1], &t[2], 1.7, None));
        }
    }
    Ok(())
}

#[test]
fn lora_dropout_masks_the_adapter_input_alone() -> Result<()> {
    for (shape, o) in SHAPES {
        let i = *shape.last().unwrap();
        let (x, w) = (noise(shape, 1)?, noise(&[o, i], 2)?);
        let (a, b) = (noise(&[3, i], 4)?, noise(&[o, 3], 5)?);
        let d = dropout(0.3);
        let row = shape.iter().rev().take(2).product();
        let masked = masked(&d, &x.flatten_all()?.to_vec1()?, row);
        let masked = Tensor::from_vec(masked, shape, x.device())?;
        let want = (plain(&x, &w, None)? + (plain(&plain(&masked, &a, None)?, &b, None)? * 0.5)?)?;
        assert_close(&lora_linear(&x, &w, None, &a, &b, 0.5, Some(d))?, &want, 3e-5);
        check(&[x, a, b], |t| lora_linear(&t[0], &w, None, &t[1], &t[2], 0.5, Some(d)));
    }
    Ok(())
}

#[test]
fn dropped_is_what_the_adapter_sees() -> Result<()> {
    for (shape, o) in SHAPES {
        let i = *shape.last().unwrap();
        let (x, d) = (noise(shape, 1)?, dropout(0.3));
        let (a, b) = (noise(&[3, i], 4)?, noise(&[o, 3], 5)?);
        let alone = plain(&plain(&dropped(&x, d)?, &a, None)?, &b, None)?;
        let w = Tensor::zeros((o, i), DType::F32, x.device())?;
        assert_close(&lora_linear(&x, &w, None, &a, &b, 1.0, Some(d))?, &alone, 3e-5);
        check(&[x], |t| dropped(&t[0], d));
    }
    Ok(())
}

#[test]
fn frozen_weights_receive_no_gradient_and_an_untracked_input_neither() -> Result<()> {
    let (x, w) = (Var::from_tensor(&noise(&[4, 6], 1)?)?, Var::from_tensor(&noise(&[5, 6], 2)?)?);
    let (a, b) = (Var::from_tensor(&noise(&[2, 6], 3)?)?, Var::from_tensor(&noise(&[5, 2], 4)?)?);
    let grads = lora_linear(&x, &w, None, &a, &b, 1.0, None)?.sum_all()?.backward()?;
    assert!(grads.get(&w).is_none());
    assert!([&x, &a, &b].iter().all(|v| grads.get(v).is_some()));
    let fixed = noise(&[4, 6], 1)?;
    let grads = lora_linear(&fixed, &w, None, &a, &b, 1.0, Some(dropout(0.1)))?.sum_all()?.backward()?;
    assert!(grads.get(&fixed).is_none() && grads.get(&a).is_some() && grads.get(&b).is_some());
    let grads = frozen_linear(&x, &w, None)?.sum_all()?.backward()?;
    assert!(grads.get(&w).is_none() && grads.get(&x).is_some());
    Ok(())
}

#[test]
fn bf16_weights_and_activations_are_near_f32() -> Result<()> {
    // 600 x 900 is several widened panels.
    let (x, w) = (noise(&[40, 600], 1)?, (noise(&[900, 600], 2)? * 0.05)?);
    let narrow = w.to_dtype(DType::BF16)?;
    let wide = narrow.to_dtype(DType::F32)?;
    // A few rows are multiplied as they are; more are rounded to bf16 where the processor multiplies so.
    let few = x.narrow(0, 0, 9)?.contiguous()?;
    assert_close(&frozen_linear(&few, &narrow, None)?, &frozen_linear(&few, &wide, None)?, 1e-5);
    assert_close(&frozen_linear(&x, &narrow, None)?, &frozen_linear(&x, &wide, None)?, 0.01);
    let v = Var::from_tensor(&x)?;
    let got = frozen_linear(&v, &narrow, None)?.sqr()?.sum_all()?.backward()?;
    let want = frozen_linear(&v, &wide, None)?.sqr()?.sum_all()?.backward()?;
    assert_close(got.get(&v).unwrap(), want.get(&v).unwrap(), 0.01);
    let y = frozen_linear(&x.to_dtype(DType::BF16)?, &narrow, None)?;
    assert_eq!(y.dtype(), DType::BF16);
    assert_close(&y, &frozen_linear(&x, &wide, None)?, 0.03);
    Ok(())
}

#[test]
fn same_bits_on_any_number_of_threads() -> Result<()> {
    let w = noise(&[48, 96], 2)?;
    for d in [None, Some(dropout(0.1))] {
        same_bits_on_any_threads(&[noise(&[300, 96], 1)?, noise(&[8, 96], 3)?, noise(&[48, 8], 4)?], |t| {
            lora_linear(&t[0], &w, None, &t[1], &t[2], 2.0, d)
        });
    }
    Ok(())
}

#[test]
fn operands_that_do_not_fit_are_refused() -> Result<()> {
    let (x, w) = (noise(&[2, 3], 1)?, noise(&[4, 3], 2)?);
    assert!(matches!(frozen_linear(&w.t()?, &w, None), Err(Error::Shape { operand: "x", .. })));
    assert!(matches!(frozen_linear(&x, &w, Some(&noise(&[3], 1)?)), Err(Error::Shape { operand: "bias", .. })));
    let (a, b) = (noise(&[2, 3], 1)?, noise(&[4, 2], 1)?);
    assert!(matches!(lora_linear(&x, &w, None, &b, &b, 1.0, None), Err(Error::Shape { operand: "A", .. })));
    assert!(matches!(lora_linear(&x, &w, None, &a, &a, 1.0, None), Err(Error::Shape { operand: "B", .. })));
    assert!(matches!(lora_linear(&x, &w, None, &a, &b, 1.0, Some(dropout(1.0))), Err(Error::Value { .. })));
    Ok(())
}
