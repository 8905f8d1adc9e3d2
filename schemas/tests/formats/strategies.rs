//! Arbitrary records, row schemas and rows.

use binferry_schemas::{
    datum::Value,
    fingerprint::Fingerprint,
    gtid::{Gtid, GtidSet, MAX_GNO, Tag, Uuid},
    record::*,
    row::*,
};
use proptest::{collection::vec, option, prelude::*};

/// Numbers that Avro's `long` carries.
fn number() -> impl Strategy<Value = u64> {
    (0..63u32, any::<u64>()).prop_map(|(shift, number)| (number >> 1) >> shift)
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,12}"
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn gtid() -> impl Strategy<Value = Gtid> {
    (uuid(), "([a-z_][a-z0-9_]{0,31})?", 1..=MAX_GNO).prop_map(|(uuid, tag, gno)| Gtid {
        uuid,
        tag: Tag::new(&tag).unwrap(),
        gno,
    })
}

fn set() -> impl Strategy<Value = GtidSet> {
    vec(gtid(), 0..6).prop_map(GtidSet::from_iter)
}

fn header() -> impl Strategy<Value = Header> {
    (uuid(), number(), option::of(number())).prop_map(|(uuid, sequence, checkpoint)| Header {
        incarnation: Incarnation(uuid),
        sequence,
        checkpoint: checkpoint.map(Offset),
    })
}

fn xid() -> impl Strategy<Value = Xid> {
    let part = || vec(any::<u8>(), 0..64);
    (any::<u32>(), part(), part()).prop_map(|(format, gtrid, bqual)| Xid {
        format,
        gtrid,
        bqual,
    })
}

fn transaction() -> impl Strategy<Value = Transaction> {
    (
        gtid(),
        (number(), number(), number()),
        (any::<i64>(), any::<i64>()),
        option::of(number()),
        text(),
        (any::<u32>(), any::<bool>()),
        option::of((xid(), any::<bool>())),
    )
        .prop_map(
            |(gtid, times, dependencies, seen, file, (chunk, last), xa_end)| Transaction {
                gtid,
                original_commit_us: times.0,
                immediate_commit_us: times.1,
                position: times.2,
                last_committed: dependencies.0,
                sequence_number: dependencies.1,
                seen: seen.map(Offset),
                file,
                chunk,
                last,
                xa_end: xa_end.map(|(xid, committed)| XaEnd { xid, committed }),
            },
        )
}

/// A change that owns its bytes.
#[derive(Debug, Clone)]
pub struct OwnedChange {
    table: u32,
    operation: Operation,
    before: Option<(Option<Vec<u8>>, Vec<u8>)>,
    after: Option<(Option<Vec<u8>>, Vec<u8>)>,
    more: bool,
}

impl OwnedChange {
    pub fn borrow(&self) -> Change<'_> {
        let image = |image: &'_ Option<(Option<Vec<u8>>, Vec<u8>)>| {
            // Leaked: a few bytes in a test, for a simpler signature.
            image.clone().map(|(present, datum)| Image {
                present: present.map(|p| &*p.leak()),
                datum: datum.leak(),
            })
        };
        Change {
            table: self.table,
            operation: self.operation,
            before: image(&self.before),
            after: image(&self.after),
            more: self.more,
        }
    }
}

pub fn changes() -> impl Strategy<Value = Vec<OwnedChange>> {
    let bytes = || vec(any::<u8>(), 0..80);
    let image = move || option::of((option::of(vec(any::<u8>(), 0..9)), bytes()));
    let operation = prop_oneof![
        Just(Operation::Insert),
        Just(Operation::Update),
        Just(Operation::Delete)
    ];
    let change = (
        0..=i32::MAX as u32,
        operation,
        image(),
        image(),
        any::<bool>(),
    )
        .prop_map(|(table, operation, before, after, more)| OwnedChange {
            table,
            operation,
            before,
            after,
            more,
        });
    vec(change, 0..8)
}

