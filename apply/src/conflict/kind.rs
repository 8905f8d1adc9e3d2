//! The kinds of conflicts, and how a server's answer tells them.

use std::{fmt, ops::AddAssign};

use crate::error::{Place, TableName};

/// How a change and the target's rows disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConflictKind {
    /// The row to update or delete is not there.
    RowMissing,
    /// The row to insert is there.
    RowExists,
    /// The row is there, and differs from the before image.
    RowDiffers,
    /// Another row holds the value of a unique key.
    UniqueKey,
    /// A foreign key forbids it.
    ForeignKey,
    /// A CHECK constraint or the partitions of the target's table forbid it.
    Check,
    /// A value does not fit its column.
    Type,
}

impl ConflictKind {
    pub const ALL: [Self; 7] = [
        Self::RowMissing,
        Self::RowExists,
        Self::RowDiffers,
        Self::UniqueKey,
        Self::ForeignKey,
        Self::Check,
        Self::Type,
    ];

    /// Its name in options, logs and journals.
    pub fn name(self) -> &'static str {
        match self {
            Self::RowMissing => "row_missing",
            Self::RowExists => "row_exists",
            Self::RowDiffers => "row_differs",
            Self::UniqueKey => "unique_key",
            Self::ForeignKey => "foreign_key",
            Self::Check => "check_constraint",
            Self::Type => "type",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Can the target be made to end as the source says? Where its own schema refuses the row, it can't.
    pub fn can_be_forced(self) -> bool {
        !matches!(self, Self::ForeignKey | Self::Check | Self::Type)
    }

    /// The kind that an error of the server's stands for, but for the duplicate keys (1062, 1586), of which the key decides.
    pub fn of_error(code: u16) -> Option<Self> {
        Some(match code {
            // 1761, 1762: a cascade of the change would make a duplicate in a child table.
            1216 | 1217 | 1451 | 1452 | 1557 | 1761 | 1762 => Self::ForeignKey,
            // 1526: no partition for the row. 4025: MariaDB's.
            1526 | 3819 | 4025 => Self::Check,
            // NULL in NOT NULL; out of range, cut off, no number or date, too long, no label, no character of the column's set.
            1048 | 1264 | 1265 | 1292 | 1366 | 1406 | 1411 | 1690 | 3854 => Self::Type,
            // Bytes that the server takes for no text of their character set: its own conversions make some, of GB18030 for example.
            1300 => Self::Type,
            // JSON: not valid, of another character set, too deep, keys too long, too large, not to be cast.
            3140..=3158 => Self::Type,
            // Geometry: not valid, of another kind, another or an unknown SRID, out of the SRS's bounds.
            1416 | 3037 | 3548 | 3616..=3618 | 3643 | 3731 | 3732 => Self::Type,
            // VECTOR of another length; MariaDB's.
            4078 | 4079 | 6136..=6140 => Self::Type,
            _ => return None,
        })
    }
}

impl fmt::Display for ConflictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RowMissing => "the row is missing on the target",
            Self::RowExists => "the row is on the target already",
            Self::RowDiffers => "the target's row differs from the source's row before the change",
            Self::UniqueKey => "another row of the target holds the unique key's value",
            Self::ForeignKey => "a foreign key of the target forbids the change",
            Self::Check => {
                "a CHECK constraint or the partitions of the target's table forbid the change"
            }
            Self::Type => "a value does not fit its column on the target",
        })
    }
}

/// How many of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally([u64; ConflictKind::ALL.len()]);

impl Tally {
    pub(crate) fn add(&mut self, kind: ConflictKind) {
        self.0[kind as usize] += 1;
    }

    pub fn of(&self, kind: ConflictKind) -> u64 {
        self.0[kind as usize]
    }

    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }
}

/// A conflict that stops the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    pub kind: ConflictKind,
    pub table: TableName,
    /// Names of the columns that identify the row; empty for a table without a primary key.
    pub key: Vec<String>,
    /// Names of the columns that differ from the before image, or that the value does not fit, as far as known.
    pub differing: Vec<String>,
    /// The unique key that is taken, or the constraint that forbids it.
    pub index: Option<String>,
    pub place: Place,
    /// Why the policy could not be followed.
    pub unresolved: Option<&'static str>,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "conflict {} in {}, table {}: {}",
            self.kind.name(),
            self.place,
            self.table,
            self.kind
        )?;
        if self.key.is_empty() {
            write!(f, "; the table has no primary key")?;
        } else {
            write!(f, "; key columns: {}", self.key.join(", "))?;
        }
        if !self.differing.is_empty() {
            let what = match self.kind {
                ConflictKind::Type => "column",
                _ => "differing columns",
            };
            write!(f, "; {what}: {}", self.differing.join(", "))?;
        }
        if let Some(index) = &self.index {
            let what = match self.kind {
                ConflictKind::ForeignKey | ConflictKind::Check => "constraint",
                _ => "key",
            };
            write!(f, "; {what}: {index}")?;
        }
        if let Some(reason) = self.unresolved {
            write!(f, "; source_wins cannot be followed: {reason}")?;
        }
        Ok(())
    }
}

