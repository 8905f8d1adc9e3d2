//! Row images that lack columns, and updates of parts of documents: what is there is what SELECT shows, and what is not there has not
//! changed.

use binferry_capture::decode::{DecodeError, Decoded, TableMap, TablePlan};
use binferry_schemas::{
    datum::{Value, Values},
    record::{Change, ChangesBuffer, Image, Operation},
};
use binferry_servers::MySql;

use super::{
    Event, SESSION, agrees, events,
    generate::{self, Column, Kind, Random},
    seed, shown,
};

/// The changes of one table, each as `take` sees it.
fn changes(
    events: &[Event],
    table: &str,
    mut take: impl FnMut(&TablePlan, Change<'_>),
) -> Result<(), DecodeError> {
    let mut plans = std::collections::HashMap::new();
    for event in events {
        match Decoded::of(event.code, event.flags, &event.body).unwrap() {
            Decoded::TableMap(id) => {
                let map = TableMap::parse(&event.body).unwrap();
                if map.table() == table {
                    plans.insert(id, TablePlan::new(&map).unwrap());
                }
            }
            Decoded::Rows(rows) => {
                let Some(plan) = plans.get(&rows.table_id()) else {
                    continue;
                };
                let mut buffer = ChangesBuffer::new();
                let mut cursor = rows.cursor(plan);
                while cursor.next(0, &mut buffer)? {}
                for change in buffer.as_changes().iter() {
                    take(plan, change.unwrap());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn values<'a>(plan: &'a TablePlan, image: Image<'a>) -> Vec<Option<Value<'a>>> {
    let values = Values::new(plan.schema(), image.present, image.datum);
    values.map(|value| value.unwrap()).collect()
}

/// By row, by column.
type Shown = Vec<Vec<Option<String>>>;

fn select(server: &MySql, table: &str, columns: &[Column]) -> Shown {
    let expressions: Vec<_> = columns.iter().map(shown).collect();
    let sql = format!(
        "{SESSION} SELECT {} FROM {table} ORDER BY id",
        expressions.join(", ")
    );
    server.rows(&sql).unwrap()
}

/// Some columns, at least one, with a random value each.
fn some(random: &mut Random, columns: &[Column]) -> Vec<(String, String)> {
    let share = 1 + random.below(4);
    let mut some = Vec::new();
    for column in columns {
        if random.below(4) < share {
            some.push((column.name.clone(), column.kind.literal(random)));
        }
    }
    if some.is_empty() {
        let column = random.pick(columns);
        some.push((column.name.clone(), column.kind.literal(random)));
    }
    some
}

#[tokio::test]
async fn images_that_lack_columns() {
    const ROWS: u64 = 40;
    let seed = seed();
    let random = &mut Random::new(seed);
    let server = MySql::builder()
        .arg("--max-allowed-packet=64M")
        .start()
        .unwrap();
    let columns = generate::columns();
    let definitions: Vec<_> = columns
        .iter()
        .map(|c| format!("{} {}", c.name, c.definition))
        .collect();
    for image in ["MINIMAL", "NOBLOB"] {
        let table = format!("images.{image}");
        server
            .sql(&format!(
                "{SESSION} CREATE DATABASE IF NOT EXISTS images; CREATE TABLE {table} (id int primary key, {})",
                definitions.join(", ")
            ))
            .unwrap();
        let executed = server.value("SELECT @@gtid_executed").unwrap();
        let session = format!("{SESSION} SET binlog_row_image = {image};");
        for id in 0..ROWS {
            let named = some(random, &columns);
            let (names, literals): (Vec<_>, Vec<_>) = named.into_iter().unzip();
            let (names, literals) = (names.join(", "), literals.join(", "));
            server
                .sql(&format!(
                    "{session} INSERT INTO {table} (id, {names}) VALUES ({id}, {literals})"
                ))
                .unwrap();
        }
        let first = select(&server, &table, &columns);
        for id in 0..ROWS {
            let assignments: Vec<_> = some(random, &columns)
                .into_iter()
                .map(|(name, literal)| format!("{name} = {literal}"))
                .collect();
            // A row that stays as it is would not be logged.
            server
                .sql(&format!(
                    "{session} UPDATE {table} SET id = id + 1000, {} WHERE id = {id}",
                    assignments.join(", ")
                ))
                .unwrap();
        }
        let second = select(&server, &table, &columns);
        server
            .sql(&format!("{session} DELETE FROM {table} ORDER BY id"))
            .unwrap();
        let events = events(&server, &executed).await;
        let mut place = [0_usize; 3];
        let (mut absent, mut differences) = ([0_usize; 4], Vec::new());
        changes(&events, image, |plan, change| {
            let row = place[change.operation as usize];
            place[change.operation as usize] += 1;
            let states = match change.operation {
                Operation::Insert => [None, Some(&first[row])],
                Operation::Update => [Some(&first[row]), Some(&second[row])],
                Operation::Delete => [Some(&second[row]), None],
            };
            for (side, image) in [change.before, change.after].into_iter().enumerate() {
                assert_eq!(image.is_some(), states[side].is_some());
                let (Some(image), Some(state)) = (image, states[side]) else {
                    continue;
                };
                for (at, value) in values(plan, image).into_iter().enumerate() {
                    let Some(value) = value else {
                        absent[change.operation as usize + side % 2] += 1;
                        // An update leaves it alone; an insert gives it the default, which is NULL here.
                        let stays = match (change.operation, side) {
                            (Operation::Update, 1) => {
                                at > 0 && first[row][at - 1] == second[row][at - 1]
                            }
                            (Operation::Insert, _) => at > 0 && state[at - 1].is_none(),
                            _ => at > 0,
                        };
                        if !stays {
                            differences.push(format!("row {row}: column {at} is absent"));
                        }
                        continue;
                    };
                    if at == 0 {
                        let moved = i64::from(
                            side == 1 && change.operation == Operation::Update
                                || change.operation == Operation::Delete,
                        );
                        assert_eq!(value, Value::Int(row as i64 + 1000 * moved));
                        continue;
                    }
                    let found = &plan.schema().columns[at];
                    if !agrees(&found.ty, &value, state[at - 1].as_deref()) {
                        differences.push(format!(
                            "row {row}, {}: {:?} is {value:?}",
                            found.name,
                            state[at - 1]
                        ));
                    }
                }
            }
        })
        .unwrap();
        assert_eq!(place, [ROWS as usize; 3]);
        assert!(
            differences.is_empty(),
            "seed {seed}, {image}: {} differences\n{}",
            differences.len(),
            differences[..differences.len().min(20)].join("\n")
        );
        println!("{image}: absent {absent:?}");
        assert!(absent.iter().sum::<usize>() > 100);
    }
}

const PATHS: [&str; 22] = [
    "$.a",
    "$.b",
    "$.b[0]",
    "$.b[1]",
    "$.b[7]",
    "$.b[last]",
    "$.b[last-1]",
    "$.b[1].z",
    "$.b[0][2]",
    "$.c",
    "$.c.a[0]",
    "$.c.a[last].x",
    "$.c.\"q\\\\\"x\\\\\\\\\"",
    "$.c.\"a b.[0]\"",
    "$.c.\"\"",
    "$.c.é",
    "$.c.n",
    "$.c.nn.deep",
    "$.new",
    "$.\"new key\"",
    "$[0].a",
    "$.a[1]",
];

/// A document in which most paths lead somewhere.
fn document(random: &mut Random) -> String {
    if random.below(12) == 0 {
        return Kind::Json.literal(random);
    }
    let mut value = || Kind::Json.literal(random);
    let (a, b, c, d, e, f) = (value(), value(), value(), value(), value(), value());
    let pad = *random.pick(&[200, 3000, 66_000]);
    format!(
        "JSON_OBJECT('a', {a}, 'b', JSON_ARRAY({b}, {c}, JSON_OBJECT('z', 1)), 'c', JSON_OBJECT('a', JSON_ARRAY({d}, JSON_OBJECT('x', \
         2)), 'q\"x\\\\', {e}, 'é', {f}, 'a b.[0]', 5, '', 6), 'pad', REPEAT('p', {pad}))"
    )
}

fn function(random: &mut Random, of: &str) -> String {
    let depth = random.below(3);
    let mut inner = of.to_owned();
    for _ in 0..=depth {
        let name = match random.below(12) {
            0..=4 => "JSON_SET",
            5..=6 => "JSON_REPLACE",
            7..=9 => "JSON_REMOVE",
            10 => "JSON_ARRAY_APPEND",
            _ => "JSON_ARRAY_INSERT",
        };
        let mut arguments = Vec::new();
        for _ in 0..1 + random.below(3) {
            let path = match name {
                "JSON_ARRAY_INSERT" => random.pick(&["$.b[0]", "$.b[1]", "$.c.a[9]", "$.b[last]"]),
                _ => random.pick(&PATHS),
            };
            arguments.push(format!("'{path}'"));
            if name != "JSON_REMOVE" {
                arguments.push(Kind::Json.literal(random));
            }
        }
        inner = format!("{name}({inner}, {})", arguments.join(", "));
    }
    inner
}

#[tokio::test]
async fn changes_of_documents() {
    const ROWS: usize = 25;
    const STEPS: usize = 12;
    let seed = seed();
    let random = &mut Random::new(seed);
    let server = MySql::builder()
        .arg("--max-allowed-packet=64M")
        .start()
        .unwrap();
    server.sql("CREATE DATABASE documents").unwrap();
    for image in ["FULL", "NOBLOB"] {
        let table = format!("documents.{image}");
        let select = || -> Shown {
            let shown = |c: &str| format!("HEX(CONVERT(CAST({c} AS CHAR) USING utf8mb4))");
            let sql = format!(
                "{SESSION} SELECT {}, {}, {} FROM {table} ORDER BY id",
                shown("a"),
                shown("b"),
                shown("c")
            );
            server.rows(&sql).unwrap()
        };
        let session = format!(
            "{SESSION} SET binlog_row_value_options = PARTIAL_JSON; SET binlog_row_image = {image};"
        );
        server
            .sql(&format!(
                "CREATE TABLE {table} (id int primary key, a json, t text, x int, b json not null, c json)"
            ))
            .unwrap();
        let executed = server.value("SELECT @@gtid_executed").unwrap();
        for id in 0..ROWS {
            let (a, b) = (document(random), document(random));
            server
                .sql(&format!(
                    "{session} INSERT INTO {table} VALUES ({id}, {a}, 't', 0, IFNULL({b}, '7'), NULL)"
                ))
                .unwrap();
        }
        let mut history = vec![select()];
        for step in 1..=STEPS {
            let mut sql = session.clone();
            for id in 0..ROWS {
                let mut assignments = vec![format!("x = {step}")];
                for column in ["a", "b", "c"] {
                    match random.below(4) {
                        0 => {}
                        1 if random.below(4) == 0 => {
                            assignments.push(format!("{column} = {}", document(random)));
                        }
                        _ => assignments.push(format!("{column} = {}", function(random, column))),
                    }
                }
                let assignments = assignments.join(", ");
                sql.push_str(&format!(
                    "UPDATE IGNORE {table} SET {assignments} WHERE id = {id};"
                ));
            }
            server.sql(&sql).unwrap();
            history.push(select());
        }
        let events = events(&server, &executed).await;
        let partial = events.iter().filter(|event| event.code == 39).count();
        let mut steps = [0; ROWS];
        let mut differences = Vec::new();
        changes(&events, image, |plan, change| {
            if change.operation != Operation::Update {
                return;
            }
            let (before, after) = (
                values(plan, change.before.unwrap()),
                values(plan, change.after.unwrap()),
            );
            let Some(Value::Int(id)) = before[0] else {
                panic!()
            };
            let id = id as usize;
            steps[id] += 1;
            assert_eq!(after[3], Some(Value::Int(steps[id] as i64)));
            for (values, step) in [(before, steps[id] - 1), (after, steps[id])] {
                for (at, column) in [1, 4, 5].into_iter().enumerate() {
                    let shown = history[step][id][at].as_deref();
                    let value = values[column].expect("a document is no BLOB");
                    if !agrees(&plan.schema().columns[column].ty, &value, shown) {
                        let text = match value {
                            Value::Text(text) | Value::Json { text, .. } => text,
                            _ => "no document",
                        };
                        let bytes: Vec<u8> = shown.map_or_else(Vec::new, |shown| {
                            let digits = |at| u8::from_str_radix(&shown[at..at + 2], 16).unwrap();
                            (0..shown.len()).step_by(2).map(digits).collect()
                        });
                        let at = text
                            .bytes()
                            .zip(&bytes)
                            .take_while(|(a, b)| a == *b)
                            .count();
                        let part = |text: &[u8]| {
                            let from = &text[at.saturating_sub(30).min(text.len())..];
                            String::from_utf8_lossy(&from[..from.len().min(90)]).into_owned()
                        };
                        differences.push(format!(
                            "row {id}, step {step}, column {column}: from byte {at}, {} is {}",
                            part(&bytes),
                            part(text.as_bytes())
                        ));
                    }
                }
            }
        })
        .unwrap();
        assert_eq!(steps, [STEPS; ROWS]);
        println!("{image}: {partial} events with changes of documents");
        assert!(partial > ROWS * STEPS / 3, "{partial}");
        assert!(
            differences.is_empty(),
            "seed {seed}, {image}: {} differences\n{}",
            differences.len(),
            differences[..differences.len().min(20)].join("\n")
        );
    }
}

#[tokio::test]
async fn a_change_without_its_document_is_named() {
    let server = MySql::builder().start().unwrap();
    server
        .sql(
            "CREATE DATABASE lost; CREATE TABLE lost.t (id int primary key, a json, b json, c json);
             INSERT INTO lost.t VALUES (1, '[1]', JSON_OBJECT('k', 1, 'pad', REPEAT('p', 500)), '[]')",
        )
        .unwrap();
    let executed = server.value("SELECT @@gtid_executed").unwrap();
    server
        .sql(
            "SET binlog_row_value_options = PARTIAL_JSON; SET binlog_row_image = MINIMAL;
             UPDATE lost.t SET a = '[2]'; UPDATE lost.t SET b = JSON_SET(b, '$.k', 2), c = '[3]'",
        )
        .unwrap();
    let events = events(&server, &executed).await;
    let mut seen = 0;
    let error = changes(&events, "t", |plan, change| {
        let after = values(plan, change.after.unwrap());
        assert_eq!(after, [None, Some(Value::Text("[2]")), None, None]);
        seen += 1;
    });
    assert_eq!(seen, 1);
    assert_eq!(
        error,
        Err(DecodeError::DocumentMissing {
            database: "lost".into(),
            table: "t".into(),
            column: "b".into()
        })
    );
}

/// What an INSERT leaves out of its statement: the defaults that the server computes are in the image, constant ones are not, NULL among
/// them. Nothing in the binlog tells what those are.
#[tokio::test]
async fn constant_defaults_are_not_in_the_binlog() {
    let server = MySql::start().unwrap();
    server
        .sql(
            "CREATE DATABASE images; CREATE TABLE images.d (id INT AUTO_INCREMENT PRIMARY KEY, given INT, constant INT NOT NULL DEFAULT 5,
               nothing INT, computed INT DEFAULT (1 + 1), stamp TIMESTAMP(6) DEFAULT CURRENT_TIMESTAMP(6), asked INT DEFAULT 6, doubled INT AS (given * 2) STORED,
               body TEXT, made TEXT DEFAULT ('x'))",
        )
        .unwrap();
    let executed = server.value("SELECT @@gtid_executed").unwrap();
    for image in ["MINIMAL", "NOBLOB", "FULL"] {
        let session = format!("{SESSION} SET binlog_row_image = {image};");
        server
            .sql(&format!(
                "{session} INSERT INTO images.d (given, asked) VALUES (1, DEFAULT)"
            ))
            .unwrap();
    }
    let mut absent = Vec::new();
    changes(&events(&server, &executed).await, "d", |plan, change| {
        let values = values(plan, change.after.unwrap());
        let columns = plan.schema().columns.iter().zip(values);
        let lacking = columns.filter(|(_, value)| value.is_none());
        let lacking: Vec<_> = lacking.map(|(column, _)| column.name.clone()).collect();
        absent.push(lacking.join(" "));
    })
    .unwrap();
    assert_eq!(absent, ["constant nothing body", "body", ""]);

    // For these types NULL is the only constant there is; and what a trigger gives them is in the image.
    for (number, ty) in ["TEXT", "TINYTEXT", "LONGBLOB", "JSON", "POINT", "GEOMETRY"]
        .iter()
        .enumerate()
    {
        let strict = format!("CREATE TABLE images.s{number} (id INT, c {ty} DEFAULT 'x')");
        assert!(
            server.sql(&format!("SET sql_mode = ''; {strict}")).is_err(),
            "{ty}"
        );
        assert!(server.sql(&strict.replace("'x'", "''")).is_err(), "{ty}");
        // A loose session drops an empty one, with a warning.
        let loose = strict.replace("'x'", "''");
        if server.sql(&format!("SET sql_mode = ''; {loose}")).is_ok() {
            let rows = format!("SET sql_mode = ''; INSERT INTO images.s{number} (id) VALUES (1)");
            server.sql(&rows).unwrap();
            let nulls = format!("SELECT COUNT(*) FROM images.s{number} WHERE c IS NULL");
            assert_eq!(server.value(&nulls).unwrap(), "1", "{ty}");
        }
    }
    server
        .sql(
            "CREATE TABLE images.triggered (id INT PRIMARY KEY, c TEXT);
             CREATE TRIGGER images.fill BEFORE INSERT ON images.triggered FOR EACH ROW SET NEW.c = 'given'",
        )
        .unwrap();
    let executed = server.value("SELECT @@gtid_executed").unwrap();
    server
        .sql("SET binlog_row_image = MINIMAL; INSERT INTO images.triggered (id) VALUES (1)")
        .unwrap();
    changes(
        &events(&server, &executed).await,
        "triggered",
        |plan, change| {
            let values = values(plan, change.after.unwrap());
            assert_eq!(values, [Some(Value::Int(1)), Some(Value::Text("given"))]);
        },
    )
    .unwrap();
}
