//! What is refused: topics that could lose records, credentials, addresses, properties. Each with its exit code and a remedy.

use std::{fs, os::unix::fs::PermissionsExt};

use anyhow::{Result, ensure};
use binferry_servers::{Kafka, kafka, pair};

use crate::{
    binferry::{Pipeline, done, output, refused},
    judge,
    load::prepare,
};

/// Wrong settings of a topic: `check` finds each, and a capture does not start on it.
#[test]
fn topics_that_could_lose_records() -> Result<()> {
    let (pair, kafka) = (pair()?, kafka()?);
    let database = pair.database("k_unfit")?;
    prepare(&pair.source, &pair.target, &database)?;
    for (partitions, settings, options, finding) in [
        (2, [("retention.ms", "-1")], &[][..], "partitions is 2"),
        (
            1,
            [("cleanup.policy", "compact")],
            &[],
            "cleanup.policy is compact",
        ),
        (
            1,
            [("retention.ms", "3600000")],
            &["--keep-age", "7d"],
            "retention.ms is 3600000",
        ),
        (
            1,
            [("retention.bytes", "1000000")],
            &["--keep-bytes", "20GiB"],
            "retention.bytes is 1000000",
        ),
        (
            1,
            [("unclean.leader.election.enable", "true")],
            &[],
            "unclean.leader.election.enable is true",
        ),
        (
            1,
            [("max.message.bytes", "10000")],
            &[],
            "max.message.bytes is 10000",
        ),
        (
            1,
            [("min.insync.replicas", "2")],
            &[],
            "min.insync.replicas is 2",
        ),
    ] {
        let pipeline = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
        kafka.create_topic(&pipeline.topic(), partitions, 1, &settings)?;
        let says = [finding, "remedy"];
        refused(pipeline.command("capture").args(options), 2, &says)?;
        refused(pipeline.command("check").args(options), 1, &says)?;
        let (start, end) = kafka.offsets(&pipeline.topic())?;
        ensure!((start, end) == (0, 0), "{finding}: something was written");
    }
    // Schemas that expire make records unreadable.
    let pipeline = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
    let schemas = pipeline.topic().replace(".log", ".schemas");
    kafka.create_topic(&schemas, 1, 1, &[("cleanup.policy", "delete")])?;
    refused(
        &mut pipeline.command("capture"),
        2,
        &["schemas cleanup.policy is delete"],
    )?;
    Ok(())
}

/// A topic with Kafka's defaults but for nothing is good enough, and retention that is long enough too.
#[test]
fn topics_that_are_fine() -> Result<()> {
    let (pair, kafka) = (pair()?, kafka()?);
    let database = pair.database("k_fit")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
    kafka.create_topic(&pipeline.topic(), 1, 1, &[("retention.ms", "604800000")])?;
    let check = output(pipeline.command("check").args(["--keep-age", "7d"]))?;
    ensure!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stdout)
    );
    done(
        pipeline
            .command("run")
            .args(["--until", "now", "--keep-age", "7d"]),
    )?;
    judge::equal(&pair.source, &pair.target, &database)?;

    // What we make ourselves has what was asked for.
    let pipeline = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
    done(pipeline.command("capture").args([
        "--until",
        "now",
        "--keep-age",
        "7d",
        "--keep-bytes",
        "1GiB",
    ]))?;
    let settings = kafka.topic_settings(&pipeline.topic())?;
    for (name, value) in [
        ("cleanup.policy", "delete"),
        ("retention.ms", "604800000"),
        ("retention.bytes", "1073741824"),
        ("min.insync.replicas", "1"),
        ("unclean.leader.election.enable", "false"),
        ("message.timestamp.type", "LogAppendTime"),
    ] {
        let wanted = (name.to_owned(), value.to_owned());
        ensure!(settings.contains(&wanted), "{name}: {settings:?}");
    }
    let schemas = kafka.topic_settings(&pipeline.topic().replace(".log", ".schemas"))?;
    ensure!(
        schemas.contains(&("cleanup.policy".to_owned(), "compact".to_owned())),
        "{schemas:?}"
    );
    Ok(())
}

