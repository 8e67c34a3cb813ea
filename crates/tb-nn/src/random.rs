//! Tensors of random numbers: each element is a function of the stream and its index, filled in parallel.

use candle_core::{Device, Shape, Tensor};
use rayon::prelude::*;
use tb_core::random::{Stream, unit_f32};

use crate::error::Result;

/// Blocks (of four words) per parallel piece.
const BLOCKS: usize = 4096;

fn fill(shape: Shape, stream: Stream, four: impl Fn([u32; 4]) -> [f32; 4] + Sync) -> Result<Tensor> {
    let mut values = vec![0f32; shape.elem_count()];
    values.par_chunks_mut(4 * BLOCKS).enumerate().for_each(|(piece, values)| {
        for (i, out) in values.chunks_mut(4).enumerate() {
            let numbers = four(stream.block_at((piece * BLOCKS + i) as u32));
            for (v, x) in out.iter_mut().zip(numbers) {
                *v = x;
            }
        }
    });
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// f32 values uniform in `lo..hi`.
pub fn uniform(shape: impl Into<Shape>, lo: f64, hi: f64, stream: Stream) -> Result<Tensor> {
    fill(shape.into(), stream, |words| words.map(|w| (lo + (hi - lo) * f64::from(unit_f32(w))) as f32))
}

/// f32 values normal with mean 0 and the given standard deviation (Box-Muller, both of each pair).
pub fn normal(shape: impl Into<Shape>, std: f64, stream: Stream) -> Result<Tensor> {
    fill(shape.into(), stream, |[a, b, c, d]| {
        let pair = |u: u32, v: u32| {
            let radius = (-2.0 * ((f64::from(u) + 1.0) / 4_294_967_296.0).ln()).sqrt() * std;
            let (sin, cos) = (std::f64::consts::TAU * f64::from(v) / 4_294_967_296.0).sin_cos();
            [(radius * cos) as f32, (radius * sin) as f32]
        };
        let ([a, b], [c, d]) = (pair(a, b), pair(c, d));
        [a, b, c, d]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tb_core::random::Purpose;

    fn moments(t: &Tensor) -> Result<(f64, f64)> {
        let xs = t.flatten_all()?.to_vec1::<f32>()?;
        let mean = xs.iter().map(|x| f64::from(*x)).sum::<f64>() / xs.len() as f64;
        Ok((mean, xs.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / xs.len() as f64))
    }

    #[test]
    fn moments_are_those_of_the_distributions() -> Result<()> {
        let stream = Stream::new(1, 0, Purpose::Init, 3);
        let (mean, var) = moments(&normal((300, 301), 0.5, stream)?)?;
        assert!(mean.abs() < 0.006 && (var - 0.25).abs() < 0.005, "{mean} {var}");
        let (mean, var) = moments(&uniform((300, 301), -1.0, 1.0, stream)?)?;
        assert!(mean.abs() < 0.01 && (var - 1.0 / 3.0).abs() < 0.005, "{mean} {var}");
        Ok(())
    }

    #[test]
    fn a_longer_tensor_begins_with_the_shorter_one() -> Result<()> {
        let stream = Stream::new(9, 0, Purpose::Init, 0);
        let short = uniform(101, 0.0, 1.0, stream)?.to_vec1::<f32>()?;
        let long = uniform(40_000, 0.0, 1.0, stream)?.to_vec1::<f32>()?;
        assert_eq!(short, long[..101]);
        Ok(())
    }
}
