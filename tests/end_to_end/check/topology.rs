//! Servers among others.

use anyhow::{Context, Result, ensure};
use binferry_servers::{MySql, Release, mariadb, pair};

use super::{USER, about, account, check, none, one};
use crate::binferry::{SOURCE_USER, TARGET_USER, eventually, program, users};

#[test]
fn one_server_or_two_that_are_alike() -> Result<()> {
    let start = || MySql::builder().server_id(70).start();
    let (source, target) = (start()?, start()?);
    account(&source)?;
    account(&target)?;
    let twice = "--source and --target";
    one(
        &mut check(&source, &source),
        twice,
        "blocking",
        &["the same server"],
    )?;
    none(&mut check(&source, &target), twice)?;
    one(
        &mut check(&source, &target),
        "server_id",
        "warning",
        &["70, the source's", "SET PERSIST server_id"],
    )?;
    // What a copied data directory brings along.
    target.stop()?;
    let file = |server: &MySql| {
        Ok::<_, anyhow::Error>(server.data_dir().context("its data")?.join("auto.cnf"))
    };
    std::fs::copy(file(&source)?, file(&target)?)?;
    target.start_again()?;
    one(
        &mut check(&source, &target),
        "server_uuid",
        "warning",
        &["auto.cnf"],
    )?;
    let preserved = || {
        let mut command = check(&source, &target);
        command.args(["--gtid", "preserve"]);
        command
    };
    one(&mut preserved(), "server_uuid", "blocking", &["auto.cnf"])?;
    target.stop()?;
    std::fs::remove_file(file(&target)?)?;
    target.start_again()?;
    none(&mut preserved(), "server_uuid")
}

#[test]
fn a_number_of_ours_that_is_taken() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("ids")?;
    users(&pair.source, &pair.target, &database)?;
    let with = |id: u32| {
        let mut command = program("check");
        command
            .args(["--source", &pair.source.url(SOURCE_USER), "--from", "now"])
            .args(["--server-id", &id.to_string()]);
        command
    };
    one(
        &mut with(pair.source.server_id()),
        "--server-id",
        "blocking",
        &["in use by the source itself"],
    )?;
    one(&mut with(0), "--server-id", "blocking", &["0"])?;
    one(&mut with(4_000_000), "--server-id", "fine", &["4000000"])
}

/// A replica of the source has the target's number; then the target is a replica itself.
#[test]
fn native_replicas() -> Result<()> {
    let source = MySql::start()?;
    account(&source)?;
    let start = |number: u16| {
        MySql::builder()
            .server_id(77)
            .arg(format!("--report-host=replica{number}.example"))
            .start()
    };
    let follow = |replica: &MySql| {
        replica.sql(&format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '{}', SOURCE_PORT = {}, SOURCE_USER = '{}', SOURCE_PASSWORD = '{}',
             SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1; START REPLICA",
            source.host(),
            source.port(),
            source.admin_user(),
            source.admin_password()
        ))
    };
    let (target, other) = (start(1)?, start(2)?);
    account(&target)?;
    let native = "native replication";
    none(&mut check(&source, &target), native)?;
    none(&mut check(&source, &target), "server_id")?;
    follow(&other)?;
    eventually("it is registered", || {
        Ok(source.sql("SHOW REPLICAS")?.contains("replica2.example"))
    })?;
    one(
        &mut check(&source, &target),
        "server_id",
        "warning",
        &[
            "77 on a replica of the source and on the target",
            "SET PERSIST server_id",
        ],
    )?;
    // Seen from above.
    let mut above = program("check");
    above.args(["--target", &source.url(USER)]);
    let below = "native replica of the target";
    one(&mut above, below, "info", &["77, replica2.example:"])?;
    other.stop()?;

    follow(&target)?;
    let from = format!("from {}:{}", source.host(), source.port());
    let twice = [&*from, "RESET REPLICA ALL"];
    one(&mut check(&source, &target), native, "blocking", &twice)?;
    let mut preserved = check(&source, &target);
    preserved.args(["--gtid", "preserve"]);
    one(&mut preserved, native, "warning", &twice)?;
    let unrelated = &pair()?.source;
    users(unrelated, &target, "looked")?;
    let from_elsewhere = |user: &str| {
        let mut command = program("check");
        command
            .args(["--source", &unrelated.url(SOURCE_USER), "--from", "now"])
            .args(["--target", &target.url(user)]);
        command
    };
    one(&mut from_elsewhere(USER), native, "warning", &twice)?;
    let hidden = ["out of sight", "GRANT REPLICATION CLIENT"];
    one(&mut from_elsewhere(TARGET_USER), native, "info", &hidden)?;
    target.sql("STOP REPLICA")?;
    one(&mut check(&source, &target), native, "info", &["stopped"])?;
    target.sql("RESET REPLICA ALL")?;
    none(&mut check(&source, &target), native)
}