/// The body of a write-set lacks its changes.
#[derive(Debug, Clone)]
pub enum OwnedBody {
    WriteSet(Transaction, Vec<TableRef>),
    XaPrepared(Xid, u64, Transaction, Vec<TableRef>),
    /// The rest of it without rows.
    SnapshotRows(SnapshotRows<'static>),
    Other(Body<'static>),
}

fn table() -> impl Strategy<Value = TableRef> {
    (text(), text(), any::<u64>(), 0..3_usize).prop_map(
        |(database, table, schema, foreign_keys)| TableRef {
            database,
            table,
            schema: Fingerprint(schema),
            foreign_keys: ForeignKeys::ALL[foreign_keys],
        },
    )
}

fn over() -> impl Strategy<Value = Over> {
    (0..3_usize).prop_map(|over| Over::ALL[over])
}

fn job() -> impl Strategy<Value = SnapshotJob> {
    (uuid(), text(), text(), over()).prop_map(|(id, tables, except, over)| SnapshotJob {
        id,
        tables,
        except,
        over,
    })
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..12)
}

fn window() -> impl Strategy<Value = Window> {
    (text(), text(), number()).prop_map(|(open, file, position)| Window {
        open,
        file,
        position,
    })
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let begin = (
        (uuid(), uuid(), table(), over(), option::of(uuid())),
        (text(), text(), any::<u64>(), any::<[u16; 3]>(), text()),
        (text(), vec(text(), 0..4), number(), number(), window()),
    )
        .prop_map(|(names, definition, key)| {
            SnapshotStep::Begin(Box::new(SnapshotBegin {
                job: names.0,
                copy: names.1,
                table: names.2,
                over: names.3,
                replaces: names.4,
                create_database: definition.0,
                create_table: definition.1,
                sql_mode: definition.2,
                collations: definition.3,
                time_zone: definition.4,
                key_name: key.0,
                key: key.1,
                estimated_rows: key.2,
                estimated_bytes: key.3,
                window: key.4,
            }))
        });
    let step = prop_oneof![
        job().prop_map(SnapshotStep::Wanted),
        begin,
        (uuid(), number(), number()).prop_map(|(copy, rows, left_out)| {
            SnapshotStep::End(SnapshotEnd {
                copy,
                rows,
                left_out,
            })
        }),
        (uuid(), 0..4_usize, text()).prop_map(|(copy, reason, detail)| {
            SnapshotStep::GivenUp(SnapshotGivenUp {
                copy,
                reason: GivenUp::ALL[reason],
                detail,
            })
        }),
        uuid().prop_map(SnapshotStep::Planned),
        uuid().prop_map(SnapshotStep::Done),
        (uuid(), text(), text()).prop_map(|(job, database, create_database)| {
            SnapshotStep::Database(SnapshotDatabase {
                job,
                database,
                create_database,
            })
        }),
    ];
    (number(), step).prop_map(|(at_us, step)| Snapshot { at_us, step })
}

fn snapshot_rows() -> impl Strategy<Value = SnapshotRows<'static>> {
    let head = (
        (uuid(), number(), any::<u32>(), any::<bool>()),
        (number(), option::of(key()), table()),
    )
        .prop_map(
            |((copy, chunk, part, last), (rows, upper, table))| RowsHead {
                copy,
                chunk,
                part,
                last,
                rows,
                upper,
                table,
            },
        );
    (
        head,
        option::of(key()),
        option::of(number()),
        window(),
        vec(key(), 0..4),
    )
        .prop_map(|(head, lower, seen, window, left_out)| SnapshotRows {
            head,
            lower,
            seen: seen.map(Offset),
            window,
            left_out,
            rows: Changes {
                count: 0,
                encoded: &[],
            },
        })
}

fn replay() -> impl Strategy<Value = Replay> {
    let texts = (
        option::of(text()),
        option::of(vec(any::<u8>(), 0..9)),
        option::of(text()),
        text(),
    );
    let numbers = (
        option::of(any::<u32>()),
        option::of(any::<(u16, u16)>()),
        any::<[Option<u16>; 3]>(),
        vec(any::<(u16, u16)>(), 0..3),
    );
    (
        texts,
        numbers,
        any::<[Option<bool>; 3]>(),
        any::<[bool; 2]>(),
        number(),
    )
        .prop_map(|(texts, numbers, switches, is, now_us)| Replay {
            instead: texts.0,
            bytes: texts.1,
            obstacle: texts.2,
            system_time_zone: texts.3,
            numbers_rows: is[0],
            mariadb: is[1],
            now_us,
            flags: numbers.0,
            auto_increment: numbers.1,
            lc_time_names: numbers.2[0],
            database_collation: numbers.2[1],
            utf8mb4_collation: numbers.2[2],
            character_set_collations: numbers.3,
            explicit_defaults_for_timestamp: switches[0],
            sql_require_primary_key: switches[1],
            default_table_encryption: switches[2],
        })
}

