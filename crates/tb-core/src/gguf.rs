//! The head of a GGUF file, llama.cpp's model format: metadata, and the name, shape, number type and place of each tensor.
//!
//! Everything is checked before anything is allocated, so that a hostile file costs a few kilobytes and an error. What the metadata say
//! of a model is in `gguf/config.rs` (and back in `gguf/metadata.rs`), what its tensors are called in `gguf/names.rs`; values of tensors are tb-nn's, tokenizers tb-data's.
//! Layout: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

pub mod config;
pub mod metadata;
pub mod names;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, SeekFrom};

pub use write::head_bytes;

/// The first four bytes.
pub const MAGIC: [u8; 4] = *b"GGUF";
/// The version that is written; 2 is laid out the same way.
pub const VERSION: u32 = 3;
/// Where tensors may begin, unless `general.alignment` says otherwise.
pub const DEFAULT_ALIGNMENT: u64 = 32;

/// Longest name of a key or tensor.
const MAX_NAME_BYTES: u64 = 4096;
/// Longest text of the metadata; chat templates are far shorter.
const MAX_TEXT_BYTES: u64 = 4 << 20;
/// Longest list of the metadata; the largest vocabularies have a quarter of a million entries, and merges a little more.
const MAX_ITEMS: u64 = 4 << 20;
/// All metadata and tensor entries together.
const MAX_HEAD_BYTES: u64 = 256 << 20;
const MAX_ALIGNMENT: u64 = 1 << 20;
const MAX_AXES: u32 = 4;
/// Fewest bytes of an entry: an empty key, the type and a byte of value; a name of one byte, one axis, type and offset.
const MIN_PAIR_BYTES: u64 = 8 + 4 + 1;
const MIN_TENSOR_BYTES: u64 = 8 + 1 + 4 + 8 + 4 + 8;

/// Why a GGUF file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is damaged, or holds something that this program does not know.
    #[error("{0}")]
    Bad(String),
}

type Result<T> = std::result::Result<T, GgufError>;

pub(crate) fn bad<T>(what: impl Into<String>) -> Result<T> {
    Err(GgufError::Bad(what.into()))
}

/// A number format of tensors, by blocks along the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum TensorType {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

impl TensorType {
    /// Every supported format.
    pub const ALL: [Self; 13] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// Its number in files.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q2K => 10,
            Self::Q3K => 11,
            Self::Q4K => 12,
            Self::Q5K => 13,
            Self::Q6K => 14,
            Self::Bf16 => 30,
        }
    }

    /// Its name, as llama.cpp writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// Values of one block.
    #[must_use]
    pub const fn block_values(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of one block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.code() == code)
    }
}

/// A value of the metadata, in the type of the file: other readers insist on it.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    Text(String),
    /// A list of whole numbers of any width; written as i32 where all fit.
    Integers(Vec<i64>),
    /// A list of numbers; written as f32.
    Floats(Vec<f32>),
    Bools(Vec<bool>),
    Texts(Vec<String>),
}

/// Where a tensor lies and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The format of its values.
    pub kind: TensorType,
    /// Its shape, rows first as in every other place of this program (files have the row's length first).
    pub shape: Vec<usize>,
    /// First byte, counted from [`Header::data_start`].
    pub offset: u64,
    /// Bytes of its values.
    pub size_bytes: u64,
}

/// Everything before the values of the tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Format version, 2 or 3.
    pub version: u32,
    /// Metadata by key.
    pub metadata: BTreeMap<String, Value>,
    /// Tensors by name.
    pub tensors: BTreeMap<String, TensorInfo>,
    /// First byte of the values.
    pub data_start: u64,
    /// Size of the file.
    pub file_bytes: u64,
}

