//! A second decoder over the same binlog: `mysql_async`'s reader, for what it supports. Where it gives less than the log holds, the
//! comparison says why.

use binferry_capture::decode::{Decoded, TableMap, TablePlan, text_of};
use binferry_schemas::datum::{Value, Values, text};
use binferry_schemas::record::ChangesBuffer;
use binferry_schemas::row::{ColumnType, Width};
use futures_util::StreamExt;
use mysql_async::binlog::events::EventData;
use mysql_async::binlog::value::BinlogValue;
use mysql_async::{BinlogStreamRequest, Conn, OptsBuilder, Sid, Value as Theirs};

use super::{Event, Run, run_with, seed};
use crate::generate::{self, Kind, Random};

/// All images, in order: before images first in each row.
async fn theirs(run: &Run) -> Vec<Vec<Option<BinlogValue<'static>>>> {
    let server = &run.server;
    let options = OptsBuilder::default()
        .ip_or_hostname(server.host().to_owned())
        .tcp_port(server.port())
        .user(Some(server.admin_user().to_owned()))
        .pass(Some(server.admin_password().to_owned()))
        .prefer_socket(false);
    let connection = Conn::new(options).await.unwrap();
    let executed: Vec<Sid<'_>> = (run.executed.split(','))
        .map(|set| set.trim().parse().unwrap())
        .collect();
    let request = BinlogStreamRequest::new(4_000_018)
        .with_gtid()
        .with_gtid_set(executed)
        .with_non_blocking();
    let mut stream = connection.get_binlog_stream(request).await.unwrap();
    let mut images = Vec::new();
    while let Some(event) = stream.next().await {
        let event = event.unwrap();
        let Some(EventData::RowsEvent(rows)) = event.read_data().unwrap() else {
            continue;
        };
        let map = stream.get_tme(rows.table_id()).unwrap();
        for row in rows.rows(map) {
            let (before, after) = row.unwrap();
            for image in [before, after].into_iter().flatten() {
                let mut image = image;
                let values = (0..image.len()).map(|at| image.take(at).map(BinlogValue::into_owned));
                images.push(values.collect());
            }
        }
    }
    images
}

/// Ours of the same events, each image as (plan, datum).
pub fn ours(events: &[Event]) -> (TablePlan, Vec<Vec<u8>>) {
    let mut plan = None;
    let mut images = Vec::new();
    for event in events {
        match Decoded::of(event.code, event.flags, &event.body).unwrap() {
            Decoded::TableMap(_) => {
                plan = Some(TablePlan::new(&TableMap::parse(&event.body).unwrap()).unwrap());
            }
            Decoded::Rows(rows) => {
                let mut changes = ChangesBuffer::new();
                let mut cursor = rows.cursor(plan.as_ref().unwrap());
                while cursor.next(0, &mut changes).unwrap() {}
                for change in changes.as_changes().iter() {
                    let change = change.unwrap();
                    for image in [change.before, change.after].into_iter().flatten() {
                        images.push(image.datum.to_vec());
                    }
                }
            }
            _ => {}
        }
    }
    (plan.unwrap(), images)
}