fn body() -> impl Strategy<Value = OwnedBody> {
    let start = (text(), uuid(), text(), set(), text(), option::of(job())).prop_map(
        |(site, server, filter, base, version, job)| {
            OwnedBody::Other(Body::Start(Start {
                site,
                server,
                filter,
                base,
                version,
                job,
            }))
        },
    );
    let effect = prop_oneof![
        Just(DdlEffect::None),
        Just(DdlEffect::Define),
        Just(DdlEffect::Truncate),
        Just(DdlEffect::Drop),
        Just(DdlEffect::Rename),
        Just(DdlEffect::Unknown)
    ];
    let ddl = (
        transaction(),
        (text(), text(), text()),
        any::<u64>(),
        any::<[u16; 3]>(),
        effect,
        vec((text(), text()), 0..4),
        option::of(replay()),
    )
        .prop_map(
            |(transaction, texts, sql_mode, collations, effect, tables, replay)| {
                OwnedBody::Other(Body::Ddl(Ddl {
                    transaction,
                    statement: texts.0,
                    database: texts.1,
                    time_zone: texts.2,
                    sql_mode,
                    collations,
                    effect,
                    tables,
                    replay: replay.map(Box::new),
                }))
            },
        );
    let counts = (
        number(),
        proptest::collection::btree_map(text(), number(), 0..5),
    )
        .prop_map(|(since_us, counts)| Counts { since_us, counts });
    prop_oneof![
        start,
        (transaction(), vec(table(), 0..4)).prop_map(|(t, tables)| OwnedBody::WriteSet(t, tables)),
        (xid(), number(), transaction(), vec(table(), 0..4))
            .prop_map(|(xid, at_us, t, tables)| OwnedBody::XaPrepared(xid, at_us, t, tables)),
        ddl,
        snapshot().prop_map(|snapshot| OwnedBody::Other(Body::Snapshot(snapshot))),
        snapshot_rows().prop_map(OwnedBody::SnapshotRows),
        fold_state().prop_map(|state| OwnedBody::Other(Body::Checkpoint(state))),
        (number(), option::of(counts)).prop_map(|(at_us, counts)| OwnedBody::Other(
            Body::Heartbeat(Heartbeat { at_us, counts })
        )),
    ]
}

fn job_state() -> impl Strategy<Value = JobState> {
    (job(), option::of((text(), text())), any::<bool>()).prop_map(|(job, cursor, planned)| {
        JobState {
            job,
            cursor,
            planned,
        }
    })
}

fn copy_state() -> impl Strategy<Value = CopyState> {
    let open = (number(), any::<u32>()).prop_map(|(first, next_part)| OpenRows {
        first: Offset(first),
        next_part,
    });
    (
        (uuid(), uuid(), table(), vec(text(), 0..3), over()),
        (number(), option::of(key()), option::of(open)),
        (number(), number(), number()),
    )
        .prop_map(|(names, place, counts)| CopyState {
            job: names.0,
            copy: names.1,
            table: names.2,
            key: names.3,
            over: names.4,
            next_chunk: place.0,
            upper: place.1,
            open: place.2,
            rows: counts.0,
            estimated_rows: counts.1,
            estimated_bytes: counts.2,
        })
}

