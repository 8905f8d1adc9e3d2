//! Crashes, lost answers, two appliers.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use binferry_apply::{Applier, ApplyError, Outcome, Progress, read_progress};
use binferry_schemas::{
    datum::Value,
    fault::{Fault, Kind},
    gtid::Uuid,
};
use binferry_servers::{CommitFault, MySql, Proxy, Release};
use mysql_async::{Conn, prelude::Queryable};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::stage::{Do, INT, Stage, Table, address, column, on_each_server};

on_each_server! {
    a_commit_whose_answer_is_lost
    a_commit_that_lands_after_the_connection_has_gone
    a_newer_applier_takes_over
    a_takeover_of_one_that_was_killed_lands_late
    an_applier_that_hangs_inside_a_transaction
    connections_cut_at_random
    the_server_dies_and_comes_back
    logins_and_privileges
}

/// Rows without a key: one applied twice shows.
async fn counter(stage: &Stage) -> Result<Table> {
    stage.sql("CREATE TABLE t (n int)");
    stage.table("t", vec![column("n", INT, None)]).await
}

async fn write(stage: &mut Stage, table: &Table, count: i64) -> Result<()> {
    for n in 0..count {
        stage
            .commit(table, &[Do::Insert(vec![Value::Int(n)])])
            .await?;
    }
    stage.flush().await
}

async fn a_commit_whose_answer_is_lost(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "answer").await?;
    let table = counter(&stage).await?;
    let proxy = Proxy::to(stage.server)?;
    for fault in [
        CommitFault::LoseAnswer,
        CommitFault::LoseRequest,
        CommitFault::LoseAnswer,
    ] {
        write(&mut stage, &table, 20).await?;
        let mut options = stage.options();
        options.address.port = proxy.port();
        options.address.host = "127.0.0.1".into();
        options.group.transactions = 5;
        let applier = Applier::connect(options).await?;
        proxy.fail_next_commit(fault);
        let (sender, _receiver) = watch::channel(Progress::default());
        let outcome = applier
            .run(
                Some(stage.written.clone().into()),
                CancellationToken::new(),
                sender,
            )
            .await?;
        assert_eq!(outcome, Outcome::Reached);
    }
    assert_eq!(proxy.commits_failed(), 3);
    assert_eq!(stage.sql("SELECT COUNT(*) FROM t"), "60");
    Ok(())
}

/// The session lives on behind the applier's back: it must not commit after what it holds was looked for and done again.
async fn a_commit_that_lands_after_the_connection_has_gone(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "late").await?;
    let table = counter(&stage).await?;
    let proxy = Proxy::to(stage.server)?;
    for late in [1, 200, 2000] {
        write(&mut stage, &table, 20).await?;
        let mut options = stage.options();
        options.address.port = proxy.port();
        options.address.host = "127.0.0.1".into();
        options.group.transactions = 5;
        let applier = Applier::connect(options).await?;
        proxy.fail_next_commit(CommitFault::Late(Duration::from_millis(late)));
        let (sender, _receiver) = watch::channel(Progress::default());
        let outcome = applier
            .run(
                Some(stage.written.clone().into()),
                CancellationToken::new(),
                sender,
            )
            .await?;
        assert_eq!(outcome, Outcome::Reached);
    }
    // The last one may still be on its way.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(proxy.commits_failed(), 3);
    assert_eq!(stage.sql("SELECT COUNT(*) FROM t"), "60");
    Ok(())
}

