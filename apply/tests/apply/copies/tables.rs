//! Tables are made, filled and completed; what is there already is looked at.

use anyhow::Result;
use binferry_apply::{ApplyError, CopyProblem, IntoTables, TableProblem, conflict::Policies};
use binferry_schemas::{
    datum::Value,
    fault::{Fault, Kind},
    record::{GivenUp, Over},
};
use binferry_servers::{CommitFault, Proxy, Release};

use super::pen::{Begin, begin, done, want};
use crate::stage::{Do, INT, Row, Stage, TEXT, Table, column, on_each_server};

on_each_server! {
    a_table_is_made_filled_and_completed
    changes_before_and_between_its_rows
    a_table_that_is_there
    rows_that_are_there
    a_table_without_a_key
    foreign_keys_hold_when_both_ends_are_whole
    a_child_that_comes_after_its_parent
    a_row_in_many_records
    answers_that_are_lost
    what_does_not_fit_is_still_a_conflict
    rows_are_repaired_range_by_range
    rows_of_a_table_that_gets_another_name_first
}

fn row<'a>(id: i64, text: &'a str) -> Row<'a> {
    vec![Value::Int(id), Value::Text(text)]
}

const CREATE: &str = "CREATE TABLE `t` (\n  `id` int NOT NULL,\n  `c` varchar(20) DEFAULT NULL,\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";

async fn table(stage: &Stage, name: &str) -> Result<Table> {
    let columns = vec![column("id", INT, Some(0)), column("c", TEXT, None)];
    stage.table(name, columns).await
}

fn all(stage: &Stage) -> String {
    stage.sql("SELECT GROUP_CONCAT(CONCAT(id, c) ORDER BY id) FROM t")
}

async fn a_table_is_made_filled_and_completed(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "c_made").await?;
    // Not even the database is there.
    stage.sql(&format!("DROP DATABASE `{}`; USE mysql", stage.database));
    let table = table(&stage, "t").await?;
    let job = want(&mut stage, "*.*", Over::Nothing).await?;
    let mut copy = begin(&mut stage, job, &table, Begin::new(CREATE, &["id"])).await?;
    let upper = Some(copy.key_of(&row(2, "")));
    copy.rows(&mut stage, &[row(1, "a"), row(2, "b")], upper, vec![])
        .await?;
    stage.apply().await?;
    assert_eq!(all(&stage), "1a,2b");
    copy.rows(&mut stage, &[row(5, "e")], None, vec![]).await?;
    copy.end(&mut stage).await?;
    done(&mut stage, job).await?;
    let progress = stage.apply().await?;
    assert_eq!((progress.rows, progress.transactions), (1, 1));
    assert_eq!(all(&stage), "1a,2b,5e");
    // From here on, a row that is missing is a conflict.
    stage
        .commit(&table, &[Do::Update(row(3, "x"), row(3, "y"))])
        .await?;
    let error = stage.apply().await.expect_err("a conflict");
    assert!(matches!(error, ApplyError::Conflict(_)), "{error}");
    Ok(())
}

