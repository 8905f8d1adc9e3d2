//! `Ddl`: a statement that is not a row change.

use super::{
    RecordError, Transaction, Version,
    envelope::{put_optional, take_optional},
};
use crate::avro::{self, AvroError, Reader};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ddl {
    pub transaction: Transaction,
    pub statement: String,
    pub database: String,
    pub sql_mode: u64,
    /// Collation ids: client, connection, server.
    pub collations: [u16; 3],
    pub time_zone: String,
    /// What the statement does to captured tables.
    pub effect: DdlEffect,
    /// The captured tables (database, table) that it names; the table [`ALL_TABLES`] stands for a database itself.
    pub tables: Vec<(String, String)>,
    /// What it takes to run it again; versions 1 to 3 lack it.
    pub replay: Option<Box<Replay>>,
}

/// In the place of a table's name: the database.
pub const ALL_TABLES: &str = "*";

/// Asks a MySQL or MariaDB which zone its session's `time_zone` is: a sum over what the clock shows there at each midnight (UTC) from 1970 to
/// 2037. A name does not tell: CST is the zone of Chicago, of Shanghai and of Havana, and London's is GMT to a server that was started in winter.
pub const WHICH_ZONE: &str = "SELECT LOWER(HEX(BIT_XOR(CAST(CONV(LEFT(SHA2(CONCAT(n, FROM_UNIXTIME(n * 86400)), 256), 16), 16, 10) AS UNSIGNED)))) AS zone \
    FROM (SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d AS n FROM \
    (SELECT 0 AS d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) AS a, \
    (SELECT 0 AS d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) AS b, \
    (SELECT 0 AS d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) AS c, \
    (SELECT 0 AS d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) AS e, \
    (SELECT 0 AS d UNION SELECT 1 UNION SELECT 2) AS f) AS days WHERE n BETWEEN 1 AND 24836";

/// The rest of the session that a statement ran in, and what running it elsewhere has to heed. A variable is `None` where the source did
/// not write it: it has the server's default, or does not matter to the statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replay {
    /// To be run in place of the statement, in UTF-8: without what concerns tables that are not captured, and with what the source's
    /// version took out of conditional comments.
    pub instead: Option<String>,
    /// The statement in its client's character set, where that says more than its text: an introducer such as `_latin1` stands for bytes.
    pub bytes: Option<Vec<u8>>,
    /// Why it can't be run elsewhere with the same effect.
    pub obstacle: Option<String>,
    /// It gives numbers to rows that are there: in the order in which the table holds them.
    pub numbers_rows: bool,
    /// `NOW(6)` of the statement, microseconds since the epoch.
    pub now_us: u64,
    /// A MariaDB wrote it.
    pub mariadb: bool,
    /// What the time zone SYSTEM is on the source: its name, and behind a space the answer to [`WHICH_ZONE`] behind a space; empty: not known.
    pub system_time_zone: String,
    /// Bits of `OPTION_*` as the event has them.
    pub flags: Option<u32>,
    /// Increment, offset.
    pub auto_increment: Option<(u16, u16)>,
    pub lc_time_names: Option<u16>,
    pub database_collation: Option<u16>,
    /// The collation that utf8mb4 stands for.
    pub utf8mb4_collation: Option<u16>,
    pub explicit_defaults_for_timestamp: Option<bool>,
    pub sql_require_primary_key: Option<bool>,
    pub default_table_encryption: Option<bool>,
    /// Of MariaDB: collations that character sets stand for; ids of both.
    pub character_set_collations: Vec<(u16, u16)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DdlEffect {
    /// Names no captured table.
    None,
    /// CREATE TABLE, ALTER TABLE, CREATE/DROP INDEX: passes when the target's table fits the rows that follow.
    Define,
    /// TRUNCATE.
    Truncate,
    /// DROP TABLE, DROP DATABASE.
    Drop,
    /// RENAME TABLE, ALTER TABLE … RENAME.
    Rename,
    /// Not understood; may touch a captured table.
    Unknown,
}

impl DdlEffect {
    const ALL: [Self; 6] = [
        Self::None,
        Self::Define,
        Self::Truncate,
        Self::Drop,
        Self::Rename,
        Self::Unknown,
    ];
}

impl Ddl {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        self.transaction.put(out);
        avro::put_string(out, &self.statement);
        avro::put_string(out, &self.database);
        avro::put_long(out, self.sql_mode as i64);
        put_collations(out, self.collations);
        avro::put_string(out, &self.time_zone);
        avro::put_long(out, self.effect as i64);
        if !self.tables.is_empty() {
            avro::put_long(out, self.tables.len() as i64);
            for (database, table) in &self.tables {
                avro::put_string(out, database);
                avro::put_string(out, table);
            }
        }
        out.push(0);
        match &self.replay {
            None => out.push(0),
            Some(replay) => {
                out.push(2);
                replay.put(out);
            }
        }
    }

    pub(super) fn take(input: &mut Reader<'_>, version: Version) -> Result<Self, RecordError> {
        let transaction = Transaction::take(input, version)?;
        let statement = input.str()?.to_owned();
        let database = input.str()?.to_owned();
        // 64 flags: all bits are taken as they are.
        let sql_mode = input.long()? as u64;
        let collations = take_collations(input)?;
        let time_zone = input.str()?.to_owned();
        let effect = DdlEffect::ALL[usize::from(input.branch(DdlEffect::ALL.len() as u8)?)];
        let mut tables = Vec::new();
        input.array(|input| -> Result<(), RecordError> {
            tables.push((input.str()?.to_owned(), input.str()?.to_owned()));
            Ok(())
        })?;
        let replay = match version {
            Version::One | Version::Two | Version::Three => None,
            Version::Four | Version::Five => match input.optional()? {
                false => None,
                true => Some(Box::new(Replay::take(input)?)),
            },
        };
        Ok(Self {
            transaction,
            statement,
            database,
            sql_mode,
            collations,
            time_zone,
            effect,
            tables,
            replay,
        })
    }
}

