//! Attention against the plain formula built from stock Candle ops, and against finite differences.

use candle_core::{D, DType, Device, IndexOp};

use super::*;
use crate::ops::gradient_check::{assert_close, check, noise, same_bits_on_any_threads};

/// softmax(cap(scale q k') + mask) v by stock ops; k and v repeated over the query heads.
fn plain(q: &Tensor, k: &Tensor, v: &Tensor, sight: Sight) -> Result<Tensor> {
    let (b, t, h, d) = q.dims4()?;
    let repeat = h / k.dim(2)?;
    let spread = |x: &Tensor| -> Result<Tensor> {
        let k = x.dim(2)?;
        Ok(x.unsqueeze(3)?.expand((b, t, k, repeat, d))?.reshape((b, t, h, d))?.transpose(1, 2)?.contiguous()?)
    };
    let scores = (q.transpose(1, 2)?.contiguous()?.matmul(&spread(k)?.t()?)? * f64::from(sight.scale))?; // (B, H, T, T)
    let scores = match sight.soft_cap {
        None => scores,
        Some(cap) => ((scores / f64::from(cap))?.tanh()? * f64::from(cap))?,
    };
    let window = sight.window.unwrap_or(t);
    let seen = |query: usize, key: usize| key <= query && key + window > query;
    let mask: Vec<f32> = (0..t * t).map(|e| if seen(e / t, e % t) { 0.0 } else { f32::NEG_INFINITY }).collect();
    let scores = scores.broadcast_add(&Tensor::from_vec(mask, (t, t), &Device::Cpu)?)?;
    let p = candle_nn::ops::softmax(&scores, D::Minus1)?;
    Ok(p.matmul(&spread(v)?)?.transpose(1, 2)?.contiguous()?)
}

fn case(b: usize, t: usize, h: usize, k: usize, d: usize) -> Result<[Tensor; 3]> {
    Ok([noise(&[b, t, h, d], 1)?, noise(&[b, t, k, d], 2)?, noise(&[b, t, k, d], 3)?])
}

#[test]
fn agrees_with_the_plain_formula_over_several_tiles() -> Result<()> {
    for (b, t, h, k, d) in [(1, 1, 1, 1, 2), (2, 5, 3, 1, 4), (1, 65, 4, 2, 8), (2, 130, 6, 6, 5), (1, 600, 2, 1, 16)] {
        let [q, key, v] = case(b, t, h, k, d)?;
        assert_close(
            &causal_attention(&q, &key, &v, Sight::scaled(0.7), None)?,
            &plain(&q, &key, &v, Sight::scaled(0.7))?,
            5e-6,
        );
    }
    Ok(())
}

#[test]
fn gradients_agree_with_finite_differences() -> Result<()> {
    for (b, t, h, k, d) in [(1, 1, 1, 1, 2), (2, 5, 3, 1, 4), (1, 67, 4, 2, 3), (1, 9, 4, 4, 6)] {
        check(&case(b, t, h, k, d)?, |x| causal_attention(&x[0], &x[1], &x[2], Sight::scaled(0.6), None));
    }
    Ok(())
}

#[test]
fn gradients_over_several_key_tiles_agree_with_the_plain_formula() -> Result<()> {
    let vars: Vec<_> = case(1, 300, 4, 2, 8)?.iter().map(|t| candle_core::Var::from_tensor(t).unwrap()).collect();
    let weight = noise(&[1, 300, 4, 8], 9)?;
    let ours =
        (causal_attention(&vars[0], &vars[1], &vars[2], Sight::scaled(0.4), None)? * &weight)?.sum_all()?.backward()?;
    let want = (plain(&vars[0], &vars[1], &vars[2], Sight::scaled(0.4))? * &weight)?.sum_all()?.backward()?;
    for v in &vars {
        assert_close(ours.get(v).unwrap(), want.get(v).unwrap(), 2e-5);
    }
    Ok(())
}

#[test]
fn padding_is_not_attended_and_gives_zero() -> Result<()> {
    let [q, k, v] = case(3, 7, 2, 1, 4)?;
    let spans = Spans::from_lengths(&[7, 4, 0], 7)?;
    let y = causal_attention(&q, &k, &v, Sight::scaled(0.5), Some(&spans))?;
    let short = causal_attention(&q.i((1..2, ..4))?, &k.i((1..2, ..4))?, &v.i((1..2, ..4))?, Sight::scaled(0.5), None)?;
    assert_close(&y.i((1..2, ..4))?, &short, 1e-6);
    assert_eq!(y.i((1, 4..))?.abs()?.sum_all()?.to_scalar::<f32>()?, 0.0);
    assert_eq!(y.i(2)?.abs()?.sum_all()?.to_scalar::<f32>()?, 0.0);
    check(&[q, k, v], |x| causal_attention(&x[0], &x[1], &x[2], Sight::scaled(0.5), Some(&spans)));
    Ok(())
}

