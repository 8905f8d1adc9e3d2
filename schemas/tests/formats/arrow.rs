//! The judge for warehouses: arrow-avro reads the golden row datums, from an object container file, into a record batch.

use std::io::Cursor;

use arrow_array::{
    Array, ArrayRef, RecordBatch,
    cast::AsArray,
    types::{
        Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int32Type, Int64Type,
        TimestampMicrosecondType,
    },
};
use arrow_avro::reader::ReaderBuilder;
use binferry_schemas::{
    avro,
    datum::{Value, text::shortest},
};

use crate::{golden, samples};

/// An Avro object container file (the Avro specification, "Object Container Files"), uncompressed, in one block.
fn container(schema: &str, datums: &[Vec<u8>]) -> Vec<u8> {
    let sync = [7; 16];
    let mut file = b"Obj\x01".to_vec();
    avro::put_long(&mut file, 2);
    avro::put_string(&mut file, "avro.schema");
    avro::put_string(&mut file, schema);
    avro::put_string(&mut file, "avro.codec");
    avro::put_string(&mut file, "null");
    avro::put_long(&mut file, 0);
    file.extend(sync);
    avro::put_long(&mut file, datums.len() as i64);
    avro::put_bytes(&mut file, &datums.concat());
    file.extend(sync);
    file
}

fn read() -> (RecordBatch, Vec<samples::Row>) {
    let (datums, rows): (Vec<_>, Vec<_>) = samples::rows()
        .into_iter()
        .map(|(name, row)| {
            (
                golden::read(&format!("v1/rows/all_types.{name}.datum")),
                row,
            )
        })
        .unzip();
    let file = container(&golden::read_text("v1/rows/all_types.avsc"), &datums);
    let mut batches = ReaderBuilder::new().build(Cursor::new(file)).unwrap();
    let batch = batches.next().unwrap().unwrap();
    assert!(batches.next().is_none());
    (batch, rows)
}

#[test]
fn row_datums_become_a_record_batch_with_the_same_values() {
    let (batch, rows) = read();
    assert_eq!(batch.num_rows(), rows.len());
    assert_eq!(batch.num_columns(), rows[0].len());
    for (i, column) in batch.columns().iter().enumerate() {
        for (row, values) in rows.iter().enumerate() {
            let name = batch.schema().field(i).name().clone();
            assert!(
                same(column, row, values[i]),
                "{name} in row {row}: {column:?}, not {:?}",
                values[i]
            );
        }
    }
}

/// `column` at `row` holds `expected`; unions are entered by the branch of the row.
fn same(column: &ArrayRef, row: usize, expected: Value<'_>) -> bool {
    if let Some(union) = column.as_any().downcast_ref::<arrow_array::UnionArray>() {
        let child = union.child(union.type_id(row));
        return same(child, union.value_offset(row), expected);
    }
    match expected {
        Value::Null => column.is_null(row) || column.data_type().is_null(),
        _ if column.is_null(row) => false,
        Value::Int(number) => match column.as_primitive_opt::<Int32Type>() {
            Some(ints) => i64::from(ints.value(row)) == number,
            None => column.as_primitive::<Int64Type>().value(row) == number,
        },
        Value::Time(number) => column.as_primitive::<Int64Type>().value(row) == number,
        Value::Unsigned(number) => {
            unscaled(column, row) == shortest(&u128::from(number).to_be_bytes())
        }
        Value::Decimal(bytes) => unscaled(column, row) == shortest(bytes),
        Value::Float(number) => column.as_primitive::<Float32Type>().value(row) == number,
        Value::Double(number) => column.as_primitive::<Float64Type>().value(row) == number,
        Value::Date(days) => column.as_primitive::<Date32Type>().value(row) == days,
        Value::DateTime(micros) | Value::Timestamp(micros) => {
            column.as_primitive::<TimestampMicrosecondType>().value(row) == micros
        }
        Value::Text(text) => column.as_string::<i32>().value(row) == text,
        Value::Bytes(bytes) => column.as_binary::<i32>().value(row) == bytes,
        Value::Json { text, binary } => {
            let fields = column.as_struct();
            fields.column(0).as_string::<i32>().value(row) == text
                && fields.column(1).as_binary::<i32>().value(row) == binary
        }
        Value::Vector(floats) => {
            let items = column.as_list::<i32>().value(row);
            let items = items.as_primitive::<Float32Type>().values();
            items
                .iter()
                .flat_map(|item| item.to_le_bytes())
                .collect::<Vec<_>>()
                == floats
        }
    }
}

fn unscaled(column: &ArrayRef, row: usize) -> Vec<u8> {
    match column.as_primitive_opt::<Decimal128Type>() {
        Some(numbers) => shortest(&numbers.value(row).to_be_bytes()).to_vec(),
        None => {
            let number = column.as_primitive::<Decimal256Type>().value(row);
            shortest(&number.to_be_bytes()).to_vec()
        }
    }
}
