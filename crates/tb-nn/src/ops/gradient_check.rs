//! For tests: inputs, comparisons, and gradients by central differences.

use candle_core::{DType, Device, Tensor, Var};
use tb_core::random::{Purpose, Stream};

use crate::error::Result;
use crate::random::uniform;

/// Values uniform in -1..1 that depend on the shape and `lane`.
pub(crate) fn noise(shape: &[usize], lane: u64) -> Result<Tensor> {
    uniform(shape, -1.0, 1.0, Stream::new(17, 0, Purpose::Init, lane))
}

fn values(t: &Tensor) -> Vec<f32> {
    t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Panics unless shapes are equal and every element agrees to `tolerance`, absolute below 1 and relative above.
pub(crate) fn assert_close(got: &Tensor, want: &Tensor, tolerance: f32) {
    assert_eq!(got.dims(), want.dims());
    for (i, (a, b)) in values(got).iter().zip(values(want)).enumerate() {
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "element {i}: {a} and {b}");
    }
}

/// A fixed weighting, so that the scalar differentiated sees every output differently.
fn weighted(y: &Tensor) -> Tensor {
    (y * noise(y.dims(), 99).unwrap()).unwrap().sum_all().unwrap()
}

/// Panics unless the gradients of sum(c * f(inputs)) agree with central differences: the norm of the difference is at most
/// 1e-3 of the norm of the gradient, over all elements of small inputs and over a spread of 60 of larger ones.
pub(crate) fn check(inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    const STEP: f32 = 1e-2;
    let vars: Vec<Var> = inputs.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
    let tracked: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let store = weighted(&f(&tracked).unwrap()).backward().unwrap();
    // The weighted sum in f64, so that only the op's own rounding is in the difference.
    let scalar = |inputs: &[Tensor]| -> f64 {
        let y = f(inputs).unwrap();
        let c = values(&noise(y.dims(), 99).unwrap());
        values(&y).iter().zip(c).map(|(y, c)| f64::from(*y) * f64::from(c)).sum()
    };
    for (which, input) in inputs.iter().enumerate() {
        let grad = store.get(&vars[which]).unwrap_or_else(|| panic!("input {which} has no gradient"));
        assert_eq!(grad.dims(), input.dims());
        let (grad, base) = (values(grad), values(input));
        let (mut off, mut size) = (0f64, 0f64);
        for e in (0..base.len()).step_by(base.len().div_ceil(60).max(1)) {
            let moved = |by: f32| {
                let mut changed = base.clone();
                changed[e] += by;
                let at = changed[e];
                let mut all = inputs.to_vec();
                all[which] = Tensor::from_vec(changed, input.dims(), &Device::Cpu).unwrap();
                (scalar(&all), f64::from(at))
            };
            let ((high, x1), (low, x0)) = (moved(STEP), moved(-STEP));
            let numeric = (high - low) / (x1 - x0);
            off += (numeric - f64::from(grad[e])).powi(2);
            size += numeric.powi(2);
        }
        let (off, size) = (off.sqrt(), size.sqrt());
        assert!(off <= 1e-3 * size + 1e-5, "input {which}: difference {off:e} of {size:e}");
    }
}

/// Panics unless result and gradients are the same bits on 1, 2 and 3 threads.
pub(crate) fn same_bits_on_any_threads(inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor> + Sync) {
    let run = |threads: usize| -> Vec<Vec<u32>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let vars: Vec<Var> = inputs.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
            let tracked: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
            let y = f(&tracked).unwrap();
            let store = (&y * noise(y.dims(), 99).unwrap()).unwrap().sum_all().unwrap().backward().unwrap();
            let grads = vars.iter().map(|v| store.get(v).unwrap().clone());
            std::iter::once(y.detach()).chain(grads).map(|t| values(&t).iter().map(|v| v.to_bits()).collect()).collect()
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
}
