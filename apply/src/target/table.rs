//! A table of the target's, as far as an applier needs to know it.

use crate::{dialect::Dialect, error::TableName, render::name::Charset};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetTable {
    pub dialect: Dialect,
    pub columns: Vec<TargetColumn>,
    /// Primary and unique keys, the primary key first.
    pub unique: Vec<UniqueKey>,
    /// Its own foreign keys.
    pub references: Vec<ForeignKey>,
    /// The columns that foreign keys of other tables, or its own, refer to.
    pub referred: Vec<Vec<String>>,
    /// Tables whose rows change when a row of this one goes or gets another key (CASCADE, SET NULL), however far.
    pub cascades: Vec<TableName>,
    /// The name of a trigger, if there is one.
    pub trigger: Option<String>,
    pub engine: String,
    pub view: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetColumn {
    pub name: String,
    /// `information_schema.columns.data_type`, in lower case.
    pub data_type: String,
    /// As in SHOW CREATE TABLE.
    pub column_type: String,
    pub characters: Option<u64>,
    pub octets: Option<u64>,
    pub precision: Option<u64>,
    pub scale: Option<u64>,
    pub fsp: Option<u64>,
    pub charset: Option<Charset>,
    pub collation: Option<Charset>,
    pub nullable: bool,
    pub has_default: bool,
    /// Generated, or filled by AUTO_INCREMENT: an INSERT may leave it out.
    pub automatic: bool,
    pub generated: bool,
    /// The server would change the column by itself in an UPDATE that leaves it out.
    pub on_update: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UniqueKey {
    pub name: String,
    /// `None` for an expression.
    pub columns: Vec<Option<String>>,
    /// For each column, how many of its first characters or bytes count; `None`: all.
    pub prefixes: Vec<Option<u64>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    pub columns: Vec<String>,
    pub parent: TableName,
    pub parent_columns: Vec<String>,
}

impl TargetTable {
    /// A foreign key begins or ends here.
    pub fn has_foreign_keys(&self) -> bool {
        !(self.references.is_empty() && self.referred.is_empty())
    }

    /// Servers compare column names without regard to case.
    pub fn column(&self, name: &str) -> Option<&TargetColumn> {
        self.columns
            .iter()
            .find(|column| column.name == name)
            .or_else(|| {
                let name = name.to_lowercase();
                self.columns
                    .iter()
                    .find(|column| column.name.to_lowercase() == name)
            })
    }
}

impl TargetColumn {
    pub fn unsigned(&self) -> bool {
        self.column_type.contains(" unsigned")
    }

    /// The labels of an ENUM or SET.
    pub fn labels(&self) -> Vec<String> {
        labels(&self.column_type)
    }
}

/// The labels in `enum('a','b''c')`: a quote is doubled, and a backslash escapes as in a string.
fn labels(column_type: &str) -> Vec<String> {
    let mut labels = Vec::new();
    let Some((_, list)) = column_type.split_once('(') else {
        return labels;
    };
    let mut chars = list.chars().peekable();
    while let Some(start) = chars.next() {
        if start != '\'' {
            continue;
        }
        let mut label = String::new();
        while let Some(next) = chars.next() {
            match next {
                '\'' if chars.peek() == Some(&'\'') => {
                    chars.next();
                    label.push('\'');
                }
                '\'' => break,
                '\\' => label.push(match chars.next() {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some('0') => '\0',
                    Some('Z') => '\u{1a}',
                    Some(other) => other,
                    None => break,
                }),
                other => label.push(other),
            }
        }
        labels.push(label);
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unescaped() {
        assert_eq!(
            labels("enum('a','b''c','','d\\\\e','(x,y)')"),
            ["a", "b'c", "", "d\\e", "(x,y)"]
        );
        assert_eq!(labels("int"), Vec::<String>::new());
    }
}
