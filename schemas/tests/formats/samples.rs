//! The values behind the golden files, version 1. They are as frozen as the files: a new version gets new samples.

use binferry_schemas::{
    datum::{self, Value},
    fingerprint::Fingerprint,
    gtid::{Gtid, Tag, Uuid},
    record::*,
    row::*,
};

pub const UUID_A: Uuid = Uuid::from_u128(0x3e11fa47_71ca_11e1_9e33_c80aa9429562);
pub const UUID_B: Uuid = Uuid::from_u128(0x8f9e146f_0a18_11e5_8b2f_000000000001);

fn columns(types: Vec<(&str, ColumnType)>) -> Vec<Column> {
    types
        .into_iter()
        .map(|(name, ty)| Column {
            name: name.to_owned(),
            ty,
            nullable: true,
            visible: true,
            key: None,
        })
        .collect()
}

/// Every type of the table in `datum`'s documentation, in each of its widths.
pub fn all_types() -> RowSchema {
    use ColumnType::*;
    let integer = |width, unsigned| Integer { width, unsigned };
    let labels = || vec!["small".to_owned(), "it's".to_owned(), "größe".to_owned()];
    let mut columns = columns(vec![
        ("id", integer(Width::Big, false)),
        ("c_tiny", integer(Width::Tiny, false)),
        ("c_tiny_u", integer(Width::Tiny, true)),
        ("c_small", integer(Width::Small, false)),
        ("c_small_u", integer(Width::Small, true)),
        ("c_medium", integer(Width::Medium, false)),
        ("c_medium_u", integer(Width::Medium, true)),
        ("c_int", integer(Width::Int, false)),
        ("c_int_u", integer(Width::Int, true)),
        ("c_big_u", integer(Width::Big, true)),
        ("c_bit1", Bit { bits: 1 }),
        ("c_bit63", Bit { bits: 63 }),
        ("c_bit64", Bit { bits: 64 }),
        ("c_float", Float { unsigned: false }),
        ("c_double", Double { unsigned: true }),
        (
            "c_decimal",
            Decimal {
                precision: 10,
                scale: 2,
                unsigned: false,
            },
        ),
        (
            "c_decimal65",
            Decimal {
                precision: 65,
                scale: 30,
                unsigned: false,
            },
        ),
        (
            "c_decimal_u",
            Decimal {
                precision: 20,
                scale: 0,
                unsigned: true,
            },
        ),
        ("c_year", Year),
        ("c_date", Date),
        ("c_time", Time { fsp: 0 }),
        ("c_time6", Time { fsp: 6 }),
        ("c_datetime", DateTime { fsp: 0 }),
        ("c_datetime6", DateTime { fsp: 6 }),
        ("c_timestamp", Timestamp { fsp: 0 }),
        ("c_timestamp3", Timestamp { fsp: 3 }),
        (
            "c_char",
            Char {
                bytes: 40,
                collation: 255,
            },
        ),
        (
            "c_varchar",
            VarChar {
                bytes: 60,
                collation: 8,
            },
        ),
        (
            "c_varchar_new",
            VarChar {
                bytes: 60,
                collation: 9999,
            },
        ),
        (
            "c_tinytext",
            Text {
                length_bytes: 1,
                collation: 46,
            },
        ),
        (
            "c_text",
            Text {
                length_bytes: 2,
                collation: 45,
            },
        ),
        (
            "c_mediumtext",
            Text {
                length_bytes: 3,
                collation: 33,
            },
        ),
        (
            "c_longtext",
            Text {
                length_bytes: 4,
                collation: 28,
            },
        ),
        ("c_binary", Binary { bytes: 8 }),
        ("c_varbinary", VarBinary { bytes: 300 }),
        ("c_tinyblob", Blob { length_bytes: 1 }),
        ("c_blob", Blob { length_bytes: 2 }),
        ("c_mediumblob", Blob { length_bytes: 3 }),
        ("c_longblob", Blob { length_bytes: 4 }),
        (
            "c_enum",
            Enum {
                labels: labels(),
                collation: 255,
            },
        ),
        (
            "c_set",
            Set {
                labels: labels(),
                collation: 255,
            },
        ),
        ("c_json", Json),
        ("c_json2", Json),
        ("c_geometry", Geometry { kind: 0 }),
        ("c_point", Geometry { kind: 1 }),
        ("c_geometry_new", Geometry { kind: 99 }),
        ("c_vector", Vector { dimension: 3 }),
        ("c_vector_any", Vector { dimension: 0 }),
    ]);
    columns[0].nullable = false;
    columns[0].key = Some(KeyPart {
        position: 1,
        prefix: 0,
    });
    columns[30].key = Some(KeyPart {
        position: 0,
        prefix: 20,
    });
    columns[3].visible = false;
    RowSchema {
        database: "shop".to_owned(),
        table: "all_types".to_owned(),
        columns,
    }
}

