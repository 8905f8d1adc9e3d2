//! The session that a statement had on the source, made again on the target.
//!
//! Everything that the source's event says, by number where a name could mean something else. What it does not say has its default on
//! the source, and is set to that. Variables that need a privilege are set only where the target's value is another one.
//!
//! Between MySQL and MariaDB, collations and modes that the target does not have can't be set: a mode that changes how a statement is
//! read is an obstacle; a connection's collation that only the source has is left at the character set's own.

use binferry_schemas::record::{Ddl, Replay};

use crate::{
    dialect::Dialect,
    render::{literal::put_quoted, name::quoted},
};

/// utf8mb4 by its oldest collation, which both servers have.
const UTF8MB4: u16 = 45;
/// Collations up to here are the same in both servers.
const SHARED_COLLATIONS: u16 = 247;
/// `flags`: foreign_key_checks = 0.
const NO_FOREIGN_KEY_CHECKS: u32 = 1 << 26;
/// Of MariaDB (seen on 10.11 and 11.8): check_constraint_checks = 0, explicit_defaults_for_timestamp = 1, sql_if_exists = 1.
const NO_CHECKS: u32 = 1 << 23;
const EXPLICIT_TIMESTAMP: u32 = 1 << 24;
const IF_EXISTS: u32 = 1 << 28;

/// Bits of `sql_mode` that both servers have.
const COMMON_MODES: u64 = {
    let quoting = 1 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 7;
    let values = 1 << 19 | 1 << 20 | 1 << 21 | 1 << 22 | 1 << 23 | 1 << 24 | 1 << 25 | 1 << 26;
    quoting | values | 1 << 29 | 1 << 30 | 1 << 31
};
/// ANSI and TRADITIONAL stand for others, which are set with them; MySQL 8 has no NO_AUTO_CREATE_USER, which is about no table.
const SAID_OTHERWISE: u64 = 1 << 18 | 1 << 27 | 1 << 28;
/// TIME_TRUNCATE_FRACTIONAL.
const MYSQL_MODES: u64 = 1 << 32;

