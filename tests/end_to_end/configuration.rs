//! A pipeline whose options stand in a file, among others.

use anyhow::{Result, ensure};
use binferry_servers::pair;

use crate::{
    binferry::{PASSWORD, Pipeline, done, output, program, refused},
    judge,
};

#[test]
fn one_of_several_pipelines_with_a_password_from_the_environment() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("configured")?;
    for server in [&pair.source, &pair.target] {
        server.sql(&format!(
            "CREATE TABLE {database}.item (id INT PRIMARY KEY)"
        ))?;
    }
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    pair.source
        .sql(&format!("INSERT INTO {database}.item VALUES (1), (2)"))?;
    let folder = pipeline.folder.path();
    std::fs::write(folder.join("password"), PASSWORD)?;
    let file = folder.join("binferry.toml");
    let text = format!(
        "source = '{}'\nsource-password-file = '${{FOLDER}}/password'\nuntil = 'now'\nddl = 'ignore'\nfrom = '{}'\n\
         [pipelines.this]\ntarget = '{}'\ntarget-password-file = '${{FOLDER}}/password'\n\
         log = '${{FOLDER}}/log'\nstream = '{database}'\ntables = '{database}.*'\n\
         [pipelines.other]\ntarget = 'mysql://nobody@127.0.0.1:1/'\nlog = '${{NOT_SET}}'\n",
        pipeline.source,
        match pipeline.from.as_str() {
            "" => "earliest",
            set => set,
        },
        pipeline.target
    );
    std::fs::write(&file, &text)?;
    let run = || {
        let mut run = program("run");
        run.arg("--config")
            .arg(&file)
            .env("FOLDER", folder)
            .env_remove("BINFERRY_SOURCE_PASSWORD")
            .env_remove("BINFERRY_TARGET_PASSWORD");
        run
    };
    refused(&mut run(), 2, &["several pipelines", "other, this"])?;
    refused(run().args(["--pipeline", "other"]), 2, &["log", "NOT_SET"])?;
    done(run().args(["--pipeline", "this"]))?;
    judge::equal(&pair.source, &pair.target, &database)?;
    ensure!(folder.join("log").is_dir(), "the log is elsewhere");

    std::fs::write(&file, text.replace("stream =", "steam ="))?;
    refused(
        run().args(["--pipeline", "this"]),
        2,
        &["unknown key `steam` in [pipelines.this]", "`stream`"],
    )?;
    Ok(())
}

#[test]
fn what_the_program_prints_of_itself() -> Result<()> {
    for (arguments, says) in [
        (&["config", "example"][..], "# snapshot-max-lag = "),
        (&["completions", "bash"], "complete -F _binferry"),
        (&["--version"], concat!(env!("CARGO_PKG_VERSION"), " (")),
        (&["man"], ".TH binferry 1"),
        (&["man", "run"], "binferry\\-run"),
    ] {
        let mut command = program(arguments[0]);
        let printed = output(command.args(&arguments[1..]))?;
        let text = String::from_utf8(printed.stdout)?;
        ensure!(
            printed.status.success() && text.contains(says),
            "{arguments:?}: {text}"
        );
    }
    Ok(())
}
