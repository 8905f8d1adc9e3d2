//! Who we are among the replicas of a source.
//!
//! A replica with the UUID of another takes its dump away (one without a UUID: with its server_id), so both must be ours alone
//! before the dump is asked for. The UUID is the caller's, stable for a log: our own dump of before a lost connection is then
//! ended by the new one. The server_id is what people see, in SHOW REPLICAS and in the events of loops: it must be unique too.

use binferry_schemas::gtid::Uuid;

use crate::client::{Connection, Rows};
use crate::error::{CaptureError, Permanent};

/// ER_PARSE_ERROR: the statement is newer than the server.
const PARSE_ERROR: u16 = 1064;
/// Chosen numbers have this bit: people and tools number from below.
const HIGH: u32 = 1 << 31;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replica {
    pub server_id: u32,
    host: String,
    pub uuid: Option<Uuid>,
}

/// A server_id that neither the source nor a replica that it knows of uses. `wanted` is checked; without it one is derived from
/// `replica_uuid`, the same each time unless it is taken. A replica with our own UUID is ourselves, before.
///
/// Needs REPLICATION SLAVE. Permanent: `wanted` is 0 or in use.
pub async fn choose_server_id(
    connection: &mut Connection,
    wanted: Option<u32>,
    replica_uuid: Uuid,
) -> Result<u32, CaptureError> {
    let source = connection.query("SELECT @@GLOBAL.server_id").await?;
    let source = source
        .single()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let others: Vec<_> = replicas(connection)
        .await?
        .into_iter()
        .filter(|replica| replica.uuid != Some(replica_uuid))
        .collect();
    Ok(pick(wanted, source, &others, replica_uuid)?)
}

/// Those that the source shows.
pub(crate) async fn replicas(connection: &mut Connection) -> Result<Vec<Replica>, CaptureError> {
    let replicas = match connection.query("SHOW REPLICAS").await {
        Err(CaptureError::Permanent(Permanent::Refused { error, .. }))
            if error.code == PARSE_ERROR =>
        {
            match connection.query("SHOW SLAVE HOSTS").await {
                // MariaDB shows its replicas only with REPLICATION MASTER ADMIN, which a capture does not need otherwise.
                Err(CaptureError::Permanent(Permanent::Unprivileged { .. }))
                    if connection.is_mariadb() =>
                {
                    Rows::default()
                }
                other => other?,
            }
        }
        other => other?,
    };
    Ok(replicas_in(&replicas))
}

fn replicas_in(rows: &Rows) -> Vec<Replica> {
    (0..rows.rows.len())
        .filter_map(|row| {
            Some(Replica {
                server_id: rows.value(row, "Server_Id")?.parse().ok()?,
                host: rows.value(row, "Host").unwrap_or_default(),
                uuid: rows
                    .value(row, "Replica_UUID")
                    .or_else(|| rows.value(row, "Slave_UUID"))
                    .and_then(|text| text.parse().ok()),
            })
        })
        .collect()
}

fn pick(wanted: Option<u32>, source: u32, others: &[Replica], me: Uuid) -> Result<u32, Permanent> {
    let holder = |id: u32| {
        if id == source {
            return Some("the source itself".to_owned());
        }
        let other = others.iter().find(|other| other.server_id == id)?;
        Some(match other.host.as_str() {
            "" => "another replica".to_owned(),
            host => format!("the replica on {}", host.escape_debug()),
        })
    };
    if let Some(server_id) = wanted {
        return match holder(server_id) {
            _ if server_id == 0 => Err(Permanent::ServerIdZero),
            Some(holder) => Err(Permanent::ServerIdInUse { server_id, holder }),
            None => Ok(server_id),
        };
    }
    // One more candidate than can be taken: the search always ends.
    for turn in 0..=others.len() as u32 + 1 {
        let candidate =
            (crc32fast::hash(me.as_bytes()).wrapping_add(turn) | HIGH).min(u32::MAX - 1);
        if holder(candidate).is_none() {
            return Ok(candidate);
        }
    }
    Err(Permanent::ServerIdInUse {
        server_id: HIGH,
        holder: "other replicas, and so are all that were tried after it".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(server_id: u32) -> Replica {
        Replica {
            server_id,
            host: "db2".into(),
            uuid: None,
        }
    }

    #[test]
    fn a_free_number_is_chosen_and_stays_the_same() {
        let me = Uuid::from_u128(7);
        let first = pick(None, 1, &[], me).unwrap();
        assert!(first >= HIGH);
        assert_eq!(pick(None, 1, &[replica(2)], me).unwrap(), first);
        assert_ne!(pick(None, 1, &[replica(first)], me).unwrap(), first);
        assert_ne!(pick(None, first, &[], me).unwrap(), first);
    }

    #[test]
    fn a_taken_number_is_refused_with_its_holder() {
        let me = Uuid::from_u128(7);
        assert_eq!(pick(Some(9), 1, &[replica(2)], me).unwrap(), 9);
        let error = pick(Some(2), 1, &[replica(2)], me).unwrap_err();
        assert_eq!(
            error.to_string(),
            "server_id 2 is in use by the replica on db2"
        );
        let error = pick(Some(1), 1, &[], me).unwrap_err();
        assert_eq!(
            error.to_string(),
            "server_id 1 is in use by the source itself"
        );
        assert!(matches!(
            pick(Some(0), 0, &[], me),
            Err(Permanent::ServerIdZero)
        ));
    }
}
