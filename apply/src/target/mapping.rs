//! How the rows of one row schema go into a table of the target's: columns by name, the key, and what order the changes need.

use std::sync::Arc;

use binferry_schemas::row::{ColumnType, RowSchema};

use super::{fit, table::TargetTable};
use crate::{
    dependency::Keys,
    dialect::Dialect,
    error::{TableName, TableProblem},
    options::Compare,
    render::name::{Charset, quoted},
};

/// What may be done with the order of a table's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Changes of one row are folded to their net effect, and kinds of changes are sorted.
    Folded,
    /// Foreign keys begin or end here: as in the log where they may cascade, otherwise folded, parents before children.
    Related,
    /// As in the log: columns that only the target has would be lost when a row is written anew.
    Logged,
    /// As in the log and row by row: no key tells the rows apart.
    Keyless,
}

#[derive(Debug)]
pub struct Mapping {
    pub dialect: Dialect,
    pub name: TableName,
    /// `` `database`.`table` ``
    pub quoted: String,
    pub schema: Arc<RowSchema>,
    /// One for each column of the source.
    pub columns: Vec<MappedColumn>,
    /// The source's primary key: indices into `columns`, in key order; empty without one.
    pub key: Vec<usize>,
    /// The target's index on those columns, quoted.
    pub key_index: String,
    /// Columns in a primary or unique key of the target, or that a foreign key refers to.
    pub unique: Vec<usize>,
    /// A unique key depends on columns in a way that is not known here (an expression, a generated column): any update may move the row.
    pub opaque_unique: bool,
    pub order: Order,
    pub compare: Compare,
    /// It has columns of documents that the server compares by value.
    pub has_documents: bool,
    /// No foreign key refers to it.
    pub is_leaf: bool,
    /// What makes changes of the table depend on each other.
    pub keys: Keys,
    /// A foreign key of the target's begins or ends here.
    pub has_foreign_keys: bool,
    /// The table is being copied: rows that changes are about may not be there yet.
    pub copying: Option<Copying>,
    /// A table that its foreign keys refer to is being copied.
    pub parents_copied: bool,
}

/// How the rows of a table that is being copied are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copying {
    /// The primary key's columns, or those of a unique key without NULLs: indices into `columns`. Empty: no key tells them apart.
    pub key: Vec<usize>,
    /// The target's index on those columns, quoted.
    pub index: String,
    /// A column that can't be NULL, and is assigned.
    pub guard: Option<usize>,
}

#[derive(Debug)]
pub struct MappedColumn {
    pub quoted: String,
    /// False for a column that the target generates: neither assigned nor compared.
    pub assigned: bool,
    pub on_update: bool,
    pub charset: Option<Charset>,
    pub collation: Option<Charset>,
}

impl Mapping {
    pub fn new(schema: Arc<RowSchema>, target: &TargetTable) -> Result<Self, TableProblem> {
        if target.view {
            return Err(TableProblem::View);
        }
        if !target.engine.eq_ignore_ascii_case("InnoDB") {
            return Err(TableProblem::Engine {
                engine: target.engine.clone(),
            });
        }
        if let Some(trigger) = &target.trigger {
            return Err(TableProblem::Trigger {
                trigger: trigger.clone(),
            });
        }
        let mut columns = Vec::with_capacity(schema.columns.len());
        for column in &schema.columns {
            let there = target
                .column(&column.name)
                .ok_or_else(|| TableProblem::ColumnMissing {
                    column: column.name.clone(),
                })?;
            let null_fits = !column.nullable || there.nullable;
            if !there.generated && (!fit::fits(&column.ty, there, target.dialect) || !null_fits) {
                let suffix = if null_fits { "" } else { " NOT NULL" };
                return Err(TableProblem::Narrow {
                    column: column.name.clone(),
                    needed: column.ty.to_string(),
                    found: format!("{}{suffix}", there.column_type),
                });
            }
            columns.push(MappedColumn {
                quoted: quoted(&there.name),
                assigned: !there.generated,
                on_update: there.on_update,
                charset: there.charset.clone(),
                collation: there.collation.clone(),
            });
        }
        let source_column = |name: &str| {
            schema
                .columns
                .iter()
                .position(|column| column.name.to_lowercase() == name.to_lowercase())
        };
        let mut extra = false;
        for column in &target.columns {
            if source_column(&column.name).is_none() && !column.generated {
                extra = true;
                if !column.nullable && !column.has_default && !column.automatic {
                    return Err(TableProblem::Required {
                        column: column.name.clone(),
                    });
                }
            }
        }
        let key = schema.key();
        let key_index = key_index(&schema, &key, target)?;
        let mut unique = Vec::new();
        let mut opaque_unique = false;
        for part in target.unique.iter().flat_map(|index| &index.columns) {
            match part
                .as_deref()
                .map(|name| (source_column(name), target.column(name)))
            {
                Some((Some(at), Some(there))) if !there.generated => unique.push(at),
                // A column that only the target has keeps its value.
                Some((None, Some(there))) if !there.generated => {}
                _ => opaque_unique = true,
            }
        }
        unique.extend(
            target
                .referred
                .iter()
                .flatten()
                .filter_map(|name| source_column(name)),
        );
        unique.sort_unstable();
        unique.dedup();
        let order = match () {
            () if key.is_empty() => Order::Keyless,
            () if extra => Order::Logged,
            () if target.has_foreign_keys() => Order::Related,
            () => Order::Folded,
        };
        Ok(Self {
            dialect: target.dialect,
            name: TableName {
                database: schema.database.clone(),
                table: schema.table.clone(),
            },
            quoted: format!("{}.{}", quoted(&schema.database), quoted(&schema.table)),
            columns,
            key,
            key_index,
            unique,
            opaque_unique,
            order,
            compare: Compare::default(),
            has_documents: !target.dialect.json_is_text()
                && (schema.columns.iter()).any(|column| column.ty == ColumnType::Json),
            is_leaf: target.referred.is_empty(),
            keys: Keys::new(&schema, target),
            has_foreign_keys: target.has_foreign_keys(),
            copying: None,
            parents_copied: false,
            schema,
        })
    }