#[test]
fn what_is_not_there_or_not_understood() -> Result<()> {
    let (pair, kafka) = (pair()?, kafka()?);
    let database = pair.database("k_usage")?;
    prepare(&pair.source, &pair.target, &database)?;
    let mut pipeline = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
    // Reading makes no topic, although the broker would.
    for command in ["tail", "status", "apply"] {
        refused(
            &mut pipeline.command(command),
            2,
            &["has no topic", "binferry capture"],
        )?;
    }
    ensure!(!kafka.topics()?.contains(&pipeline.topic()));
    let secret = "--kafka=sasl.password=hunter2";
    for (option, says) in [
        ("--kafka=linger.ms", "key=value"),
        ("--kafka=lingr.ms=5", "no client property \"lingr.ms\""),
        (
            "--kafka=linger.ms=soon",
            "value of the client property linger.ms",
        ),
        ("--kafka=acks=1", "acks is set by binferry"),
        ("--kafka-config=/does/not/exist", "/does/not/exist"),
        ("--kafka-replicas=9", "replication factor is 9"),
    ] {
        let said = refused(
            pipeline.command("capture").args([option, secret]),
            2,
            &[says],
        )?;
        ensure!(!said.contains("hunter2"), "{said}");
    }
    let file = pipeline.folder.path().join("client.properties");
    fs::write(&file, "# ours\nsasl.username=me\nhunter2\n")?;
    let said = refused(
        pipeline.command("capture").arg("--kafka-config").arg(&file),
        2,
        &["line 3"],
    )?;
    ensure!(!said.contains("hunter2"), "{said}");
    for (place, says) in [
        ("kafka://a:9092", "names no log"),
        ("kafka://a/shop", "host:port"),
        ("kafka://me:hunter2@a:9092/shop", "user or a password"),
        ("kafka://a:9092/shop/eu", "cannot be a log's name"),
        ("redis://a:1/shop", "a log is a directory, or kafka://"),
    ] {
        pipeline.place = Some(place.to_owned());
        let said = refused(&mut pipeline.command("capture"), 2, &[says])?;
        ensure!(!said.contains("hunter2"), "{said}");
    }
    pipeline.place = None;
    refused(
        pipeline.command("capture").arg("--kafka=linger.ms=1"),
        2,
        &["--log is a directory"],
    )?;
    Ok(())
}

/// SCRAM and TLS against a real broker with ACLs: accepted, refused, and never printed.
#[test]
fn credentials_and_acls() -> Result<()> {
    const PASSWORD: &str = "correct horse";
    const READER: &str = "battery staple";
    let pair = pair()?;
    let kafka = Kafka::builder()
        .secure("ferry", PASSWORD)
        .secure("reader", READER)
        .authorizer()
        .start()?;
    let database = pair.database("k_secure")?;
    prepare(&pair.source, &pair.target, &database)?;
    let mut pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    pipeline.place = Some(format!("kafka://{}/safe", kafka.secure_bootstrap()?));
    let config = |user: &str, password: &str, ca: &str| -> Result<Vec<String>> {
        let file = pipeline.folder.path().join(format!("{user}.properties"));
        fs::write(
            &file,
            format!(
                "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-256\nssl.ca.location={ca}\n\
                 sasl.username={user}\nsasl.password={password}\n"
            ),
        )?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        Ok(vec!["--kafka-config".into(), file.display().to_string()])
    };
    let ca = kafka.ca()?.display().to_string();

    let wrong = config("ferry", "wrong horse", &ca)?;
    let said = refused(
        pipeline.command("capture").args(&wrong),
        2,
        &["refuses us", "uthentication"],
    )?;
    ensure!(!said.contains("wrong horse"), "{said}");
    // Somebody else's CA.
    let stranger = rcgen_ca(&pipeline)?;
    let untrusted = config("ferry", PASSWORD, &stranger)?;
    refused(
        pipeline.command("capture").args(&untrusted),
        2,
        &["refuses us", "certificate"],
    )?;
    let right = config("ferry", PASSWORD, &ca)?;
    // No ACL yet.
    refused(
        pipeline.command("capture").args(&right),
        2,
        &["refuses us", "docs/kafka"],
    )?;
    // The least that docs/kafka states.
    kafka.allow(
        "ferry",
        &["Create", "Describe", "DescribeConfigs", "Write", "Read"],
        "safe.",
    )?;
    // Without DescribeConfigs it works too.
    kafka.allow("reader", &["Describe", "Read"], "safe.")?;
    pair.source.sql(&format!(
        "INSERT INTO `{database}`.ledger (what) VALUES ('one'), ('two')"
    ))?;
    done(
        pipeline
            .command("capture")
            .args(["--until", "now"])
            .args(&right),
    )?;
    let reader = config("reader", READER, &ca)?;
    done(
        pipeline
            .command("apply")
            .args(["--until", "now"])
            .args(&reader),
    )?;
    judge::equal(&pair.source, &pair.target, &database)?;
    // Who may read may not write.
    pair.source.sql(&format!(
        "INSERT INTO `{database}`.ledger (what) VALUES ('three')"
    ))?;
    let said = refused(
        pipeline
            .command("capture")
            .args(["--until", "now"])
            .args(&reader),
        2,
        &["refuses us"],
    )?;
    for secret in [PASSWORD, READER] {
        ensure!(!said.contains(secret), "{said}");
    }
    Ok(())
}

/// A certificate authority that the broker has never heard of.
fn rcgen_ca(pipeline: &Pipeline) -> Result<String> {
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(Vec::new())?;
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let path = pipeline.folder.path().join("stranger.pem");
    fs::write(&path, params.self_signed(&key)?.pem())?;
    Ok(path.display().to_string())
}