#[test]
fn time_zones() -> Result<()> {
    let source = MySql::builder()
        .time_zone("CET-1CEST,M3.5.0,M10.5.0/3")
        .start()?;
    let target = MySql::start()?;
    account(&source)?;
    account(&target)?;
    let zone = "time_zone";
    one(
        &mut check(&source, &target),
        zone,
        "warning",
        &["SYSTEM", "CE"],
    )?;
    let mut ignored = check(&source, &target);
    none(ignored.args(["--ddl", "ignore"]), zone)?;
    source.sql("SET GLOBAL time_zone = '+02:00'")?;
    none(&mut check(&source, &target), zone)?;
    let load =
        "INSERT INTO mysql.time_zone (Use_leap_seconds) VALUES ('N'); SET @zone = LAST_INSERT_ID();
                INSERT INTO mysql.time_zone_transition_type VALUES (@zone, 0, 3600, 0, 'CET');";
    let named =
        |name: &str| format!("{load} INSERT INTO mysql.time_zone_name VALUES ('{name}', @zone)");
    source.sql(&named("Europe/Paris"))?;
    source.sql("SET GLOBAL time_zone = 'Europe/Paris'")?;
    let says = ["Europe/Paris on the source", "mysql_tzinfo_to_sql"];
    one(&mut check(&source, &target), zone, "warning", &says)?;
    target.sql(&named("Europe/Paris"))?;
    target.sql(&named("UTC"))?;
    none(&mut check(&source, &target), zone)
}

#[test]
fn versions_and_collations() -> Result<()> {
    let source = &pair()?.source;
    let target = mariadb(Release::MariaDb10_11)?;
    let database = binferry_servers::database([source, target], "collated")?;
    users(source, target, &database)?;
    source.sql(&format!(
        "GRANT SELECT ON `{database}`.* TO {SOURCE_USER}@'%';
         CREATE TABLE `{database}`.a (id INT PRIMARY KEY, name VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci, b TEXT COLLATE utf8mb4_bin)"
    ))?;
    target.sql(&format!(
        "GRANT CREATE, ALTER, INDEX, REFERENCES, DROP ON `{database}`.* TO {TARGET_USER}@'%'"
    ))?;
    let from = |place: &str| {
        let mut command = program("check");
        command
            .args([
                "--source",
                &source.url(SOURCE_USER),
                "--target",
                &target.url(TARGET_USER),
            ])
            .args(["--tables", &format!("{database}.*"), "--from", place]);
        command
    };
    let name = format!("{database}.a.name");
    let collation = "collation ";
    one(
        &mut from("now"),
        collation,
        "warning",
        &["utf8mb4_0900_ai_ci", &name],
    )?;
    one(
        &mut from("snapshot"),
        collation,
        "blocking",
        &["utf8mb4_0900_ai_ci", &name],
    )?;
    // Made by hand, with another one.
    target.sql(&format!(
        "CREATE TABLE `{database}`.a (id INT PRIMARY KEY, name VARCHAR(20) CHARACTER SET utf8mb4, b TEXT)"
    ))?;
    one(&mut from("snapshot"), collation, "warning", &[&name])?;
    let mut ignored = from("now");
    none(ignored.args(["--ddl", "ignore"]), collation)?;
    let versions = about(&mut from("now"), "version")?;
    ensure!(
        versions
            .iter()
            .any(|(severity, text)| severity == "info" && text.contains("the source's 9.")),
        "{versions:?}"
    );
    Ok(())
}
