//! Parquet through arrow: strings, numbers, lists and structs become JSON values. The library may panic on damaged files, and
//! their sizes are checked before anything is allocated by them.

use std::{fs::File, path::Path};

use arrow_array::{
    Array, RecordBatch,
    cast::AsArray,
    types::{
        Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
        UInt64Type,
    },
};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};
use tb_core::dataset::RowProblemKind;

use super::{Flow, Record, Sink, problem};
use crate::{
    error::{Error, Result},
    guard::no_panic,
};

const BATCH_ROWS: usize = 256;
/// A page may unpack to so many times the file's size; beyond it the file is taken for a bomb.
const MAX_UNPACK_RATIO: i64 = 2000;
const MAX_DEPTH: usize = 32;

pub(super) fn read(path: &Path, sink: &mut Sink<'_>) -> Result<()> {
    let bad = |reason: String| Error::bad_file(path, format!("it is damaged or no Parquet: {reason}"));
    let file = File::open(path).map_err(Error::io("open", path))?;
    let size_bytes = file.metadata().map_err(Error::io("read", path))?.len();
    let builder =
        no_panic(|| ParquetRecordBatchReaderBuilder::try_new(file)).map_err(bad)?.map_err(|e| bad(e.to_string()))?;
    check_sizes(&builder, size_bytes).map_err(bad)?;
    let mut reader =
        no_panic(|| builder.with_batch_size(BATCH_ROWS).build()).map_err(bad)?.map_err(|e| bad(e.to_string()))?;
    let mut number = 0;
    // The records of one batch are made in guarded code; the sink is ours and runs outside of it.
    while let Some(batch) = no_panic(|| reader.next()).map_err(bad)? {
        let batch = batch.map_err(|e| bad(format!("after row {number}: {e}")))?;
        for record in no_panic(|| records(&batch)).map_err(bad)? {
            number += 1;
            let record = record.map_err(|reason| problem(number, RowProblemKind::WrongType, reason, ""));
            if sink(number, record) == Flow::Stop {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn check_sizes(builder: &ParquetRecordBatchReaderBuilder<File>, size_bytes: u64) -> std::result::Result<(), String> {
    let size = i64::try_from(size_bytes).unwrap_or(i64::MAX);
    for group in builder.metadata().row_groups() {
        if group.num_rows() < 0 {
            return Err("a row group has a negative number of rows".into());
        }
        for column in group.columns() {
            let (packed, unpacked) = (column.compressed_size(), column.uncompressed_size());
            let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
            let inside = start >= 0 && packed >= 0 && start.checked_add(packed).is_some_and(|end| end <= size);
            if !inside {
                return Err(format!("column {} points outside the file", column.column_path()));
            }
            if unpacked < 0 || unpacked > size.saturating_mul(MAX_UNPACK_RATIO) {
                return Err(format!("column {} claims to unpack to {unpacked} bytes", column.column_path()));
            }
        }
    }
    Ok(())
}

fn records(batch: &RecordBatch) -> Vec<std::result::Result<Record, String>> {
    let schema = batch.schema();
    (0..batch.num_rows())
        .map(|row| {
            let cells = schema.fields().iter().zip(batch.columns());
            cells.map(|(field, column)| Ok((field.name().clone(), value(column.as_ref(), row, 0)?))).collect()
        })
        .collect()
}

/// The value of one cell.
fn value(array: &dyn Array, row: usize, depth: usize) -> std::result::Result<Value, String> {
    if depth > MAX_DEPTH {
        return Err(format!("lists are nested deeper than {MAX_DEPTH}"));
    }
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    macro_rules! number {
        ($type:ty) => {
            Value::from(array.as_primitive::<$type>().value(row))
        };
    }
    Ok(match array.data_type() {
        DataType::Utf8 => Value::from(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Value::from(array.as_string::<i64>().value(row)),
        DataType::Utf8View => Value::from(array.as_string_view().value(row)),
        DataType::Boolean => Value::from(array.as_boolean().value(row)),
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 => number!(UInt64Type),
        DataType::Float32 => number!(Float32Type),
        DataType::Float64 => number!(Float64Type),
        DataType::List(_) => list(array.as_list::<i32>().value(row).as_ref(), depth)?,
        DataType::LargeList(_) => list(array.as_list::<i64>().value(row).as_ref(), depth)?,
        DataType::FixedSizeList(_, _) => list(array.as_fixed_size_list().value(row).as_ref(), depth)?,
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let cells = fields.iter().zip(columns);
            let map: std::result::Result<Map<_, _>, String> =
                cells.map(|(f, c)| Ok((f.name().clone(), value(c.as_ref(), row, depth + 1)?))).collect();
            Value::Object(map?)
        }
        DataType::Dictionary(_, values) => {
            let one = array.slice(row, 1);
            let plain = arrow_cast::cast(one.as_ref(), values).map_err(|e| e.to_string())?;
            value(plain.as_ref(), 0, depth + 1)?
        }
        // Times, decimals and the like: as arrow writes them.
        _ => Value::from(arrow_cast::display::array_value_to_string(array, row).map_err(|e| e.to_string())?),
    })
}

fn list(items: &dyn Array, depth: usize) -> std::result::Result<Value, String> {
    (0..items.len()).map(|i| value(items, i, depth + 1)).collect::<std::result::Result<_, _>>().map(Value::Array)
}
