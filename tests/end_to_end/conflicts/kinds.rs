//! Each kind of conflict, under each policy.

use anyhow::{Context, Result, ensure};
use binferry_servers::{MySql, Release, mariadb, pair};

use super::{begin, carry, journal, of_table, skip, to_skip, told};
use crate::binferry::{Pipeline, done, executed, output, program, refused};

/// A table with a conflict of its own.
struct Case {
    table: &'static str,
    /// Behind the table's name, on the source and on the target.
    columns: [&'static str; 2],
    /// Written by the source, and carried.
    rows: &'static str,
    /// Done on the target by someone else.
    planted: &'static str,
    change: &'static str,
    /// The target's rows in the end: when the source wins, and when the target does.
    rows_after: [&'static str; 2],
    /// The journal in the end, the same.
    journal: [&'static [&'static str]; 2],
    mysql_only: bool,
}

const PLAIN: [&str; 2] = ["(id INT PRIMARY KEY, a VARCHAR(20))"; 2];
const UNIQUE: [&str; 2] = ["(id INT PRIMARY KEY, a VARCHAR(20), UNIQUE KEY by_a (a))"; 2];
const CASE: Case = Case {
    table: "",
    columns: PLAIN,
    rows: "SELECT 1",
    planted: "SELECT 1",
    change: "",
    rows_after: [""; 2],
    journal: [&[]; 2],
    mysql_only: false,
};

const CASES: [Case; 24] = [
    Case {
        table: "missing_update",
        rows: "INSERT INTO missing_update VALUES (1, 'x')",
        planted: "DELETE FROM missing_update",
        change: "UPDATE missing_update SET a = 'source'",
        rows_after: ["1,source", ""],
        journal: [
            &["row_missing PRIMARY inserted"],
            &["row_missing PRIMARY kept"],
        ],
        ..CASE
    },
    Case {
        table: "missing_delete",
        rows: "INSERT INTO missing_delete VALUES (1, 'x')",
        planted: "DELETE FROM missing_delete",
        change: "DELETE FROM missing_delete",
        journal: [
            &["row_missing PRIMARY nothing"],
            &["row_missing PRIMARY kept"],
        ],
        ..CASE
    },
    Case {
        table: "exists_already",
        planted: "INSERT INTO exists_already VALUES (1, 'target')",
        change: "INSERT INTO exists_already VALUES (1, 'source')",
        rows_after: ["1,source", "1,target"],
        journal: [
            &["row_exists PRIMARY overwritten"],
            &["row_exists PRIMARY kept"],
        ],
        ..CASE
    },
    Case {
        table: "differs_update",
        rows: "INSERT INTO differs_update VALUES (1, 'x'), (2, 'y')",
        planted: "UPDATE differs_update SET a = 'target' WHERE id = 1",
        change: "UPDATE differs_update SET a = 'source'",
        rows_after: ["1,source 2,source", "1,target 2,source"],
        journal: [
            &["row_differs PRIMARY overwritten"],
            &["row_differs PRIMARY kept"],
        ],
        ..CASE
    },
    Case {
        table: "differs_delete",
        rows: "INSERT INTO differs_delete VALUES (1, 'x')",
        planted: "UPDATE differs_delete SET a = 'target'",
        change: "DELETE FROM differs_delete",
        rows_after: ["", "1,target"],
        journal: [
            &["row_differs PRIMARY deleted"],
            &["row_differs PRIMARY kept"],
        ],
        ..CASE
    },
    // Equal by the collation is not equal.
    Case {
        table: "lettercase",
        rows: "INSERT INTO lettercase VALUES (1, 'x')",
        planted: "UPDATE lettercase SET a = 'X'",
        change: "UPDATE lettercase SET a = 'y'",
        rows_after: ["1,y", "1,X"],
        journal: [
            &["row_differs PRIMARY overwritten"],
            &["row_differs PRIMARY kept"],
        ],
        ..CASE
    },
    // And for a unique key it is.
    Case {
        table: "taken",
        columns: UNIQUE,
        planted: "INSERT INTO taken VALUES (9, 'X')",
        change: "INSERT INTO taken VALUES (3, 'x')",
        rows_after: ["3,x", "9,X"],
        journal: [&["unique_key by_a deleted"], &["unique_key by_a kept"]],
        ..CASE
    },
    Case {
        table: "taken_by_update",
        columns: UNIQUE,
        rows: "INSERT INTO taken_by_update VALUES (1, 'x')",
        planted: "INSERT INTO taken_by_update VALUES (9, 'q''\\\\')",
        change: "UPDATE taken_by_update SET a = 'q''\\\\'",
        rows_after: ["1,q'\\", "1,x 9,q'\\"],
        journal: [&["unique_key by_a deleted"], &["unique_key by_a kept"]],
        ..CASE
    },
    Case {
        table: "moved",
        rows: "INSERT INTO moved VALUES (1, 'x')",
        planted: "INSERT INTO moved VALUES (5, 'target')",
        change: "UPDATE moved SET id = 5",
        rows_after: ["5,x", "1,x 5,target"],
        journal: [
            &["unique_key PRIMARY deleted"],
            &["unique_key PRIMARY kept"],
        ],
        ..CASE
    },
    // Two rows in the way, through two keys.
    Case {
        table: "chain",
        columns: ["(id INT PRIMARY KEY, a INT, b INT, UNIQUE KEY by_a (a), UNIQUE KEY by_b (b))";
            2],
        planted: "INSERT INTO chain VALUES (8, 5, 100), (9, 200, 5)",
        change: "INSERT INTO chain VALUES (3, 5, 5)",
        rows_after: ["3,5,5", "8,5,100 9,200,5"],
        journal: [
            &["unique_key by_a deleted", "unique_key by_b deleted"],
            &["unique_key by_a kept"],
        ],
        ..CASE
    },
    // The row itself is there, and another holds its unique value.
    Case {
        table: "exists_and_taken",
        columns: UNIQUE,
        planted: "INSERT INTO exists_and_taken VALUES (1, 'target'), (9, 'source')",
        change: "INSERT INTO exists_and_taken VALUES (1, 'source')",
        rows_after: ["1,source", "1,target 9,source"],
        journal: [
            &["row_exists PRIMARY overwritten", "unique_key by_a deleted"],
            &["row_exists PRIMARY kept"],
        ],
        ..CASE
    },
    Case {
        table: "missing_and_taken",
        columns: UNIQUE,
        rows: "INSERT INTO missing_and_taken VALUES (1, 'x')",
        planted: "DELETE FROM missing_and_taken; INSERT INTO missing_and_taken VALUES (9, 'source')",
        change: "UPDATE missing_and_taken SET a = 'source'",
        rows_after: ["1,source", "9,source"],
        journal: [
            &["row_missing PRIMARY inserted", "unique_key by_a deleted"],
            &["row_missing PRIMARY kept"],
        ],
        ..CASE
    },
    // NULL is equal to nothing: no conflict.
    Case {
        table: "nulls",
        columns: ["(id INT PRIMARY KEY, a INT, b INT, UNIQUE KEY by_both (a, b))"; 2],
        planted: "INSERT INTO nulls VALUES (9, NULL, 5)",
        change: "INSERT INTO nulls VALUES (3, NULL, 5)",
        rows_after: ["3,5 9,5"; 2],
        ..CASE
    },
    Case {
        table: "several_parts",
        columns: ["(id INT PRIMARY KEY, a VARCHAR(20) CHARACTER SET latin1, b DATETIME(3), UNIQUE KEY by_both (a, b))";
            2],
        planted: "INSERT INTO several_parts VALUES (9, 'Ä', '2024-01-01 00:00:00.5'), (8, 'Ä', NULL)",
        change: "INSERT INTO several_parts VALUES (3, 'ä', '2024-01-01 00:00:00.5')",
        rows_after: [
            "3,ä,2024-01-01 00:00:00.500 8,Ä",
            "8,Ä 9,Ä,2024-01-01 00:00:00.500",
        ],
        journal: [
            &["unique_key by_both deleted"],
            &["unique_key by_both kept"],
        ],
        ..CASE
    },
    Case {
        table: "computed",
        columns: ["(id INT PRIMARY KEY, a VARCHAR(20), b INT, g VARCHAR(50) AS (CONCAT(a, '-''', b)) STORED, h VARCHAR(60) AS (CONCAT(g, '\\\\')) VIRTUAL, UNIQUE KEY by_h (h))";
            2],
        rows: "INSERT INTO computed (id, a, b) VALUES (1, 'x', 1)",
        planted: "INSERT INTO computed (id, a, b) VALUES (9, 'y', 2)",
        change: "UPDATE computed SET a = 'y', b = 2",
        rows_after: ["1,y,2,y-'2,y-'2\\", "1,x,1,x-'1,x-'1\\ 9,y,2,y-'2,y-'2\\"],
        journal: [&["unique_key by_h deleted"], &["unique_key by_h kept"]],
        ..CASE
    },
    Case {
        table: "expression",
        columns: ["(id INT PRIMARY KEY, a VARCHAR(20) COLLATE utf8mb4_bin, b INT, UNIQUE KEY by_lower ((LOWER(CONCAT(a, 'É'))), b))";
            2],
        planted: "INSERT INTO expression VALUES (9, 'Q', 1)",
        change: "INSERT INTO expression VALUES (3, 'q', 1)",
        rows_after: ["3,q,1", "9,Q,1"],
        journal: [
            &["unique_key by_lower deleted"],
            &["unique_key by_lower kept"],
        ],
        mysql_only: true,
        ..CASE
    },
    // Keys that only the target has.
    Case {
        table: "stricter",
        columns: [PLAIN[0], UNIQUE[1]],
        rows: "INSERT INTO stricter VALUES (1, 'same')",
        change: "INSERT INTO stricter VALUES (2, 'SAME')",
        rows_after: ["2,SAME", "1,same"],
        journal: [&["unique_key by_a deleted"], &["unique_key by_a kept"]],
        ..CASE
    },
    Case {
        table: "beginnings",
        columns: [
            PLAIN[0],
            "(id INT PRIMARY KEY, a VARCHAR(20), UNIQUE KEY by_a (a(3)))",
        ],
        rows: "INSERT INTO beginnings VALUES (1, 'abcd')",
        change: "INSERT INTO beginnings VALUES (2, 'abce')",
        rows_after: ["2,abce", "1,abcd"],
        journal: [&["unique_key by_a deleted"], &["unique_key by_a kept"]],
        ..CASE
    },
    // A column that only the target has, in its key; and it keeps its value when the row is overwritten.
    Case {
        table: "extra",
        columns: [
            PLAIN[0],
            "(id INT PRIMARY KEY, a VARCHAR(20), x INT NOT NULL DEFAULT 7, UNIQUE KEY by_both (a, x))",
        ],
        rows: "INSERT INTO extra VALUES (1, 'x'), (2, 'y')",
        planted: "UPDATE extra SET x = 8 WHERE id = 1; INSERT INTO extra VALUES (8, 'q', 8), (9, 'r', 7)",
        change: "UPDATE extra SET a = 'q' WHERE id = 1; INSERT INTO extra VALUES (3, 'r')",
        rows_after: ["1,q,8 2,y,7 3,r,7", "1,x,8 2,y,7 8,q,8 9,r,7"],
        journal: [
            &["unique_key by_both deleted"; 2],
            &["unique_key by_both kept"; 2],
        ],
        ..CASE
    },
    Case {
        table: "keyless",
        columns: ["(id INT, a VARCHAR(20))"; 2],
        rows: "INSERT INTO keyless VALUES (1, 'x')",
        planted: "UPDATE keyless SET a = 'target'",
        change: "UPDATE keyless SET a = 'source'",
        rows_after: ["1,source 1,target", "1,target"],
        journal: [&["row_missing - inserted"], &["row_missing - kept"]],
        ..CASE
    },
    // What the target's own schema refuses stays as it was, whoever is to win.
    Case {
        table: "child",
        columns: [
            "(id INT PRIMARY KEY, a INT)",
            "(id INT PRIMARY KEY, a INT, CONSTRAINT to_parent FOREIGN KEY (a) REFERENCES missing_update (id))",
        ],
        change: "INSERT INTO child VALUES (1, 77)",
        journal: [&["foreign_key to_parent kept"]; 2],
        ..CASE
    },
    Case {
        table: "checked",
        columns: [
            "(id INT PRIMARY KEY, a INT)",
            "(id INT PRIMARY KEY, a INT, CONSTRAINT small CHECK (a < 100))",
        ],
        rows: "INSERT INTO checked VALUES (1, 1)",
        change: "UPDATE checked SET a = 500",
        rows_after: ["1,1"; 2],
        journal: [&["check_constraint small kept"]; 2],
        ..CASE
    },
    Case {
        table: "protected",
        columns: UNIQUE,
        planted: "INSERT INTO protected VALUES (9, 'x'); CREATE TABLE guard (id INT PRIMARY KEY, CONSTRAINT to_protected FOREIGN KEY (id) REFERENCES protected (id)); INSERT INTO guard VALUES (9)",
        change: "INSERT INTO protected VALUES (3, 'x')",
        rows_after: ["9,x"; 2],
        journal: [
            &["unique_key by_a kept", "foreign_key to_protected kept"],
            &["unique_key by_a kept"],
        ],
        ..CASE
    },
    Case {
        table: "located",
        columns: [
            "(id INT PRIMARY KEY, a POINT)",
            "(id INT PRIMARY KEY, a POINT SRID 4326)",
        ],
        change: "INSERT INTO located VALUES (1, POINT(1, 2))",
        journal: [&["type - kept"]; 2],
        mysql_only: true,
        ..CASE
    },
];

/// In a table for each: what the target must not lose is in the same transactions.
const LEDGER: &str = "CREATE TABLE ledger (what VARCHAR(40) PRIMARY KEY);";

fn cases(target: &MySql) -> impl Iterator<Item = &'static Case> {
    let mariadb = target.release().is_mariadb();
    CASES
        .iter()
        .filter(move |case| !(mariadb && case.mysql_only))
}

