//! Training of every weight of a loaded model.

use super::param::Parameter;
use super::{Decoder, WeightsKey};
use crate::{Error, Result};
use candle_core::{DType, Var};

impl Decoder {
    /// Makes every weight a variable in f32; a tied output layer stays the embedding. The model computes in f32 from now on.
    ///
    /// Errors: a model with an adapter, one that is trained in full already, a quantised one, or one that was loaded to answer.
    pub fn train_all(&mut self) -> Result<()> {
        self.check_not_to_answer("train_all")?;
        self.check_bare()?;
        if self.quantization.is_some() {
            return Err(Error::value("train_all", "the base is quantised: load it unquantised to train every weight"));
        }
        self.model.replace(&mut |_, parameter| {
            let values = parameter.tensor().detach().to_dtype(DType::F32)?;
            Ok(Some(Parameter::Trained(Var::from_tensor(&values)?)))
        })?;
        self.dtype = DType::F32;
        self.base_key = WeightsKey::next();
        Ok(())
    }
}
