//! What ToneBridge shows and hands over: chart pictures, the chart palette and model cards.
//! Pictures and texts are made from plain values: no clock, no async, and no file is touched but the ones named.

pub mod error;
pub mod line_chart;
pub mod loss_chart;
pub mod model_card;
pub mod palette;
pub mod series;

mod canvas;
mod layout;
mod pen;
mod ticks;
mod typeface;

pub use error::ReportError;
pub use line_chart::{LineChart, Size, YScale};
pub use loss_chart::{LossChart, Smoothing, loss_chart};
pub use model_card::ModelCard;
pub use palette::Theme;
pub use series::{Series, Stroke};