/// What the target says of itself, where it matters.
#[derive(Debug, Clone, Default)]
pub struct Present {
    /// For a statement in the zone SYSTEM.
    pub zones: Zones,
    /// It has `character_set_collations`: a MariaDB from 11.2 on.
    pub has_collations: bool,
    /// Variables that need a privilege to be set, with their present values.
    pub guarded: Vec<(&'static str, String)>,
}

/// What SYSTEM is called there, and which zones it and UTC are ([`binferry_schemas::record::WHICH_ZONE`]).
#[derive(Debug, Clone, Default)]
pub struct Zones {
    pub name: String,
    pub system: String,
    pub utc: String,
}

/// Variables that need SESSION_VARIABLES_ADMIN.
pub const GUARDED: [&str; 3] = [
    "default_collation_for_utf8mb4",
    "sql_require_primary_key",
    "default_table_encryption",
];

/// The statement as it is to be sent, without a mark.
pub fn statement<'a>(ddl: &'a Ddl, replay: &'a Replay) -> &'a [u8] {
    match (&replay.instead, &replay.bytes) {
        (Some(instead), _) => instead.as_bytes(),
        (None, Some(bytes)) => bytes,
        (None, None) => ddl.statement.as_bytes(),
    }
}

/// Statements that make the session; an error is why that can't be.
pub fn settings(
    ddl: &Ddl,
    replay: &Replay,
    dialect: Dialect,
    present: &Present,
) -> Result<Vec<String>, String> {
    let mut set: Vec<String> = Vec::new();
    let foreign = replay.mariadb != (dialect == Dialect::MariaDb);
    set.push(format!(
        "sql_mode={}",
        sql_mode(ddl.sql_mode, foreign, dialect)?
    ));
    set.push(time_zone(&ddl.time_zone, replay, present)?);
    let flags = replay.flags.unwrap_or(0);
    let checks = u8::from(flags & NO_FOREIGN_KEY_CHECKS == 0);
    set.push(format!("foreign_key_checks={checks}"));
    let (increment, offset) = replay.auto_increment.unwrap_or((1, 1));
    set.push(format!(
        "auto_increment_increment={increment},auto_increment_offset={offset}"
    ));
    set.push(format!(
        "lc_time_names={}",
        replay.lc_time_names.unwrap_or(0)
    ));
    let (seconds, micros) = (replay.now_us / 1_000_000, replay.now_us % 1_000_000);
    set.push(format!("timestamp={seconds}.{micros:06}"));
    // Only engines with transactions are written to, and both servers' own default is the same.
    set.push("default_storage_engine=InnoDB".to_owned());
    if replay.mariadb && dialect == Dialect::MariaDb {
        set.push(format!(
            "check_constraint_checks={},sql_if_exists={}",
            u8::from(flags & NO_CHECKS == 0),
            u8::from(flags & IF_EXISTS != 0)
        ));
    } else if replay.mariadb && flags & (NO_CHECKS | IF_EXISTS) != 0 {
        return Err("the target has no sql_if_exists and no check_constraint_checks".to_owned());
    }
    let explicit = match replay.mariadb {
        true => replay.flags.map(|flags| flags & EXPLICIT_TIMESTAMP != 0),
        false => replay.explicit_defaults_for_timestamp,
    };
    if let Some(on) = explicit {
        set.push(format!("explicit_defaults_for_timestamp={}", u8::from(on)));
    }
    if dialect == Dialect::MySql && !foreign {
        let wanted = [
            replay.utf8mb4_collation.map(|id| id.to_string()),
            switch(replay.sql_require_primary_key),
            switch(replay.default_table_encryption),
        ];
        for (name, wanted) in GUARDED.iter().zip(wanted) {
            let present = present.guarded.iter().find(|(other, _)| other == name);
            if let (Some(wanted), Some((_, value))) = (wanted, present)
                && wanted != *value
            {
                set.push(format!("{name}={wanted}"));
            }
        }
    }
    let mut statements = vec![format!("SET {}", set.join(","))];
    if dialect == Dialect::MariaDb && !foreign {
        let collations: Vec<_> = (replay.character_set_collations.iter())
            .map(|(_, collation)| collation.to_string())
            .collect();
        match (present.has_collations, collations.is_empty()) {
            (false, true) => {}
            (false, false) => {
                return Err("the target has no character_set_collations".to_owned());
            }
            (true, true) => statements.push("SET character_set_collations=''".to_owned()),
            (true, false) => statements.push(format!(
                "SET character_set_collations=(SELECT GROUP_CONCAT(character_set_name,'=',full_collation_name) FROM \
                 information_schema.collation_character_set_applicability WHERE id IN ({}))",
                collations.join(",")
            )),
        }
    }
    let [client, connection, server] = ddl.collations;
    let client = match replay.instead.is_none() && replay.bytes.is_some() {
        true => client,
        false => UTF8MB4,
    };
    let unshared = |collation: u16| foreign && collation > SHARED_COLLATIONS;
    if unshared(client) {
        return Err(format!("the target has no collation {client}"));
    }
    let connection = if unshared(connection) {
        UTF8MB4
    } else {
        connection
    };
    statements.push(format!(
        "SET character_set_client={client},collation_connection={connection}"
    ));
    if !unshared(server) {
        statements.push(format!("SET collation_server={server}"));
    }
    if let Some(collation) = replay.database_collation
        && !unshared(collation)
    {
        statements.push(format!("SET collation_database={collation}"));
    }
    Ok(statements)
}

/// Makes a database the default one.
pub fn use_database(database: &str) -> String {
    format!("USE {}", quoted(database))
}

fn switch(on: Option<bool>) -> Option<String> {
    on.map(|on| u8::from(on).to_string())
}

fn sql_mode(mode: u64, foreign: bool, dialect: Dialect) -> Result<u64, String> {
    let known = match (dialect, foreign) {
        (Dialect::MariaDb, false) => return Ok(mode),
        (Dialect::MySql, false) => COMMON_MODES | MYSQL_MODES,
        (_, true) => COMMON_MODES,
    };
    match mode & !known & !SAID_OTHERWISE {
        0 => Ok(mode & known),
        other => Err(format!(
            "the target has no sql_mode with the bits {other:#x}"
        )),
    }
}

fn time_zone(zone: &str, replay: &Replay, present: &Present) -> Result<String, String> {
    let mut set = "time_zone=".to_owned();
    let zone = match zone {
        // It does not matter to the statement.
        "" => "+00:00",
        "SYSTEM" => {
            let here = replay.system_time_zone.as_str();
            let (name, which) = here.split_once(' ').unwrap_or((here, ""));
            let zones = &present.zones;
            match which {
                // Older versions logged the name alone. This one is no other zone's.
                "" if name == "UTC" => "+00:00",
                which if !which.is_empty() && which == zones.utc => "+00:00",
                which if !which.is_empty() && which == zones.system => "SYSTEM",
                _ => {
                    return Err(format!(
                        "it depends on the source's time zone, which is SYSTEM and there {}, and on the target SYSTEM is {}{}; SET PERSIST time_zone \
                         on the source to the name of a zone",
                        if name.is_empty() { "not known" } else { name },
                        zones.name,
                        if name == zones.name {
                            ", but not the same zone"
                        } else {
                            ""
                        },
                    ));
                }
            }
        }
        zone => zone,
    };
    let mut literal = Vec::new();
    put_quoted(&mut literal, zone.as_bytes());
    set.push_str(&String::from_utf8_lossy(&literal));
    Ok(set)
}

#[cfg(test)]
mod tests {
    use binferry_schemas::{
        gtid::{Gtid, Tag, Uuid},
        record::{DdlEffect, Transaction},
    };

