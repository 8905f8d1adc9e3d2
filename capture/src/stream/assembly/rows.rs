//! Table maps and row events: the changes of the transaction that is open.

use std::sync::{Arc, atomic::Ordering};

use binferry_schemas::{
    fingerprint::Fingerprint,
    record::{Changes, ForeignKeys, TableRef},
};
use binferry_transport::{log::Log, session::Session};

use super::{Assembly, Mapped};
use crate::{
    decode::{RowsEvent, TableMap, TablePlan},
    error::CaptureError,
    stream::error::StreamError,
};

impl Assembly {
    pub(super) async fn table_map(
        &mut self,
        table_id: u64,
        body: &[u8],
        log: &Arc<dyn Log>,
    ) -> Result<(), CaptureError> {
        let Some(open) = &self.open else {
            return Err(self.outside("a table map"));
        };
        let number = open.number;
        if let Some(mapped) = self.plans.get_mut(&table_id)
            && mapped.body == body
        {
            mapped.seen_in = number;
            return Ok(());
        }
        let map = match TableMap::parse(body) {
            Ok(map) => map.of_mariadb(self.mariadb),
            // What is not captured need not be understood; row events of a table without a plan are passed over.
            Err(error)
                if error
                    .table()
                    .is_some_and(|(d, t)| !self.filter.matches(d, t)) =>
            {
                let (database, table) = error.table().unwrap_or_default();
                let mapped = Mapped {
                    body: body.to_vec(),
                    plan: None,
                    rows: Arc::default(),
                    reference: TableRef {
                        database: database.to_owned(),
                        table: table.to_owned(),
                        schema: Fingerprint(0),
                        foreign_keys: ForeignKeys::default(),
                    },
                    seen_in: number,
                    places: Default::default(),
                };
                self.plans.insert(table_id, mapped);
                return Ok(());
            }
            Err(error) => return Err(self.at(error)),
        };
        let plan = match self.filter.matches(map.database(), map.table()) {
            true => Some(TablePlan::new(&map).map_err(|e| self.at(e))?),
            false => None,
        };
        let mut reference = TableRef {
            database: map.database().to_owned(),
            table: map.table().to_owned(),
            schema: Fingerprint(0),
            foreign_keys: ForeignKeys::default(),
        };
        if let Some(plan) = &plan {
            let (text, fingerprint) = plan.schema().to_avro();
            reference.schema = fingerprint;
            if !self.stored.contains(&fingerprint) {
                // Durable before any record refers to it.
                log.put_schema(fingerprint, &text).await?;
                self.stored.insert(fingerprint);
            }
        }
        let rows = match &plan {
            Some(_) => self.tables.counter(map.database(), map.table()),
            None => Arc::default(),
        };
        self.plans.insert(
            table_id,
            Mapped {
                body: body.to_vec(),
                plan: plan.map(Arc::new),
                rows,
                reference,
                seen_in: number,
                places: Default::default(),
            },
        );
        Ok(())
    }

    pub(super) async fn rows(
        &mut self,
        rows: RowsEvent<'_>,
        session: &mut Session,
    ) -> Result<(), CaptureError> {
        // The end of a statement that changed nothing has a table id that means no table.
        if rows.is_dummy() {
            return Ok(());
        }
        let table_id = rows.table_id();
        let Some(open) = &mut self.open else {
            return Err(self.outside("a row event"));
        };
        let mapped = match self.plans.get_mut(&table_id) {
            Some(mapped) if mapped.seen_in == open.number => mapped,
            _ => {
                return Err(StreamError::NoTableMap {
                    gtid: open.transaction.gtid,
                    file: self.file.clone(),
                    position: self.position,
                    table_id,
                }
                .into());
            }
        };
        let Some(plan) = mapped.plan.clone() else {
            self.counters.row_events_filtered += 1;
            return Ok(());
        };
        let operation = rows.operation();
        let foreign_keys = rows.foreign_keys();
        let mut cursor = rows.cursor(&plan);
        let rows_before = self.counters.rows;
        loop {
            let place = open.place(mapped, foreign_keys);
            let mark = open.changes.len();
            let count = open.changes.count;
            match cursor.next(place, &mut open.changes) {
                Ok(true) => {}
                Ok(false) => {
                    let rows = self.counters.rows - rows_before;
                    mapped.rows.fetch_add(rows, Ordering::Relaxed);
                    return Ok(());
                }
                Err(reason) => {
                    return Err(StreamError::At {
                        gtid: open.transaction.gtid.to_string(),
                        file: self.file.clone(),
                        position: self.position,
                        reason,
                    }
                    .into());
                }
            }
            open.captured = true;
            self.counters.row(operation);
            if self.desk.is_watching() {
                let newest = Changes {
                    count: 1,
                    encoded: &open.changes.encoded[mark..],
                };
                for change in newest.iter() {
                    let change = change.map_err(|_| StreamError::Encoded)?;
                    self.desk.touch(
                        open.transaction.gtid,
                        &mapped.reference,
                        plan.schema(),
                        [change.before, change.after],
                        session,
                    )?;
                }
            }
            if open.changes.len() > self.limit {
                open.spill((mapped, foreign_keys), mark, count, self.limit, session)
                    .await?;
            }
        }
    }
}