/// Names that Avro does not allow as they are.
pub fn odd_names() -> RowSchema {
    let names = [
        "a b", "a_b", "a-b", "2nd", "größe", "", "plain", "record", "日本", "🦀", "\"q\\",
    ];
    RowSchema {
        database: "my-shop.2".to_owned(),
        table: "string".to_owned(),
        columns: columns(names.map(|name| (name, ColumnType::Year)).to_vec()),
    }
}

pub type Row = Vec<Value<'static>>;

const UNITS: &[u8] = &[0, 0, 128, 63, 0, 0, 0, 192, 0, 0, 0, 0];

/// Everyday values, one for each column of `all_types`.
pub fn everyday() -> Row {
    use Value::*;
    vec![
        Int(7),
        Int(-5),
        Int(200),
        Int(-300),
        Int(60_000),
        Int(-70_000),
        Int(16_000_000),
        Int(-2_000_000_000),
        Int(4_000_000_000),
        Unsigned(10_000_000_000_000_000_000),
        Int(1),
        Int(1 << 40),
        Unsigned(5),
        Float(1.5),
        Double(0.1),
        Decimal(&[0x04, 0xd2]),
        Decimal(&[0x01, 0x00, 0x00]),
        Decimal(&[0x7f]),
        Int(2026),
        Date(20_778),
        Time(36_000_000_000),
        Time(-1_500_001),
        DateTime(1_795_000_000_000_000),
        DateTime(1_795_000_000_123_456),
        Timestamp(1_795_000_000_000_000),
        Timestamp(1_795_000_000_123_000),
        Text("größe 日本 🦀"),
        Text("plain"),
        Text("new"),
        Text("tiny"),
        Text("text"),
        Text("medium"),
        Text("long"),
        Bytes(b"12345678"),
        Bytes(&[0, 255, 1]),
        Bytes(b"t"),
        Bytes(b"b"),
        Bytes(b"m"),
        Bytes(b"l"),
        Text("it's"),
        Text("small,größe"),
        Text("{\"a\": [1, null]}"),
        Text("\"x\""),
        Bytes(&[0xe6, 0x10, 0, 0, 1, 1, 0, 0, 0]),
        Bytes(&[0, 0, 0, 0, 1, 1, 0, 0, 0]),
        Bytes(&[9]),
        Vector(UNITS),
        Vector(&[]),
    ]
}

/// The largest, longest or most negative values.
pub fn extreme() -> Row {
    use Value::*;
    vec![
        Int(i64::MIN),
        Int(-128),
        Int(255),
        Int(-32_768),
        Int(65_535),
        Int(-8_388_608),
        Int(16_777_215),
        Int(-2_147_483_648),
        Int(4_294_967_295),
        Unsigned(u64::MAX),
        Int(0),
        Int(i64::MAX),
        Unsigned(u64::MAX),
        Float(f32::MIN),
        Double(f64::MAX),
        Decimal(&[0xfd, 0xab, 0xf4, 0x1c, 0x01]),
        // -(10^65 - 1)
        Decimal(&[
            0xff, 0x0c, 0xe9, 0xd8, 0xe3, 0x80, 0x3c, 0x6f, 0x75, 0x74, 0x10, 0xb9, 0xb1, 0xc6,
            0xba, 0x10, 0x85, 0xda, 0xc9, 0xf6, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01,
        ]),
        Decimal(&[0]),
        Int(2155),
        Date(2_932_896),
        Time(-3_020_399_000_000),
        Time(3_020_399_000_000),
        DateTime(-62_135_596_800_000_000),
        DateTime(253_402_300_799_999_999),
        Timestamp(1_000_000),
        Timestamp(2_147_483_647_999_000),
        Text(""),
        Text("\0"),
        Text("\u{10ffff}"),
        Text("'"),
        Text("\\"),
        Text("\n"),
        Text("\u{feff}"),
        Bytes(&[0; 8]),
        Bytes(&[]),
        Bytes(&[]),
        Bytes(&[]),
        Bytes(&[]),
        Bytes(&[0xff]),
        Text("größe"),
        Text(""),
        Text("null"),
        Text("18446744073709551615"),
        Bytes(&[]),
        Bytes(&[1]),
        Bytes(&[2]),
        Vector(&[0, 0, 128, 127, 255, 255, 127, 255]),
        Vector(UNITS),
    ]
}

