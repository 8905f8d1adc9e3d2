//! Row schemas and their mappings to the target's tables, found once.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use binferry_schemas::{
    address::Address, filter::TableFilter, fingerprint::Fingerprint, record::TableRef,
    row::RowSchema,
};
use binferry_transport::log::Log;

use crate::{
    connection::{self, Target},
    dependency::name_token,
    error::{ApplyError, PassedDdl, Place, TableName, TableProblem},
    options::{Compare, Options},
    target::{catalog, mapping::Mapping},
};

#[derive(Debug)]
pub struct Tables {
    log: Arc<dyn Log>,
    address: Address,
    /// Tables whose triggers may do what they do.
    triggers: Option<TableFilter>,
    compare: Compare,
    /// For reading the catalog; opened when it is needed.
    target: Option<Target>,
    mappings: HashMap<(TableName, Fingerprint), Arc<Mapping>>,
    passed: HashMap<TableName, PassedDdl>,
    known: HashSet<TableName>,
    changed: bool,
}

impl Tables {
    pub fn new(options: &Options) -> Self {
        Self {
            log: Arc::clone(&options.log),
            address: options.address.clone(),
            triggers: options.triggers.clone(),
            compare: options.compare,
            target: None,
            mappings: HashMap::new(),
            passed: HashMap::new(),
            known: HashSet::new(),
            changed: false,
        }
    }

    /// Has a table got another mapping since this was asked?
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// After a DDL of the source's, the target's table is looked at again.
    pub fn forget(&mut self, tables: &[(String, String)], ddl: PassedDdl) {
        for (database, table) in tables {
            let name = TableName {
                database: database.clone(),
                table: table.clone(),
            };
            self.mappings.retain(|(other, _), _| *other != name);
            self.passed.insert(name, ddl.clone());
        }
    }

    /// After a step of a table's copy: also what refers to it. With `others`, after any table's definition may have changed.
    pub fn step(&mut self, name: &TableName, others: bool) {
        let token = name_token(&name.database, &name.table);
        self.mappings.retain(|(table, _), mapping| {
            !others && table != name && mapping.keys.parents().all(|parent| parent != token)
        });
    }

    /// All is looked at again.
    pub fn forget_all(&mut self) {
        self.mappings.clear();
    }

    pub async fn schema(
        &self,
        table: &TableRef,
        place: &Arc<Place>,
    ) -> Result<Arc<RowSchema>, ApplyError> {
        let text = self.log.schema(table.schema).await?;
        let text = text.ok_or(ApplyError::SchemaMissing {
            fingerprint: table.schema,
            place: Arc::clone(place),
        })?;
        let schema = RowSchema::from_avro(&text).map_err(|source| ApplyError::RowSchema {
            fingerprint: table.schema,
            source,
        })?;
        Ok(Arc::new(schema))
    }

    /// `copied`: the table is being copied; `incomplete`: so is that one, or its rows have yet to come.
    pub async fn mapping(
        &mut self,
        table: &TableRef,
        place: &Arc<Place>,
        copied: bool,
        incomplete: impl Fn(&TableName) -> bool,
    ) -> Result<Arc<Mapping>, ApplyError> {
        let name = TableName {
            database: table.database.clone(),
            table: table.table.clone(),
        };
        let key = (name, table.schema);
        if let Some(mapping) = self.mappings.get(&key) {
            return Ok(Arc::clone(mapping));
        }
        let schema = self.schema(table, place).await?;
        let found = self.look_up(&key.0).await?;
        let mapping = match found {
            None => Err(TableProblem::Missing),
            Some(mut found) => {
                let (database, table) = (&key.0.database, &key.0.table);
                if (self.triggers.as_ref()).is_some_and(|tables| tables.matches(database, table)) {
                    found.trigger = None;
                }
                let parents_copied = (found.references.iter()).any(|key| incomplete(&key.parent));
                Mapping::new(schema, &found).map(|mapping| {
                    let mut mapping = match copied {
                        true => mapping.copied(&found),
                        false => mapping,
                    }
                    .comparing(self.compare);
                    mapping.parents_copied = parents_copied;
                    mapping
                })
            }
        };
        let mapping = mapping.map_err(|problem| ApplyError::Table {
            after: self.passed.get(&key.0).cloned().map(Box::new),
            table: key.0.clone(),
            place: Some(Arc::clone(place)),
            problem: Box::new(problem),
        })?;
        let mapping = Arc::new(mapping);
        self.changed |= !self.known.insert(key.0.clone());
        self.mappings.insert(key, Arc::clone(&mapping));
        Ok(mapping)
    }

    async fn look_up(
        &mut self,
        name: &TableName,
    ) -> Result<Option<crate::target::table::TargetTable>, ApplyError> {
        // The connection may have ended while nothing was asked: a second attempt gets a new one.
        if let Some(target) = &mut self.target {
            match catalog::table(target, name).await {
                Err(ApplyError::Lost { .. }) => self.target = None,
                other => return other,
            }
        }
        let target = self
            .target
            .insert(connection::connect(&self.address).await?);
        catalog::table(target, name).await
    }
}
