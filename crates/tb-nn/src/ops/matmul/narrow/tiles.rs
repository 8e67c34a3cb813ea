//! By AMX, which multiplies tiles of 16 by 32 values with tiles of 32 by 16: [Intel's manual, volume 1, chapter 18]. Its intrinsics are not
//! stable, so the instructions are written as assembly.
//!
//! [Intel's manual, volume 1, chapter 18]: https://www.intel.com/content/www/us/en/developer/articles/technical/intel-sdm.html

use std::arch::asm;
use std::arch::x86_64::*;
use std::sync::OnceLock;

use super::pack::{Piece, for_pieces};
use super::{DEPTH, Operands, bf16};

/// Values of C along each side of a block of two by two tiles.
const BLOCK: usize = 32;
/// Vectors of 16 lanes across a block.
const VECTORS: usize = 2;
/// Values of k in one packed piece: 64 KiB, a small part of the second-level cache.
const PIECE: usize = 1024;

/// Whether this processor has the tiles, and the system lets this process use them.
pub(super) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| super::available() && has_tiles() && are_permitted())
}

fn has_tiles() -> bool {
    /// Bits of EDX in leaf 7: AMX-BF16, AMX-TILE.
    const BITS: u32 = 1 << 22 | 1 << 24;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & BITS == BITS
}

/// Linux saves the tiles of a thread only in a process that asked for them (ARCH_REQ_XCOMP_PERM for XFEATURE_XTILE_DATA).
#[cfg(target_os = "linux")]
fn are_permitted() -> bool {
    // SAFETY: a system call without pointers.
    unsafe { libc::syscall(libc::SYS_arch_prctl, 0x1023, 18) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn are_permitted() -> bool {
    false
}

/// # Safety
/// [`available`]; c is valid for M x L writes, and initialised where it is added to.
pub(super) unsafe fn product(operands: Operands) {
    let Operands { a, c, stride, .. } = operands;
    let blocks = |Piece { packed, first, count, from, steps, add }: Piece| {
        let _tiles = Tiles::configured();
        for row in (0..a.rows).step_by(BLOCK) {
            let rows = BLOCK.min(a.rows - row);
            let a = a.tiles(row, from);
            // SAFETY: the instructions are available, the tiles configured; the block lies inside a and c.
            unsafe {
                let to = c.at(row * stride + first);
                if (rows, count) == (BLOCK, BLOCK) {
                    block(a, packed, steps, (to, stride), add);
                } else {
                    part(a, packed, steps, (to, stride), (rows, count), add);
                }
            }
        }
    };
    // SAFETY: the caller's promise.
    unsafe { for_pieces::<VECTORS>(operands, PIECE, blocks) };
}

/// The tiles of this thread, while they are in use: eight of 16 rows of 64 bytes.
struct Tiles;

impl Tiles {
    fn configured() -> Self {
        #[repr(C, align(64))]
        struct Config {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            bytes: [u16; 16],
            rows: [u8; 16],
        }
        let mut config = Config { palette: 1, start_row: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] };
        config.bytes[..8].fill(64);
        config.rows[..8].fill(16);
        // SAFETY: only where the instructions are available; the 64 bytes are read.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, preserves_flags, readonly)) };
        Self
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: they were configured.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) };
    }
}

/// A block of 32 by 32: c [+]= a b, of `steps` times 32 values of k.
///
/// # Safety
/// The tiles are configured; at `a` begin as many pairs of tiles, `packed` holds as many pairs of k, 32 rows of `c` hold 32 values, initialised
/// where `add`.
#[inline]
unsafe fn block(a: *const bf16, packed: &[__m512i], steps: usize, (c, c_row): (*mut f32, usize), add: bool) {
    // SAFETY: the caller's promise. No compiled code uses the tiles.
    unsafe {
        asm!(
            "test {add}, {add}",
            "jnz 2f",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "jmp 3f",
            "2:",
            "tileloadd tmm0, [{c} + {c_row}]",
            "tileloadd tmm1, [{c} + {c_row} + 64]",
            "tileloadd tmm2, [{c_low} + {c_row}]",
            "tileloadd tmm3, [{c_low} + {c_row} + 64]",
            "3:",
            "tileloadd tmm4, [{a} + {a_row}]",
            "tileloadd tmm6, [{b} + {b_row}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b} + {b_row} + 64]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{a} + {a_row} + 1024]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a}, 2048",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 3b",
            "tilestored [{c} + {c_row}], tmm0",
            "tilestored [{c} + {c_row} + 64], tmm1",
            "tilestored [{c_low} + {c_row}], tmm2",
            "tilestored [{c_low} + {c_row} + 64], tmm3",
            add = in(reg) usize::from(add),
            a = inout(reg) a => _,
            a_row = in(reg) size_of::<[bf16; DEPTH]>(),
            b = inout(reg) packed.as_ptr() => _,
            b_row = in(reg) 64 * VECTORS,
            c = in(reg) c,
            c_low = in(reg) c.add(16 * c_row),
            c_row = in(reg) 4 * c_row,
            steps = inout(reg) steps => _,
            options(nostack),
        );
    }
}

/// As [`block`], of which only `rows` by `count` values exist in c.
///
/// # Safety
/// As [`block`], with the values that exist.
unsafe fn part(
    a: *const bf16,
    packed: &[__m512i],
    steps: usize,
    (c, c_row): (*mut f32, usize),
    (rows, count): (usize, usize),
    add: bool,
) {
    let mut whole = [0f32; BLOCK * BLOCK];
    // SAFETY: the block has its own room; what exists is copied from and to c. Added to in the tiles as in a whole block: a row has the same
    // bits wherever it lies.
    unsafe {
        for (row, values) in whole.chunks_exact_mut(BLOCK).enumerate().take(if add { rows } else { 0 }) {
            values.as_mut_ptr().copy_from_nonoverlapping(c.add(row * c_row), count);
        }
        block(a, packed, steps, (whole.as_mut_ptr(), BLOCK), add);
        for (row, values) in whole.chunks_exact(BLOCK).enumerate().take(rows) {
            c.add(row * c_row).copy_from_nonoverlapping(values.as_ptr(), count);
        }
    }
}