    use super::*;

    fn ddl(time_zone: &str, sql_mode: u64) -> Ddl {
        Ddl {
            transaction: Transaction {
                gtid: Gtid {
                    uuid: Uuid::nil(),
                    tag: Tag::default(),
                    gno: 1,
                },
                original_commit_us: 0,
                immediate_commit_us: 0,
                last_committed: 0,
                sequence_number: 0,
                seen: None,
                file: String::new(),
                position: 0,
                chunk: 0,
                last: true,
                xa_end: None,
            },
            statement: "ALTER TABLE t".to_owned(),
            database: String::new(),
            sql_mode,
            collations: [255; 3],
            time_zone: time_zone.to_owned(),
            effect: DdlEffect::Define,
            tables: Vec::new(),
            replay: None,
        }
    }

    fn all(ddl: &Ddl, replay: &Replay, dialect: Dialect) -> Result<String, String> {
        let present = Present {
            zones: Zones {
                name: "CST".to_owned(),
                system: "5".to_owned(),
                utc: "0".to_owned(),
            },
            has_collations: false,
            guarded: vec![
                ("default_collation_for_utf8mb4", "255".to_owned()),
                ("sql_require_primary_key", "1".to_owned()),
            ],
        };
        settings(ddl, replay, dialect, &present).map(|statements| statements.join("; "))
    }

    #[test]
    fn sessions() {
        let replay = Replay {
            now_us: 1_700_000_000_000_123,
            flags: Some(NO_FOREIGN_KEY_CHECKS),
            utf8mb4_collation: Some(255),
            sql_require_primary_key: Some(false),
            default_table_encryption: Some(false),
            ..Replay::default()
        };
        assert_eq!(
            all(&ddl("", 0), &replay, Dialect::MySql).unwrap(),
            "SET sql_mode=0,time_zone='+00:00',foreign_key_checks=0,auto_increment_increment=1,auto_increment_offset=1,lc_time_names=0,\
             timestamp=1700000000.000123,default_storage_engine=InnoDB,sql_require_primary_key=0; \
             SET character_set_client=45,collation_connection=255; SET collation_server=255"
        );
        // What only the source has.
        let to_mariadb = all(&ddl("", 0), &replay, Dialect::MariaDb).unwrap();
        assert!(
            to_mariadb.ends_with("collation_connection=45"),
            "{to_mariadb}"
        );
    }

    #[test]
    fn time_zones() {
        let zone = |zone: &str, system: &str| {
            let replay = Replay {
                system_time_zone: system.to_owned(),
                ..Replay::default()
            };
            let all = all(&ddl(zone, 0), &replay, Dialect::MySql)?;
            let set = all.split("time_zone=").nth(1).unwrap_or_default();
            Ok::<_, String>(set.split(',').next().unwrap_or_default().to_owned())
        };
        assert_eq!(zone("+02:00", "").unwrap(), "'+02:00'");
        assert_eq!(zone("a'b", "").unwrap(), "'a\\'b'");
        assert_eq!(zone("SYSTEM", "UTC").unwrap(), "'+00:00'");
        assert_eq!(zone("SYSTEM", "UTC 0").unwrap(), "'+00:00'");
        assert_eq!(zone("SYSTEM", "GMT 0").unwrap(), "'+00:00'");
        assert_eq!(zone("SYSTEM", "CST 5").unwrap(), "'SYSTEM'");
        for other in ["CST 6", "GMT 1", "EST 4", "CST", "GMT", ""] {
            let said = zone("SYSTEM", other).unwrap_err();
            assert_eq!(said.contains("not the same zone"), other.starts_with("CST"));
        }
    }

    #[test]
    fn modes() {
        let replay = Replay::default();
        let mode = |mode, dialect| {
            let all = all(&ddl("", mode), &replay, dialect)?;
            let set = all.strip_prefix("SET sql_mode=").unwrap_or_default();
            Ok::<_, String>(set.split(',').next().unwrap_or_default().to_owned())
        };
        let ansi = 1 << 1 | 1 << 2 | 1 << 18 | 1 << 28;
        assert_eq!(mode(ansi, Dialect::MySql).unwrap(), "6");
        // ORACLE: another grammar.
        assert!(mode(1 << 9, Dialect::MySql).is_err());
        assert!(mode(1 << 32, Dialect::MySql).is_ok());
        assert!(mode(1 << 32, Dialect::MariaDb).is_err());
    }
}