/// The eight things that may happen to a row around the range that has it.
async fn changes_before_and_between_its_rows(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "c_between").await?;
    let create = CREATE.replace(
        "PRIMARY KEY (`id`)",
        "PRIMARY KEY (`id`),\n  UNIQUE KEY `c` (`c`)",
    );
    let table = table(&stage, "t").await?;
    let job = want(&mut stage, "*.*", Over::Nothing).await?;
    // Before it begins: its rows will have that.
    stage
        .commit(
            &table,
            &[Do::Insert(row(90, "gone")), Do::Delete(row(90, "gone"))],
        )
        .await?;
    let mut copy = begin(&mut stage, job, &table, Begin::new(create, &["id"])).await?;
    let changes = [
        // Not there: an insert of what it becomes; nothing; and a change of nothing is written too.
        Do::Update(row(1, "a"), row(1, "A")),
        Do::Delete(row(2, "b")),
        Do::Update(row(3, "c"), row(3, "c")),
        // It moves, and its value goes to another.
        Do::Update(row(4, "d"), row(44, "d")),
        Do::Update(row(5, "e"), row(5, "e2")),
        Do::Update(row(6, "f"), row(6, "e")),
        // It comes and goes, or only comes.
        Do::Insert(row(7, "g")),
        Do::Delete(row(7, "g")),
        Do::Insert(row(8, "h")),
    ];
    for change in changes {
        stage.commit(&table, &[change]).await?;
    }
    // The range was read after all that, but for 8, and for 9, which the stream touched in the window.
    stage
        .commit(&table, &[Do::Update(row(9, "i"), row(9, "I"))])
        .await?;
    let left_out = vec![copy.key_of(&row(8, "")), copy.key_of(&row(9, ""))];
    let rows = [
        row(1, "A"),
        row(3, "c"),
        row(5, "e2"),
        row(6, "e"),
        row(10, "j"),
    ];
    let upper = Some(copy.key_of(&row(20, "")));
    copy.rows(&mut stage, &rows, upper, left_out).await?;
    let between = [
        Do::Update(row(10, "j"), row(10, "J")),
        // Behind the range, and so not there.
        Do::Update(row(30, "x"), row(31, "x")),
        Do::Delete(row(32, "y")),
    ];
    stage.commit(&table, &between).await?;
    copy.rows(
        &mut stage,
        &[row(31, "x"), row(44, "d"), row(50, "z")],
        None,
        vec![],
    )
    .await?;
    copy.end(&mut stage).await?;
    done(&mut stage, job).await?;
    stage.apply().await?;
    assert_eq!(all(&stage), "1A,3c,5e2,6e,8h,9I,10J,31x,44d,50z");
    Ok(())
}

async fn a_table_that_is_there(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "c_there").await?;
    let table = table(&stage, "t").await?;
    let job = want(&mut stage, "*.*", Over::Nothing).await?;
    // More columns, wider ones, another index: it will do.
    stage.sql("CREATE TABLE t (id bigint PRIMARY KEY, c varchar(50), more int DEFAULT 7, KEY (c))");
    let mut copy = begin(&mut stage, job, &table, Begin::new(CREATE, &["id"])).await?;
    stage
        .commit(&table, &[Do::Update(row(2, "b"), row(2, "B"))])
        .await?;
    copy.rows(&mut stage, &[row(1, "a"), row(2, "B")], None, vec![])
        .await?;
    copy.end(&mut stage).await?;
    stage.apply().await?;
    assert_eq!(
        stage.sql("SELECT GROUP_CONCAT(id, c, more ORDER BY id) FROM t"),
        "1a7,2B7"
    );
    for (at, (there, create)) in [
        (
            "CREATE TABLE t2 (id int PRIMARY KEY, c varchar(10))",
            "narrow",
        ),
        ("CREATE TABLE t2 (id int, c varchar(20), KEY (id))", "key"),
        ("CREATE TABLE t2 (id int PRIMARY KEY)", "column"),
        (
            "CREATE TABLE t2 (id int PRIMARY KEY, c varchar(20) AS ('x') STORED)",
            "generated",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut stage = Stage::of(release, &format!("c_there{at}")).await?;
        stage.sql(there);
        let columns = vec![column("id", INT, Some(0)), column("c", TEXT, None)];
        let table = stage.table("t2", columns).await?;
        begin(
            &mut stage,
            job,
            &table,
            Begin::new(CREATE.replace("`t`", "`t2`"), &["id"]),
        )
        .await?;
        let error = stage.apply().await.expect_err(create);
        let ApplyError::Table { problem, .. } = error else {
            panic!("{error}");
        };
        let found = match *problem {
            TableProblem::Narrow { .. } => "narrow",
            TableProblem::Key { .. } => "key",
            TableProblem::ColumnMissing { .. } => "column",
            TableProblem::Generated { .. } => "generated",
            other => panic!("{other}"),
        };
        assert_eq!(found, create);
    }
    Ok(())
}