/// All of them, planted, and written by the source.
fn planted(source: &MySql, target: &MySql, purpose: &str) -> Result<(Pipeline, String)> {
    let mut tables = [LEDGER.to_owned(), LEDGER.to_owned()];
    for case in cases(target) {
        for (tables, columns) in tables.iter_mut().zip(case.columns) {
            *tables += &format!("CREATE TABLE {} {columns};", case.table);
        }
    }
    let (pipeline, database) = begin(source, target, purpose, [&tables[0], &tables[1]])?;
    for case in cases(target) {
        source.sql(&format!("USE `{database}`; {}", case.rows))?;
    }
    carry(&pipeline, &[])?;
    for case in cases(target) {
        target.sql(&format!("USE `{database}`; {}", case.planted))?;
        source.sql(&format!(
            "USE `{database}`; BEGIN; {}; INSERT INTO ledger VALUES ('{}'); COMMIT",
            case.change, case.table
        ))?;
    }
    Ok((pipeline, database))
}

/// The table as text, a row after the other, NULLs left out.
fn rows(server: &MySql, database: &str, case: &Case) -> Result<String> {
    if case.table == "located" {
        return Ok(server
            .value(&format!("SELECT COUNT(*) FROM `{database}`.located"))?
            .replace('0', ""));
    }
    let columns: Vec<String> = server
        .rows(&format!(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = '{database}' AND table_name = '{}' ORDER BY ordinal_position",
            case.table
        ))?
        .into_iter()
        .filter_map(|row| row[0].as_ref().map(|name| format!("`{name}`")))
        .collect();
    let rows = server.rows(&format!(
        "SELECT CONCAT_WS(',', {}) FROM `{database}`.`{}` ORDER BY 1",
        columns.join(", "),
        case.table
    ))?;
    let rows: Vec<String> = rows.into_iter().filter_map(|row| row[0].clone()).collect();
    Ok(rows.join(" "))
}

