//! Gradients of named parameters, summed in f32 over micro-batches in the order they are added.

use std::borrow::Cow;

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, Var};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::ops::slices::read;
use crate::profile;

/// Elements per partial sum of a norm.
const PIECE: usize = 1 << 14;

/// One f32 sum per parameter, in the order of the parameters given at the start.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    entries: Vec<(String, Sum)>,
    micro_batches: usize,
}

/// A name and values.
pub type Named<'a> = (&'a str, Cow<'a, [f32]>);

/// The sum of one parameter's gradients, where the parameter lies.
#[derive(Clone, Debug)]
pub(super) enum Sum {
    Host(Vec<f32>),
    /// f32 on a GPU, to be multiplied by a factor when it is used.
    Device(Tensor, f64),
}

impl Sum {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Host(values) => values.len(),
            Self::Device(tensor, _) => tensor.elem_count(),
        }
    }

    /// The values, flattened row-major.
    pub(super) fn values(&self) -> Result<Cow<'_, [f32]>> {
        Ok(match self {
            Self::Host(values) => Cow::Borrowed(values),
            Self::Device(tensor, factor) => {
                let values = tensor.flatten_all()?.to_vec1::<f32>()?;
                Cow::Owned(values.into_iter().map(|v| v * *factor as f32).collect())
            }
        })
    }
}

impl Gradients {
    /// No gradients yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the gradients of one micro-batch. Every call takes the same parameters in the same order; a parameter that
    /// received no gradient is an error that names it.
    pub fn add(&mut self, parameters: &[(String, Var)], store: &GradStore) -> Result<()> {
        if self.micro_batches == 0 {
            let first = |(name, var): &(String, Var)| {
                let Some(grad) = store.get(var) else { return Err(Error::NoGradient { name: name.clone() }) };
                let sum = match var.device().is_cpu() {
                    true => Sum::Host(vec![0.0; var.elem_count()]),
                    false => Sum::Device(grad.to_dtype(DType::F32)?.contiguous()?, 1.0),
                };
                Ok((name.clone(), sum))
            };
            self.entries = parameters.iter().map(first).collect::<Result<_>>()?;
        }
        let same = self.entries.len() == parameters.len()
            && self.entries.iter().zip(parameters).all(|((n, g), (m, v))| n == m && g.len() == v.elem_count());
        if !same {
            return Err(Error::State { what: "the parameters changed between two micro-batches".into() });
        }
        if let Some((name, _)) = parameters.iter().find(|(_, v)| store.get(v).is_none()) {
            return Err(Error::NoGradient { name: name.clone() });
        }
        for ((_, sum), (name, var)) in self.entries.iter_mut().zip(parameters) {
            let Some(grad) = store.get(var) else {
                return Err(Error::NoGradient { name: name.clone() });
            };
            match sum {
                Sum::Host(sum) => {
                    let _span = profile::span("sum of gradients");
                    read!(grad = grad);
                    sum.par_chunks_mut(PIECE).zip(grad.par_chunks(PIECE)).for_each(|(s, g)| {
                        for (s, g) in s.iter_mut().zip(g) {
                            *s += g;
                        }
                    });
                }
                // It holds this gradient already.
                Sum::Device(..) if self.micro_batches == 0 => {}
                Sum::Device(sum, _) => *sum = (&*sum + grad.to_dtype(DType::F32)?)?,
            }
        }
        self.micro_batches += 1;
        Ok(())
    }