impl Header {
    /// Reads and checks the head of a file.
    ///
    /// # Errors
    /// [`GgufError`]: every length, count, type and offset is checked against the file's size before it is believed.
    pub fn read(file: &mut (impl Read + Seek)) -> Result<Self> {
        let file_bytes = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(0))?;
        let mut source = Source { inner: io::BufReader::new(file), at: 0, end: file_bytes.min(MAX_HEAD_BYTES) };
        if source.bytes::<4>()? != MAGIC {
            return bad("it is no GGUF file");
        }
        let version = source.u32()?;
        match version {
            2 | 3 => {}
            1 => return bad("it is of version 1, which is not supported: convert the model with a newer llama.cpp"),
            _ if version.swap_bytes() <= 3 => return bad("its numbers are big-endian, which is not supported"),
            _ => return bad(format!("its version {version} is not known")),
        }
        let tensor_count = source.count("tensors", MIN_TENSOR_BYTES)?;
        let pair_count = source.count("metadata entries", MIN_PAIR_BYTES)?;
        let mut metadata = BTreeMap::new();
        for _ in 0..pair_count {
            let key = source.name("a key of the metadata")?;
            let value = source.value(&key)?;
            if metadata.insert(key.clone(), value).is_some() {
                return bad(format!("its key `{key}` stands there twice"));
            }
        }
        let alignment = match metadata.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(Value::U32(n)) if n.is_power_of_two() && u64::from(*n) <= MAX_ALIGNMENT => u64::from(*n),
            Some(other) => return bad(format!("its `general.alignment` {other:?} is no usable power of two")),
        };
        let mut tensors = BTreeMap::new();
        for _ in 0..tensor_count {
            let name = source.name("the name of a tensor")?;
            let info = source.tensor(&name)?;
            if info.offset % alignment != 0 {
                return bad(format!("tensor `{name}` begins at {}, which is no multiple of {alignment}", info.offset));
            }
            if tensors.insert(name.clone(), info).is_some() {
                return bad(format!("tensor `{name}` stands there twice"));
            }
        }
        let data_start = source.at.next_multiple_of(alignment);
        check_places(&tensors, file_bytes.saturating_sub(data_start))?;
        Ok(Self { version, metadata, tensors, data_start, file_bytes })
    }

    /// Text of the metadata; none if the key is absent.
    ///
    /// # Errors
    /// Another type.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => bad(format!("its key `{key}` is not a text")),
        }
    }

    /// A whole number of the metadata from 0; none if the key is absent. A list whose items are all equal counts as that item.
    ///
    /// # Errors
    /// Another type, or a number below 0 or above 2^31.
    pub fn count(&self, key: &str) -> Result<Option<usize>> {
        let number = match self.metadata.get(key) {
            None => return Ok(None),
            Some(Value::U8(n)) => i128::from(*n),
            Some(Value::I8(n)) => i128::from(*n),
            Some(Value::U16(n)) => i128::from(*n),
            Some(Value::I16(n)) => i128::from(*n),
            Some(Value::U32(n)) => i128::from(*n),
            Some(Value::I32(n)) => i128::from(*n),
            Some(Value::U64(n)) => i128::from(*n),
            Some(Value::I64(n)) => i128::from(*n),
            Some(Value::Integers(items)) => match items.split_first() {
                Some((first, rest)) if rest.iter().all(|n| n == first) => i128::from(*first),
                _ => return bad(format!("its key `{key}` differs from layer to layer, which is not supported")),
            },
            Some(_) => return bad(format!("its key `{key}` is not a whole number")),
        };
        match usize::try_from(number) {
            Ok(n) if n < 1 << 31 => Ok(Some(n)),
            _ => bad(format!("its key `{key}` has the impossible value {number}")),
        }
    }

    /// A number of the metadata; none if the key is absent. An f32 is read as the decimal that stands for it.
    ///
    /// # Errors
    /// Another type, or a value that is not finite.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        let number = match self.metadata.get(key) {
            None => return Ok(None),
            Some(Value::F32(x)) => decimal(*x),
            Some(Value::F64(x)) => *x,
            Some(_) => match self.count(key)? {
                Some(n) => n as f64,
                None => return Ok(None),
            },
        };
        if number.is_finite() { Ok(Some(number)) } else { bad(format!("its key `{key}` is not finite")) }
    }

    /// Yes or no; none if the key is absent.
    ///
    /// # Errors
    /// Another type.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => bad(format!("its key `{key}` is not true or false")),
        }
    }

    /// The values of a small f32 tensor; none if there is no tensor of this name.
    ///
    /// # Errors
    /// [`GgufError::Io`], another format, or more than 65,536 values.
    pub fn small_tensor(&self, file: &mut (impl Read + Seek), name: &str) -> Result<Option<Vec<f32>>> {
        let Some(info) = self.tensors.get(name) else { return Ok(None) };
        if info.kind != TensorType::F32 || info.size_bytes > 4 << 16 {
            return bad(format!("tensor `{name}` is not a short row of F32"));
        }
        file.seek(SeekFrom::Start(self.data_start + info.offset))?;
        let mut bytes = vec![0; info.size_bytes as usize];
        file.read_exact(&mut bytes)?;
        let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        Ok(Some(values.collect()))
    }
}