fn decided(source: &MySql, target: &MySql, winner: usize) -> Result<()> {
    let rules: &[&str] = match winner {
        0 => &[
            "foreign_key,check_constraint,type=target_wins",
            "source_wins",
        ],
        _ => &["target_wins"],
    };
    let (pipeline, database) = planted(source, target, ["source_wins", "target_wins"][winner])?;
    carry(&pipeline, rules)?;
    let journal = journal(&pipeline)?;
    let mut expected = 0;
    for case in cases(target) {
        let found: Vec<_> = of_table(&journal, case.table);
        let found: Vec<_> = found.into_iter().cloned().collect();
        ensure!(
            told(&found) == case.journal[winner],
            "{}: {found:?}",
            case.table
        );
        expected += found.len();
        let rows = rows(target, &database, case)?;
        ensure!(
            rows == case.rows_after[winner],
            "{}: {rows:?} instead of {:?}",
            case.table,
            case.rows_after[winner]
        );
    }
    ensure!(journal.len() == expected, "more than planted: {journal:?}");
    // The rest of each transaction is there.
    let count = target.value(&format!("SELECT COUNT(*) FROM `{database}`.ledger"))?;
    ensure!(count == cases(target).count().to_string(), "{count}");
    // The row in the way is in the journal, whole, before it goes.
    let taken = of_table(&journal, "taken");
    let row = taken.first().context("journaled")?;
    ensure!(
        row["target"] == serde_json::json!([{"id": 9, "a": "X"}])
            && row["after"] == serde_json::json!({"id": 3, "a": "x"})
            && row["before"].is_null()
            && row["op"] == "insert"
            && row["index"] == 0
            && row["error"] == 1062,
        "{row}"
    );
    let differs = of_table(&journal, "differs_update");
    let row = differs.first().context("journaled")?;
    ensure!(
        row["target"] == serde_json::json!([{"id": 1, "a": "target"}])
            && row["before"] == serde_json::json!({"id": 1, "a": "x"})
            && row["after"] == serde_json::json!({"id": 1, "a": "source"}),
        "{row}"
    );
    // Where the change was is what tail says.
    let lines = pipeline.tail()?;
    for row in &journal {
        let line = lines.iter().find(|line| {
            line["gtid"] == row["gtid"]
                && line["index"] == row["index"]
                && line["offset"] == row["offset"]
        });
        let line = line.with_context(|| format!("tail has no such change: {row}"))?;
        ensure!(
            ["op", "table", "before", "after"]
                .iter()
                .all(|name| line[*name] == row[*name]),
            "{row}\n{line}"
        );
    }
    // Once more changes nothing.
    carry(&pipeline, rules)?;
    ensure!(self::journal(&pipeline)?.len() == expected);
    let status = output(
        pipeline
            .command("status")
            .args(["--target", &pipeline.target, "--json"]),
    )?;
    let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
    ensure!(status["target"]["conflicts"] == expected, "{status}");
    let last = journal.last().context("an empty journal")?;
    for name in ["id", "kind", "gtid"] {
        let shown = &status["target"]["last_conflict"][name];
        ensure!(*shown == last[name], "{name}: {shown} {last}");
    }
    shown(&pipeline, &journal)
}

