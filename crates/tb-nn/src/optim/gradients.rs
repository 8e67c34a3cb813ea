//! Gradients of named parameters, summed in f32 over micro-batches in the order they are added.

use candle_core::Var;
use candle_core::backprop::GradStore;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::ops::slices::read;

/// Elements per partial sum of a norm.
const PIECE: usize = 1 << 14;

/// One f32 sum per parameter, in the order of the parameters given at the start.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    entries: Vec<(String, Vec<f32>)>,
    micro_batches: usize,
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
            self.entries = parameters.iter().map(|(n, v)| (n.clone(), vec![0.0; v.elem_count()])).collect();
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
            read!(grad = grad);
            sum.par_chunks_mut(PIECE).zip(grad.par_chunks(PIECE)).for_each(|(s, g)| {
                for (s, g) in s.iter_mut().zip(g) {
                    *s += g;
                }
            });
        }
        self.micro_batches += 1;
        Ok(())
    }

    /// Name and summed gradient of each parameter, flattened row-major.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.entries.iter().map(|(n, g)| (n.as_str(), g.as_slice()))
    }

    /// Micro-batches added so far.
    #[must_use]
    pub fn micro_batches(&self) -> usize {
        self.micro_batches
    }

    /// The 2-norm of all gradients together, summed in f64 in a fixed order.
    #[must_use]
    pub fn global_norm(&self) -> f64 {
        self.entries.iter().map(|(_, g)| square_sum(g)).sum::<f64>().sqrt()
    }

    /// Multiplies every gradient.
    pub fn scale(&mut self, by: f64) {
        for (_, g) in &mut self.entries {
            g.par_chunks_mut(PIECE).for_each(|g| g.iter_mut().for_each(|v| *v *= by as f32));
        }
    }

    /// Whether no gradient is NaN or infinite.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        self.first_non_finite().is_none()
    }

    /// The name of the first parameter whose gradient holds a NaN or an infinity.
    #[must_use]
    pub fn first_non_finite(&self) -> Option<&str> {
        self.entries
            .iter()
            .find(|(_, g)| !g.par_chunks(PIECE).all(|g| g.iter().all(|v| v.is_finite())))
            .map(|(n, _)| n.as_str())
    }
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
        let all: Vec<_> = g.iter().map(|(n, v)| (n.to_owned(), v.to_vec())).collect();
        assert_eq!(all, [("a".to_owned(), vec![11.0, 11.0]), ("b".to_owned(), vec![4.0])]);
        assert!((g.global_norm() - 258f64.sqrt()).abs() < 1e-12);
        g.scale(0.5);
        assert_eq!(g.iter().next().unwrap().1, [5.5, 5.5]);
        assert!(g.is_finite());
        g.scale(f64::NAN);
        assert_eq!(g.first_non_finite(), Some("a"));
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