/// The takeover of one that was killed ends on the server while the next one is in the middle of its own.
async fn a_takeover_of_one_that_was_killed_lands_late(release: Release) -> Result<()> {
    for lives in [false, true] {
        let mut stage = Stage::of(release, &format!("dead{lives}")).await?;
        let table = counter(&stage).await?;
        write(&mut stage, &table, 10).await?;
        stage.apply().await?;
        write(&mut stage, &table, 10).await?;

        let mut older = Conn::new(stage.server.opts()).await?;
        let dead = Uuid::new_v4();
        older
            .query_drop(format!(
                "DO GET_LOCK('binferry-{dead}-0', 0); START TRANSACTION; \
                 UPDATE binferry.stream SET incarnation = '{dead}' WHERE stream = '{}'",
                stage.database
            ))
            .await?;

        let options = stage.options();
        let written = stage.written.clone();
        let next = tokio::spawn(async move {
            let (sender, _receiver) = watch::channel(Progress::default());
            let applier = Applier::connect(options).await?;
            applier
                .run(Some(written.into()), CancellationToken::new(), sender)
                .await
        });
        // Other tests have appliers on this server.
        let waits = format!(
            "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT' AND trx_query LIKE 'UPDATE binferry.stream%{}%'",
            stage.database
        );
        while older.query_first(waits.as_str()).await? == Some(0) {
            // InnoDB renews what this view shows only after 100 ms without a read.
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        older.query_drop("COMMIT").await?;
        let outcome = if lives {
            let outcome = next.await?;
            older.disconnect().await?;
            outcome
        } else {
            older.disconnect().await?;
            next.await?
        };
        let rows = stage.sql("SELECT COUNT(*) FROM t");
        match outcome {
            Ok(Outcome::Reached) => assert_eq!((lives, rows.as_str()), (false, "20")),
            Err(ApplyError::Superseded { .. }) => assert_eq!((lives, rows.as_str()), (true, "10")),
            other => panic!("{other:?}"),
        }
    }
    Ok(())
}

async fn a_newer_applier_takes_over(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "takeover").await?;
    let table = counter(&stage).await?;
    write(&mut stage, &table, 10).await?;
    let older = Applier::connect(stage.options()).await?;
    let (sender, mut receiver) = watch::channel(Progress::default());
    let running = tokio::spawn(older.run(None, CancellationToken::new(), sender));
    receiver
        .wait_for(|progress| progress.transactions == 10)
        .await?;
    // The newer one takes over and applies; the older one finds out with its next transaction, and stays away.
    let newer = Applier::connect(stage.options()).await?;
    write(&mut stage, &table, 10).await?;
    let error = running.await?.expect_err("superseded");
    assert!(matches!(error, ApplyError::Superseded { .. }), "{error}");
    let (sender, _receiver) = watch::channel(Progress::default());
    newer
        .run(
            Some(stage.written.clone().into()),
            CancellationToken::new(),
            sender,
        )
        .await?;
    assert_eq!(stage.sql("SELECT COUNT(*) FROM t"), "20");
    Ok(())
}

async fn an_applier_that_hangs_inside_a_transaction(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "hang").await?;
    let table = counter(&stage).await?;
    write(&mut stage, &table, 1).await?;
    stage.apply().await?;
    // The older applier's session: its lock, and the progress row's.
    let incarnation = stage.sql(&format!(
        "SELECT incarnation FROM binferry.stream WHERE stream = '{}'",
        stage.database
    ));
    let mut held = Conn::new(stage.server.opts()).await?;
    held.query_drop(format!("DO GET_LOCK('binferry-{incarnation}-0', 0)"))
        .await?;
    held.query_drop("START TRANSACTION").await?;
    held.query_drop(format!(
        "UPDATE binferry.progress SET version = version + 1 WHERE stream = '{}'",
        stage.database
    ))
    .await?;
    write(&mut stage, &table, 1).await?;
    stage.apply().await?;
    assert_eq!(stage.sql("SELECT COUNT(*) FROM t"), "2");
    assert!(
        held.query_drop("COMMIT").await.is_err(),
        "the old session was ended"
    );
    Ok(())
}

async fn connections_cut_at_random(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "cut").await?;
    let table = counter(&stage).await?;
    write(&mut stage, &table, 3000).await?;
    let proxy = Arc::new(Proxy::to(stage.server)?);
    let mut options = stage.options();
    options.address.port = proxy.port();
    options.address.host = "127.0.0.1".into();
    options.group.transactions = 7;
    let applier = Applier::connect(options).await?;
    let (sender, receiver) = watch::channel(Progress::default());
    let cutter = {
        let proxy = Arc::clone(&proxy);
        tokio::spawn(async move {
            for n in 0..12u64 {
                tokio::time::sleep(Duration::from_millis(37 * (n % 4 + 1))).await;
                proxy.cut();
            }
        })
    };
    applier
        .run(
            Some(stage.written.clone().into()),
            CancellationToken::new(),
            sender,
        )
        .await?;
    cutter.abort();
    assert!(receiver.borrow().transactions > 0);
    assert_eq!(
        stage.sql("SELECT COUNT(*), COUNT(DISTINCT n) FROM t"),
        "3000\t3000"
    );
    Ok(())
}

