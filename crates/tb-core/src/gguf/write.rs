//! The head of a GGUF file as bytes.

use super::{DEFAULT_ALIGNMENT, MAGIC, TensorType, VERSION, Value};

/// The bytes before the values of the tensors, padded to where those begin, and the offset of each tensor from there.
///
/// Tensors are (name, format, shape rows first); their values must follow in this order, each padded to [`DEFAULT_ALIGNMENT`].
#[must_use]
pub fn head_bytes(metadata: &[(String, Value)], tensors: &[(String, TensorType, Vec<usize>)]) -> (Vec<u8>, Vec<u64>) {
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(tensors.len() as u64).to_le_bytes());
    out.extend_from_slice(&(metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        put_text(&mut out, key);
        put_value(&mut out, value);
    }
    let (mut offset, mut offsets) = (0_u64, Vec::with_capacity(tensors.len()));
    for (name, kind, shape) in tensors {
        put_text(&mut out, name);
        out.extend_from_slice(&(shape.len() as u32).to_le_bytes());
        for length in shape.iter().rev() {
            out.extend_from_slice(&(*length as u64).to_le_bytes());
        }
        out.extend_from_slice(&kind.code().to_le_bytes());
        out.extend_from_slice(&offset.to_le_bytes());
        offsets.push(offset);
        let values: u64 = shape.iter().map(|n| *n as u64).product();
        let bytes = values / kind.block_values() as u64 * kind.block_bytes() as u64;
        offset += bytes.next_multiple_of(DEFAULT_ALIGNMENT);
    }
    out.resize(out.len().next_multiple_of(DEFAULT_ALIGNMENT as usize), 0);
    (out, offsets)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_list<T>(out: &mut Vec<u8>, code: u32, items: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    out.extend_from_slice(&9_u32.to_le_bytes());
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(items.len() as u64).to_le_bytes());
    for item in items {
        put(out, item);
    }
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    let mut scalar = |code: u32, bytes: &[u8]| {
        out.extend_from_slice(&code.to_le_bytes());
        out.extend_from_slice(bytes);
    };
    match value {
        Value::U8(n) => scalar(0, &[*n]),
        Value::I8(n) => scalar(1, &n.to_le_bytes()),
        Value::U16(n) => scalar(2, &n.to_le_bytes()),
        Value::I16(n) => scalar(3, &n.to_le_bytes()),
        Value::U32(n) => scalar(4, &n.to_le_bytes()),
        Value::I32(n) => scalar(5, &n.to_le_bytes()),
        Value::F32(x) => scalar(6, &x.to_le_bytes()),
        Value::Bool(flag) => scalar(7, &[u8::from(*flag)]),
        Value::U64(n) => scalar(10, &n.to_le_bytes()),
        Value::I64(n) => scalar(11, &n.to_le_bytes()),
        Value::F64(x) => scalar(12, &x.to_le_bytes()),
        Value::Text(text) => {
            out.extend_from_slice(&8_u32.to_le_bytes());
            put_text(out, text);
        }
        Value::Integers(items) => {
            let narrow: Option<Vec<i32>> = items.iter().map(|n| i32::try_from(*n).ok()).collect();
            match narrow {
                Some(items) => put_list(out, 5, &items, |out, n| out.extend_from_slice(&n.to_le_bytes())),
                None => put_list(out, 11, items, |out, n| out.extend_from_slice(&n.to_le_bytes())),
            }
        }
        Value::Floats(items) => put_list(out, 6, items, |out, x| out.extend_from_slice(&x.to_le_bytes())),
        Value::Bools(items) => put_list(out, 7, items, |out, flag| out.push(u8::from(*flag))),
        Value::Texts(items) => put_list(out, 8, items, |out, text| put_text(out, text)),
    }
}