/// What people read.
fn shown(pipeline: &Pipeline, journal: &[serde_json::Value]) -> Result<()> {
    let list = super::listed(pipeline, &["--kind", "row_exists"])?;
    ensure!(
        list.lines().count() == 2
            && list.contains("row_exists")
            && list.contains(".exists_already"),
        "{list}"
    );
    ensure!(super::listed(pipeline, &["--since", "1h"])?.lines().count() == journal.len());
    ensure!(super::listed(pipeline, &["--since", "2100-01-01T00:00:00Z"])?.is_empty());
    ensure!(super::listed(pipeline, &["--table", "*.chain"])?.contains(".chain\t"));
    let first = journal.first().context("there is one")?;
    let show = |id: &str| {
        let mut command = program("conflicts");
        command.args(["show", id, "--target", &pipeline.target]);
        command
    };
    let output = output(&mut show(&first["id"].to_string()))?;
    let text = String::from_utf8(output.stdout)?;
    for part in ["before", "after", "row_missing", "log "] {
        ensure!(text.contains(part), "{part}: {text}");
    }
    refused(&mut show("999999999"), 1, &["no conflict 999999999"])?;
    Ok(())
}

#[test]
fn the_source_wins() -> Result<()> {
    let pair = pair()?;
    decided(&pair.source, &pair.target, 0)
}