async fn rows_that_are_there(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "c_rows").await?;
    let table = table(&stage, "t").await?;
    let job = want(&mut stage, "*.*", Over::Nothing).await?;
    stage.sql("CREATE TABLE t (id int PRIMARY KEY, c varchar(20)); INSERT INTO t VALUES (1, 'a'), (99, 'own')");
    let mut copy = begin(&mut stage, job, &table, Begin::new(CREATE, &["id"])).await?;
    copy.rows(&mut stage, &[row(1, "a"), row(2, "b")], None, vec![])
        .await?;
    copy.end(&mut stage).await?;
    let error = stage.apply().await.expect_err("not empty");
    assert!(
        matches!(&error, ApplyError::Copy { problem, .. } if **problem == CopyProblem::NotEmpty { keyless: false }),
        "{error}"
    );
    assert_eq!(error.kind(), Kind::Data);
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("--into existing"))
    );
    let mut options = stage.options();
    options.into = IntoTables::Existing;
    stage.apply_with(options.clone()).await?;
    assert_eq!(all(&stage), "1a,2b,99own");
    // Again, over them, with one that differs; and then without any of them.
    let mut copy = begin(&mut stage, job, &table, Begin::new(CREATE, &["id"])).await?;
    copy.rows(&mut stage, &[row(1, "a"), row(2, "other")], None, vec![])
        .await?;
    copy.end(&mut stage).await?;
    let error = stage
        .apply_with(options.clone())
        .await
        .expect_err("differs");
    assert!(matches!(error, ApplyError::Conflict(_)), "{error}");
    assert!(!error.hint().unwrap_or_default().contains("skip"));
    let mut winning = options.clone();
    winning.policies = std::sync::Arc::new(Policies::parse(["row_differs=source_wins"])?);
    let progress = stage.apply_with(winning).await?;
    assert_eq!(progress.conflicts.total(), 1);
    assert_eq!(all(&stage), "1a,2other,99own");
    let again = Begin {
        over: Over::Remove,
        ..Begin::new(CREATE, &["id"])
    };
    let mut copy = begin(&mut stage, job, &table, again).await?;
    copy.rows(&mut stage, &[row(4, "d")], None, vec![]).await?;
    copy.end(&mut stage).await?;
    stage.apply().await?;
    assert_eq!(all(&stage), "4d");
    Ok(())
}

/// Its changes up to the end are in its rows, and an attempt that was given up leaves nothing.
async fn a_table_without_a_key(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "c_keyless").await?;
    let columns = vec![column("id", INT, None), column("c", TEXT, None)];
    let mut table = stage.table("t", columns).await?;
    table.schema.columns[0].nullable = true;
    let create = "CREATE TABLE `t` (\n  `id` int DEFAULT NULL,\n  `c` varchar(20) DEFAULT NULL\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";
    let job = want(&mut stage, "*.*", Over::Nothing).await?;
    let mut copy = begin(&mut stage, job, &table, Begin::new(create, &[])).await?;
    stage.commit(&table, &[Do::Insert(row(1, "a"))]).await?;
    let twice = [row(1, "a"), row(1, "a")];
    copy.rows(&mut stage, &twice, None, vec![]).await?;
    stage.apply().await?;
    assert_eq!(all(&stage), "1a,1a");
    let replaces = Some(copy.give_up(&mut stage, GivenUp::Interrupted).await?);
    stage.commit(&table, &[Do::Insert(row(1, "a"))]).await?;
    stage.apply().await?;
    assert_eq!(all(&stage), "1a,1a");
    let again = Begin {
        replaces,
        ..Begin::new(create, &[])
    };
    let mut copy = begin(&mut stage, job, &table, again).await?;
    stage
        .commit(&table, &[Do::Delete(row(7, "never seen"))])
        .await?;
    let rows = [row(1, "a"), row(1, "a"), row(1, "a"), row(2, "b")];
    copy.rows(&mut stage, &rows[..3], None, vec![]).await?;
    copy.rows(&mut stage, &rows[3..], None, vec![]).await?;
    copy.end(&mut stage).await?;
    stage.commit(&table, &[Do::Delete(row(1, "a"))]).await?;
    stage.apply().await?;
    assert_eq!(all(&stage), "1a,1a,2b");
    // Rows of others could not be told from its own, whatever is allowed.
    let mut stage = Stage::of(release, "c_keyless2").await?;
    stage.sql("CREATE TABLE t (id int, c varchar(20)); INSERT INTO t VALUES (1, 'a')");
    let columns = vec![column("id", INT, None), column("c", TEXT, None)];
    let table = stage.table("t", columns).await?;
    begin(&mut stage, job, &table, Begin::new(create, &[])).await?;
    let mut options = stage.options();
    options.into = IntoTables::Existing;
    let error = stage.apply_with(options).await.expect_err("not empty");
    assert!(
        matches!(&error, ApplyError::Copy { problem, .. } if **problem == CopyProblem::NotEmpty { keyless: true }),
        "{error}"
    );
    Ok(())
}

