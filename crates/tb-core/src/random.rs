//! The one random source: a counter-based generator (Philox4x32-10) keyed by seed, step and purpose.
//!
//! Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011. The value at a position depends on
//! nothing but (seed, step, purpose, position), so a run that is killed and resumed, or split over threads,
//! draws what the uncut run draws. No state is saved and no clock is read.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// What a stream of numbers is for. Two purposes never share numbers, even at the same seed and step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
#[repr(u32)]
pub enum Purpose {
    /// Initial values of a weight; the position of the stream is keyed by the weight's name.
    Init = 1,
    /// Dropout masks.
    Dropout = 2,
    /// Order of rows in an epoch.
    Shuffle = 3,
    /// Choice of the next token.
    Sampling = 4,
    /// Assignment of rows to splits.
    Split = 5,
    /// Resampling of measurements.
    Bootstrap = 6,
    /// Text made by a grammar.
    Grammar = 7,
    /// Noise on embedded tokens.
    Noise = 8,
}

/// A stream of random numbers; cheap to make, cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    used: u8,
}

/// The parts of a [`Stream`]'s key and counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// The key: the seed.
    pub key: u64,
    /// The upper half of the counter: purpose, step and lane hashed.
    pub lane: u64,
    /// The second word of the counter.
    pub purpose: u32,
}

const M0: u32 = 0xD251_1F53;
const M1: u32 = 0xCD9E_8D57;
const W0: u32 = 0x9E37_79B9;
const W1: u32 = 0xBB67_AE85;

/// One Philox4x32-10 block: ten rounds over a 128-bit counter with a 64-bit key.
#[inline]
#[must_use]
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(W0), key[1].wrapping_add(W1)];
        }
        let p0 = u64::from(M0) * u64::from(counter[0]);
        let p1 = u64::from(M1) * u64::from(counter[2]);
        counter =
            [(p1 >> 32) as u32 ^ counter[1] ^ key[0], p1 as u32, (p0 >> 32) as u32 ^ counter[3] ^ key[1], p0 as u32];
    }
    counter
}

/// FNV-1a over a name, so that a weight's initial values do not depend on the order of creation.
#[must_use]
pub fn name_key(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

impl Stream {
    /// The stream of `purpose` at `step`; `lane` tells apart streams of one purpose (a layer, a row, a name's hash).
    #[must_use]
    pub fn new(seed: u64, step: u64, purpose: Purpose, lane: u64) -> Self {
        // The seed is the key. Purpose, step and lane are hashed into the upper counter words; the lowest counts blocks.
        let mut mix = name_key("tonebridge");
        for word in [purpose as u64, step, lane] {
            mix = splitmix(mix ^ word);
        }
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            counter: [0, purpose as u32, mix as u32, (mix >> 32) as u32],
            block: [0; 4],
            used: 4,
        }
    }

    /// The stream of part `index` of this one (a row, a sample): parts share no numbers with each other or with the whole.
    #[inline]
    #[must_use]
    pub fn child(&self, index: u64) -> Self {
        let lane = u64::from(self.counter[3]) << 32 | u64::from(self.counter[2]);
        let mix = splitmix(lane ^ splitmix(!index));
        Self { counter: [0, self.counter[1], mix as u32, (mix >> 32) as u32], block: [0; 4], used: 4, ..*self }
    }

    /// What the stream's numbers depend on, for a device that computes them itself.
    #[must_use]
    pub fn words(&self) -> Words {
        Words {
            key: u64::from(self.key[1]) << 32 | u64::from(self.key[0]),
            lane: u64::from(self.counter[3]) << 32 | u64::from(self.counter[2]),
            purpose: self.counter[1],
        }
    }

    /// The four words at block `index`, without moving the stream: for filling tensors in parallel.
    #[inline]
    #[must_use]
    pub fn block_at(&self, index: u32) -> [u32; 4] {
        philox4x32([index, self.counter[1], self.counter[2], self.counter[3]], self.key)
    }

    /// The next 32 random bits.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox4x32(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        let word = self.block[usize::from(self.used)];
        self.used += 1;
        word
    }

    /// The next 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) << 32 | u64::from(self.next_u32())
    }

    /// Uniform in [0, 1) with 24 bits.
    #[inline]
    pub fn uniform_f32(&mut self) -> f32 {
        unit_f32(self.next_u32())
    }

    /// Uniform in [0, 1) with 53 bits.
    #[inline]
    pub fn uniform_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A standard normal value (Box–Muller; one of the pair).
    pub fn normal_f32(&mut self) -> f32 {
        let u = 1.0 - self.uniform_f64();
        let v = self.uniform_f64();
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
    }

    /// Uniform in 0..n without bias (Lemire, 2019). `n` of 0 gives 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(n);
            if (wide as u64) >= n.wrapping_neg() % n {
                return (wide >> 64) as u64;
            }
        }
    }

    /// One of the items; `None` of an empty slice.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u64) as usize)
    }

    /// Fisher–Yates in place.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

/// A permutation of 0..n: the order of rows in `epoch`.
#[must_use]
pub fn permutation(n: usize, seed: u64, epoch: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    Stream::new(seed, epoch, Purpose::Shuffle, 0).shuffle(&mut order);
    order
}

/// 32 random bits as a number in [0, 1) with 24 bits.
#[inline]
#[must_use]
pub fn unit_f32(bits: u32) -> f32 {
    (bits >> 8) as f32 / (1u32 << 24) as f32
}

fn splitmix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the reference implementation (Random123, kat_vectors, philox4x32 10).
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn purposes_and_steps_do_not_share_numbers() {
        let first = |step, purpose| Stream::new(7, step, purpose, 0).next_u64();
        assert_ne!(first(1, Purpose::Dropout), first(2, Purpose::Dropout));
        assert_ne!(first(1, Purpose::Dropout), first(1, Purpose::Sampling));
        assert_eq!(first(3, Purpose::Init), first(3, Purpose::Init));
    }

    #[test]
    fn children_do_not_share_numbers() {
        let parent = Stream::new(7, 1, Purpose::Dropout, 3);
        let mut seen: Vec<[u32; 4]> = (0..100).map(|i| parent.child(i).block_at(0)).collect();
        seen.extend([parent.block_at(0), parent.child(0).child(0).block_at(0), parent.child(1).child(0).block_at(0)]);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 103);
        assert_eq!(parent.child(4).next_u64(), parent.child(4).next_u64());
    }

    #[test]
    fn permutation_holds_every_row_once_and_differs_by_epoch() {
        let mut a = permutation(1000, 42, 0);
        assert_ne!(a, permutation(1000, 42, 1));
        a.sort_unstable();
        assert!(a.iter().enumerate().all(|(i, v)| i as u32 == *v));
    }

    #[test]
    fn normal_has_mean_zero_and_variance_one() {
        let mut s = Stream::new(1, 0, Purpose::Init, 0);
        let xs: Vec<f64> = (0..20_000).map(|_| f64::from(s.normal_f32())).collect();
        let mean = xs.iter().sum::<f64>() / xs.len() as f64;
        let var = xs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / xs.len() as f64;
        assert!(mean.abs() < 0.03 && (var - 1.0).abs() < 0.04, "{mean} {var}");
    }
}
