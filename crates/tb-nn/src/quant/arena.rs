//! Memory for weights that are read from end to end for every token: joined, and in large pages where the system has them, since with
//! small ones the processor looks up an address for every 4 KiB, and reading them takes a third longer.

use std::cell::RefCell;
use std::fmt::{Debug, Formatter};
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use half::f16;
use memmap2::{MmapMut, MmapOptions};

use crate::{Error, Result};

/// A large page; also where the memory begins in its map.
const PAGE: usize = 2 << 20;
/// What is taken from the system at once, unless more is needed. What is never written costs nothing.
const CHUNK: usize = 64 << 20;
/// Where a part may begin: a line of the cache.
const LINE: usize = 64;

/// Hands out parts of large maps; these live as long as the last of their parts.
#[derive(Default)]
pub(crate) struct Arena {
    /// The map that is being filled, and the first byte that is free.
    current: RefCell<Option<(Arc<MmapMut>, usize)>>,
}

/// Numbers for which all bits are values.
pub(crate) trait Plain: Copy + Send + Sync {}
impl Plain for i8 {}
impl Plain for f16 {}

/// A constant part of an arena.
pub(crate) struct Part<T> {
    map: Arc<MmapMut>,
    start: usize,
    len: usize,
    numbers: PhantomData<T>,
}

impl Arena {
    /// `len` numbers, zero at first, as `fill` leaves them.
    pub(crate) fn part<T: Plain>(&self, len: usize, fill: impl FnOnce(&mut [T])) -> Result<Part<T>> {
        let bytes = len * size_of::<T>();
        let mut current = self.current.borrow_mut();
        let (map, start) = match current.take() {
            Some((map, free)) if map.len() - free >= bytes => (map, free),
            Some(_) | None => new_map(bytes)?,
        };
        *current = Some((Arc::clone(&map), (start + bytes).next_multiple_of(LINE).min(map.len())));
        // SAFETY: these bytes lie inside the map, at a multiple of a line; they are in no other part, and nobody can read this one yet.
        fill(unsafe { std::slice::from_raw_parts_mut(map.as_ptr().add(start).cast_mut().cast(), len) });
        Ok(Part { map, start, len, numbers: PhantomData })
    }
}

/// A map with room for so many bytes, and where they begin.
fn new_map(bytes: usize) -> Result<(Arc<MmapMut>, usize)> {
    let len = bytes.max(CHUNK).next_multiple_of(PAGE) + PAGE;
    let map = MmapOptions::new().len(len).map_anon();
    let map = map.map_err(|e| Error::value("load", format!("no memory for {len} bytes of weights: {e}")))?;
    // Refused advice changes nothing but the speed.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    let start = (map.as_ptr() as usize).next_multiple_of(PAGE) - map.as_ptr() as usize;
    Ok((Arc::new(map), start))
}

impl<T: Plain> Deref for Part<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the part lies inside its map, and is never written again.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(self.start).cast(), self.len) }
    }
}

impl<T> Clone for Part<T> {
    fn clone(&self) -> Self {
        Self { map: Arc::clone(&self.map), numbers: PhantomData, ..*self }
    }
}

impl<T: Plain + PartialEq> PartialEq for Part<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T> Debug for Part<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_what_was_put_into_them() {
        let arena = Arena::default();
        let part = |n: usize, from: i8| arena.part::<i8>(n, |p| p.iter_mut().for_each(|v| *v += from)).unwrap();
        let parts: Vec<(usize, Part<i8>)> =
            [3, 64, 1, CHUNK, 5, CHUNK + 1].into_iter().enumerate().map(|(k, n)| (n, part(n, k as i8 + 1))).collect();
        drop(arena);
        for (k, (n, part)) in parts.iter().enumerate() {
            assert_eq!(part.as_ptr() as usize % LINE, 0);
            assert!(part.len() == *n && part.iter().all(|v| *v == k as i8 + 1));
        }
    }
}
