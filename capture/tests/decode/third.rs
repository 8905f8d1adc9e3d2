//! A third decoder, over the server's files themselves: `mysql_cdc`'s reader, for what it supports. It refuses more than it gives, by its
//! own words: a negative TIME, VECTOR, and every string that is not UTF-8, labels among them; those columns are left out here. It has
//! milliseconds where the log holds microseconds, no signs, and a document as its bytes.

use std::fs::File;

use binferry_schemas::datum::{Value, Values, text};
use binferry_schemas::row::ColumnType;
use mysql_cdc::binlog_reader::BinlogReader;
use mysql_cdc::events::binlog_event::BinlogEvent;
use mysql_cdc::events::row_events::mysql_value::{DateTime, MySqlValue as Theirs};
use mysql_cdc::events::row_events::row_data::RowData;

use super::second::{digits, ours};
use super::{Kind, Random, Run, generate, run_with, seed};

/// Whether it can read the column.
fn supported(definition: &str, kind: Kind) -> bool {
    match kind {
        Kind::Time(_) | Kind::Vector(_) => false,
        Kind::Text(_, charset) => matches!(charset, "utf8mb4" | "utf8mb3"),
        // BINARY and VARBINARY are strings to it.
        Kind::Binary(_) => definition.ends_with("blob"),
        Kind::Enum(_) | Kind::Set(_) => !definition.contains("character set"),
        _ => true,
    }
}

/// All images, in order: before images first in each row.
fn theirs(run: &Run) -> Vec<RowData> {
    let folder = run.server.data_dir().unwrap();
    let mut images = Vec::new();
    for file in run.server.rows("SHOW BINARY LOGS").unwrap() {
        let file = File::open(folder.join(file[0].as_deref().unwrap())).unwrap();
        for event in BinlogReader::new(file).unwrap().read_events() {
            match event.unwrap().1 {
                BinlogEvent::WriteRowsEvent(event) => images.extend(event.rows),
                BinlogEvent::DeleteRowsEvent(event) => images.extend(event.rows),
                BinlogEvent::UpdateRowsEvent(event) => {
                    let rows = event.rows.into_iter();
                    images.extend(rows.flat_map(|row| [row.before_update, row.after_update]));
                }
                _ => {}
            }
        }
    }
    images
}

/// Its number, which is never negative, with the sign that the column's type gives it.
fn number(value: &Theirs, signed: bool) -> Option<i128> {
    let (bits, number) = match value {
        Theirs::TinyInt(number) => (8, i128::from(*number)),
        Theirs::SmallInt(number) => (16, i128::from(*number)),
        Theirs::MediumInt(number) => (24, i128::from(*number)),
        Theirs::Int(number) => (32, i128::from(*number)),
        Theirs::BigInt(number) => (64, i128::from(*number)),
        Theirs::Bit(set) => {
            let bits = set.iter();
            return Some(bits.fold(0, |number, bit| number << 1 | i128::from(*bit)));
        }
        // The year 0000 is 1900 to it.
        Theirs::Year(1900) => return Some(0),
        Theirs::Year(year) => return Some((*year).into()),
        _ => return None,
    };
    let negative = signed && number >> (bits - 1) & 1 == 1;
    Some(number - if negative { 1 << bits } else { 0 })
}

fn date_time(value: &DateTime) -> String {
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:03}",
        value.year, value.month, value.day, value.hour, value.minute, value.second, value.millis
    )
}

