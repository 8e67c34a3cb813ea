//! Clipping by the norm of all gradients together, as torch.nn.utils.clip_grad_norm_ does.

use super::Gradients;
use crate::error::Result;

/// Scales the gradients by min(1, max_norm / (norm + 1e-6)) and returns the norm before.
pub fn clip(gradients: &mut Gradients, max_norm: f64) -> Result<f64> {
    let norm = gradients.global_norm()?;
    let factor = max_norm / (norm + 1e-6);
    if factor < 1.0 {
        gradients.scale(factor);
    }
    Ok(norm)
}
