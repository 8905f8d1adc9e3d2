//! What can be wrong with a log directory.

use std::{
    fs,
    io::{Read, Seek, SeekFrom, Write},
};

use anyhow::{Context, Result};
use binferry_servers::pair;

use crate::{
    binferry::{Pipeline, done, program, refused},
    load::prepare,
};

fn filled(purpose: &str) -> Result<(Pipeline, String)> {
    let pair = pair()?;
    let database = pair.database(purpose)?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let rows: Vec<String> = (0..200)
        .map(|n| format!("INSERT INTO `{database}`.item (id, label) VALUES ({n}, 'label {n}')"))
        .collect();
    pair.source.sql(&rows.join(";"))?;
    done(pipeline.command("capture").args(["--until", "now"]))?;
    Ok((pipeline, database))
}

#[test]
fn a_corrupt_record_is_named_and_nothing_behind_it_is_guessed() -> Result<()> {
    let (pipeline, _) = filled("corrupt")?;
    let segment = fs::read_dir(pipeline.log())?
        .filter_map(|e| Some(e.ok()?.path()))
        .find(|p| p.extension().is_some_and(|e| e == "seg"))
        .context("no segment")?;
    let mut file = fs::File::options().read(true).write(true).open(&segment)?;
    let mut byte = [0u8];
    file.seek(SeekFrom::Start(20_000))?;
    file.read_exact(&mut byte)?;
    byte[0] ^= 0x10;
    file.seek(SeekFrom::Start(20_000))?;
    file.write_all(&byte)?;
    refused(
        pipeline.command("apply").args(["--until", "now"]),
        3,
        &["corrupt", ".seg"],
    )?;
    refused(
        pipeline.command("tail").args(["--until", "now"]),
        3,
        &["corrupt"],
    )?;
    Ok(())
}

#[test]
fn a_log_that_is_not_there_is_not_made_by_readers() -> Result<()> {
    let (pipeline, _) = filled("missing")?;
    let nowhere = pipeline.folder.path().join("nowhere");
    let path = nowhere.to_str().context("path")?;
    refused(program("tail").args(["--log", path]), 2, &["no log", path])?;
    refused(
        program("status").args(["--log", path]),
        2,
        &["no log", path],
    )?;
    anyhow::ensure!(!nowhere.exists());
    Ok(())
}

#[test]
fn another_log_for_the_same_stream_is_refused() -> Result<()> {
    let (pipeline, database) = filled("paired")?;
    done(pipeline.command("apply").args(["--until", "now"]))?;
    let (mut other, _) = filled("unpaired")?;
    other.stream = database;
    refused(
        other.command("apply").args(["--until", "now"]),
        2,
        &["belongs to the log"],
    )?;
    Ok(())
}

#[test]
fn readers_are_listed_and_removed() -> Result<()> {
    let (pipeline, database) = filled("readers")?;
    done(pipeline.command("apply").args(["--until", "now"]))?;
    let listed = crate::binferry::output(&mut pipeline.command("readers"))?;
    anyhow::ensure!(String::from_utf8_lossy(&listed.stdout).contains(&format!("apply-{database}")));
    done(
        pipeline
            .command("readers")
            .args(["--remove", &format!("apply-{database}")]),
    )?;
    refused(
        pipeline.command("readers").args(["--remove", "nobody"]),
        2,
        &["nobody"],
    )?;
    Ok(())
}