fn same(ty: &ColumnType, ours: &Value<'_>, theirs: &Theirs) -> bool {
    match (ty, ours, theirs) {
        (ColumnType::Enum { labels, .. }, Value::Text(label), Theirs::Enum(number)) => labels
            .get((*number as usize).wrapping_sub(1))
            .is_some_and(|known| known == label),
        (ColumnType::Enum { .. }, Value::Int(ours), Theirs::Enum(number)) => {
            *ours == i64::from(*number)
        }
        (ColumnType::Set { labels, .. }, Value::Text(set), Theirs::Set(bits)) => {
            let members = labels.iter().enumerate();
            let members = members.filter(|(at, _)| bits >> at & 1 == 1);
            let members: Vec<_> = members.map(|(_, label)| label.as_str()).collect();
            members.join(",") == *set
        }
        (_, Value::Int(ours), theirs) => {
            let signed = matches!(
                ty,
                ColumnType::Integer {
                    unsigned: false,
                    ..
                }
            );
            number(theirs, signed) == Some((*ours).into())
        }
        (_, Value::Unsigned(ours), theirs) => number(theirs, false) == Some((*ours).into()),
        (_, Value::Float(ours), Theirs::Float(theirs)) => ours.to_bits() == theirs.to_bits(),
        (_, Value::Double(ours), Theirs::Double(theirs)) => ours.to_bits() == theirs.to_bits(),
        (ColumnType::Decimal { scale, .. }, Value::Decimal(unscaled), Theirs::Decimal(theirs)) => {
            let ours = text::Decimal::new(unscaled, *scale).unwrap().to_string();
            digits(&ours) == digits(theirs)
        }
        (_, Value::Date(_) | Value::Text(_), Theirs::Date(theirs)) => {
            let theirs = format!("{:04}-{:02}-{:02}", theirs.year, theirs.month, theirs.day);
            match ours {
                Value::Date(days) => text::Date(*days).to_string() == theirs,
                ours => *ours == Value::Text(&theirs),
            }
        }
        (_, Value::DateTime(micros), Theirs::DateTime(theirs)) => {
            let (micros, fsp) = (micros.div_euclid(1000) * 1000, 3);
            text::DateTime { micros, fsp }.to_string() == date_time(theirs)
        }
        (_, Value::Text(ours), Theirs::DateTime(theirs)) => {
            // With as many digits of the second as the column has.
            let (ours, theirs) = (&ours[..ours.len().min(23)], date_time(theirs));
            theirs.starts_with(ours)
        }
        (_, Value::Timestamp(micros), Theirs::Timestamp(millis)) => {
            u64::try_from(*micros / 1000).is_ok_and(|ours| ours == *millis)
        }
        // The zero timestamp.
        (ColumnType::Timestamp { .. }, Value::Text(_), Theirs::Timestamp(0)) => true,
        (ColumnType::Json, Value::Json { binary, .. }, Theirs::Blob(theirs)) => binary == theirs,
        // What text can carry we give as text: the second decoder compares it.
        (ColumnType::Json, Value::Text(_), Theirs::Blob(theirs)) => !theirs.is_empty(),
        (_, Value::Text(ours), Theirs::String(theirs)) => ours == theirs,
        (_, Value::Text(ours), Theirs::Blob(theirs)) => ours.as_bytes() == theirs,
        (_, Value::Bytes(ours), Theirs::Blob(theirs)) => ours == theirs,
        _ => false,
    }
}

#[tokio::test]
async fn a_third_decoder_agrees() {
    let seed = seed();
    let run = run_with("third", 60, &mut Random::new(seed), |_, _| {
        let mut columns = generate::columns();
        columns.retain(|column| supported(&column.definition, column.kind));
        columns
    })
    .await;
    let theirs = theirs(&run);
    let (plan, ours) = ours(&run.events);
    assert_eq!((ours.len(), theirs.len()), (240, 240));
    let columns = &plan.schema().columns;
    let mut differences = Vec::new();
    for (datum, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(theirs.cells.len(), columns.len());
        let values = Values::new(plan.schema(), None, datum);
        for ((ours, theirs), column) in values.zip(&theirs.cells).zip(columns) {
            let ours = ours.unwrap().unwrap();
            let agree = match theirs {
                None => ours == Value::Null,
                Some(theirs) => same(&column.ty, &ours, theirs),
            };
            if !agree {
                differences.push(format!(
                    "{} {}: {ours:?}, {theirs:?}",
                    column.name, column.ty
                ));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "seed {seed}: {} differences\n{}",
        differences.len(),
        differences[..differences.len().min(30)].join("\n")
    );
}
