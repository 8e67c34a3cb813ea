//! Work that is written down once and started as a whole, as a CUDA graph: a step of decoding is hundreds of small kernels, and starting each by
//! itself takes the host longer than the device needs for all of them.
//!
//! What a recording reads and writes keeps its place: inputs are copied in before it is started, results are copied out. Memory that its
//! operations take and give back in between belongs to the graph.

use std::sync::Arc;

use candle_core::Result;
use cudarc::driver::{CudaGraph, CudaSlice, sys};

use super::{Gpu, driver};
use crate::{Error, pressure};

/// Work of a device that can be started again.
pub(crate) struct Recording {
    graph: CudaGraph,
    /// Lists that its kernels read.
    _lists: Vec<Arc<CudaSlice<u32>>>,
}

// SAFETY: a graph may be started from any thread, by one at a time: whoever holds a recording needs it for himself to start it.
unsafe impl Send for Recording {}

impl Recording {
    /// Starts it, behind what was started before.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.graph.launch().map_err(|e| driver("a recorded step", e))
    }
}

impl Gpu {
    /// Writes down what `work` starts, without doing it; meanwhile nobody else may use the device, or his work is written down too. It must have been done just before, so that kernels are loaded and lists are on the device;
    /// whatever it takes must be given back when it returns, and it may not wait for the device. None where the driver cannot write it down.
    pub(crate) fn recorded(&self, work: impl FnOnce() -> crate::Result<()>) -> crate::Result<Option<Recording>> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        self.stream.begin_capture(mode).map_err(|e| driver("recording", e))?;
        self.uploads.begin_recording();
        let done = work();
        let kept = self.uploads.end_recording();
        let graph = self.stream.end_capture(sys::CUgraphInstantiate_flags(0));
        // What the driver refused in between must not be said of the next call.
        let refused = self.stream.context().check_err().is_err();
        match (done, graph) {
            (Ok(()), Ok(Some(graph))) if !refused => Ok(Some(Recording { graph, _lists: kept })),
            (Err(Error::Candle(e)), _) if pressure::is_out_of_memory(&e) => Err(e.into()),
            (_, _) => Ok(None),
        }
    }
}