async fn foreign_keys_hold_when_both_ends_are_whole(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "c_keys").await?;
    let parent = table(&stage, "p").await?;
    let columns = vec![column("id", INT, Some(0)), column("p", INT, None)];
    let child = stage.table("a`c", columns).await?;
    let job = want(&mut stage, "*.*", Over::Nothing).await?;
    let create = "CREATE TABLE `a``c` (\n  `id` int NOT NULL,\n  `p` int DEFAULT NULL,\n  PRIMARY KEY (`id`),\n  KEY `p` (`p`),\n  \
        CONSTRAINT `own` FOREIGN KEY (`p`) REFERENCES `a``c` (`id`),\n  CONSTRAINT `to_p` FOREIGN KEY (`p`) REFERENCES `p` (`id`) ON DELETE CASCADE,\n  \
        CONSTRAINT `to_none` FOREIGN KEY (`p`) REFERENCES `elsewhere` (`id`)\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";
    let keys = |stage: &Stage| {
        stage.sql(&format!(
            "SELECT COALESCE(GROUP_CONCAT(constraint_name ORDER BY 1), '-') FROM information_schema.table_constraints WHERE table_schema = '{}' AND constraint_type = 'FOREIGN KEY'",
            stage.database
        ))
    };
    let pair = |id: i64, p: i64| vec![Value::Int(id), Value::Int(p)];
    // The child first: its parents are not there, and one never will be, as it is not captured.
    let mut copy = begin(&mut stage, job, &child, Begin::new(create, &["id"])).await?;
    copy.rows(&mut stage, &[pair(1, 1), pair(2, 1)], None, vec![])
        .await?;
    copy.end(&mut stage).await?;
    stage.apply().await?;
    // Those to tables that come are there from the beginning.
    assert_eq!(keys(&stage), "own,to_p");
    // The parent's copy is under way: neither end is checked, and nothing cascades.
    let create = CREATE.replace("`t`", "`p`");
    let mut copy = begin(&mut stage, job, &parent, Begin::new(create, &["id"])).await?;
    stage.commit(&child, &[Do::Insert(pair(3, 2))]).await?;
    stage.apply().await?;
    copy.rows(&mut stage, &[row(1, "x"), row(2, "y")], None, vec![])
        .await?;
    copy.end(&mut stage).await?;
    done(&mut stage, job).await?;
    stage.apply().await?;
    assert_eq!(keys(&stage), "own,to_p");
    // They are enforced now.
    stage.commit(&child, &[Do::Insert(pair(4, 9))]).await?;
    let error = stage.apply().await.expect_err("a foreign key");
    assert!(matches!(error, ApplyError::Conflict(_)), "{error}");
    Ok(())
}