/// The shortest decimal that an f32 stands for, as f64: 1e-6 stays 1e-6.
pub(crate) fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

/// Tensors lie within the file and never over each other.
fn check_places(tensors: &BTreeMap<String, TensorInfo>, data_bytes: u64) -> Result<()> {
    let mut places: BTreeSet<(u64, u64, &str)> = BTreeSet::new();
    for (name, info) in tensors {
        match info.offset.checked_add(info.size_bytes) {
            Some(end) if end <= data_bytes => places.insert((info.offset, end, name)),
            Some(_) | None => {
                return bad(format!(
                    "tensor `{name}` ends beyond the file, which is cut off or damaged: download or copy it again"
                ));
            }
        };
    }
    let mut end = 0;
    for (start, stop, name) in places {
        if start < end {
            return bad(format!("tensor `{name}` lies over another one"));
        }
        end = stop;
    }
    Ok(())
}

/// Reads values and never beyond the file's end.
struct Source<R> {
    inner: R,
    at: u64,
    end: u64,
}

impl<R: Read> Source<R> {
    fn left(&self) -> u64 {
        self.end - self.at
    }

    /// Room for `n` more bytes: they are in the file.
    fn claim(&mut self, n: u64) -> Result<()> {
        if n > self.left() {
            return bad("it is cut off or damaged: download or copy it again");
        }
        self.at += n;
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.claim(N as u64)?;
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    /// A number of entries of at least `min_bytes` each.
    fn count(&mut self, what: &str, min_bytes: u64) -> Result<u64> {
        let count = self.u64()?;
        if count > self.left() / min_bytes {
            return bad(format!("it claims {count} {what}, more than fit into it: it is cut off or damaged"));
        }
        Ok(count)
    }

    fn text(&mut self, what: &str, limit: u64) -> Result<String> {
        let length = self.u64()?;
        if length > self.left() || length > limit {
            return bad(format!("{what} claims {length} bytes: it is cut off or damaged"));
        }
        self.claim(length)?;
        let mut bytes = vec![0; length as usize];
        self.inner.read_exact(&mut bytes)?;
        String::from_utf8(bytes).or_else(|_| bad(format!("{what} is not UTF-8")))
    }

    fn name(&mut self, what: &str) -> Result<String> {
        let name = self.text(what, MAX_NAME_BYTES)?;
        if name.is_empty() { bad(format!("{what} is empty")) } else { Ok(name) }
    }

    fn value(&mut self, key: &str) -> Result<Value> {
        let what = format!("its key `{key}`");
        Ok(match self.u32()? {
            0 => Value::U8(self.bytes::<1>()?[0]),
            1 => Value::I8(i8::from_le_bytes(self.bytes()?)),
            2 => Value::U16(u16::from_le_bytes(self.bytes()?)),
            3 => Value::I16(i16::from_le_bytes(self.bytes()?)),
            4 => Value::U32(self.u32()?),
            5 => Value::I32(i32::from_le_bytes(self.bytes()?)),
            6 => Value::F32(f32::from_le_bytes(self.bytes()?)),
            7 => Value::Bool(self.flag(&what)?),
            8 => Value::Text(self.text(&what, MAX_TEXT_BYTES)?),
            9 => self.list(&what)?,
            10 => Value::U64(self.u64()?),
            11 => Value::I64(i64::from_le_bytes(self.bytes()?)),
            12 => Value::F64(f64::from_le_bytes(self.bytes()?)),
            other => return bad(format!("{what} is of the unknown type {other}")),
        })
    }

    fn flag(&mut self, what: &str) -> Result<bool> {
        match self.bytes::<1>()?[0] {
            0 => Ok(false),
            1 => Ok(true),
            other => bad(format!("{what} is {other}, neither true nor false")),
        }
    }

    fn list(&mut self, what: &str) -> Result<Value> {
        let kind = self.u32()?;
        let min_bytes = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10 | 11 | 12 => 8,
            9 => return bad(format!("{what} is a list of lists, which is not supported")),
            other => return bad(format!("{what} is a list of the unknown type {other}")),
        };
        let count = self.count("items of a list", min_bytes)?;
        if count > MAX_ITEMS {
            return bad(format!("{what} has {count} items, more than {MAX_ITEMS}"));
        }
        // Grown as items arrive: each of them is in the file.
        let mut all = match kind {
            6 | 12 => Value::Floats(Vec::new()),
            7 => Value::Bools(Vec::new()),
            8 => Value::Texts(Vec::new()),
            _ => Value::Integers(Vec::new()),
        };
        for _ in 0..count {
            match &mut all {
                Value::Texts(items) => items.push(self.text(what, MAX_TEXT_BYTES)?),
                Value::Bools(items) => items.push(self.flag(what)?),
                Value::Floats(items) => items.push(match kind {
                    6 => f32::from_le_bytes(self.bytes()?),
                    _ => f64::from_le_bytes(self.bytes()?) as f32,
                }),
                Value::Integers(items) => items.push(match kind {
                    0 => i64::from(self.bytes::<1>()?[0]),
                    1 => i64::from(i8::from_le_bytes(self.bytes()?)),
                    2 => i64::from(u16::from_le_bytes(self.bytes()?)),
                    3 => i64::from(i16::from_le_bytes(self.bytes()?)),
                    4 => i64::from(self.u32()?),
                    5 => i64::from(i32::from_le_bytes(self.bytes()?)),
                    10 => i64::try_from(self.u64()?).or_else(|_| bad(format!("{what} holds a number above 2^63")))?,
                    _ => i64::from_le_bytes(self.bytes()?),
                }),
                other => return bad(format!("{what} cannot be a list of {other:?}")),
            }
        }
        Ok(all)
    }