#[test]
fn packed_runs_have_the_bits_of_rows_of_their_own() -> Result<()> {
    // Runs that begin inside tiles, one longer than a tile, padding at the end.
    let lengths = [3, 70, 1, 130];
    let width = 210;
    let vars: Vec<_> = case(1, width, 4, 2, 8)?.iter().map(|t| candle_core::Var::from_tensor(t).unwrap()).collect();
    let weight = noise(&[1, width, 4, 8], 9)?;
    let packed = Spans::from_rows(&[lengths], width)?;
    let y = causal_attention(&vars[0], &vars[1], &vars[2], Sight::scaled(0.4), Some(&packed))?;
    let grads = (&y * &weight)?.sum_all()?.backward()?;
    let bits = |t: &Tensor| -> Result<Vec<u32>> {
        Ok(t.flatten_all()?.to_vec1::<f32>()?.iter().map(|v| v.to_bits()).collect())
    };
    let mut at = 0;
    for n in lengths {
        let cut = |t: &Tensor| Ok::<_, Error>(t.i((.., at..at + n))?.contiguous()?);
        let alone: Vec<_> =
            vars.iter().map(|v| Ok(candle_core::Var::from_tensor(&cut(v)?)?)).collect::<Result<Vec<_>>>()?;
        let want = causal_attention(&alone[0], &alone[1], &alone[2], Sight::scaled(0.4), None)?;
        assert_eq!(bits(&cut(&y)?)?, bits(&want)?);
        let wanted = (want * cut(&weight)?)?.sum_all()?.backward()?;
        for (v, alone) in vars.iter().zip(&alone) {
            assert_eq!(bits(&cut(grads.get(v).unwrap())?)?, bits(wanted.get(alone).unwrap())?);
        }
        at += n;
    }
    assert_eq!(y.i((0, at..))?.abs()?.sum_all()?.to_scalar::<f32>()?, 0.0);
    Ok(())
}

#[test]
fn block_diagonal_gradients_agree_with_finite_differences() -> Result<()> {
    let spans = Spans::from_rows(&[vec![2, 3], vec![1, 2]], 6)?;
    check(&case(2, 6, 4, 2, 3)?, |x| causal_attention(&x[0], &x[1], &x[2], Sight::scaled(0.6), Some(&spans)));
    Ok(())
}

#[test]
fn bf16_is_near_f32_and_any_number_of_threads_gives_the_same_bits() -> Result<()> {
    let [q, k, v] = case(2, 70, 6, 2, 8)?;
    let narrow = |t: &Tensor| t.to_dtype(DType::BF16);
    let y = causal_attention(&narrow(&q)?, &narrow(&k)?, &narrow(&v)?, Sight::scaled(0.4), None)?;
    assert_eq!(y.dtype(), DType::BF16);
    assert_close(&y, &causal_attention(&q, &k, &v, Sight::scaled(0.4), None)?, 0.05);
    same_bits_on_any_threads(&[q, k, v], |x| causal_attention(&x[0], &x[1], &x[2], Sight::scaled(0.4), None));
    Ok(())
}

/// Windows shorter than a tile, as long as one, over several, and one that is longer than the text; with and without a cap.
#[test]
fn windows_and_caps_agree_with_the_plain_formula() -> Result<()> {
    for (t, window, soft_cap) in [
        (1, Some(1), None),
        (9, Some(1), Some(0.3)),
        (9, Some(4), None),
        (9, None, Some(0.5)),
        (130, Some(64), Some(1.5)),
        (300, Some(7), None),
        (330, Some(257), Some(2.0)),
        (330, Some(1000), None),
    ] {
        let sight = Sight { scale: 0.7, window, soft_cap };
        let vars: Vec<_> = case(1, t, 4, 2, 6)?.iter().map(|t| candle_core::Var::from_tensor(t).unwrap()).collect();
        let (ours, want) =
            (causal_attention(&vars[0], &vars[1], &vars[2], sight, None)?, plain(&vars[0], &vars[1], &vars[2], sight)?);
        assert_close(&ours, &want, 5e-6);
        let weight = noise(&[1, t, 4, 6], 9)?;
        let (ours, want) = ((ours * &weight)?.sum_all()?.backward()?, (want * &weight)?.sum_all()?.backward()?);
        for v in &vars {
            assert_close(ours.get(v).unwrap(), want.get(v).unwrap(), 2e-5);
        }
    }
    let sight = Sight { scale: 0.6, window: Some(3), soft_cap: Some(0.8) };
    let spans = Spans::from_rows(&[vec![7], vec![3, 2]], 7)?;
    check(&case(2, 7, 4, 2, 3)?, |x| causal_attention(&x[0], &x[1], &x[2], sight, Some(&spans)));
    Ok(())
}

#[test]
fn wrong_heads_and_spans_are_refused() -> Result<()> {
    let [q, k, v] = case(1, 4, 4, 3, 2)?;
    assert!(matches!(causal_attention(&q, &k, &v, Sight::scaled(1.0), None), Err(Error::Shape { .. })));
    let [q, k, v] = case(1, 4, 4, 2, 2)?;
    assert!(matches!(Spans::from_lengths(&[5], 4), Err(Error::Value { .. })));
    assert!(matches!(Spans::from_rows(&[[2, 3]], 4), Err(Error::Value { .. })));
    let two_rows = Spans::from_lengths(&[4, 4], 4)?;
    assert!(matches!(causal_attention(&q, &k, &v, Sight::scaled(1.0), Some(&two_rows)), Err(Error::Value { .. })));
    for wrong in [Sight { window: Some(0), ..Sight::scaled(1.0) }, Sight { soft_cap: Some(0.0), ..Sight::scaled(1.0) }]
    {
        assert!(matches!(causal_attention(&q, &k, &v, wrong, None), Err(Error::Value { .. })));
    }
    Ok(())
}