async fn the_server_dies_and_comes_back(release: Release) -> Result<()> {
    let server: &'static MySql = Box::leak(Box::new(MySql::builder().release(release).start()?));
    server.sql("CREATE DATABASE dies")?;
    let mut stage = Stage::on(server, "dies".into()).await?;
    let table = counter(&stage).await?;
    write(&mut stage, &table, 2000).await?;
    let mut options = stage.options();
    options.group.transactions = 3;
    let applier = Applier::connect(options).await?;
    let (sender, mut receiver) = watch::channel(Progress::default());
    let running = tokio::spawn(applier.run(
        Some(stage.written.clone().into()),
        CancellationToken::new(),
        sender,
    ));
    receiver
        .wait_for(|progress| progress.transactions > 50)
        .await?;
    server.kill()?;
    tokio::task::spawn_blocking(|| server.start_again()).await??;
    running.await??;
    assert_eq!(
        stage.sql("SELECT COUNT(*), COUNT(DISTINCT n) FROM t"),
        "2000\t2000"
    );
    server.stop()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_and_resumed() -> Result<()> {
    let mut stage = Stage::new("cancel").await?;
    let table = counter(&stage).await?;
    assert_eq!(
        read_progress(&address(stage.server), &stage.database).await?,
        None
    );
    write(&mut stage, &table, 500).await?;
    let mut options = stage.options();
    options.group.transactions = 1;
    let applier = Applier::connect(options).await?;
    let cancel = CancellationToken::new();
    let (sender, mut receiver) = watch::channel(Progress::default());
    let running = tokio::spawn(applier.run(None, cancel.clone(), sender));
    receiver
        .wait_for(|progress| progress.transactions >= 100)
        .await?;
    cancel.cancel();
    assert_eq!(running.await??, Outcome::Cancelled);
    let found = read_progress(&address(stage.server), &stage.database)
        .await?
        .expect("progress");
    assert_eq!(
        stage.sql("SELECT COUNT(*) FROM t"),
        found.state.set.len().to_string()
    );
    let readers = stage.log.registrations().await?;
    assert_eq!(readers[0].needs, found.offset);
    stage.apply().await?;
    assert_eq!(stage.sql("SELECT COUNT(*) FROM t"), "500");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_is_refused() -> Result<()> {
    let mut stage = Stage::new("paired").await?;
    let table = counter(&stage).await?;
    write(&mut stage, &table, 1).await?;
    stage.apply().await?;
    let other = Stage::on(stage.server, stage.database.clone()).await?;
    let error = Applier::connect(other.options())
        .await
        .expect_err("not paired");
    assert!(matches!(error, ApplyError::NotPaired { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Configuration);
    Ok(())
}

async fn logins_and_privileges(release: Release) -> Result<()> {
    let mut stage = Stage::of(release, "login").await?;
    let table = counter(&stage).await?;
    write(&mut stage, &table, 1).await?;
    stage.apply().await?;
    let user = format!("u{}", std::process::id());
    stage.sql(&format!("CREATE USER {user}@'%' IDENTIFIED BY 'secret'"));
    let mut options = stage.options();
    options.address.user = user.clone();
    options.address.password = binferry_schemas::address::Secret::new("wrong");
    let error = Applier::connect(options.clone())
        .await
        .expect_err("wrong password");
    assert!(matches!(error, ApplyError::Login { .. }), "{error}");
    options.address.password = binferry_schemas::address::Secret::new("secret");
    let error = Applier::connect(options.clone())
        .await
        .expect_err("no privileges");
    assert!(matches!(error, ApplyError::Privilege { .. }), "{error}");
    let wanted = binferry_apply::Wanted {
        tables: &Default::default(),
        triggers: None,
        gtids: options.gtids,
        copy: None,
        ddl: binferry_apply::DdlMode::Stop,
        workers: 1,
        source: None,
    };
    let findings = binferry_apply::preflight(&options.address, &wanted).await;
    assert!(
        findings
            .iter()
            .any(|finding| finding.subject == "privileges" && finding.remedy.is_some()),
        "{findings:?}"
    );
    stage.sql(&format!(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON binferry.* TO {user}@'%'"
    ));
    write(&mut stage, &table, 1).await?;
    let error = stage
        .apply_with(options.clone())
        .await
        .expect_err("no privilege on the table");
    assert_eq!(error.kind(), Kind::Data, "{error}");
    stage.sql(&format!(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON *.* TO {user}@'%'"
    ));
    stage.apply_with(options).await?;
    assert_eq!(stage.sql("SELECT COUNT(*) FROM t"), "2");
    Ok(())
}
