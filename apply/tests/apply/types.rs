//! Every type arrives exactly, and its before image is recognised.

use anyhow::Result;
use binferry_schemas::{
    datum::Value,
    row::{Column, ColumnType, Width},
};
use binferry_servers::Release;

use crate::stage::{Do, INT, Stage, column, on_each_server};

on_each_server! {
    every_type_there_and_back
    automatic_columns
}

/// Column definition on the target, source type, two values, and what HEX or text the target must show for them.
pub struct Case {
    pub definition: &'static str,
    pub ty: ColumnType,
    pub values: [Value<'static>; 2],
    /// Of column `c`.
    pub shown: &'static str,
    pub expected: [&'static str; 2],
}

fn integer(width: Width, unsigned: bool) -> ColumnType {
    ColumnType::Integer { width, unsigned }
}

/// `[12.5, 7]` as MySQL keeps it: a DECIMAL and an integer.
const JSON_DECIMAL: &[u8] = &[
    2, 2, 0, 16, 0, 0x0f, 10, 0, 0x05, 7, 0, 246, 4, 3, 1, 0x8c, 5,
];
/// POINT(1 2), SRID 0.
const POINT: &[u8] = &[
    0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0x40,
];
const POINT_2: &[u8] = &[
    0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f,
];

pub fn cases() -> Vec<Case> {
    let plain = "c";
    let hex = "HEX(c)";
    let labels = || vec!["".to_owned(), "x".to_owned(), "Y'".to_owned()];
    let mut cases = vec![
        (
            "tinyint",
            integer(Width::Tiny, false),
            [Value::Int(-128), Value::Int(127)],
            plain,
            ["-128", "127"],
        ),
        (
            "mediumint unsigned",
            integer(Width::Medium, true),
            [Value::Int(0), Value::Int(16777215)],
            plain,
            ["0", "16777215"],
        ),
        (
            "bigint",
            integer(Width::Big, false),
            [Value::Int(i64::MIN), Value::Int(i64::MAX)],
            plain,
            ["-9223372036854775808", "9223372036854775807"],
        ),
        (
            "bigint unsigned",
            integer(Width::Big, true),
            [Value::Unsigned(0), Value::Unsigned(u64::MAX)],
            plain,
            ["0", "18446744073709551615"],
        ),
        (
            "bit(3)",
            ColumnType::Bit { bits: 3 },
            [Value::Int(5), Value::Int(0)],
            "c+0",
            ["5", "0"],
        ),
        (
            "bit(64)",
            ColumnType::Bit { bits: 64 },
            [Value::Unsigned(u64::MAX), Value::Unsigned(1)],
            "c+0",
            ["18446744073709551615", "1"],
        ),
        (
            "float",
            ColumnType::Float { unsigned: false },
            [Value::Float(1.1), Value::Float(f32::MIN_POSITIVE)],
            "c+0e0",
            ["1.100000023841858", "1.1754943508222875e-38"],
        ),
        (
            "double",
            ColumnType::Double { unsigned: false },
            [Value::Double(0.1), Value::Double(f64::MAX)],
            plain,
            ["0.1", "1.7976931348623157e308"],
        ),
        (
            "decimal(10,2)",
            ColumnType::Decimal {
                precision: 10,
                scale: 2,
                unsigned: false,
            },
            [Value::Decimal(&[0xfb, 0x1e]), Value::Decimal(&[0])],
            plain,
            ["-12.50", "0.00"],
        ),
        (
            "year",
            ColumnType::Year,
            [Value::Int(0), Value::Int(2155)],
            plain,
            ["0000", "2155"],
        ),
        (
            "date",
            ColumnType::Date,
            [Value::Date(19_000), Value::Text("2020-02-00")],
            plain,
            ["2022-01-08", "2020-02-00"],
        ),
        (
            "datetime(3)",
            ColumnType::DateTime { fsp: 3 },
            [
                Value::DateTime(-62_167_219_200_000_000 + 86_400_000_000 * 366),
                Value::Text("0000-00-00 00:00:00.000"),
            ],
            plain,
            ["0001-01-01 00:00:00.000", "0000-00-00 00:00:00.000"],
        ),
        (
            "timestamp(6) null",
            ColumnType::Timestamp { fsp: 6 },
            [
                Value::Timestamp(1_000_001),
                Value::Text("0000-00-00 00:00:00.000000"),
            ],
            plain,
            ["1970-01-01 00:00:01.000001", "0000-00-00 00:00:00.000000"],
        ),
        (
            "time(2)",
            ColumnType::Time { fsp: 2 },
            [Value::Time(-3_020_399_000_000), Value::Time(10_000)],
            plain,
            ["-838:59:59.00", "00:00:00.01"],
        ),
        (
            "char(5)",
            ColumnType::Char {
                bytes: 20,
                collation: 255,
            },
            [Value::Text("a\u{e9}"), Value::Text("")],
            plain,
            ["a\u{e9}", ""],
        ),
        (
            "varchar(9) collate utf8mb4_general_ci",
            ColumnType::VarChar {
                bytes: 36,
                collation: 45,
            },
            [Value::Text("a'\\\0\u{1F600} "), Value::Text("A")],
            hex,
            ["61275C00F09F988020", "41"],
        ),
        (
            "varchar(9) charset latin1",
            ColumnType::VarChar {
                bytes: 9,
                collation: 8,
            },
            [Value::Text("\u{e9}"), Value::Bytes(&[0x81, b'a'])],
            hex,
            ["E9", "8161"],
        ),
        (
            "varchar(9) charset sjis",
            ColumnType::VarChar {
                bytes: 18,
                collation: 13,
            },
            [Value::Text("\u{8868}"), Value::Text("b")],
            hex,
            ["955C", "62"],
        ),
        (
            "mediumtext charset utf16",
            ColumnType::Text {
                length_bytes: 3,
                collation: 54,
            },
            [Value::Text("ab"), Value::Text("")],
            hex,
            ["00610062", ""],
        ),
        (
            "binary(4)",
            ColumnType::Binary { bytes: 4 },
            [Value::Bytes(b"a\0\0\0"), Value::Bytes(b"\0'\\\xff")],
            hex,
            ["61000000", "00275CFF"],
        ),
        (
            "varbinary(4)",
            ColumnType::VarBinary { bytes: 4 },
            [Value::Bytes(b"a\0"), Value::Bytes(b"")],
            hex,
            ["6100", ""],
        ),
        (
            "blob",
            ColumnType::Blob { length_bytes: 2 },
            [Value::Bytes(b"\xff\xfe"), Value::Bytes(b"x")],
            hex,
            ["FFFE", "78"],
        ),
        (
            "json",
            ColumnType::Json,
            [
                Value::Text(r#"{"a": "b'\\", "c": [1, 2.0, null]}"#),
                Value::Json {
                    text: "[12.5, 7]",
                    binary: JSON_DECIMAL,
                },
            ],
            // MariaDB has no DECIMAL inside a document, as that is text.
            "CONCAT(c, REPLACE(JSON_TYPE(JSON_EXTRACT(c, '$[0]')), 'DOUBLE', 'DECIMAL'))",
            [
                r#"{"a": "b'\\", "c": [1, 2.0, null]}OBJECT"#,
                "[12.5, 7]DECIMAL",
            ],
        ),
        (
            "geometry",
            ColumnType::Geometry { kind: 0 },
            [Value::Bytes(POINT), Value::Bytes(POINT_2)],
            "ST_AsText(c)",
            ["POINT(1 2)", "POINT(2 1)"],
        ),
        (
            "vector(2)",
            ColumnType::Vector { dimension: 2 },
            [
                Value::Vector(&[0, 0, 0x80, 0x3f, 0, 0, 0, 0x40]),
                Value::Vector(&[0; 8]),
            ],
            hex,
            ["0000803F00000040", "0000000000000000"],
        ),
    ];
    cases.push((
        "enum('','x','Y''')",
        ColumnType::Enum {
            labels: labels(),
            collation: 255,
        },
        [Value::Text(""), Value::Text("Y'")],
        "CONCAT(c+0, c)",
        ["1", "3Y'"],
    ));
    // The error value of an ENUM, beside a label that prints as it does.
    cases.push((
        "enum('','x','Y''')",
        ColumnType::Enum {
            labels: labels(),
            collation: 255,
        },
        [Value::Int(0), Value::Text("")],
        "CONCAT(c+0, c)",
        ["0", "1"],
    ));
    for (definition, ty, zeros) in [
        (
            "double",
            ColumnType::Double { unsigned: false },
            [Value::Double(0.0), Value::Double(-0.0)],
        ),
        (
            "float",
            ColumnType::Float { unsigned: false },
            [Value::Float(0.0), Value::Float(-0.0)],
        ),
    ] {
        cases.push((definition, ty, zeros, "CONCAT(c)", ["0", "-0"]));
    }
    cases.push((
        "set('','x','Y''')",
        ColumnType::Set {
            labels: vec!["x".into(), "Y'".into()],
            collation: 255,
        },
        [Value::Text("x,Y'"), Value::Text("")],
        plain,
        ["x,Y'", ""],
    ));
    cases
        .into_iter()
        .map(|(definition, ty, values, shown, expected)| Case {
            definition,
            ty,
            values,
            shown,
            expected,
        })
        .collect()
}

/// Insert, update from the first value to the second and back, to NULL, delete; as many rows (joined statements) and alone.
async fn every_type_there_and_back(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "types").await?;
    let cases = cases();
    for (at, case) in cases.iter().enumerate() {
        stage.sql(&format!(
            "CREATE TABLE t{at} (id int primary key, c {})",
            case.definition
        ));
        let columns: Vec<Column> = vec![
            column("id", INT, Some(0)),
            column("c", case.ty.clone(), None),
        ];
        let table = stage.table(&format!("t{at}"), columns).await?;
        let [first, second] = case.values;
        let id = Value::Int;
        for rows in [1..=1, 2..=4] {
            let each = |make: &dyn Fn(i64) -> Do<'static>| -> Vec<Do<'static>> {
                rows.clone().map(make).collect()
            };
            stage
                .commit(&table, &each(&|n| Do::Insert(vec![id(n), first])))
                .await?;
            stage.apply().await?;
            let show = format!("SELECT DISTINCT {} FROM t{at}", case.shown);
            if rows == (1..=1) {
                assert_eq!(stage.sql(&show), case.expected[0], "{}", case.definition);
            }
            for (from, to) in [
                (first, second),
                (second, first),
                (first, Value::Null),
                (Value::Null, second),
            ] {
                let update = each(&|n| Do::Update(vec![id(n), from], vec![id(n), to]));
                stage.commit(&table, &update).await?;
                stage
                    .apply()
                    .await
                    .unwrap_or_else(|e| panic!("{}: {e}", case.definition));
            }
            let last = rows.clone().last().unwrap_or(1);
            assert_eq!(
                stage.sql(&format!(
                    "SELECT {} FROM t{at} WHERE id = {last}",
                    case.shown
                )),
                case.expected[1],
                "{}",
                case.definition
            );
            if rows == (1..=1) {
                stage
                    .commit(
                        &table,
                        &[Do::Update(vec![id(1), second], vec![id(1), first])],
                    )
                    .await?;
                stage
                    .commit(&table, &[Do::Delete(vec![id(1), first])])
                    .await?;
                stage
                    .apply()
                    .await
                    .unwrap_or_else(|e| panic!("{}: {e}", case.definition));
            }
        }
        stage
            .commit(
                &table,
                &(2..=4)
                    .map(|n| Do::Delete(vec![id(n), second]))
                    .collect::<Vec<_>>(),
            )
            .await?;
        stage
            .apply()
            .await
            .unwrap_or_else(|e| panic!("{}: {e}", case.definition));
        assert_eq!(stage.sql(&format!("SELECT COUNT(*) FROM t{at}")), "0");
    }
    Ok(())
}

/// Columns that a server fills by itself get the source's values.
async fn automatic_columns(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "automatic").await?;
    stage.sql(
        "CREATE TABLE t (id int auto_increment primary key, n int, \
         at timestamp(6) default current_timestamp(6) on update current_timestamp(6), g int as (n + 1) stored, hidden int invisible default 7)",
    );
    let columns = vec![
        column("id", INT, Some(0)),
        column("n", INT, None),
        column("at", ColumnType::Timestamp { fsp: 6 }, None),
        column("g", INT, None),
    ];
    let table = stage.table("t", columns).await?;
    let row = |n: i64| {
        vec![
            Value::Int(0),
            Value::Int(n),
            Value::Timestamp(1_000_005),
            Value::Int(n + 1),
        ]
    };
    stage.commit(&table, &[Do::Insert(row(1))]).await?;
    stage.apply().await?;
    stage.commit(&table, &[Do::Update(row(1), row(2))]).await?;
    stage.apply().await?;
    assert_eq!(
        stage.sql("SELECT id, n, at, g, hidden FROM t"),
        "0\t2\t1970-01-01 00:00:01.000005\t3\t7"
    );
    Ok(())
}

/// A document of values that JSON's text cannot tell from strings: the target's must equal one that the server makes from columns of the
/// same types, in text and in the type of each element.
#[tokio::test(flavor = "multi_thread")]
async fn opaque_values_inside_json() -> Result<()> {
    let packed = |number: i64| number.to_le_bytes().to_vec();
    let moment = ((((2020 * 13 + 2) << 5) | 29) << 17) | ((23 << 12) | (58 << 6) | 59);
    let elements: [(u8, Vec<u8>); 14] = [
        (246, vec![5, 2, 0x80, 0x7b, 45]),
        (10, packed((((2020 * 13 + 2) << 5) | 29) << 41)),
        (12, packed((moment << 24) | 500_000)),
        (7, packed((moment << 24) | 500_000)),
        (
            11,
            packed(-((((12 << 12) | (34 << 6) | 56) << 24) | 250_000)),
        ),
        (15, b"\xff\0'".to_vec()),
        (15, Vec::new()),
        (254, b"ab\0".to_vec()),
        (252, b"\xff".to_vec()),
        (251, vec![0xfd; 200]),
        (16, vec![1, 5]),
        (249, b"\xffab".to_vec()),
        (250, b"\xff".to_vec()),
        (250, Vec::new()),
    ];
    // A small array: count, size, an entry each, then the opaque values.
    let mut entries = Vec::new();
    let mut values = Vec::new();
    for (field, bytes) in &elements {
        let offset = 4 + 3 * elements.len() + values.len();
        entries.push(0x0f);
        entries.extend_from_slice(&(offset as u16).to_le_bytes());
        values.push(*field);
        match bytes.len() {
            length @ 0..128 => values.push(length as u8),
            length => {
                values.extend_from_slice(&[(length & 0x7f) as u8 | 0x80, (length >> 7) as u8])
            }
        }
        values.extend_from_slice(bytes);
    }
    let mut binary = vec![2];
    binary.extend_from_slice(&(elements.len() as u16).to_le_bytes());
    binary.extend_from_slice(&((4 + entries.len() + values.len()) as u16).to_le_bytes());
    binary.extend(entries);
    binary.extend(values);

    let mut stage = Stage::new("json").await?;
    stage.sql(
        "CREATE TABLE made (de decimal(5,2), d date, dt datetime(6), ts timestamp(6) null, tm time(6), vb varbinary(5), \
         ve varbinary(5), bi binary(3), bl blob, lb longblob, bt bit(16), \
         tb tinyblob, mb mediumblob, me mediumblob); \
         INSERT INTO made VALUES (123.45, '2020-02-29', '2020-02-29 23:58:59.5', '2020-02-29 23:58:59.5', '-12:34:56.25', \
         x'ff0027', '', 'ab', x'ff', REPEAT(x'fd', 200), 261, x'ff6162', x'ff', ''); \
         CREATE TABLE t (id int primary key, c json)",
    );
    let made = "JSON_ARRAY(de, d, dt, ts, tm, vb, ve, bi, bl, lb, bt, tb, mb, me)";
    let text = stage.sql(&format!("SELECT {made} FROM made"));
    let columns = vec![
        column("id", INT, Some(0)),
        column("c", ColumnType::Json, None),
    ];
    let table = stage.table("t", columns).await?;
    let document = Value::Json {
        text: &text,
        binary: &binary,
    };
    let row = |n: i64, value| vec![Value::Int(n), value];
    stage
        .commit(
            &table,
            &[
                Do::Insert(row(1, document)),
                Do::Insert(row(2, Value::Text("[]"))),
            ],
        )
        .await?;
    stage.apply().await?;
    assert_eq!(stage.sql("SELECT c FROM t WHERE id = 1"), text);
    stage
        .commit(
            &table,
            &[Do::Update(row(2, Value::Text("[]")), row(2, document))],
        )
        .await?;
    stage
        .commit(&table, &[Do::Update(row(1, document), row(1, document))])
        .await?;
    stage.apply().await?;
    let types = |of: &str| {
        let each: Vec<String> = (0..elements.len())
            .map(|at| format!("JSON_TYPE(JSON_EXTRACT({of}, '$[{at}]'))"))
            .collect();
        format!("CONCAT_WS(',', {})", each.join(","))
    };
    let expected = stage.sql(&format!("SELECT {} FROM made", types(made)));
    for id in [1, 2] {
        assert_eq!(stage.sql(&format!("SELECT c FROM t WHERE id = {id}")), text);
        let found = stage.sql(&format!("SELECT {} FROM t WHERE id = {id}", types("c")));
        assert_eq!(found, expected);
    }
    Ok(())
}