pub fn fold_state() -> impl Strategy<Value = FoldState> {
    let newest = (gtid(), number(), number()).prop_map(|(gtid, original, immediate)| Newest {
        gtid,
        original_commit_us: original,
        immediate_commit_us: immediate,
    });
    let open =
        (gtid(), number(), any::<u32>()).prop_map(|(gtid, first, next_chunk)| OpenTransaction {
            gtid,
            first: Offset(first),
            next_chunk,
        });
    let prepared = (xid(), gtid(), number(), number(), number()).prop_map(
        |(xid, gtid, first, last, at_us)| Prepared {
            xid,
            gtid,
            first: Offset(first),
            last: Offset(last),
            at_us,
        },
    );
    let site = (
        text(),
        uuid(),
        uuid(),
        option::of(number()),
        text(),
        option::of(open),
        vec(prepared, 0..3),
        (vec(job_state(), 0..3), vec(copy_state(), 0..3)),
    )
        .prop_map(
            |(site, server, incarnation, next, filter, open, prepared, (jobs, copies))| SiteState {
                site,
                server,
                incarnation: Incarnation(incarnation),
                next,
                filter,
                open,
                prepared,
                jobs,
                copies,
            },
        );
    (uuid(), number(), set(), option::of(newest), vec(site, 0..4)).prop_map(
        |(log, offset, set, newest, sites)| FoldState {
            log,
            offset: Offset(offset),
            set,
            newest,
            sites,
        },
    )
}

/// The bytes of a record, through `see`, which gets the record too.
pub fn record() -> impl Strategy<Value = (Header, OwnedBody, Vec<OwnedChange>)> {
    (header(), body(), changes())
}

pub fn with_record<T>(
    (header, body, changes): (Header, OwnedBody, Vec<OwnedChange>),
    see: impl FnOnce(&Record<'_>) -> T,
) -> T {
    let mut buffer = ChangesBuffer::new();
    for change in &changes {
        buffer.push(&change.borrow());
    }
    let body = match body {
        OwnedBody::Other(body) => body,
        OwnedBody::SnapshotRows(rows) => Body::SnapshotRows(SnapshotRows {
            rows: buffer.as_changes(),
            ..rows
        }),
        OwnedBody::XaPrepared(xid, at_us, transaction, tables) => Body::XaPrepared(XaPrepared {
            xid,
            at_us,
            write_set: WriteSet {
                transaction,
                tables,
                changes: buffer.as_changes(),
            },
        }),
        OwnedBody::WriteSet(transaction, tables) => Body::WriteSet(WriteSet {
            transaction,
            tables,
            changes: buffer.as_changes(),
        }),
    };
    see(&Record { header, body })
}

fn column_type() -> impl Strategy<Value = ColumnType> {
    let width = prop_oneof![
        Just(Width::Tiny),
        Just(Width::Small),
        Just(Width::Medium),
        Just(Width::Int),
        Just(Width::Big)
    ];
    let collation = || prop_oneof![Just(255u16), 0..400u16, any::<u16>()];
    let labels = || vec(text(), 0..5);
    prop_oneof![
        4 => (width, any::<bool>()).prop_map(|(width, unsigned)| ColumnType::Integer { width, unsigned }),
        1 => (1..=64u8).prop_map(|bits| ColumnType::Bit { bits }),
        1 => any::<bool>().prop_map(|unsigned| ColumnType::Float { unsigned }),
        1 => any::<bool>().prop_map(|unsigned| ColumnType::Double { unsigned }),
        2 => (1..=65u8, 0..=30u8, any::<bool>()).prop_map(|(precision, scale, unsigned)| {
            ColumnType::Decimal { precision, scale: scale.min(precision), unsigned }
        }),
        1 => Just(ColumnType::Year),
        1 => Just(ColumnType::Date),
        1 => (0..=6u8).prop_map(|fsp| ColumnType::Time { fsp }),
        1 => (0..=6u8).prop_map(|fsp| ColumnType::DateTime { fsp }),
        1 => (0..=6u8).prop_map(|fsp| ColumnType::Timestamp { fsp }),
        1 => (0..2000u32, collation()).prop_map(|(bytes, collation)| ColumnType::Char { bytes, collation }),
        1 => (0..70_000u32, collation()).prop_map(|(bytes, collation)| ColumnType::VarChar { bytes, collation }),
        1 => (1..=4u8, collation()).prop_map(|(length_bytes, collation)| ColumnType::Text { length_bytes, collation }),
        1 => any::<u32>().prop_map(|bytes| ColumnType::Binary { bytes }),
        1 => any::<u32>().prop_map(|bytes| ColumnType::VarBinary { bytes }),
        1 => (1..=4u8).prop_map(|length_bytes| ColumnType::Blob { length_bytes }),
        1 => (labels(), collation()).prop_map(|(labels, collation)| ColumnType::Enum { labels, collation }),
        1 => (labels(), collation()).prop_map(|(labels, collation)| ColumnType::Set { labels, collation }),
        2 => Just(ColumnType::Json),
        1 => any::<u8>().prop_map(|kind| ColumnType::Geometry { kind }),
        1 => any::<u32>().prop_map(|dimension| ColumnType::Vector { dimension }),
    ]
}

pub fn row_schema() -> impl Strategy<Value = RowSchema> {
    let key = option::of((any::<u16>(), any::<u32>()))
        .prop_map(|key| key.map(|(position, prefix)| KeyPart { position, prefix }));
    let column = (
        "\\PC{0,6}|[a-c _]{1,3}",
        column_type(),
        any::<bool>(),
        any::<bool>(),
        key,
    )
        .prop_map(|(name, ty, nullable, visible, key)| Column {
            name,
            ty,
            nullable,
            visible,
            key,
        });
    ("\\PC{0,8}", "\\PC{0,8}|int|map", vec(column, 0..12)).prop_map(|(database, table, columns)| {
        RowSchema {
            database,
            table,
            columns,
        }
    })
}

/// One value for each column, or `None` for one that is left out.
pub fn row(schema: &RowSchema) -> BoxedStrategy<Vec<Option<Value<'static>>>> {
    schema
        .columns
        .iter()
        .map(|column| option::weighted(0.9, value(&column.ty)))
        .collect::<Vec<_>>()
        .boxed()
}

