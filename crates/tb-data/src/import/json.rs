//! JSON: one array of objects, read element by element. A file that breaks off is refused as a whole, since what follows the
//! break cannot be counted.

use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::Value;
use tb_core::dataset::RowProblemKind;

use super::{Flow, Sink, jsonl::reason, lines::refuse_utf16, mapping::kind, problem};
use crate::error::{Error, Result};

pub(super) fn read(path: &Path, sink: &mut Sink<'_>) -> Result<()> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut start = [0; 4];
    let n = (&mut file).take(4).read(&mut start).map_err(Error::io("read", path))?;
    refuse_utf16(path, &start[..n])?;
    let skip = if start.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    file.seek(SeekFrom::Start(skip)).map_err(Error::io("read", path))?;
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(file));
    let mut stopped = false;
    let result = Array { sink, stopped: &mut stopped }.deserialize(&mut json);
    if stopped {
        return Ok(());
    }
    result.and_then(|()| json.end()).map_err(|e| {
        let reason =
            format!("it is not one JSON array of objects: {} in line {}, column {}", reason(&e), e.line(), e.column());
        match e.io_error_kind() {
            Some(kind) => Error::io("read", path)(kind.into()),
            None => Error::bad_file(path, reason),
        }
    })
}

struct Array<'a, 'b> {
    sink: &'a mut Sink<'b>,
    stopped: &'a mut bool,
}

impl<'de> DeserializeSeed<'de> for Array<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Array<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> std::result::Result<(), A::Error> {
        let mut number = 0;
        while let Some(element) = elements.next_element::<Value>()? {
            number += 1;
            let record = match element {
                Value::Object(record) => Ok(record),
                other => Err(problem(
                    number,
                    RowProblemKind::Unreadable,
                    format!("a JSON object was expected, this is {}", kind(&other)),
                    &other.to_string(),
                )),
            };
            if (self.sink)(number, record) == Flow::Stop {
                *self.stopped = true;
                // The rest is not looked at; the caller knows that this is no error.
                return Err(serde::de::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}
