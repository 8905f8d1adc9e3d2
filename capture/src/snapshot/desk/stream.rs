//! What the stream tells the desk between two turns: rows that are touched, definitions that change, names that go from table to table.

use binferry_schemas::{
    gtid::{Gtid, Uuid},
    record::{
        DdlEffect, GivenUp, Image, JobState, Over, SnapshotGivenUp, SnapshotJob, SnapshotStep,
        TableRef,
    },
    row::RowSchema,
};
use binferry_transport::session::Session;

use super::{Desk, append_step};
use crate::{
    error::CaptureError,
    snapshot::{definition::Name, error::SnapshotError, job, keys::KeyLayout, sql::quoted},
};

impl Desk {
    /// A change of the stream.
    ///
    /// An update that takes a row to another key, and lacks columns, may take it from where the copy has not been yet to where it has: then
    /// nobody has the row as a whole. There is no telling by the keys' bytes, for they are ordered by collations.
    pub(crate) fn touch(
        &mut self,
        gtid: Gtid,
        table: &TableRef,
        schema: &RowSchema,
        images: [Option<Image<'_>>; 2],
        session: &Session,
    ) -> Result<(), SnapshotError> {
        for watch in self.watches.values_mut() {
            watch.touch(gtid, table, images);
        }
        let [Some(_), Some(after)] = images else {
            return Ok(());
        };
        match after.present.is_some()
            && self.may_move(table, schema, images)
            && !is_awaited(table, session)
        {
            true => Err(moved(table)),
            false => Ok(()),
        }
    }

    fn may_move(
        &mut self,
        table: &TableRef,
        schema: &RowSchema,
        images: [Option<Image<'_>>; 2],
    ) -> bool {
        let name = (table.database.clone(), table.table.clone());
        let Some(copy) = self.under_way.get_mut(&name).filter(|c| !c.key.is_empty()) else {
            return false;
        };
        if (copy.layout.as_ref()).is_none_or(|layout| layout.fingerprint != table.schema) {
            let place = |name: &String| schema.columns.iter().position(|c| c.name == *name);
            let columns: Option<Vec<usize>> = copy.key.iter().map(place).collect();
            // Without the key's columns the copy begins anew.
            let Some(columns) = columns else { return false };
            copy.layout = Some(KeyLayout::by(schema.clone(), table.schema, columns));
        }
        let keys = copy.layout.as_ref().and_then(|l| l.of_images(images));
        keys.is_none_or(|[before, after]| before != after)
    }

    /// None of the transaction's changes are in the log: it was prepared (XA), or taken back.
    pub(crate) fn forget(&mut self, gtid: Gtid) {
        for watch in self.watches.values_mut() {
            watch.forget(gtid);
        }
    }

    /// Whether a snapshot shows the transaction can't be told from the GTIDs that the source holds.
    pub(crate) fn doubt(&mut self, gtid: Gtid) {
        for watch in self.watches.values_mut() {
            watch.doubt(gtid);
        }
    }

    /// Only of such tables are there windows, but for those of definitions.
    pub(crate) fn is_copying(&self, table: &TableRef) -> bool {
        let name = (table.database.clone(), table.table.clone());
        self.under_way.contains_key(&name)
    }

    /// A fragment of a change, which can't be looked into.
    pub(crate) fn touch_blindly(
        &mut self,
        gtid: Gtid,
        table: &TableRef,
        images: [Option<Image<'_>>; 2],
        session: &Session,
    ) -> Result<(), SnapshotError> {
        for watch in self.watches.values_mut() {
            watch.touch_blindly(gtid, table);
        }
        let name = (table.database.clone(), table.table.clone());
        let keyed = (self.under_way.get(&name)).is_some_and(|copy| !copy.key.is_empty());
        let partial = images.iter().flatten().any(|image| image.present.is_some());
        match keyed && partial && !is_awaited(table, session) {
            true => Err(moved(table)),
            false => Ok(()),
        }
    }

    /// A definition statement of the stream, about captured tables.
    pub(crate) fn definition(
        &mut self,
        gtid: Gtid,
        effect: DdlEffect,
        tables: &[(String, String)],
    ) {
        let any = effect == DdlEffect::Unknown
            || tables
                .iter()
                .any(|(_, table)| table.is_empty() || table == crate::decode::ALL_TABLES);
        match any {
            true => self.any += 1,
            false => {
                for table in tables {
                    *self.epochs.entry(table.clone()).or_default() += 1;
                }
            }
        }
        for watch in self.watches.values_mut() {
            watch.definition(gtid, any, tables);
        }
    }

    /// Rows come under other names: a RENAME, or an exchange of partitions. Where a table that is being copied, or waits for it, is
    /// concerned, not all rows of its are in the log under the new name: all tables that the statement names are copied (again), and the
    /// log says so before the statement.
    pub(crate) async fn renamed(
        &mut self,
        effect: DdlEffect,
        tables: &[(String, String)],
        session: &mut Session,
    ) -> Result<(), CaptureError> {
        let carries = match effect {
            DdlEffect::Rename => true,
            DdlEffect::Truncate => tables.len() > 1,
            _ => false,
        };
        let concerned = |(database, table): &(String, String)| {
            let sites = &session.state().sites;
            let waits = |job: &JobState| job.awaits(database, table);
            self.under_way
                .contains_key(&(database.clone(), table.clone()))
                || sites.iter().any(|site| site.jobs.iter().any(waits))
        };
        if !carries || !self.is_open() || !tables.iter().any(concerned) {
            return Ok(());
        }
        self.copy_anew(tables, session).await
    }

    /// A table is going to be made like another one. Where that waits for its copy, a reader of the log does not have it yet: the new one
    /// is copied, too.
    pub(crate) async fn made_like(
        &mut self,
        like: &Name,
        tables: &[(String, String)],
        session: &mut Session,
    ) -> Result<(), CaptureError> {
        let sites = &session.state().sites;
        let waits = sites
            .iter()
            .any(|site| site.jobs.iter().any(|job| job.awaits(&like.0, &like.1)));
        match self.is_open() && waits {
            true => self.copy_anew(tables, session).await,
            false => Ok(()),
        }
    }

    async fn copy_anew(
        &mut self,
        tables: &[(String, String)],
        session: &mut Session,
    ) -> Result<(), CaptureError> {
        let over = under_way(tables, session);
        if let Some(job) = want(tables, session).await? {
            for copy in over {
                self.ends(copy);
            }
            if let Some(wanted) = &self.wanted {
                let _ = wanted.send(job);
            }
        }
        Ok(())
    }
}

/// Asks for copies of tables, whatever the log has of them. Copies of theirs that are under way are over: their rows come again, perhaps to
/// a table that has another name by then, so nobody is to take these for the table's.
pub(crate) async fn want(
    tables: &[Name],
    session: &mut Session,
) -> Result<Option<SnapshotJob>, CaptureError> {
    let quoted = tables
        .iter()
        .map(|(database, table)| format!("{}.{}", quoted(database), quoted(table)));
    let filter = quoted.collect::<Vec<_>>().join(",");
    let Ok(filter) = filter.parse() else {
        return Ok(None);
    };
    let wanted = job(&filter, None, Over::Remove);
    append_step(SnapshotStep::Wanted(wanted.clone()), session).await?;
    for copy in under_way(tables, session) {
        let given_up = SnapshotGivenUp {
            copy,
            reason: GivenUp::Changed,
            detail: "the table is copied anew".to_owned(),
        };
        append_step(SnapshotStep::GivenUp(given_up), session).await?;
    }
    session.settled().await?;
    Ok(Some(wanted))
}

fn under_way(tables: &[Name], session: &Session) -> Vec<Uuid> {
    let copies = session.state().sites.iter().flat_map(|site| &site.copies);
    let named = |table: &TableRef| {
        let mut tables = tables.iter();
        tables.any(|(database, name)| *database == table.database && *name == table.table)
    };
    (copies.filter(|copy| named(&copy.table)))
        .map(|copy| copy.copy)
        .collect()
}

fn moved(table: &TableRef) -> SnapshotError {
    SnapshotError::Moved {
        database: table.database.clone(),
        table: table.table.clone(),
    }
}

/// Whether all rows of the table are to be read once more.
fn is_awaited(table: &TableRef, session: &Session) -> bool {
    let mut jobs = session.state().sites.iter().flat_map(|site| &site.jobs);
    jobs.any(|job| job.job.over != Over::Repair && job.awaits(&table.database, &table.table))
}