fn little_endian(bytes: &[u8]) -> u64 {
    (bytes.iter().rev()).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn big_endian(bytes: &[u8]) -> u64 {
    (bytes.iter()).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn number(value: &Theirs) -> Option<i128> {
    match value {
        Theirs::Int(number) => Some((*number).into()),
        Theirs::UInt(number) => Some((*number).into()),
        _ => None,
    }
}

/// The digits of a decimal without zeros that say nothing.
pub fn digits(decimal: &str) -> String {
    let (sign, digits) = match decimal.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", decimal),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let (whole, fraction) = (
        whole.trim_start_matches('0'),
        fraction.trim_end_matches('0'),
    );
    match (whole, fraction) {
        ("", "") => String::new(),
        _ => format!("{sign}{whole}.{fraction}"),
    }
}

/// The text of a date, with a time when `time` is set.
fn date(value: &Theirs, time: bool) -> Option<String> {
    let Theirs::Date(year, month, day, hour, minute, second, micros) = value else {
        return None;
    };
    let mut text = format!("{year:04}-{month:02}-{day:02}");
    if time {
        text += &format!(" {hour:02}:{minute:02}:{second:02}.{micros:06}");
    }
    Some(text)
}

fn same(ty: &ColumnType, ours: &Value<'_>, theirs: &BinlogValue<'_>) -> bool {
    let value = match theirs {
        BinlogValue::Jsonb(document) => {
            return match ours {
                // It has no form for a document that holds more than JSON's text can.
                Value::Json { .. } => true,
                Value::Text(text) => {
                    let theirs = serde_json::Value::try_from(document.clone()).unwrap();
                    // Both through the same parser of numbers: it is not exact for doubles, but the same for the same text.
                    let again = |json: &str| serde_json::from_str::<serde_json::Value>(json);
                    again(text).ok() == again(&theirs.to_string()).ok()
                }
                _ => false,
            };
        }
        BinlogValue::Value(value) => value,
        BinlogValue::JsonDiff(_) => return false,
    };
    if matches!((ours, value), (Value::Null, Theirs::NULL)) {
        return true;
    }
    let bytes = match value {
        Theirs::Bytes(bytes) => bytes.as_slice(),
        _ => &[],
    };
    let ascii = || std::str::from_utf8(bytes).unwrap_or("no text");
    match (ty, ours) {
        // It gives the label's number, and a set's bits.
        (ColumnType::Enum { labels, .. }, Value::Text(label)) => {
            let index = labels.iter().position(|known| known == label).unwrap() as i128;
            number(value) == Some(index + 1)
        }
        (ColumnType::Set { labels, .. }, Value::Text(set)) => {
            let set: Vec<_> = set.split(',').filter(|label| !label.is_empty()).collect();
            let bits = little_endian(bytes);
            set.len() as u32 == bits.count_ones()
                && set.iter().all(|label| {
                    let bit = labels.iter().position(|known| known == label).unwrap();
                    bits >> bit & 1 == 1
                })
        }
        (ColumnType::Bit { .. }, Value::Int(bits)) => big_endian(bytes) == *bits as u64,
        (ColumnType::Bit { .. }, Value::Unsigned(bits)) => big_endian(bytes) == *bits,
        // It counts the year 0000 from 1900, too.
        (ColumnType::Year, Value::Int(0)) => ascii() == "1900",
        (ColumnType::Year, Value::Int(year)) => ascii() == year.to_string(),
        // It has no sign for negative ones.
        (
            ColumnType::Integer {
                width: Width::Medium,
                unsigned: false,
            },
            Value::Int(ours),
        ) => number(value) == Some(i128::from(*ours & 0xff_ffff)),
        (_, Value::Int(ours)) => number(value) == Some((*ours).into()),
        (_, Value::Unsigned(ours)) => number(value) == Some((*ours).into()),
        (_, Value::Float(ours)) => {
            matches!(value, Theirs::Float(theirs) if theirs.to_bits() == ours.to_bits())
        }
        (_, Value::Double(ours)) => {
            matches!(value, Theirs::Double(theirs) if theirs.to_bits() == ours.to_bits())
        }
        (ColumnType::Decimal { scale, .. }, Value::Decimal(unscaled)) => {
            let ours = text::Decimal::new(unscaled, *scale).unwrap().to_string();
            digits(&ours) == digits(ascii())
        }
        (_, Value::Date(days)) => date(value, false) == Some(text::Date(*days).to_string()),
        (ColumnType::Date, Value::Text(text)) => date(value, false).as_deref() == Some(text),
        (_, Value::DateTime(micros)) => {
            let (micros, fsp) = (*micros, 6);
            date(value, true) == Some(text::DateTime { micros, fsp }.to_string())
        }
        (ColumnType::DateTime { .. }, Value::Text(text)) => {
            date(value, true).is_some_and(|theirs| theirs.starts_with(text))
        }
        (_, Value::Time(micros)) => {
            let Theirs::Time(negative, days, hour, minute, second, fraction) = value else {
                return false;
            };
            let hours = i64::from(*days) * 24 + i64::from(*hour);
            let seconds = (hours * 60 + i64::from(*minute)) * 60 + i64::from(*second);
            let theirs = seconds * 1_000_000 + i64::from(*fraction);
            *micros == if *negative { -theirs } else { theirs }
        }
        // Seconds since the epoch, as text.
        (_, Value::Timestamp(micros)) => {
            let (whole, fraction) = ascii().split_once('.').unwrap_or((ascii(), "0"));
            let seconds: i64 = whole.parse().unwrap_or(-1);
            *micros == seconds * 1_000_000 + fraction.parse::<i64>().unwrap_or(-1)
        }
        (ColumnType::Timestamp { .. }, Value::Text(_)) => ascii() == "0",
        // Text as its bytes.
        (_, Value::Text(text)) => {
            ty.collation()
                .and_then(|collation| text_of(collation, bytes))
                .as_deref()
                == Some(text)
        }
        // BINARY without the zeros at its end.
        (ColumnType::Binary { .. }, Value::Bytes(ours)) => {
            ours.starts_with(bytes) && ours[bytes.len()..].iter().all(|byte| *byte == 0)
        }
        (_, Value::Bytes(ours) | Value::Vector(ours)) => *ours == bytes,
        _ => false,
    }
}

#[tokio::test]
async fn a_second_decoder_agrees() {
    let seed = seed();
    let run = run_with("second", 60, &mut Random::new(seed), |_, _| {
        let mut columns = generate::columns();
        // It subtracts with overflow for a negative TIME with one or two digits.
        columns.retain(|column| !matches!(column.kind, Kind::Time(1 | 2)));
        columns
    })
    .await;
    let theirs = theirs(&run).await;
    let (plan, ours) = ours(&run.events);
    assert_eq!((ours.len(), theirs.len()), (240, 240));
    let mut differences = Vec::new();
    for (datum, theirs) in ours.iter().zip(&theirs) {
        let columns = &plan.schema().columns;
        assert_eq!(theirs.len(), columns.len());
        for ((value, theirs), column) in Values::new(plan.schema(), None, datum)
            .zip(theirs)
            .zip(columns)
        {
            let ours = value.unwrap().unwrap();
            let theirs = theirs.as_ref().unwrap();
            if !same(&column.ty, &ours, theirs) {
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
