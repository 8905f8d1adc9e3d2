//! Doors for the fuzzer into what is private: pure functions over bytes from outside. Only with the feature `fuzzing`.

use crate::{
    client::fuzzing::Packets,
    decode::{
        Decoded, Payload, TableMap, TablePlan, classify, expand, expanded_type, is_json_document,
    },
    dump::fuzzing::events as each_event,
};
use binferry_schemas::record::ChangesBuffer;

/// A server's bytes, as a client takes them in: pieces of the first byte's length, framed into packets, each read as every answer that it
/// could be.
pub fn packets(data: &[u8]) {
    let Some((&step, data)) = data.split_first() else {
        return;
    };
    let mut packets = Packets::new();
    for piece in data.chunks(usize::from(step).max(1)) {
        if packets.feed(piece).is_err() {
            return;
        }
    }
}

/// Events, one after the other as in a file without checksums, decoded with the table maps among them.
pub fn events(data: &[u8]) {
    let mut tables: Vec<(u64, TablePlan)> = Vec::new();
    let mut changes = ChangesBuffer::new();
    let mut expanded = Vec::new();
    each_event(data, |event| {
        // Of MariaDB's compressed events the outside: their rows may hold compressed values in turn, and 1032 times 1032 is no bound.
        if let Some(kind) = expanded_type(event.type_code) {
            return expand(event.type_code, event.body, &mut expanded).is_ok()
                && Decoded::of(kind, event.flags, &expanded).is_ok();
        }
        match Decoded::of(event.type_code, event.flags, event.body) {
            Ok(Decoded::TableMap(id)) => {
                let Ok(plan) = TableMap::parse(event.body).and_then(|map| TablePlan::new(&map))
                else {
                    return false;
                };
                tables.retain(|(known, _)| *known != id);
                tables.push((id, plan));
            }
            Ok(Decoded::Rows(rows)) => {
                let Some((_, plan)) = tables.iter().find(|(id, _)| *id == rows.table_id()) else {
                    return false;
                };
                let mut cursor = rows.cursor(plan);
                while let Ok(true) = cursor.next(0, &mut changes) {}
                changes.clear();
            }
            Ok(Decoded::Query(query)) => {
                drop(classify(&query, false));
                drop(classify(&query, true));
            }
            Ok(_) => {}
            Err(_) => return false,
        }
        true
    });
}

/// A table map, its length in front as u16, then a rows event's type and body.
pub fn row(data: &[u8]) {
    let Some((length, data)) = data.split_first_chunk::<2>() else {
        return;
    };
    let Some((map, rows)) = data.split_at_checked(usize::from(u16::from_le_bytes(*length))) else {
        return;
    };
    let Ok(plan) = TableMap::parse(map).and_then(|map| TablePlan::new(&map)) else {
        return;
    };
    let Some((&kind, body)) = rows.split_first() else {
        return;
    };
    let Ok(Decoded::Rows(rows)) = Decoded::of(kind, 0, body) else {
        return;
    };
    let mut changes = ChangesBuffer::new();
    let mut cursor = rows.cursor(&plan);
    while let Ok(true) = cursor.next(0, &mut changes) {}
}

/// A JSON document in its binary form.
pub fn json(data: &[u8]) {
    let _ = is_json_document(data);
}

/// A payload's fields and content, come in pieces of the first byte's length and then whole.
pub fn payload(data: &[u8]) {
    let Some((&step, data)) = data.split_first() else {
        return;
    };
    let mut payload = Payload::default();
    payload.begin();
    let mut rest = data;
    while !rest.is_empty() {
        let (mut piece, behind) = rest.split_at(rest.len().min(usize::from(step).max(1) * 16));
        rest = behind;
        loop {
            match payload.next(&mut piece, rest.is_empty()) {
                Ok(Some(event)) => drop(Decoded::of(event.type_code, event.flags, event.body)),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}
