//! Why a picture could not be made.

use std::path::PathBuf;

/// A chart was refused or could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// No series holds a finite point.
    #[error("the chart \"{title}\" has no point to draw; nothing was written")]
    NothingToDraw {
        /// Title of the chart.
        title: String,
    },
    /// A logarithmic axis cannot show values of zero or below, and there are no others.
    #[error("the chart \"{title}\" has no value above zero to show on a logarithmic axis; use the linear one")]
    NothingAboveZero {
        /// Title of the chart.
        title: String,
    },
    /// The picture is too small for its labels or too large to hold in memory.
    #[error("a chart of {width_px} x {height_px} px cannot be drawn; use 320 x 200 to 4000 x 4000")]
    Size {
        /// Width asked for.
        width_px: u32,
        /// Height asked for.
        height_px: u32,
    },
    /// The file could not be written.
    #[error("could not write the picture {path}: {source}; check that the folder exists and has space")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The drawing library failed.
    #[error("could not draw the picture: {reason}")]
    Draw {
        /// What the library said.
        reason: String,
    },
}