fn value(ty: &ColumnType) -> BoxedStrategy<Value<'static>> {
    // Leaked: a few bytes in a test, for values without owners.
    let text = || text().prop_map(|text| Value::Text(text.leak()));
    let bytes = || vec(any::<u8>(), 0..20).prop_map(|bytes| &*bytes.leak());
    let some = match ty.encoding() {
        Encoding::Int => any::<i32>().prop_map(|n| Value::Int(n.into())).boxed(),
        Encoding::Long => any::<i64>().prop_map(Value::Int).boxed(),
        Encoding::Unsigned => (any::<u64>(), 0..64u32)
            .prop_map(|(n, shift)| Value::Unsigned(n >> shift))
            .boxed(),
        Encoding::Float => (-1e9f32..1e9).prop_map(Value::Float).boxed(),
        Encoding::Double => (-1e99f64..1e99).prop_map(Value::Double).boxed(),
        Encoding::Decimal => vec(any::<u8>(), 1..=28)
            .prop_map(|bytes| Value::Decimal(bytes.leak()))
            .boxed(),
        Encoding::Date => prop_oneof![any::<i32>().prop_map(Value::Date), text()].boxed(),
        Encoding::Time => any::<i64>().prop_map(Value::Time).boxed(),
        Encoding::DateTime => prop_oneof![any::<i64>().prop_map(Value::DateTime), text()].boxed(),
        Encoding::Timestamp => prop_oneof![any::<i64>().prop_map(Value::Timestamp), text()].boxed(),
        Encoding::Text => prop_oneof![text(), bytes().prop_map(Value::Bytes)].boxed(),
        Encoding::Bytes => bytes().prop_map(Value::Bytes).boxed(),
        Encoding::Enum => {
            prop_oneof![text(), any::<i32>().prop_map(|n| Value::Int(n.into()))].boxed()
        }
        Encoding::Set => prop_oneof![text(), any::<i64>().prop_map(Value::Int)].boxed(),
        Encoding::Json => prop_oneof![
            text(),
            (self::text(), bytes()).prop_map(|(text, binary)| Value::Json {
                text: text.leak(),
                binary
            })
        ]
        .boxed(),
        Encoding::Vector => vec(any::<[u8; 4]>(), 0..5)
            .prop_map(|floats| Value::Vector(floats.concat().leak()))
            .boxed(),
    };
    prop_oneof![1 => Just(Value::Null), 6 => some].boxed()
}