    fn tensor(&mut self, name: &str) -> Result<TensorInfo> {
        let axes = self.u32()?;
        if axes == 0 || axes > MAX_AXES {
            return bad(format!("tensor `{name}` has {axes} axes"));
        }
        let mut shape = Vec::with_capacity(axes as usize);
        let mut values: u64 = 1;
        for _ in 0..axes {
            let length = self.u64()?;
            values = match values.checked_mul(length) {
                Some(n) if n > 0 && n < 1 << 48 => n,
                Some(_) | None => return bad(format!("tensor `{name}` has an impossible shape")),
            };
            shape.push(length as usize);
        }
        let code = self.u32()?;
        let Some(kind) = TensorType::from_code(code) else {
            let known: Vec<&str> = TensorType::ALL.iter().map(|t| t.name()).collect();
            return bad(format!(
                "tensor `{name}` is of type {code}, which is not supported: only {}",
                known.join(", ")
            ));
        };
        let block = kind.block_values();
        if !shape[0].is_multiple_of(block) {
            let reason = format!("tensor `{name}` has rows of {}, no multiple of {block}", shape[0]);
            return bad(format!("{reason} as {} needs", kind.name()));
        }
        shape.reverse();
        let size_bytes = values / block as u64 * kind.block_bytes() as u64;
        Ok(TensorInfo { kind, shape, offset: self.u64()?, size_bytes })
    }
}

#[cfg(test)]
mod tests;