    /// Name and summed gradient of each parameter, flattened row-major, copied from where it lies if need be.
    pub fn values(&self) -> Result<Vec<Named<'_>>> {
        self.entries.iter().map(|(n, g)| Ok((n.as_str(), g.values()?))).collect()
    }

    /// Name and sum of each parameter.
    pub(super) fn sums(&self) -> impl ExactSizeIterator<Item = (&str, &Sum)> {
        self.entries.iter().map(|(n, g)| (n.as_str(), g))
    }

    /// Micro-batches added so far.
    #[must_use]
    pub fn micro_batches(&self) -> usize {
        self.micro_batches
    }

    /// The 2-norm of all gradients together, summed in f64 in a fixed order.
    pub fn global_norm(&self) -> Result<f64> {
        #[cfg(feature = "cuda")]
        if let Some(sums) = gpu_square_sums(&self.entries)? {
            return Ok(sums.iter().sum::<f64>().sqrt());
        }
        let squares = self.entries.iter().map(|(_, g)| Ok(square_sum(&g.values()?)));
        Ok(squares.sum::<Result<f64>>()?.sqrt())
    }

    /// Multiplies every gradient.
    pub fn scale(&mut self, by: f64) {
        for (_, g) in &mut self.entries {
            match g {
                Sum::Host(g) => g.par_chunks_mut(PIECE).for_each(|g| g.iter_mut().for_each(|v| *v *= by as f32)),
                Sum::Device(_, factor) => *factor *= by,
            }
        }
    }

    /// Whether no gradient is NaN or infinite.
    pub fn is_finite(&self) -> Result<bool> {
        Ok(self.first_non_finite()?.is_none())
    }

    /// The name of the first parameter whose gradient holds a NaN or an infinity.
    pub fn first_non_finite(&self) -> Result<Option<&str>> {
        for (name, g) in &self.entries {
            if !g.values()?.par_chunks(PIECE).all(|g| g.iter().all(|v| v.is_finite())) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

/// The sum of squares of each gradient, where all of them lie on one GPU.
#[cfg(feature = "cuda")]
fn gpu_square_sums(entries: &[(String, Sum)]) -> Result<Option<Vec<f64>>> {
    let mut tensors = Vec::with_capacity(entries.len());
    for (_, sum) in entries {
        match sum {
            Sum::Device(tensor, factor) if tensor.device().is_cuda() => tensors.push((tensor, *factor)),
            Sum::Device(..) | Sum::Host(_) => return Ok(None),
        }
    }
    let Some((first, _)) = tensors.first() else { return Ok(None) };
    let gpu = crate::ops::gpu::Gpu::of_tensor(first)?;
    let sums = gpu.square_sums(&tensors.iter().map(|(tensor, _)| *tensor).collect::<Vec<_>>())?;
    // As the values are rounded after they were multiplied: a factor of 1 is exact.
    Ok(Some(sums.into_iter().zip(&tensors).map(|(sum, (_, factor))| sum * factor * factor).collect()))
}

fn square_sum(values: &[f32]) -> f64 {
    let parts: Vec<f64> =
        values.par_chunks(PIECE).map(|p| p.iter().map(|v| f64::from(*v) * f64::from(*v)).sum()).collect();
    parts.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};

    fn parameters() -> Result<Vec<(String, Var)>> {
        let var = |values: &[f32]| Var::from_tensor(&Tensor::new(values, &Device::Cpu)?);
        Ok(vec![("a".into(), var(&[1.0, 2.0])?), ("b".into(), var(&[3.0])?)])
    }

    #[test]
    fn micro_batches_add_up() -> Result<()> {
        let p = parameters()?;
        let mut g = Gradients::new();
        for factor in [1.0, 10.0] {
            let loss = ((p[0].1.sum_all()? * factor)? + (p[1].1.sum_all()? * 2.0)?)?;
            g.add(&p, &loss.backward()?)?;
        }
        let all: Vec<_> = g.values()?.into_iter().map(|(n, v)| (n.to_owned(), v.into_owned())).collect();
        assert_eq!(all, [("a".to_owned(), vec![11.0, 11.0]), ("b".to_owned(), vec![4.0])]);
        assert!((g.global_norm()? - 258f64.sqrt()).abs() < 1e-12);
        g.scale(0.5);
        assert_eq!(*g.values()?[0].1, [5.5, 5.5]);
        assert!(g.is_finite()?);
        g.scale(f64::NAN);
        assert_eq!(g.first_non_finite()?, Some("a"));
        Ok(())
    }

    #[test]
    fn a_parameter_outside_the_loss_is_named() -> Result<()> {
        let p = parameters()?;
        let error = Gradients::new().add(&p, &p[0].1.sum_all()?.backward()?).unwrap_err();
        assert!(matches!(error, Error::NoGradient { name } if name == "b"));
        Ok(())
    }
}