#[test]
fn the_target_wins() -> Result<()> {
    let pair = pair()?;
    decided(&pair.source, &pair.target, 1)
}

#[test]
fn the_source_wins_on_mariadb() -> Result<()> {
    decided(&pair()?.source, mariadb(Release::MariaDb11_8)?, 0)
}

#[test]
fn the_target_wins_on_mariadb() -> Result<()> {
    decided(&pair()?.source, mariadb(Release::MariaDb10_11)?, 1)
}

/// Each one stops the stream, by name; and each can be skipped.
#[test]
fn without_a_policy_each_stops_and_can_be_skipped() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let (pipeline, database) = planted(source, target, "stopping")?;
    let (mut skipped, mut first) = (0, None);
    for case in cases(target).filter(|case| !case.journal[0].is_empty()) {
        let kind = case.journal[0][0].split(' ').next().unwrap_or_default();
        let said = refused(
            pipeline.command("run").args(["--until", "now"]),
            3,
            &[kind, case.table, "--on-conflict"],
        )?;
        let gtid = to_skip(&said)?;
        done(&mut skip(&pipeline, &gtid))?;
        skipped += 1;
        first.get_or_insert(gtid);
    }
    carry(&pipeline, &[])?;
    // Of the skipped ones nothing is there, of all others everything.
    let ledger = target.value(&format!("SELECT COUNT(*) FROM `{database}`.ledger"))?;
    ensure!(
        ledger == (cases(target).count() - skipped).to_string(),
        "{ledger}"
    );
    let journal = journal(&pipeline)?;
    ensure!(
        journal.iter().all(|row| row["kind"] == "skipped"),
        "{journal:?}"
    );
    let lines = pipeline.tail()?;
    for row in &journal {
        let found = lines.iter().any(|line| {
            ["gtid", "index", "op", "table", "before", "after", "offset"]
                .iter()
                .all(|name| line[*name] == row[*name])
        });
        ensure!(found, "tail has no such change: {row}");
    }
    for case in cases(target).filter(|case| !case.journal[0].is_empty()) {
        ensure!(!of_table(&journal, case.table).is_empty(), "{}", case.table);
    }
    refused(
        &mut skip(&pipeline, &first.context("one was skipped")?),
        1,
        &["already"],
    )?;
    Ok(())
}