/// The second branch wherever there is one, null elsewhere.
pub fn second_branches() -> Row {
    use Value::*;
    let mut row = vec![Null; 48];
    for (column, value) in [
        (19, Text("0000-00-00")),
        (22, Text("2026-00-15 00:00:00")),
        (23, Text("0000-00-00 00:00:00.000000")),
        (24, Text("0000-00-00 00:00:00")),
        (25, Text("0000-00-00 00:00:00.000")),
        (26, Bytes(&[0xed, 0xa0, 0x80])),
        (32, Bytes(&[0x81, 0xff])),
        (39, Int(0)),
        (40, Int(i64::MIN)),
        (
            41,
            Json {
                text: "[1.50]",
                binary: &[2, 1, 0, 9],
            },
        ),
        (
            42,
            Json {
                text: "{}",
                binary: &[0],
            },
        ),
    ] {
        row[column] = value;
    }
    row
}

pub fn nulls() -> Row {
    vec![Value::Null; 48]
}

pub fn rows() -> [(&'static str, Row); 4] {
    [
        ("everyday", everyday()),
        ("extreme", extreme()),
        ("second_branches", second_branches()),
        ("nulls", nulls()),
    ]
}

pub fn encode(schema: &RowSchema, row: &[Value<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (column, value) in schema.columns.iter().zip(row) {
        datum::put(&mut out, &column.ty, value).unwrap();
    }
    out
}

pub fn tagged(gno: u64) -> Gtid {
    Gtid {
        uuid: UUID_B,
        tag: Tag::new("blue_1").unwrap(),
        gno,
    }
}

fn transaction() -> Transaction {
    Transaction {
        gtid: tagged(i64::MAX as u64 - 1),
        original_commit_us: 1_795_000_000_123_456,
        immediate_commit_us: 1_795_000_000_123_457,
        last_committed: 41,
        sequence_number: 42,
        seen: Some(Offset(300)),
        file: "binlog.000012".to_owned(),
        position: 4_294_967_300,
        chunk: 1,
        last: true,
        xa_end: None,
    }
}

fn header(sequence: u64) -> Header {
    Header {
        incarnation: Incarnation(Uuid::from_u128(0x0102_0304_0506_4708_890a_0b0c_0d0e_0f10)),
        sequence,
        checkpoint: (sequence > 0).then_some(Offset(17)),
    }
}

/// Those that version 1 could write.
pub fn of_version_1(changes: &ChangesBuffer) -> Vec<(&'static str, Record<'_>)> {
    let mut records = records(changes);
    records.truncate(7);
    records
}

/// Those that version 2 could write.
pub fn of_version_2(changes: &ChangesBuffer) -> Vec<(&'static str, Record<'_>)> {
    let mut records = records(changes);
    records.truncate(11);
    records
}

/// Those that version 3 could write.
pub fn of_version_3(changes: &ChangesBuffer) -> Vec<(&'static str, Record<'_>)> {
    let mut records = records(changes);
    records.truncate(12);
    records
}

/// Those that version 4 could write.
pub fn of_version_4(changes: &ChangesBuffer) -> Vec<(&'static str, Record<'_>)> {
    let mut records = records(changes);
    records.truncate(23);
    records
}

/// One of each kind of record, and the variants that matter. `changes` lends its memory.
pub fn records(changes: &ChangesBuffer) -> Vec<(&'static str, Record<'_>)> {
    let (_, schema) = all_types().to_avro();
    let write_set = WriteSet {
        transaction: transaction(),
        tables: vec![
            TableRef {
                database: "shop".to_owned(),
                table: "other".to_owned(),
                schema: Fingerprint(0x0123_4567_89ab_cdef),
                foreign_keys: ForeignKeys::Enforced,
            },
            TableRef {
                database: "shop".to_owned(),
                table: "all_types".to_owned(),
                schema,
                foreign_keys: ForeignKeys::Enforced,
            },
        ],
        changes: changes.as_changes(),
    };
    let empty = WriteSet {
        transaction: Transaction {
            gtid: Gtid::new(UUID_A, 1),
            seen: None,
            chunk: 0,
            ..transaction()
        },
        tables: Vec::new(),
        changes: Changes {
            count: 0,
            encoded: &[],
        },
    };
    let xa_end = WriteSet {
        transaction: Transaction {
            xa_end: Some(XaEnd {
                xid: xid(),
                committed: true,
            }),
            ..transaction()
        },
        ..write_set.clone()
    };
    let mut foreign_keys = write_set.clone();
    foreign_keys.tables[0].foreign_keys = ForeignKeys::Logged;
    foreign_keys.tables[1].foreign_keys = ForeignKeys::Unchecked;
    let bare = FoldState {
        newest: None,
        sites: Vec::new(),
        set: "".parse().unwrap(),
        ..fold_state()
    };
    vec![
        (
            "start",
            Body::Start(Start {
                site: "main".to_owned(),
                server: UUID_A,
                filter: "shop.*,!shop.tmp_*".to_owned(),
                base: format!("{UUID_A}:1-5:7,{UUID_B}:1:blue_1:3-4")
                    .parse()
                    .unwrap(),
                version: "0.1.0".to_owned(),
                job: None,
            }),
        ),
        ("write_set", Body::WriteSet(write_set.clone())),
        ("write_set_empty", Body::WriteSet(empty)),
        ("ddl", Body::Ddl(ddl())),
        ("checkpoint", Body::Checkpoint(fold_state())),
        ("checkpoint_bare", Body::Checkpoint(bare)),
        (
            "heartbeat",
            Body::Heartbeat(Heartbeat {
                at_us: 1_795_000_000_000_000,
                counts: None,
            }),
        ),
        // Since version 2.
        ("write_set_xa_end", Body::WriteSet(xa_end)),
        (
            "xa_prepared",
            Body::XaPrepared(XaPrepared {
                xid: xid(),
                at_us: 1_795_000_000_000_001,
                write_set,
            }),
        ),
        (
            "checkpoint_prepared",
            Body::Checkpoint(fold_state_prepared()),
        ),
        (
            "heartbeat_counts",
            Body::Heartbeat(Heartbeat {
                at_us: 1_795_000_000_000_000,
                counts: Some(Counts {
                    since_us: 1_794_000_000_000_000,
                    counts: [
                        ("rows.insert", 3),
                        ("transactions.seen", u64::from(u32::MAX)),
                    ]
                    .map(|(name, count)| (name.to_owned(), count))
                    .into(),
                }),
            }),
        ),
        // Since version 3.
        ("write_set_foreign_keys", Body::WriteSet(foreign_keys)),
    ]
    .into_iter()
    // Since version 4.
    .chain(copying(changes))
    .enumerate()
    .map(|(i, (name, body))| {
        let header = header(i as u64);
        (name, Record { header, body })
    })
    .collect()
}

fn copying(changes: &ChangesBuffer) -> Vec<(&'static str, Body<'_>)> {
    let snapshot = |step| {
        Body::Snapshot(Snapshot {
            at_us: 1_795_000_000_000_002,
            step,
        })
    };
    let range = SnapshotRows {
        head: RowsHead {
            copy: UUID_B,
            chunk: 3,
            part: 0,
            last: true,
            rows: 2,
            upper: Some(vec![2, 0x80, 1]),
            table: all_types_ref(),
        },
        lower: Some(vec![2, 14]),
        seen: Some(Offset(300)),
        window: window(),
        left_out: vec![vec![2, 16], vec![2, 18]],
        rows: changes.as_changes(),
    };
    let part = SnapshotRows {
        head: RowsHead {
            part: 1,
            last: false,
            rows: 0,
            upper: None,
            ..range.head.clone()
        },
        lower: None,
        seen: None,
        left_out: Vec::new(),
        ..range.clone()
    };
    vec![
        (
            "start_job",
            Body::Start(Start {
                site: "main".to_owned(),
                server: UUID_A,
                filter: "shop.*".to_owned(),
                base: "".parse().unwrap(),
                version: "0.1.0".to_owned(),
                job: Some(job()),
            }),
        ),
        ("checkpoint_copies", Body::Checkpoint(fold_state_copies())),
        ("snapshot_wanted", snapshot(SnapshotStep::Wanted(job()))),
        (
            "snapshot_begin",
            snapshot(SnapshotStep::Begin(Box::new(SnapshotBegin {
                job: UUID_A,
                copy: UUID_B,
                table: all_types_ref(),
                over: Over::Remove,
                replaces: Some(UUID_A),
                create_database: "CREATE DATABASE `größe`".to_owned(),
                create_table: "CREATE TABLE `all_types` (\n  `id` bigint)".to_owned(),
                sql_mode: 1_436_549_152,
                collations: [255, 255, 8],
                time_zone: "+00:00".to_owned(),
                key_name: "PRIMARY".to_owned(),
                key: vec!["c_text".to_owned(), "id".to_owned()],
                estimated_rows: 1_000_000,
                estimated_bytes: 1 << 40,
                window: window(),
            }))),
        ),
        (
            "snapshot_end",
            snapshot(SnapshotStep::End(SnapshotEnd {
                copy: UUID_B,
                rows: 999_990,
                left_out: 10,
            })),
        ),
        (
            "snapshot_given_up",
            snapshot(SnapshotStep::GivenUp(SnapshotGivenUp {
                copy: UUID_B,
                reason: GivenUp::Changed,
                detail: "the column id has another type".to_owned(),
            })),
        ),
        ("snapshot_planned", snapshot(SnapshotStep::Planned(UUID_A))),
        ("snapshot_done", snapshot(SnapshotStep::Done(UUID_A))),
        ("snapshot_rows", Body::SnapshotRows(range)),
        ("snapshot_rows_part", Body::SnapshotRows(part)),
        ("ddl_replay", Body::Ddl(ddl_replay())),
        (
            "snapshot_database",
            snapshot(SnapshotStep::Database(SnapshotDatabase {
                job: UUID_A,
                database: "empty".to_owned(),
                create_database:
                    "CREATE DATABASE `empty` /*!40100 DEFAULT CHARACTER SET utf8mb4 */".to_owned(),
            })),
        ),
    ]
}

fn job() -> SnapshotJob {
    SnapshotJob {
        id: UUID_A,
        tables: "shop.*,!shop.tmp_*".to_owned(),
        except: "shop.orders".to_owned(),
        over: Over::Nothing,
    }
}

fn window() -> Window {
    Window {
        open: format!("{UUID_A}:1-5"),
        file: "binlog.000012".to_owned(),
        position: 4_294_967_300,
    }
}

fn all_types_ref() -> TableRef {
    TableRef {
        database: "shop".to_owned(),
        table: "all_types".to_owned(),
        schema: all_types().to_avro().1,
        foreign_keys: ForeignKeys::Unchecked,
    }
}

/// As [`fold_state_prepared`], with jobs and copies.
pub fn fold_state_copies() -> FoldState {
    let mut state = fold_state_prepared();
    let (east, copy) = (
        &mut state.sites[0],
        CopyState {
            job: UUID_A,
            copy: UUID_B,
            table: all_types_ref(),
            key: vec!["c_text".to_owned(), "id".to_owned()],
            over: Over::Repair,
            next_chunk: 4,
            upper: Some(vec![2, 0x80, 1]),
            rows: 4_000,
            estimated_rows: 1_000_000,
            estimated_bytes: 1 << 40,
            open: Some(OpenRows {
                first: Offset(1_001),
                next_part: 2,
            }),
        },
    );
    east.jobs = vec![
        JobState {
            job: job(),
            cursor: Some(("shop".to_owned(), "größe".to_owned())),
            planned: true,
        },
        JobState {
            job: SnapshotJob {
                id: UUID_B,
                except: String::new(),
                over: Over::Repair,
                ..job()
            },
            cursor: None,
            planned: false,
        },
    ];
    east.copies = vec![
        copy.clone(),
        CopyState {
            copy: UUID_A,
            key: Vec::new(),
            next_chunk: 0,
            upper: None,
            open: None,
            ..copy
        },
    ];
    state
}

fn ddl() -> Ddl {
    Ddl {
        transaction: transaction(),
        statement: "ALTER TABLE `größe` ADD x INT".to_owned(),
        database: "shop".to_owned(),
        sql_mode: 1_436_549_152,
        collations: [255, 255, 8],
        time_zone: "SYSTEM".to_owned(),
        effect: DdlEffect::Define,
        tables: vec![("shop".to_owned(), "größe".to_owned())],
        replay: None,
    }
}

/// As [`ddl`], with what it takes to run it again.
fn ddl_replay() -> Ddl {
    Ddl {
        replay: Some(Box::new(Replay {
            instead: Some("ALTER TABLE `größe` ADD   x INT".to_owned()),
            bytes: Some(b"ALTER TABLE `gr\xf6\xdfe` ADD /*!80000 x INT */".to_vec()),
            obstacle: Some("it is not understood".to_owned()),
            numbers_rows: true,
            now_us: 1_700_000_000_123_456,
            mariadb: true,
            system_time_zone: "CET".to_owned(),
            flags: Some(0xffff_ffff),
            auto_increment: Some((1, 65535)),
            lc_time_names: Some(0),
            database_collation: Some(8),
            utf8mb4_collation: Some(255),
            explicit_defaults_for_timestamp: Some(true),
            sql_require_primary_key: Some(false),
            default_table_encryption: Some(false),
            character_set_collations: vec![(45, 2304), (33, 2048)],
        })),
        ..ddl()
    }
}

fn xid() -> Xid {
    Xid {
        format: u32::MAX,
        gtrid: b"global\0\xff".to_vec(),
        bqual: Vec::new(),
    }
}

/// As [`fold_state`], with a prepared XA transaction.
pub fn fold_state_prepared() -> FoldState {
    let mut state = fold_state();
    state.sites[0].prepared = vec![Prepared {
        xid: xid(),
        gtid: Gtid::new(UUID_A, 5),
        first: Offset(90),
        last: Offset(95),
        at_us: 1_795_000_000_000_001,
    }];
    state
}

pub fn fold_state() -> FoldState {
    FoldState {
        log: Uuid::from_u128(0xfeed),
        offset: Offset(1 << 40),
        set: format!("{UUID_A}:1-5:7,{UUID_B}:1:blue_1:3-4")
            .parse()
            .unwrap(),
        newest: Some(Newest {
            gtid: tagged(4),
            original_commit_us: 1_795_000_000_000_000,
            immediate_commit_us: 1_795_000_000_000_001,
        }),
        sites: vec![
            SiteState {
                site: "east".to_owned(),
                server: UUID_A,
                incarnation: Incarnation(UUID_B),
                next: Some(12),
                filter: "*.*".to_owned(),
                open: Some(OpenTransaction {
                    gtid: Gtid::new(UUID_A, 8),
                    first: Offset(1_000),
                    next_chunk: 3,
                }),
                prepared: Vec::new(),
                jobs: Vec::new(),
                copies: Vec::new(),
            },
            SiteState {
                site: "west".to_owned(),
                server: UUID_B,
                incarnation: Incarnation(UUID_A),
                next: None,
                filter: "shop.*".to_owned(),
                open: None,
                prepared: Vec::new(),
                jobs: Vec::new(),
                copies: Vec::new(),
            },
        ],
    }
}

/// An insert, an update with a partial before image, a delete, and a change in two fragments.
pub fn changes() -> ChangesBuffer {
    let schema = all_types();
    let everyday = encode(&schema, &everyday());
    let extreme = encode(&schema, &extreme());
    let second = encode(&schema, &second_branches());
    let (key_only, key_bitmap) = partial(&schema);
    let whole = |datum| {
        Some(Image {
            present: None,
            datum,
        })
    };
    let mut buffer = ChangesBuffer::new();
    let mut push = |operation, before, after, more| {
        buffer.push(&Change {
            table: 1,
            operation,
            before,
            after,
            more,
        });
    };
    push(Operation::Insert, None, whole(&everyday), false);
    let before = Image {
        present: Some(&key_bitmap),
        datum: &key_only,
    };
    push(Operation::Update, Some(before), whole(&extreme), false);
    push(Operation::Delete, whole(&second), None, false);
    push(Operation::Insert, None, whole(&everyday[..50]), true);
    push(Operation::Insert, None, whole(&everyday[50..]), false);
    buffer
}

/// Only the first column is there.
pub fn partial(schema: &RowSchema) -> (Vec<u8>, Vec<u8>) {
    let mut row = nulls();
    row[0] = Value::Int(7);
    (encode(schema, &row), vec![1, 0, 0, 0, 0, 0])
}