/// The parent is in use when the child's copy makes the foreign key: what cascades on the source is in the log, and nothing may on the target.
async fn a_child_that_comes_after_its_parent(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "c_late_child").await?;
    let parent = table(&stage, "p").await?;
    let columns = vec![column("id", INT, Some(0)), column("p", INT, None)];
    let child = stage.table("child", columns).await?;
    let job = want(&mut stage, "*.*", Over::Nothing).await?;
    let create = CREATE.replace("`t`", "`p`");
    let mut copy = begin(&mut stage, job, &parent, Begin::new(create, &["id"])).await?;
    let rows: Vec<Row> = (1..=4).map(|id| row(id, "x")).collect();
    copy.rows(&mut stage, &rows, None, vec![]).await?;
    copy.end(&mut stage).await?;
    stage
        .commit(&parent, &[Do::Update(row(4, "x"), row(4, "y"))])
        .await?;
    let create = "CREATE TABLE `child` (\n  `id` int NOT NULL,\n  `p` int DEFAULT NULL,\n  PRIMARY KEY (`id`),\n  KEY `p` (`p`),\n  \
        CONSTRAINT `f` FOREIGN KEY (`p`) REFERENCES `p` (`id`) ON DELETE CASCADE\n) ENGINE=InnoDB";
    let mut copy = begin(&mut stage, job, &child, Begin::new(create, &["id"])).await?;
    let pair = |id: i64, p: i64| vec![Value::Int(id), Value::Int(p)];
    copy.rows(
        &mut stage,
        &[pair(1, 1), pair(2, 2), pair(3, 3)],
        None,
        vec![],
    )
    .await?;
    // While its copy is under way, and after it.
    stage
        .commit(&parent.unchecked(), &[Do::Delete(row(1, "x"))])
        .await?;
    copy.end(&mut stage).await?;
    stage
        .commit(&parent.unchecked(), &[Do::Delete(row(2, "x"))])
        .await?;
    done(&mut stage, job).await?;
    stage
        .commit(&parent.unchecked(), &[Do::Delete(row(3, "x"))])
        .await?;
    stage.apply().await?;
    assert_eq!(
        stage.sql("SELECT GROUP_CONCAT(id, p) FROM child"),
        "11,22,33"
    );
    assert_eq!(stage.sql("SELECT GROUP_CONCAT(id) FROM p"), "4");
    Ok(())
}

async fn a_row_in_many_records(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "c_parts").await?;
    let table = table(&stage, "t").await?;
    let job = want(&mut stage, "*.*", Over::Nothing).await?;
    let mut copy = begin(&mut stage, job, &table, Begin::new(CREATE, &["id"])).await?;
    copy.row_in_parts(&mut stage, &row(1, "a long text of it"), 3, true)
        .await?;
    // One that never ends, as the capture dies; then it comes whole.
    copy.row_in_parts(&mut stage, &row(2, "bb"), 2, false)
        .await?;
    stage.apply().await?;
    stage.restart_capture().await?;
    copy.row_in_parts(&mut stage, &row(2, "bb"), 2, true)
        .await?;
    copy.rows(&mut stage, &[row(3, "c")], None, vec![]).await?;
    copy.end(&mut stage).await?;
    stage.apply().await?;
    assert_eq!(all(&stage), "1a long text of it,2bb,3c");
    Ok(())
}

async fn answers_that_are_lost(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "c_lost").await?;
    let columns = vec![column("id", INT, None)];
    let table = stage.table("t", columns).await?;
    let create = "CREATE TABLE `t` (`id` int DEFAULT NULL) ENGINE=InnoDB";
    let job = want(&mut stage, "*.*", Over::Nothing).await?;
    let mut copy = begin(&mut stage, job, &table, Begin::new(create, &[])).await?;
    for chunk in 0..20 {
        let rows: Vec<Row<'_>> = (0..100)
            .map(|n| vec![Value::Int(chunk * 100 + n)])
            .collect();
        copy.rows(&mut stage, &rows, None, vec![]).await?;
    }
    copy.end(&mut stage).await?;
    done(&mut stage, job).await?;
    let proxy = Proxy::to(stage.server)?;
    let mut options = stage.options();
    options.address.port = proxy.port();
    options.address.host = "127.0.0.1".into();
    options.group.bytes = 1;
    // The beginning's commit is the first, then that of some rows.
    for fault in [CommitFault::LoseAnswer, CommitFault::LoseRequest] {
        proxy.fail_next_commit(fault);
        let cutter = async {
            for _ in 0..8 {
                tokio::time::sleep(std::time::Duration::from_millis(60)).await;
                proxy.cut();
            }
        };
        let (applied, ()) = tokio::join!(stage.apply_with(options.clone()), cutter);
        applied?;
    }
    assert_eq!(
        stage.sql("SELECT CONCAT(COUNT(*), ' ', COUNT(DISTINCT id)) FROM t"),
        "2000 2000"
    );
    Ok(())
}

