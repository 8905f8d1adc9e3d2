//! Schema changes of the source on the target: each kind of statement, once and in its place, whatever is interrupted.

mod crashes;
pub mod filters;
mod history;
mod mariadb;
mod refusals;
mod statements;
mod tools;

use std::process::Command;

use anyhow::Result;
use binferry_servers::{MySql, database, pair};

use crate::{
    binferry::{PASSWORD, Pipeline, SOURCE_USER, TARGET_USER, done, refused},
    conflicts::{skip, to_skip},
    judge,
};

/// Has more than the quickstart's grants: it may choose GTIDs.
pub const NAMING_USER: &str = "bf_naming";

/// How the applier knows after a crash what was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Gtids,
    Definitions,
}

/// A database on two servers, and an applier that may define tables in it.
pub struct Scene<'a> {
    pub source: &'a MySql,
    pub target: &'a MySql,
    pub database: String,
    pub pipeline: Pipeline,
}

impl Scene<'static> {
    pub fn new(purpose: &str, way: Way) -> Result<Self> {
        let pair = pair()?;
        Self::on(&pair.source, &pair.target, purpose, way)
    }
}

impl<'a> Scene<'a> {
    pub fn on(source: &'a MySql, target: &'a MySql, purpose: &str, way: Way) -> Result<Self> {
        let database = database([source, target], purpose)?;
        // MariaDB's releases have defaults of their own.
        let both = [source, target].map(|server| server.release().is_mariadb());
        for server in [source, target].into_iter().filter(|_| both[0] && both[1]) {
            server.sql(&format!(
                "ALTER DATABASE `{database}` CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
            ))?;
        }
        Self::of(source, target, database, way)
    }

    /// Of a database that is there.
    pub fn of(source: &'a MySql, target: &'a MySql, database: String, way: Way) -> Result<Self> {
        let mut pipeline = Pipeline::new(source, target, &database.replace('`', "``"))?;
        pipeline.ddl = "apply";
        pipeline.tables = format!("`{}`.*", database.replace('`', "``"));
        grant(target, &database, TARGET_USER)?;
        if way == Way::Gtids {
            may_name(target, NAMING_USER)?;
            grant(target, &database, NAMING_USER)?;
            pipeline.target = target.url(NAMING_USER);
        }
        Ok(Self {
            source,
            target,
            database,
            pipeline,
        })
    }

    /// What the source has is copied.
    pub fn copying(mut self) -> Result<Self> {
        self.pipeline.from = "snapshot".to_owned();
        self.source.sql(&format!(
            "GRANT SELECT ON `{}`.* TO {SOURCE_USER}@'%'",
            self.database.replace('`', "``")
        ))?;
        Ok(self)
    }

    fn uses(&self) -> String {
        format!("USE `{}`", self.database.replace('`', "``"))
    }

    /// Statements on the source, in the database.
    pub fn source(&self, statements: &str) -> Result<()> {
        self.source.sql(&format!("{}; {statements}", self.uses()))?;
        Ok(())
    }

    pub fn target(&self, statements: &str) -> Result<()> {
        self.target.sql(&format!("{}; {statements}", self.uses()))?;
        Ok(())
    }

    /// Applies what there is.
    pub fn carry(&self) -> Result<()> {
        done(&mut self.until_now())
    }

    /// Is refused with exit code 3, and says all of it.
    pub fn stops(&self, says: &[&str]) -> Result<String> {
        refused(&mut self.until_now(), 3, says)
    }

    fn until_now(&self) -> Command {
        let mut command = self.pipeline.command("run");
        command.args(["--until", "now"]);
        command
    }

    /// Applies what there is; then both servers have the same tables with the same rows.
    pub fn equal(&self) -> Result<()> {
        self.carry()?;
        self.compared()
    }

    /// Passes what an error names.
    pub fn skip(&self, said: &str) -> Result<()> {
        done(&mut skip(&self.pipeline, &to_skip(said)?))
    }

    pub fn compared(&self) -> Result<()> {
        judge::same_definitions(self.source, self.target, &self.database)?;
        judge::equal(self.source, self.target, &self.database)
    }
}

/// Makes a user who may choose GTIDs, beside what an applier needs of its own tables.
pub fn may_name(target: &MySql, user: &str) -> Result<()> {
    let quoted = PASSWORD.replace('\'', "''");
    target.sql(&format!(
        "CREATE USER IF NOT EXISTS {user}@'%' IDENTIFIED BY '{quoted}';
         GRANT REPLICATION_APPLIER ON *.* TO {user}@'%';
         GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON binferry.* TO {user}@'%'"
    ))?;
    Ok(())
}

/// As docs/schema-changes.md has it.
pub fn grant(target: &MySql, database: &str, user: &str) -> Result<()> {
    let database = database.replace('`', "``");
    target.sql(&format!(
        "GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER, CREATE, ALTER, DROP, INDEX, REFERENCES ON `{database}`.* TO {user}@'%'"
    ))?;
    Ok(())
}