/// The target's rows in the journal have the values that tail prints for them, of every type.
#[test]
fn rows_of_every_type_are_whole_in_the_journal() -> Result<()> {
    let pair = pair()?;
    every_type(&pair.source, &pair.target)?;
    every_type(&pair.source, mariadb(Release::MariaDb11_8)?)
}

fn every_type(source: &MySql, target: &MySql) -> Result<()> {
    let mariadb = target.release().is_mariadb();
    let (geometry, point) = ("p POINT, q GEOMETRY,", "POINT(1.5, 2), POINT(3, 4),");
    let tables = format!(
        "CREATE TABLE kinds (id INT PRIMARY KEY, a TINYINT, b BIGINT UNSIGNED, c INT(5) ZEROFILL, d FLOAT, e DOUBLE, f DECIMAL(20,5), g BIT(10),
           h BIT(64), i YEAR, j DATE, k TIME(3), l DATETIME(6), m TIMESTAMP(2) NULL, n CHAR(5), o VARCHAR(20) CHARACTER SET latin1,
           {geometry} r TEXT CHARACTER SET gbk, s BINARY(4), t VARBINARY(9), u BLOB, v JSON, w ENUM('x','y'), x ENUM('x','y'), y SET('p','q'),
           z VARCHAR(10), `na``me` VARCHAR(9) INVISIBLE, zero DATETIME, sj VARCHAR(20) CHARACTER SET sjis)"
    );
    let (pipeline, database) = begin(source, target, "whole", [&tables, &tables])?;
    let row = format!(
        "SET SESSION sql_mode = '', time_zone = '+00:00'; USE `{database}`;
         INSERT INTO kinds (id, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, `na``me`, zero, sj)
         VALUES (1, -5, 18446744073709551615, 42, 1.1, 1e-20, -12.5, 513, 18446744073709551615, 1999, '0000-00-00', '-838:59:58.5',
           '2024-02-29 12:34:56.000001', '2024-02-29 12:34:56.78', 'a\"\\\\b', _latin1 x'80e9', {point} '中', 'ab', x'00ff', x'', '{{\"a\": [1, \"é\"]}}',
           'y', 0, 'p,q', NULL, 'hidden', '2024-00-00 00:00:00', _sjis x'815f')"
    );
    target.sql(&row)?;
    source.sql(&row)?;
    carry(&pipeline, &["target_wins"])?;
    let journal = journal(&pipeline)?;
    let [entry] = &journal[..] else {
        anyhow::bail!("not one: {journal:?}");
    };
    ensure!(entry["kind"] == "row_exists", "{entry}");
    let (found, image) = (&entry["target"][0], &entry["after"]);
    let mut image = image.clone();
    if mariadb {
        // A document is the text that was given.
        image["v"] = found["v"].clone();
    }
    ensure!(*found == image, "{found}\n{image}");
    Ok(())
}