pub(super) fn put_collations(out: &mut Vec<u8>, collations: [u16; 3]) {
    for collation in collations {
        avro::put_long(out, i64::from(collation));
    }
}

pub(super) fn take_collations(input: &mut Reader<'_>) -> Result<[u16; 3], RecordError> {
    Ok([
        take_collation(input)?,
        take_collation(input)?,
        take_collation(input)?,
    ])
}

impl Replay {
    fn put(&self, out: &mut Vec<u8>) {
        put_optional_bytes(out, self.instead.as_ref().map(String::as_bytes));
        put_optional_bytes(out, self.bytes.as_deref());
        put_optional_bytes(out, self.obstacle.as_ref().map(String::as_bytes));
        avro::put_boolean(out, self.numbers_rows);
        avro::put_long(out, self.now_us as i64);
        avro::put_boolean(out, self.mariadb);
        avro::put_string(out, &self.system_time_zone);
        put_optional(out, self.flags.map(u64::from));
        let (increment, offset) = self.auto_increment.unzip();
        for number in [
            increment,
            offset,
            self.lc_time_names,
            self.database_collation,
            self.utf8mb4_collation,
        ] {
            put_optional(out, number.map(u64::from));
        }
        for switch in [
            self.explicit_defaults_for_timestamp,
            self.sql_require_primary_key,
            self.default_table_encryption,
        ] {
            match switch {
                None => out.push(0),
                Some(on) => {
                    out.push(2);
                    avro::put_boolean(out, on);
                }
            }
        }
        if !self.character_set_collations.is_empty() {
            avro::put_long(out, self.character_set_collations.len() as i64);
            for (charset, collation) in &self.character_set_collations {
                avro::put_long(out, i64::from(*charset));
                avro::put_long(out, i64::from(*collation));
            }
        }
        out.push(0);
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, RecordError> {
        let instead = take_text(input)?;
        let bytes = match input.optional()? {
            false => None,
            true => Some(input.bytes()?.to_vec()),
        };
        let obstacle = take_text(input)?;
        let numbers_rows = input.boolean()?;
        let now_us = input.unsigned()?;
        let mariadb = input.boolean()?;
        let system_time_zone = input.str()?.to_owned();
        let at = input.at();
        let flags = take_optional(input)?
            .map(u32::try_from)
            .transpose()
            .map_err(|_| AvroError::Range { at })?;
        let (increment, offset) = (take_small(input)?, take_small(input)?);
        let lc_time_names = take_small(input)?;
        let database_collation = take_small(input)?;
        let utf8mb4_collation = take_small(input)?;
        let explicit_defaults_for_timestamp = take_switch(input)?;
        let sql_require_primary_key = take_switch(input)?;
        let default_table_encryption = take_switch(input)?;
        let mut character_set_collations = Vec::new();
        input.array(|input| -> Result<(), RecordError> {
            character_set_collations.push((take_collation(input)?, take_collation(input)?));
            Ok(())
        })?;
        Ok(Self {
            instead,
            bytes,
            obstacle,
            numbers_rows,
            now_us,
            mariadb,
            system_time_zone,
            flags,
            auto_increment: increment.zip(offset),
            lc_time_names,
            database_collation,
            utf8mb4_collation,
            explicit_defaults_for_timestamp,
            sql_require_primary_key,
            default_table_encryption,
            character_set_collations,
        })
    }
}

fn put_optional_bytes(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(2);
            avro::put_bytes(out, value);
        }
    }
}

fn take_text(input: &mut Reader<'_>) -> Result<Option<String>, RecordError> {
    Ok(match input.optional()? {
        false => None,
        true => Some(input.str()?.to_owned()),
    })
}

fn take_small(input: &mut Reader<'_>) -> Result<Option<u16>, RecordError> {
    let at = input.at();
    let number = take_optional(input)?.map(u16::try_from).transpose();
    number.map_err(|_| AvroError::Range { at }.into())
}

fn take_switch(input: &mut Reader<'_>) -> Result<Option<bool>, RecordError> {
    Ok(match input.optional()? {
        false => None,
        true => Some(input.boolean()?),
    })
}

fn take_collation(input: &mut Reader<'_>) -> Result<u16, RecordError> {
    let at = input.at();
    u16::try_from(input.int()?).map_err(|_| AvroError::Range { at }.into())
}
