//! What writers of rows do: single statements, transactions, XA, on whatever tables there are at the moment.

use binferry_generate::Random;

use super::session::Shape;

/// Ids are drawn below it.
pub const IDS: u64 = 400;

/// How the statements of a connection are logged and what they check, drawn anew now and then; and whether images are full. Others may
/// lack what an INSERT leaves to its default: that stops the stream.
pub fn settings(partial: bool, random: &mut Random) -> (String, bool) {
    let image = match partial {
        true => *random.pick(&["FULL", "FULL", "NOBLOB", "MINIMAL"]),
        false => "FULL",
    };
    let options = match random.below(4) {
        0 if image != "MINIMAL" => "PARTIAL_JSON",
        _ => "",
    };
    let settings = format!(
        "SET binlog_row_image = {image}, binlog_row_value_options = '{options}', binlog_transaction_compression = {}, foreign_key_checks = {}, \
         time_zone = '{}', sql_mode = '{}ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'",
        u8::from(random.below(4) == 0),
        u8::from(random.below(5) > 0),
        random.pick(&["+00:00", "+05:30", "-11:00"]),
        random.pick(&["", "", "NO_BACKSLASH_ESCAPES,", "PIPES_AS_CONCAT,"]),
    );
    (settings, image == "FULL")
}

/// Statements that belong together, in their transaction where there are several.
pub fn transaction(
    shapes: &[Shape],
    full: bool,
    with_xa: Option<u64>,
    random: &mut Random,
) -> Vec<String> {
    let count = match random.below(3) {
        0 => 1,
        _ => 1 + random.below(6),
    };
    let mut statements: Vec<String> = Vec::new();
    for _ in 0..count {
        let shape = random.pick(shapes);
        statements.extend(change(shape, full, random));
    }
    if statements.len() < 2 {
        return statements;
    }
    if random.below(6) == 0 {
        let at = random.below(statements.len() as u64) as usize;
        statements.insert(at, "SAVEPOINT s".into());
        statements.push("ROLLBACK TO SAVEPOINT s".into());
    }
    let rolled_back = random.below(8) == 0;
    if let Some(number) = with_xa {
        statements.insert(0, format!("XA START 'x{number}'"));
        statements.push(format!("XA END 'x{number}'"));
        statements.push(format!("XA PREPARE 'x{number}'"));
        let end = if rolled_back { "ROLLBACK" } else { "COMMIT" };
        statements.push(format!("XA {end} 'x{number}'"));
    } else {
        statements.insert(0, "BEGIN".into());
        statements.push(if rolled_back { "ROLLBACK" } else { "COMMIT" }.into());
    }
    statements
}

/// One change, or several that are one to whoever reads: a swap of unique values.
fn change(shape: &Shape, full: bool, random: &mut Random) -> Vec<String> {
    let table = &shape.table;
    if !shape.has("id") {
        return vec![match random.below(3) {
            0 => format!("DELETE FROM {table} ORDER BY RAND() LIMIT 1"),
            1 if full => insert("INSERT IGNORE", shape, random),
            _ => format!(
                "UPDATE IGNORE {table} SET {} ORDER BY RAND() LIMIT 2",
                assignments(shape, random)
            ),
        }];
    }
    let id = random.below(IDS);
    let which = match random.below(5) {
        0 => format!("id BETWEEN {id} AND {}", id + random.below(12)),
        1 => format!("id IN ({id}, {}, {})", random.below(IDS), id + 1000),
        _ => format!("id = {id}"),
    };
    let statement = match random.below(20) {
        0..=4 if full => insert("INSERT IGNORE", shape, random),
        5 if full => insert("INSERT", shape, random),
        6 if full => insert("REPLACE", shape, random),
        7 if full => format!(
            "{} ON DUPLICATE KEY UPDATE {}",
            insert("INSERT IGNORE", shape, random),
            assignments(shape, random)
        ),
        8 => format!("UPDATE IGNORE {table} SET id = id + 1000 WHERE {which}"),
        9 => format!(
            "UPDATE {table} SET id = id + 1 WHERE id BETWEEN {id} AND {} ORDER BY id DESC",
            id + 20
        ),
        10 if shape.has("u") => {
            let (a, b) = (id, random.below(IDS));
            return vec![
                format!(
                    "SET @a = NULL, @b = NULL, @a = (SELECT u FROM {table} WHERE id = {a} LIMIT 1), @b = (SELECT u FROM {table} WHERE id = {b} LIMIT 1)"
                ),
                format!("UPDATE {table} SET u = NULL WHERE id = {a} LIMIT 1"),
                format!("UPDATE {table} SET u = @a WHERE id = {b} LIMIT 1"),
                format!("UPDATE {table} SET u = @b WHERE id = {a} LIMIT 1"),
            ];
        }
        11 | 12 => format!("DELETE FROM {table} WHERE {which}"),
        13 if shape.keyless => format!("DELETE FROM {table} WHERE {which} LIMIT 1"),
        _ => format!(
            "UPDATE IGNORE {table} SET {} WHERE {which}",
            assignments(shape, random)
        ),
    };
    vec![statement]
}

pub fn insert(verb: &str, shape: &Shape, random: &mut Random) -> String {
    let mut columns = shape.writable();
    // The others get their defaults.
    columns.retain(|column| column.name == "id" || !column.nullable || random.below(6) > 0);
    if columns.iter().any(|column| column.numbers) && random.below(2) == 0 {
        columns.retain(|column| !column.numbers);
    }
    let rows: Vec<_> = (0..1 + random.below(5))
        .map(|_| {
            let values: Vec<_> = columns
                .iter()
                .map(|column| match column.name.as_str() {
                    "id" | "p" | "u" => random.below(IDS).to_string(),
                    _ => column.value(random),
                })
                .collect();
            format!("({})", values.join(", "))
        })
        .collect();
    let names: Vec<_> = columns.iter().map(|column| column.quoted()).collect();
    format!(
        "{verb} INTO {} ({}) VALUES {}",
        shape.table,
        names.join(", "),
        rows.join(", ")
    )
}

fn assignments(shape: &Shape, random: &mut Random) -> String {
    let columns = shape.writable();
    let mut set: Vec<(String, String)> = Vec::new();
    for _ in 0..1 + random.below(3) {
        let column = *random.pick(&columns);
        let name = column.quoted();
        if set.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let value = match (column.name.as_str(), column.kind) {
            ("id" | "p" | "u", _) => random.below(IDS).to_string(),
            (_, Some(binferry_generate::Kind::Json)) if random.below(2) == 0 => {
                format!("JSON_SET({name}, '$[0]', {})", random.below(9))
            }
            _ => column.value(random),
        };
        set.push((name, value));
    }
    let set: Vec<_> = set.iter().map(|(n, v)| format!("{n} = {v}")).collect();
    set.join(", ")
}
