//! The errors of this crate. Each names what was wrong (a file, a field, an operand), never only that something was.

use std::path::PathBuf;

/// The result of everything here that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in the maths, in a model folder or in a configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Candle refused an operation.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// An operand of an operation has the wrong shape.
    #[error("{op}: {operand} has shape {got}, expected {expected}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// The operand, by its name in the operation's formula.
        operand: &'static str,
        /// The shape it needs, in words or letters.
        expected: String,
        /// The shape it has.
        got: String,
    },
    /// A number given to an operation is out of its range.
    #[error("{op}: {what}")]
    Value {
        /// The operation.
        op: &'static str,
        /// Which number, and what it may be.
        what: String,
    },
    /// A trainable tensor received no gradient.
    #[error("`{name}` received no gradient: it takes no part in the loss")]
    NoGradient {
        /// The tensor's name.
        name: String,
    },
    /// A saved optimiser state does not belong to these parameters.
    #[error("optimiser state: {what}")]
    State {
        /// What is missing or does not fit.
        what: String,
    },
    /// A file could not be read or written, or holds something unexpected.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A field of a configuration has a value that cannot be used.
    #[error("`{field}`: {problem}")]
    Config {
        /// The field.
        field: String,
        /// What is wrong with its value.
        problem: String,
    },
}

impl From<tb_core::decoder_config::BadConfig> for Error {
    fn from(bad: tb_core::decoder_config::BadConfig) -> Self {
        Self::Config { field: bad.field, problem: bad.problem }
    }
}

impl Error {
    /// Whether memory ran out, on the host or on a device: with less to compute at once, the same would go through.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            Self::Candle(error) => crate::pressure::is_out_of_memory(error),
            Self::Shape { .. }
            | Self::Value { .. }
            | Self::NoGradient { .. }
            | Self::State { .. }
            | Self::File { .. }
            | Self::Config { .. } => false,
        }
    }

    /// A file error from anything that can be shown.
    pub fn file(path: impl Into<PathBuf>, problem: impl std::fmt::Display) -> Self {
        Self::File { path: path.into(), problem: problem.to_string() }
    }

    /// A configuration error.
    pub fn config(field: impl Into<String>, problem: impl std::fmt::Display) -> Self {
        Self::Config { field: field.into(), problem: problem.to_string() }
    }

    pub(crate) fn shape(op: &'static str, operand: &'static str, expected: impl Into<String>, got: &[usize]) -> Self {
        Self::Shape { op, operand, expected: expected.into(), got: format!("{got:?}") }
    }

    pub(crate) fn value(op: &'static str, what: impl Into<String>) -> Self {
        Self::Value { op, what: what.into() }
    }
}