    /// The same, with less compared.
    pub fn comparing(mut self, compare: Compare) -> Self {
        if !self.key.is_empty() {
            self.compare = compare;
        }
        self
    }

    /// Does a change compare this column with its before image?
    pub fn compares(&self, column: usize) -> bool {
        self.columns[column].assigned
            && (self.compare == Compare::Image || self.key.contains(&column))
    }

    /// The same, while the table is being copied.
    pub fn copied(mut self, target: &TargetTable) -> Self {
        let (key, index) = match self.key.is_empty() {
            false => (self.key.clone(), self.key_index.clone()),
            true => unique_key(&self.schema, target).unwrap_or_default(),
        };
        let sure = |at: &&usize| {
            let there = target.column(&self.schema.columns[**at].name);
            self.columns[**at].assigned && there.is_some_and(|there| !there.nullable)
        };
        self.copying = Some(Copying {
            guard: key.iter().find(sure).copied(),
            key,
            index,
        });
        self
    }

    /// May a change of the table's rows be checked, or cascade, by the target's foreign keys? Not while a table at either end lacks rows;
    /// what only takes a row away needs no parent.
    pub fn without_foreign_keys(&self, inserts: bool) -> bool {
        self.has_foreign_keys && (self.copying.is_some() || self.parents_copied && inserts)
    }

    pub fn key_names(&self) -> Vec<String> {
        self.key
            .iter()
            .map(|at| self.schema.columns[*at].name.clone())
            .collect()
    }
}

/// A unique key of the target's that tells all rows apart.
fn unique_key(schema: &RowSchema, target: &TargetTable) -> Option<(Vec<usize>, String)> {
    let column = |name: &Option<String>| {
        let there = target.column(name.as_deref()?)?;
        let at = (schema.columns.iter())
            .position(|column| column.name.to_lowercase() == there.name.to_lowercase())?;
        (!there.nullable && !there.generated).then_some(at)
    };
    (target.unique.iter())
        .filter(|index| index.prefixes.iter().all(Option::is_none))
        .find_map(|index| {
            let key: Option<Vec<usize>> = index.columns.iter().map(column).collect();
            Some((key?, quoted(&index.name)))
        })
}

/// The target's key with exactly the columns of the source's primary key.
fn key_index(
    schema: &RowSchema,
    key: &[usize],
    target: &TargetTable,
) -> Result<String, TableProblem> {
    if key.is_empty() {
        return Ok(String::new());
    }
    let wanted: Vec<String> = key
        .iter()
        .map(|at| schema.columns[*at].name.clone())
        .collect();
    let mut folded: Vec<String> = wanted.iter().map(|name| name.to_lowercase()).collect();
    folded.sort();
    target
        .unique
        .iter()
        .find(|index| {
            let mut names: Vec<String> = index
                .columns
                .iter()
                .flatten()
                .map(|name| name.to_lowercase())
                .collect();
            names.sort();
            names == folded && index.columns.len() == folded.len()
        })
        .map(|index| quoted(&index.name))
        .ok_or(TableProblem::Key { columns: wanted })
}
