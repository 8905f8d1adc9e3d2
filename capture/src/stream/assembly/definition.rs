//! What of a statement that defines tables concerns the captured ones, and how it can be run elsewhere.
//!
//! A statement that names only captured tables is replayed as it is. One that names others as well is divided where the parser has seen
//! all of it, and each part stands for itself; otherwise it carries an *obstacle*, and whoever would replay it stops. Row events and
//! their decoding do not depend on any of this.

use binferry_schemas::{
    filter::TableFilter,
    record::{DdlEffect, Replay},
};

use crate::decode::{ALL_TABLES, Definition, Form, QueryEvent, Table};

/// What the source's server says of itself, as far as statements depend on it.
#[derive(Debug, Clone, Default)]
pub struct SourceSettings {
    /// What the time zone SYSTEM is; empty: not known.
    pub system_time_zone: String,
}

/// A statement as it concerns captured tables.
#[derive(Debug)]
pub struct Concern {
    pub effect: DdlEffect,
    /// Captured ones.
    pub tables: Vec<Table>,
    pub replay: Replay,
}

/// `None`: no captured table is touched.
pub fn concern(
    query: &QueryEvent<'_>,
    definition: &Definition,
    filter: &TableFilter,
    replay: Replay,
) -> Option<Concern> {
    let Resolved {
        tables,
        instead,
        mut obstacle,
    } = resolve(definition, filter)?;
    let bytes = (query.needs_its_bytes()).then(|| query.statement_bytes().to_vec());
    if instead.is_some() && bytes.is_some() {
        obstacle.get_or_insert_with(|| {
            "it would have to be written in another way, and its character set is not UTF-8"
                .to_owned()
        });
    }
    Some(Concern {
        effect: definition.effect,
        tables,
        replay: Replay {
            instead: instead.filter(|_| obstacle.is_none()),
            bytes,
            obstacle,
            ..replay
        },
    })
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Resolved {
    tables: Vec<Table>,
    instead: Option<String>,
    obstacle: Option<String>,
}

fn resolve(definition: &Definition, filter: &TableFilter) -> Option<Resolved> {
    let tables = &definition.tables;
    if definition.effect == DdlEffect::Unknown {
        return Some(Resolved {
            obstacle: Some("it is not understood".to_owned()),
            ..Resolved::default()
        });
    }
    let is_captured = |(database, table): &Table| match table.as_str() {
        ALL_TABLES => filter.touches(database, ""),
        table => filter.matches(database, table),
    };
    let captured: Vec<&Table> = tables.iter().filter(|table| is_captured(table)).collect();
    if captured.is_empty() {
        return None;
    }
    let mut obstacle = definition.obstacle.map(str::to_owned);
    let mut instead = definition.plain.clone();
    if captured.len() < tables.len() {
        match divided(definition.form, tables, is_captured) {
            Ok(statement) => instead = Some(statement),
            Err(reason) => obstacle = Some(reason),
        }
    }
    if definition.effect == DdlEffect::Drop
        && let Some((database, _)) = captured.iter().find(|(_, table)| table == ALL_TABLES)
        && !filter.covers(database)
    {
        obstacle = Some(format!(
            "not all tables of the database {database} are captured"
        ));
    }
    if let Some(like) = definition.like.as_ref().filter(|like| !is_captured(like)) {
        obstacle = Some(format!(
            "it takes its definition from {}, which is not captured",
            shown(like)
        ));
    }
    let fold = |name: &str| filter.fold(name).into_owned();
    Some(Resolved {
        tables: captured
            .into_iter()
            .map(|(database, table)| (fold(database), fold(table)))
            .collect(),
        instead,
        obstacle,
    })
}

/// The part of a statement about captured tables, as a statement; or why there is none.
fn divided(
    form: Form,
    tables: &[Table],
    is_captured: impl Fn(&Table) -> bool,
) -> Result<String, String> {
    match form {
        Form::Drop { if_exists } => {
            let captured: Vec<_> = (tables.iter().filter(|table| is_captured(table)))
                .map(quoted)
                .collect();
            Ok(format!(
                "DROP TABLE {}{}",
                if if_exists { "IF EXISTS " } else { "" },
                captured.join(",")
            ))
        }
        Form::Rename => {
            let mut pairs = Vec::new();
            for pair in tables.chunks(2) {
                let [from, to] = pair else {
                    continue;
                };
                match (is_captured(from), is_captured(to)) {
                    (true, true) => pairs.push(format!("{} TO {}", quoted(from), quoted(to))),
                    (false, false) => {}
                    (true, false) => {
                        return Err(format!(
                            "it renames {}, which is captured, to {}, which is not",
                            shown(from),
                            shown(to)
                        ));
                    }
                    (false, true) => {
                        return Err(format!(
                            "it renames {}, which is not captured, to {}, which is",
                            shown(from),
                            shown(to)
                        ));
                    }
                }
            }
            Ok(format!("RENAME TABLE {}", pairs.join(",")))
        }
        Form::Whole => {
            let outside = tables.iter().filter(|table| !is_captured(table));
            let outside: Vec<_> = outside.map(shown).collect();
            Err(format!(
                "it names {}, which is not captured",
                outside.join(", ")
            ))
        }
    }
}

fn shown((database, table): &Table) -> String {
    format!("{database}.{table}")
}

fn quoted((database, table): &Table) -> String {
    let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
    format!("{}.{}", quoted(database), quoted(table))
}

/// The session of a statement, for its record.
pub fn session(
    query: &QueryEvent<'_>,
    definition: &Definition,
    seconds: u32,
    mariadb: bool,
    settings: &SourceSettings,
) -> Replay {
    let session = query.session();
    Replay {
        instead: None,
        bytes: None,
        obstacle: None,
        numbers_rows: definition.numbers_rows,
        now_us: u64::from(seconds) * 1_000_000 + u64::from(session.microseconds.unwrap_or(0)),
        mariadb,
        system_time_zone: settings.system_time_zone.clone(),
        flags: session.flags2,
        auto_increment: session.auto_increment,
        lc_time_names: session.lc_time_names,
        database_collation: session.database_collation,
        utf8mb4_collation: session.utf8mb4_collation,
        explicit_defaults_for_timestamp: session.explicit_defaults_for_timestamp,
        sql_require_primary_key: session.sql_require_primary_key.map(|on| on != 0),
        default_table_encryption: session.default_table_encryption.map(|on| on != 0),
        character_set_collations: session.character_set_collations.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::definition_of;

    fn resolved(statement: &str, filter: &str) -> Option<Resolved> {
        resolve(&definition_of(statement), &filter.parse().unwrap())
    }

    #[track_caller]
    fn runs(statement: &str, filter: &str, instead: Option<&str>) {
        let found = resolved(statement, filter).unwrap();
        assert_eq!(
            (found.instead.as_deref(), found.obstacle),
            (instead, None),
            "{statement}"
        );
    }

    #[track_caller]
    fn stops(statement: &str, filter: &str, reason: &str) {
        let found = resolved(statement, filter).unwrap();
        let obstacle = found.obstacle.unwrap_or_default();
        assert!(obstacle.contains(reason), "{statement}: {obstacle}");
    }

    #[test]
    fn captured_tables_alone() {
        runs("DROP TABLE a, b", "shop.*", None);
        runs("ALTER TABLE a RENAME b", "shop.*", None);
        runs("CREATE TABLE a LIKE b", "shop.*", None);
        runs("DROP DATABASE shop", "shop.*", None);
        runs("CREATE DATABASE shop", "shop.a*", None);
        runs(
            "DROP /*!40000 TABLE */ a",
            "shop.*",
            Some("DROP   TABLE   a"),
        );
        runs(
            "CREATE TABLE `a` (\n  `b` int\n) START TRANSACTION",
            "shop.*",
            Some("CREATE TABLE `a` (\n  `b` int\n)  "),
        );
        assert_eq!(resolved("DROP TABLE o.a", "shop.*"), None);
        assert_eq!(resolved("CREATE DATABASE o", "shop.*"), None);
        assert_eq!(resolved("CREATE USER a", "*.*"), None);
    }

    #[test]
    fn captured_tables_and_others() {
        runs(
            "DROP TABLE IF EXISTS o.x, `a``b`, c",
            "shop.*",
            Some("DROP TABLE IF EXISTS `shop`.`a``b`,`shop`.`c`"),
        );
        runs(
            "RENAME TABLE o.a TO o.b, c TO d, d TO e",
            "shop.*",
            Some("RENAME TABLE `shop`.`c` TO `shop`.`d`,`shop`.`d` TO `shop`.`e`"),
        );
        let ghosts = "shop.*,!shop.\\_*".replace("\\", "");
        stops(
            "RENAME TABLE t TO _t_del, _t_gho TO t",
            &ghosts,
            "it renames shop.t, which is captured, to shop._t_del, which is not",
        );
        stops(
            "RENAME TABLE o.a TO a",
            "shop.*",
            "it renames o.a, which is not captured",
        );
        stops(
            "ALTER TABLE a RENAME o.b",
            "shop.*",
            "it names o.b, which is not captured",
        );
        stops(
            "ALTER TABLE a EXCHANGE PARTITION p WITH TABLE o.b",
            "shop.*",
            "it names o.b",
        );
        stops(
            "CREATE TABLE a LIKE o.b",
            "shop.*",
            "its definition from o.b",
        );
        stops("DROP DATABASE shop", "shop.a*", "not all tables");
        stops("DROP DATABASE shop", "shop.*,!shop.b", "not all tables");
        stops(
            "ALTER TABLE a IMPORT TABLESPACE",
            "shop.*",
            "file of the source",
        );
        stops("FROBNICATE", "shop.*", "not understood");
    }

    #[test]
    fn names_as_the_server_compares_them() {
        let folded = "Shop.*".parse::<TableFilter>().unwrap().folded();
        let statement = "ALTER TABLE SHOP.Items ADD a INT";
        let found = resolve(&definition_of(statement), &folded).unwrap();
        assert_eq!(found.tables, [("shop".to_owned(), "items".to_owned())]);
        assert_eq!(resolved(statement, "shop.*"), None);
    }
}
