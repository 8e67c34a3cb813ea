//! Values written as Python writes them: `json.dumps`, `repr`, `str`. No template logic here.

use std::io;

use minijinja::{
    Error, ErrorKind, Output, State,
    value::{Kwargs, Value as Jinja, ValueKind},
};
use serde_json::Value;

/// Python's methods of strings, lists and maps. `str.format` makes what it is asked for before it is paid for, so a width or precision of
/// more than four digits, or one that comes from a value, is refused.
pub(super) fn method(state: &mut State<'_, '_>, value: &Jinja, name: &str, args: &[Jinja]) -> Result<Jinja, Error> {
    if let ("format", Some(text)) = (name, value.as_str()) {
        let (mut digits, mut inside, mut bytes) = (0, false, text.bytes().peekable());
        while let Some(byte) = bytes.next() {
            digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
            let doubled = bytes.peek() == Some(&byte);
            match byte {
                b'{' if !inside && doubled => drop(bytes.next()),
                b'{' if !inside => inside = true,
                b'}' => inside = false,
                b'{' => digits = usize::MAX / 2,
                _ => {}
            }
            if inside && digits > 4 {
                return Err(Error::new(ErrorKind::InvalidOperation, "a width of str.format is too large"));
            }
        }
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

/// Writes a value into the output as `str()` would.
pub(super) fn format(out: &mut Output<'_>, _state: &mut State<'_, '_>, value: &Jinja) -> Result<(), Error> {
    if value.is_undefined() {
        return Ok(());
    }
    let text = match value.as_str() {
        Some(text) => return out.write_str(text).map_err(Error::from),
        None => match value.kind() {
            ValueKind::Bool | ValueKind::None | ValueKind::Number | ValueKind::Seq | ValueKind::Map => {
                repr(&to_json(value)?)
            }
            _ => value.to_string(),
        },
    };
    out.write_str(&text).map_err(Error::from)
}

/// `tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)` of transformers: no HTML escapes.
pub(super) fn tojson(value: &Jinja, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let sort_keys: Option<bool> = options.get("sort_keys")?;
    let ensure_ascii: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    if indent.is_some_and(|n| n > MAX_INDENT) || separators.iter().flatten().any(|s| s.len() > MAX_INDENT) {
        let what = format!("an indent or separator of tojson is longer than {MAX_INDENT}");
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    let mut json = to_json(value)?;
    if sort_keys == Some(true) {
        json.sort_all_objects();
    }
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        // json.dumps leaves the space after a comma away where a line ends there.
        _ => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
    };
    let style = Style { indent, item, key, ascii: ensure_ascii == Some(true) };
    let mut out = String::new();
    dump(&json, &style, 0, &mut out);
    Ok(out)
}

/// Longest indent or separator of JSON.
const MAX_INDENT: usize = 64;
/// Largest value that is written as JSON or in Python's way. A list that holds another twice, many times over, is small until then.
const MAX_VALUE_BYTES: usize = 2 << 20;

/// Deepest such value. JSON that is read in has no more either.
const MAX_DEPTH: usize = 128;

/// Counts JSON that it is given and keeps nothing of it.
#[derive(Default)]
struct Measure {
    bytes: usize,
    depth: usize,
    quoted: bool,
    escaped: bool,
}

impl io::Write for Measure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len();
        for byte in bytes {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = self.quoted,
                b'"' => self.quoted = !self.quoted,
                b'[' | b'{' if !self.quoted => self.depth += 1,
                b']' | b'}' if !self.quoted => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        let fits = self.bytes <= MAX_VALUE_BYTES && self.depth <= MAX_DEPTH;
        if fits { Ok(bytes.len()) } else { Err(io::Error::other("too large")) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn to_json(value: &Jinja) -> Result<Value, Error> {
    serde_json::to_writer(Measure::default(), value).map_err(|e| {
        let what = if e.is_io() {
            format!("a value is larger than {MAX_VALUE_BYTES} bytes, or deeper than {MAX_DEPTH}")
        } else {
            e.to_string()
        };
        Error::new(ErrorKind::BadSerialization, what)
    })?;
    serde_json::to_value(value).map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))
}

struct Style {
    indent: Option<usize>,
    item: String,
    key: String,
    ascii: bool,
}

fn dump(value: &Value, style: &Style, depth: usize, out: &mut String) {
    let line = |out: &mut String, depth: usize| {
        if let Some(indent) = style.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => out.push_str(&number(n)),
        Value::String(text) => quoted(text, style, out),
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Object(map) if map.is_empty() => out.push_str("{}"),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(&style.item);
                }
                line(out, depth + 1);
                dump(item, style, depth + 1, out);
            }
            line(out, depth);
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (i, (key, item)) in map.iter().enumerate() {
                if i > 0 {
                    out.push_str(&style.item);
                }
                line(out, depth + 1);
                quoted(key, style, out);
                out.push_str(&style.key);
                dump(item, style, depth + 1, out);
            }
            line(out, depth);
            out.push('}');
        }
    }
}

fn quoted(text: &str, style: &Style, out: &mut String) {
    let json = Value::from(text).to_string();
    if !style.ascii {
        out.push_str(&json);
        return;
    }
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| *out += &format!("\\u{unit:04x}"));
        }
    }
}

/// A number as Python's `repr` writes it: the shortest digits, with an exponent below 1e-4 and from 1e16.
fn number(n: &serde_json::Number) -> String {
    let Some(x) = n.as_f64().filter(|_| n.is_f64()) else { return n.to_string() };
    let size = x.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{x:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{x:?}")
}

/// `repr()` of plain data.
fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Number(n) => number(n),
        Value::String(text) => {
            let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
            let mut out = String::from(quote);
            for c in text.chars() {
                match c {
                    '\n' => out += "\\n",
                    '\r' => out += "\\r",
                    '\t' => out += "\\t",
                    '\\' => out += "\\\\",
                    c if c == quote => out.extend(['\\', c]),
                    c if c.is_control() => out += &format!("\\x{:02x}", c as u32),
                    c => out.push(c),
                }
            }
            out.push(quote);
            out
        }
        Value::Array(items) => format!("[{}]", items.iter().map(repr).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let pairs = map.iter().map(|(k, v)| format!("{}: {}", repr(&Value::from(k.as_str())), repr(v)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
    }
}