/// Only a missing row is tolerated.
async fn what_does_not_fit_is_still_a_conflict(release: Release) -> Result<()> {
    let differs = [
        ("update", Do::Update(row(1, "x"), row(1, "y"))),
        ("delete", Do::Delete(row(1, "x"))),
        ("mover", Do::Update(row(1, "x"), row(2, "x"))),
        ("insert", Do::Insert(row(1, "a"))),
        ("unique", Do::Update(row(7, "q"), row(7, "a"))),
    ];
    for (name, change) in differs {
        let mut stage = Stage::of(release, &format!("c_{name}")).await?;
        let create = CREATE.replace(
            "PRIMARY KEY (`id`)",
            "PRIMARY KEY (`id`),\n  UNIQUE KEY `c` (`c`)",
        );
        let table = table(&stage, "t").await?;
        let job = want(&mut stage, "*.*", Over::Nothing).await?;
        let mut copy = begin(&mut stage, job, &table, Begin::new(create, &["id"])).await?;
        let upper = Some(copy.key_of(&row(1, "")));
        copy.rows(&mut stage, &[row(1, "a")], upper, vec![]).await?;
        stage.commit(&table, &[change]).await?;
        let error = stage.apply().await.expect_err(name);
        assert!(matches!(error, ApplyError::Conflict(_)), "{name}: {error}");
        assert_eq!(all(&stage), "1a", "{name}");
    }
    for (name, planted) in [("differs", "(1, 'x')"), ("taken", "(9, 'a')")] {
        let mut stage = Stage::of(release, &format!("c_{name}")).await?;
        let create = CREATE.replace(
            "PRIMARY KEY (`id`)",
            "PRIMARY KEY (`id`),\n  UNIQUE KEY `c` (`c`)",
        );
        let table = table(&stage, "t").await?;
        let job = want(&mut stage, "*.*", Over::Nothing).await?;
        let mut copy = begin(&mut stage, job, &table, Begin::new(create, &["id"])).await?;
        stage.apply().await?;
        stage.sql(&format!("INSERT INTO t VALUES {planted}"));
        let rows = [row(1, "a"), row(2, "b")];
        copy.rows(&mut stage, &rows, None, vec![]).await?;
        let error = stage.apply().await.expect_err(name);
        assert!(matches!(error, ApplyError::Conflict(_)), "{name}: {error}");
        assert_eq!(stage.sql("SELECT COUNT(*) FROM t"), "1", "{name}");
    }
    Ok(())
}