impl Conflict {
    /// What an operator can do.
    pub fn hint(&self) -> String {
        let Self {
            kind, table, place, ..
        } = self;
        let name = kind.name();
        let choice = match kind.can_be_forced() && self.unresolved.is_none() {
            true => "source_wins (or target_wins)",
            false => "target_wins",
        };
        let pass = match place.gtid {
            Some(gtid) => {
                format!("; or pass the whole transaction, journaled: binferry skip --gtid {gtid}")
            }
            // A row of a copy is no transaction.
            None => String::new(),
        };
        format!(
            "repair the target by hand (compare the row on both servers) and start again; or let a policy decide, which journals both sides: --on-conflict '{table}:{name}={choice}'{pass}"
        )
        .replace(" (or target_wins)'", "' (or target_wins)")
    }
}

/// Names in the server's messages: all that may be told of them, as values stand beside.
pub mod named {
    /// The constraint in `… CONSTRAINT `name` …` or `Check constraint 'name' is violated`.
    pub fn constraint(message: &str) -> Option<&str> {
        if let Some((_, rest)) = message.split_once("CONSTRAINT `") {
            return rest.split_once('`').map(|(name, _)| name);
        }
        let rest = message.strip_prefix("Check constraint '")?;
        rest.strip_suffix("' is violated.")
    }

    /// The column in `… for column 'name' at row 1`, or `Column 'name' cannot be null`. MariaDB writes `` `db`.`table`.`name` `` at times.
    pub fn column(message: &str) -> Option<&str> {
        if let Some(rest) = message.strip_prefix("Column '") {
            return rest.strip_suffix("' cannot be null");
        }
        let (_, rest) = message.rsplit_once(" for column ")?;
        let (name, _) = rest.split_once(" at row ")?;
        let name = name.rsplit_once("`.`").map_or(name, |(_, name)| name);
        Some(name.trim_matches(['\'', '`']))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_values() {
        assert_eq!(
            named::constraint(
                "Cannot add or update a child row: a foreign key constraint fails (`d`.`c`, CONSTRAINT `c_ibfk_1` FOREIGN KEY (`p`) REFERENCES `p` (`id`))"
            ),
            Some("c_ibfk_1")
        );
        assert_eq!(
            named::constraint("Check constraint 't_chk_1' is violated."),
            Some("t_chk_1")
        );
        assert_eq!(
            named::constraint("CONSTRAINT `positive` failed for `d`.`t`"),
            Some("positive")
        );
        assert_eq!(
            named::column(
                "Incorrect integer value: 'a for column 'x' at row 2' for column 'b' at row 1"
            ),
            Some("b")
        );
        assert_eq!(
            named::column("Incorrect string value: '\\xE9' for column `d`.`t`.`b` at row 1"),
            Some("b")
        );
        assert_eq!(named::column("Column 'b' cannot be null"), Some("b"));
    }

    #[test]
    fn tallies_add_up() {
        let (mut one, mut sum) = (Tally::default(), Tally::default());
        one.add(ConflictKind::RowMissing);
        one.add(ConflictKind::Type);
        sum += one;
        sum += one;
        assert_eq!((sum.of(ConflictKind::Type), sum.total()), (2, 4));
    }

    #[test]
    fn a_hint_is_an_option_that_can_be_given() {
        use binferry_schemas::{
            gtid::{Gtid, Uuid},
            record::Offset,
        };
        for kind in ConflictKind::ALL {
            assert_eq!(ConflictKind::from_name(kind.name()), Some(kind));
            let conflict = Conflict {
                kind,
                table: TableName {
                    database: "shop".into(),
                    table: "item".into(),
                },
                key: vec![],
                differing: vec![],
                index: None,
                place: Place {
                    gtid: Some(Gtid::new(Uuid::nil(), 1)),
                    offset: Offset(0),
                },
                unresolved: None,
            };
            let hint = conflict.hint();
            let option = hint.split('\'').nth(1).unwrap();
            assert!(
                crate::conflict::Policies::parse([option]).is_ok(),
                "{option}"
            );
        }
    }
}
