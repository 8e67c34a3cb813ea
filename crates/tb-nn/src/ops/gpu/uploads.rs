//! Lists of numbers that the host sends: token ids, positions, tables of addresses. Each is copied by the device itself from memory that is pinned, behind
//! what was started before, so that the host never waits for it; a list that the next layer asks for again is sent once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Error, Result};
use cudarc::driver::{CudaEvent, CudaSlice, CudaStream, DevicePtr, PinnedHostSlice};

use super::{Gpu, driver};

/// Lists that are kept on the device.
const KEPT: usize = 16;
/// Numbers of one half of the pinned memory; longer lists go without it.
const HALF: usize = 1 << 18;

/// A list of numbers, and where it lies on the device.
type Sent = (Vec<u32>, Arc<CudaSlice<u32>>);

/// What was sent to a device, and the memory through which it goes.
#[derive(Default)]
pub(super) struct Uploads(Mutex<State>);

#[derive(Default)]
struct State {
    kept: VecDeque<Sent>,
    pinned: Option<Pinned>,
    /// While work is recorded: the lists that it reads.
    recording: Option<Vec<Arc<CudaSlice<u32>>>>,
}

/// Two halves of pinned memory, filled in turn.
struct Pinned {
    memory: PinnedHostSlice<u32>,
    half: usize,
    used: usize,
    /// Reached when everything that was written to the half has been copied.
    copied: [Option<CudaEvent>; 2],
}

impl Pinned {
    fn new(stream: &CudaStream) -> Result<Self> {
        // SAFETY: every number is written before it is read.
        let memory =
            unsafe { stream.context().alloc_pinned::<u32>(2 * HALF) }.map_err(|e| driver("pinned memory", e))?;
        Ok(Self { memory, half: 0, used: 0, copied: [None, None] })
    }

    /// Starts the copy of at most [`HALF`] numbers to `to`.
    fn send(&mut self, stream: &CudaStream, to: u64, numbers: &[u32]) -> Result<()> {
        let fail = |e| driver("copy", e);
        if self.used + numbers.len() > HALF {
            self.copied[self.half] = Some(stream.record_event(None).map_err(fail)?);
            (self.half, self.used) = (1 - self.half, 0);
            if let Some(copied) = self.copied[self.half].take() {
                copied.synchronize().map_err(fail)?;
            }
        }
        let at = self.half * HALF + self.used;
        self.used += numbers.len();
        // SAFETY: the place is inside the half, which nobody else has and whose earlier copies are over; it stays until this one is.
        unsafe {
            let place = self.memory.as_mut_ptr().map_err(fail)?.add(at);
            std::ptr::copy_nonoverlapping(numbers.as_ptr(), place, numbers.len());
            let place = std::slice::from_raw_parts(place, numbers.len());
            cudarc::driver::result::memcpy_htod_async(to, place, stream.cu_stream()).map_err(fail)
        }
    }
}

impl Uploads {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on lists must be there already; they are noted.
    pub(super) fn begin_recording(&self) {
        self.state().recording = Some(Vec::new());
    }

    /// The lists that were asked for since.
    pub(super) fn end_recording(&self) -> Vec<Arc<CudaSlice<u32>>> {
        self.state().recording.take().unwrap_or_default()
    }
}

impl Gpu {
    /// The numbers on the device; the same list is sent once.
    pub(crate) fn uploaded(&self, numbers: &[u32]) -> Result<Arc<CudaSlice<u32>>> {
        let mut state = self.uploads.state();
        let State { kept, recording, .. } = &mut *state;
        if let Some((_, slice)) = kept.iter().find(|(held, _)| held == numbers) {
            if let Some(lists) = recording {
                lists.push(Arc::clone(slice));
            }
            return Ok(Arc::clone(slice));
        }
        if recording.is_some() {
            return Err(Error::Msg("a list cannot be sent while work is recorded".into()));
        }
        // SAFETY: all of it is written before it is read.
        let slice = Arc::new(unsafe { self.device.alloc::<u32>(numbers.len()) }?);
        self.send(&mut state, &slice, numbers)?;
        if state.kept.len() == KEPT {
            state.kept.pop_front();
        }
        state.kept.push_back((numbers.to_vec(), Arc::clone(&slice)));
        Ok(slice)
    }

    /// Room for a list of numbers that [`Self::write`] fills; zeros at first.
    pub(crate) fn new_list(&self, len: usize) -> Result<Arc<CudaSlice<u32>>> {
        Ok(Arc::new(self.device.alloc_zeros::<u32>(len)?))
    }

    /// Writes the numbers at the beginning of a list, behind what was started before.
    pub(crate) fn write(&self, list: &CudaSlice<u32>, numbers: &[u32]) -> Result<()> {
        assert!(numbers.len() <= list.len(), "a list that is too long for its place");
        self.send(&mut self.uploads.state(), list, numbers)
    }

    fn send(&self, state: &mut State, list: &CudaSlice<u32>, numbers: &[u32]) -> Result<()> {
        let to = list.device_ptr(&self.stream).0;
        if numbers.len() > HALF {
            // SAFETY: the list has room; the driver has taken numbers of ordinary memory when the call returns.
            let copy = unsafe { cudarc::driver::result::memcpy_htod_async(to, numbers, self.stream.cu_stream()) };
            return copy.map_err(|e| driver("copy", e));
        }
        let pinned = match &mut state.pinned {
            Some(pinned) => pinned,
            none => none.insert(Pinned::new(&self.stream)?),
        };
        pinned.send(&self.stream, to, numbers)
    }
}
