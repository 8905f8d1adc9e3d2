//! Blocking queries for tests: a connection each, no pool, text in and text out.
//!
//! The client is asynchronous and the callers may or may not be inside a runtime of their own (which must not be blocked on
//! from within): each query runs on a thread and runtime of its own. That costs a millisecond and works from anywhere.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row, Value};

use crate::error::{Error, Result};

/// A row as text; `None` is NULL.
pub type TextRow = Vec<Option<String>>;

/// Whom to ask.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: String,
}

impl Login {
    pub(crate) fn opts(&self) -> Opts {
        OptsBuilder::default()
            .ip_or_hostname(self.host.clone())
            .tcp_port(self.port)
            .user(Some(self.user.clone()))
            .pass(Some(self.password.clone()))
            .prefer_socket(false)
            .into()
    }

    /// Runs one or several statements and gives the rows of all their results.
    pub(crate) fn rows(&self, statements: &str, limit: Duration) -> Result<Vec<TextRow>> {
        let work = async {
            match tokio::time::timeout(limit, ask(self.opts(), statements)).await {
                Ok(rows) => rows.map_err(|e| Error::Statement {
                    port: self.port,
                    reason: e.to_string(),
                }),
                Err(_) => Err(Error::StatementTimeout {
                    port: self.port,
                    seconds: limit.as_secs(),
                }),
            }
        };
        apart(work)?
    }
}

async fn ask(opts: Opts, statements: &str) -> mysql_async::Result<Vec<TextRow>> {
    let mut connection = Conn::new(opts).await?;
    let mut rows = Vec::new();
    let mut results = connection.query_iter(statements).await?;
    while !results.is_empty() {
        let some: Vec<Row> = results.collect().await?;
        rows.extend(
            some.into_iter()
                .map(|row| row.unwrap().into_iter().map(text).collect()),
        );
    }
    drop(results);
    connection.disconnect().await?;
    Ok(rows)
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        // The text protocol has bytes only.
        other => Some(other.as_sql(true)),
    }
}

/// Runs a future to its end on a thread and runtime of its own.
pub(crate) fn apart<F>(work: F) -> Result<F::Output>
where
    F: Future + Send,
    F::Output: Send,
{
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::system("start a runtime", e))?;
        Ok(runtime.block_on(work))
    };
    std::thread::scope(|scope| match scope.spawn(run).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
