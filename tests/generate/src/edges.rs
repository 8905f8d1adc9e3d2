//! Every type, at the edges of what it takes.

use crate::column::{Column, Kind, many};

const CHARSETS: [&str; 12] = [
    "utf8mb4", "utf8mb3", "latin1", "ascii", "ucs2", "utf16", "utf16le", "utf32", "cp1251", "sjis",
    "gbk", "swe7",
];

/// Every type at its edges.
pub fn columns() -> Vec<Column> {
    use Kind::*;
    let mut columns: Vec<(String, Kind)> = Vec::new();
    let mut add = |ty: String, kind| columns.push((ty, kind));
    for (name, bits) in [
        ("tinyint", 8),
        ("smallint", 16),
        ("mediumint", 24),
        ("int", 32),
        ("bigint", 64),
    ] {
        for unsigned in [false, true] {
            let ty = format!("{name}{}", if unsigned { " unsigned" } else { "" });
            add(ty, Integer { bits, unsigned });
        }
    }
    for bits in [1, 7, 8, 9, 33, 63, 64] {
        add(format!("bit({bits})"), Bit(bits));
    }
    add("float".into(), Float);
    add("float unsigned".into(), Float);
    add("double".into(), Double);
    for (precision, scale) in [
        (1, 0),
        (5, 5),
        (9, 0),
        (10, 2),
        (14, 4),
        (18, 9),
        (38, 10),
        (39, 30),
        (65, 0),
        (65, 30),
    ] {
        add(
            format!("decimal({precision},{scale})"),
            Decimal { precision, scale },
        );
    }
    add(
        "decimal(20,3) unsigned".into(),
        Decimal {
            precision: 20,
            scale: 3,
        },
    );
    add("year".into(), Year);
    add("date".into(), Date);
    for fsp in 0..=6 {
        add(format!("time({fsp})"), Time(fsp));
        add(format!("datetime({fsp})"), DateTime(fsp));
        add(format!("timestamp({fsp}) null"), Timestamp(fsp));
    }
    for charset in CHARSETS {
        add(
            format!("varchar(20) character set {charset}"),
            Text(20, charset),
        );
    }
    for charset in ["utf8mb4", "latin1", "ucs2"] {
        add(
            format!("char(30) character set {charset}"),
            Text(30, charset),
        );
        add(
            format!("char(255) character set {charset}"),
            Text(255, charset),
        );
    }
    add(
        "varchar(300) character set latin1".into(),
        Text(300, "latin1"),
    );
    add("tinytext character set latin1".into(), Text(200, "latin1"));
    add("text".into(), Text(400, "utf8mb4"));
    add("mediumtext character set utf16".into(), Text(100, "utf16"));
    add("longtext".into(), Text(400, "utf8mb4"));
    add("binary(5)".into(), Binary(5));
    add("binary(255)".into(), Binary(255));
    add("varbinary(10)".into(), Binary(10));
    add("varbinary(300)".into(), Binary(300));
    add("tinyblob".into(), Binary(200));
    add("blob".into(), Binary(400));
    add("mediumblob".into(), Binary(400));
    add("longblob".into(), Binary(400));
    add(
        "enum('a','été','','c d') character set latin1".into(),
        Enum(4),
    );
    add(format!("enum({})", many(300)), Enum(300));
    add("set('x','ü','z') character set utf16".into(), Set(3));
    for count in [8, 9, 24, 32, 33, 64] {
        add(format!("set({})", many(count)), Set(count));
    }
    add("json".into(), Json);
    add("geometry".into(), Geometry);
    add("point".into(), Geometry);
    add("vector(5)".into(), Vector(5));
    // The first types again, behind columns that some of the metadata's counts leave out.
    add(
        "int unsigned".into(),
        Integer {
            bits: 32,
            unsigned: true,
        },
    );
    add("varchar(9) character set latin1".into(), Text(9, "latin1"));
    add("enum('last')".into(), Enum(1));
    let column = |(index, (ty, kind)): (usize, (String, Kind))| Column {
        name: format!("c{index}"),
        definition: ty,
        kind,
        nullable: true,
    };
    columns.into_iter().enumerate().map(column).collect()
}
