//! The peer's JDBC sink, in a worker of its own.

use anyhow::Result;
use binferry_servers::MySql;

use super::{Artifacts, Debezium, SCHEMAS, properties};
use crate::process::PASSWORD;

const SINK: &str = include_str!("../../peers/debezium/sink.properties");

impl Debezium {
    /// Starts the worker, and in it the sink, stopped: from the topics `NAME.sbtest.TABLE` into the target's tables. Each
    /// `round` reads them from their beginning.
    pub fn sink(
        artifacts: &Artifacts,
        bootstrap: &str,
        target: &MySql,
        name: &str,
        round: usize,
    ) -> Result<Self> {
        let worker = format!("{name}-sink-{round}");
        let mut sink = Self::worker(artifacts, &artifacts.sink()?, bootstrap, &worker)?;
        let template = [SINK, SCHEMAS].concat();
        sink.create(properties(
            &template,
            &[
                ("name", name),
                ("port", &target.port().to_string()),
                ("user", "bench"),
                ("password", PASSWORD),
            ],
        ))?;
        Ok(sink)
    }
}