/// A column becomes too narrow while the stream runs. With a source of its own, so that each transaction is a group: when several have to be
/// taken apart, the target's table is looked at again, and found too narrow.
#[test]
fn values_that_do_not_fit_any_more() -> Result<()> {
    let source = MySql::start()?;
    narrowed(&source, &pair()?.target)?;
    narrowed(&source, mariadb(Release::MariaDb11_8)?)
}

fn narrowed(source: &MySql, target: &MySql) -> Result<()> {
    let tables =
        "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20), b INT, c INT NULL, d DATETIME NULL)";
    let (pipeline, database) = begin(source, target, "narrowed", [tables; 2])?;
    let mut command = pipeline.command("run");
    command.args(["--on-conflict", "type=target_wins"]);
    let running = pipeline.start_command(command, "run")?;
    source.sql(&format!(
        "INSERT INTO `{database}`.t VALUES (1, 'short', 1, 1, NULL)"
    ))?;
    pipeline.wait_for(&executed(source)?)?;
    target.sql(&format!(
        "ALTER TABLE `{database}`.t MODIFY a VARCHAR(5), MODIFY b TINYINT, MODIFY c INT NOT NULL"
    ))?;
    for change in [
        "INSERT INTO t VALUES (2, 'too long by far', 1, 1, NULL)",
        "INSERT INTO t VALUES (3, 'x', 1000, 1, NULL)",
        "INSERT INTO t VALUES (4, 'x', 1, NULL, NULL)",
        "UPDATE t SET a = 'longer' WHERE id = 1",
        "INSERT INTO t VALUES (5, 'x', 1, 1, NULL)",
    ] {
        source.sql(&format!("USE `{database}`; {change}"))?;
        pipeline.wait_for(&executed(source)?)?;
    }
    running.stop()?;
    let count = target.value(&format!("SELECT COUNT(*) FROM `{database}`.t"))?;
    ensure!(count == "2", "{count}");
    let journal = journal(&pipeline)?;
    ensure!(told(&journal) == ["type - kept"; 4], "{journal:?}");
    ensure!(
        journal[3]["target"][0]["a"] == "short" && journal[0]["target"].is_null(),
        "{journal:?}"
    );
    Ok(())
}

#[test]
fn rules_that_cannot_be() -> Result<()> {
    let pair = pair()?;
    let (pipeline, database) = begin(&pair.source, &pair.target, "rules", ["SELECT 1"; 2])?;
    for (rule, says) in [
        ("foreign_key=source_wins", "target's own schema refuses"),
        ("shop.*:type=source_wins", "target_wins"),
        ("newest_wins", "source_wins"),
        ("shop:target_wins", "database.table"),
    ] {
        for command in ["run", "apply"] {
            let mut command = pipeline.command(command);
            refused(
                command.args(["--on-conflict", rule]),
                2,
                &["--on-conflict", says],
            )?;
        }
    }
    // A file has the same rules, and those of the command line come after.
    let table = "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(9))";
    for server in [&pair.source, &pair.target] {
        server.sql(&format!("USE `{database}`; {table}"))?;
    }
    let file = pipeline.folder.path().join("rules.toml");
    std::fs::write(
        &file,
        format!("on-conflict = [\"{database}.*:source_wins\", \"row_differs=stop\"]"),
    )?;
    pair.target.sql(&format!(
        "INSERT INTO `{database}`.t VALUES (1, 'target'), (2, 'target')"
    ))?;
    pair.source.sql(&format!(
        "INSERT INTO `{database}`.t VALUES (1, 'source'); INSERT INTO `{database}`.t VALUES (2, 'source')"
    ))?;
    let mut command = pipeline.command("run");
    done(
        command
            .arg("--config")
            .arg(&file)
            .args(["--until", "now", "--on-conflict"])
            .arg(format!("`{database}`.t:row_exists=target_wins")),
    )?;
    ensure!(told(&journal(&pipeline)?) == ["row_exists PRIMARY kept"; 2]);
    Ok(())
}