/// Rows that differ, that are missing, that are too many, and that hold what belongs to others.
async fn rows_are_repaired_range_by_range(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "c_repair").await?;
    let create = CREATE.replace(
        "PRIMARY KEY (`id`)",
        "PRIMARY KEY (`id`),\n  UNIQUE KEY `c` (`c`)",
    );
    let keyed = table(&stage, "t").await?;
    stage.sql(
        "CREATE TABLE t (id int PRIMARY KEY, c varchar(20), UNIQUE KEY c (c));
         INSERT INTO t VALUES (1, 'a'), (2, 'wrong'), (4, 'gone'), (5, 'stream'), (7, 'c'), (9, 'i'), (12, 'late')",
    );
    // Until it begins, changes are applied as ever.
    let job = want(&mut stage, "*.*", Over::Repair).await?;
    stage
        .commit(&keyed, &[Do::Update(row(9, "i"), row(9, "I"))])
        .await?;
    let over = Begin {
        over: Over::Repair,
        ..Begin::new(create, &["id"])
    };
    let mut copy = begin(&mut stage, job, &keyed, over.clone()).await?;
    stage
        .commit(&keyed, &[Do::Update(row(5, "stream"), row(5, "Stream"))])
        .await?;
    let upper = Some(copy.key_of(&row(6, "")));
    let left_out = vec![copy.key_of(&row(5, "")), copy.key_of(&row(6, ""))];
    let rows = [row(1, "a"), row(2, "b"), row(3, "c")];
    copy.rows(&mut stage, &rows, upper, left_out).await?;
    stage.apply().await?;
    // 7 held what is 3's.
    assert_eq!(all(&stage), "1a,2b,3c,5Stream,9I,12late");
    let rows = [row(7, "g"), row(9, "I")];
    copy.rows(&mut stage, &rows, None, vec![]).await?;
    copy.end(&mut stage).await?;
    done(&mut stage, job).await?;
    stage.apply().await?;
    assert_eq!(all(&stage), "1a,2b,3c,5Stream,7g,9I");
    // What is left out is not taken away by others.
    let mut copy = begin(&mut stage, job, &keyed, over).await?;
    let left_out = vec![copy.key_of(&row(9, ""))];
    copy.rows(&mut stage, &[row(1, "I")], None, left_out)
        .await?;
    let error = stage.apply().await.expect_err("obstructed");
    assert!(matches!(error, ApplyError::Copy { .. }), "{error}");
    assert_eq!(all(&stage), "1a,2b,3c,5Stream,7g,9I");
    // The bounds are not believed where the target orders in another way.
    let mut stage = Stage::of(release, "c_repair2").await?;
    let texts = stage.table("t", vec![column("c", TEXT, Some(0))]).await?;
    stage.sql(
        "CREATE TABLE t (c varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY)",
    );
    let create = "CREATE TABLE `t` (`c` varchar(20) NOT NULL, PRIMARY KEY (`c`)) ENGINE=InnoDB";
    let over = Begin {
        over: Over::Repair,
        ..Begin::new(create, &["c"])
    };
    begin(&mut stage, job, &texts, over).await?;
    let error = stage.apply().await.expect_err("another collation");
    assert!(
        matches!(&error, ApplyError::Copy { problem, .. } if matches!(**problem, CopyProblem::Repair(_))),
        "{error}"
    );
    Ok(())
}

/// Its copy brings its rows under the new name: what was there goes where that was asked for, and where a copy had made the table.
async fn rows_of_a_table_that_gets_another_name_first(release: Release) -> Result<()> {
    const THERE: &str =
        "CREATE TABLE t (id int PRIMARY KEY, c varchar(20)); INSERT INTO t VALUES (1, 'own')";
    for (over, is_kept) in [(Over::Nothing, true), (Over::Remove, false)] {
        let mut stage = Stage::of(release, "c_other_name").await?;
        stage.sql(THERE);
        want(&mut stage, "*.*", over).await?;
        let database = stage.database.clone();
        stage.rename("RENAME TABLE t TO u", &[("t", "u")]).await?;
        let mut options = stage.options();
        options.into = IntoTables::Existing;
        let applied = stage.apply_with(options).await;
        let rows = |table: &str| {
            stage.sql(&format!(
                "SELECT GROUP_CONCAT(id, c) FROM `{database}`.{table}"
            ))
        };
        if is_kept {
            let error = applied.expect_err("somebody's rows");
            assert!(matches!(error, ApplyError::DdlStop { .. }), "{error}");
            assert!(error.to_string().contains("TRUNCATE"), "{error}");
            assert_eq!(rows("t"), "1own");
        } else {
            applied?;
            assert_eq!(rows("u"), "NULL");
        }
    }
    // What a copy had made and filled before it was given up, by name: another is to bring it again.
    let mut stage = Stage::of(release, "c_other_name3").await?;
    let table = table(&stage, "t").await?;
    let job = want(&mut stage, "*.*", Over::Nothing).await?;
    let mut copy = begin(&mut stage, job, &table, Begin::new(CREATE, &["id"])).await?;
    let upper = Some(copy.key_of(&row(1, "")));
    copy.rows(&mut stage, &[row(1, "a")], upper, vec![]).await?;
    copy.give_up(&mut stage, GivenUp::Changed).await?;
    want(&mut stage, "*.*", Over::Nothing).await?;
    stage.rename("RENAME TABLE t TO u", &[("t", "u")]).await?;
    stage.apply().await?;
    assert_eq!(stage.sql("SELECT COUNT(*) FROM u"), "0");
    Ok(())
}
