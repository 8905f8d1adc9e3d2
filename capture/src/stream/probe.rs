//! What a source has executed, asked over a connection beside the dump: a dump that brings nothing cannot tell whether there is something.

use binferry_schemas::{address::Address, gtid::GtidSet};

use crate::{client::Connection, error::CaptureError, preflight::SourceFacts};

/// Keeps its connection from question to question.
#[derive(Debug)]
pub struct Probe {
    address: Address,
    connection: Option<Connection>,
}

impl Probe {
    pub fn new(address: Address) -> Self {
        Self {
            address,
            connection: None,
        }
    }

    pub async fn executed(&mut self) -> Result<GtidSet, CaptureError> {
        // Taken: one that fails, or is dropped while it waits, is of no more use.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.address).await?,
        };
        let facts = SourceFacts::read(&mut connection).await?;
        self.connection = Some(connection);
        Ok(facts.executed)
    }
}