/// With `binlog_row_image = MINIMAL` on the source.
#[test]
fn images_that_lack_columns() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let tables = "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(9), b INT, c INT, UNIQUE KEY by_both (a, b));
        CREATE TABLE gone (id INT PRIMARY KEY, a INT, b INT)";
    let (pipeline, database) = begin(source, target, "minimal", [tables; 2])?;
    source.sql(&format!(
        "USE `{database}`; INSERT INTO t VALUES (1, 'x', 5, 50), (2, 'y', 6, 60); INSERT INTO gone VALUES (1, 1, 1)"
    ))?;
    carry(&pipeline, &[])?;
    target.sql(&format!(
        "USE `{database}`; INSERT INTO t VALUES (8, 'Z', 5, 80), (9, 'z', 7, 90); DELETE FROM gone"
    ))?;
    // What the image lacks of the key is in the target's own row.
    let change = "UPDATE t SET a = 'z' WHERE id = 1";
    source.sql(&format!(
        "SET SESSION binlog_row_image = 'MINIMAL'; USE `{database}`; {change}"
    ))?;
    carry(&pipeline, &["source_wins"])?;
    let found = journal(&pipeline)?;
    ensure!(
        told(&found) == ["unique_key by_both deleted"]
            && found[0]["target"] == serde_json::json!([{"id": 8, "a": "Z", "b": 5, "c": 80}])
            && found[0]["after"] == serde_json::json!({"id": 1, "a": "z"}),
        "{found:?}"
    );
    let all = format!(
        "SELECT GROUP_CONCAT(CONCAT_WS(',', id, a, b, c) ORDER BY id SEPARATOR ' ') FROM `{database}`.t"
    );
    ensure!(target.value(&all)? == "1,z,5,50 2,y,6,60 9,z,7,90");
    // A row cannot be made of a part of it.
    source.sql(&format!(
        "SET SESSION binlog_row_image = 'MINIMAL'; UPDATE `{database}`.gone SET a = 2"
    ))?;
    let mut command = pipeline.command("run");
    command.args(["--until", "now", "--on-conflict", "source_wins"]);
    refused(
        &mut command,
        3,
        &["row_missing", "lacks columns", "=target_wins"],
    )?;
    carry(&pipeline, &["target_wins"])?;
    ensure!(journal(&pipeline)?.len() == 2);
    Ok(())
}

/// Rows of other tables would go with the row in the way, and would not be in the journal.
#[test]
fn no_row_goes_without_a_trace() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let parent = "CREATE TABLE parent (id INT PRIMARY KEY, a VARCHAR(9), UNIQUE KEY by_a (a));";
    let child = "CREATE TABLE child (id INT PRIMARY KEY, CONSTRAINT down FOREIGN KEY (id) REFERENCES parent (id) ON DELETE CASCADE)";
    let (pipeline, database) = begin(
        source,
        target,
        "cascades",
        [parent, &format!("{parent}{child}")],
    )?;
    target.sql(&format!(
        "USE `{database}`; INSERT INTO parent VALUES (9, 'x'); INSERT INTO child VALUES (9)"
    ))?;
    source.sql(&format!("INSERT INTO `{database}`.parent VALUES (1, 'x')"))?;
    let mut command = pipeline.command("run");
    command.args(["--until", "now", "--on-conflict", "source_wins"]);
    refused(&mut command, 3, &["unique_key", "ON DELETE", "by_a"])?;
    ensure!(target.value(&format!("SELECT COUNT(*) FROM `{database}`.child"))? == "1");
    carry(&pipeline, &["target_wins"])?;
    ensure!(told(&journal(&pipeline)?) == ["unique_key by_a kept"]);
    Ok(())
}
