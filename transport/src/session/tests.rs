//! Sessions on the embedded log, and on one where several write at once.

use binferry_schemas::{
    gtid::{Gtid, GtidSet},
    record::{Heartbeat, Transaction, WriteSet},
};

use super::*;
use crate::{
    embedded::{EmbeddedLog, EmbeddedOptions},
    fold::Fold,
    resume::{start_state, tail_state},
    simulated::SimulatedLog,
};

fn start(site: &str) -> Start {
    Start {
        site: site.to_owned(),
        server: Uuid::from_u128(5),
        filter: "*.*".to_owned(),
        base: GtidSet::new(),
        version: "test".to_owned(),
        job: None,
    }
}

fn gtid(gno: u64) -> Gtid {
    Gtid::new(Uuid::from_u128(0xabc), gno)
}

fn chunk(gno: u64, chunk: u32, last: bool, encoded: &[u8]) -> Body<'_> {
    Body::WriteSet(WriteSet {
        transaction: Transaction {
            gtid: gtid(gno),
            original_commit_us: 1,
            immediate_commit_us: 2,
            last_committed: 0,
            sequence_number: 1,
            seen: None,
            file: "binlog.000001".to_owned(),
            position: 4,
            chunk,
            last,
            xa_end: None,
        },
        tables: Vec::new(),
        changes: binferry_schemas::record::Changes { count: 1, encoded },
    })
}

fn whole(gno: u64) -> Body<'static> {
    chunk(gno, 0, true, &[0; 200])
}

fn options() -> SessionOptions {
    SessionOptions {
        checkpoint_bytes: 2_000,
        ..SessionOptions::default()
    }
}

/// The judge: the fold of all records from the beginning.
async fn from_scratch(log: &dyn Log) -> FoldState {
    let bounds = log.bounds().await.unwrap();
    let mut fold = Fold::new(log.id());
    let mut scan = Scan::new(log, Offset(0), bounds.end).await.unwrap();
    while let Some((offset, head)) = scan.next().await.unwrap() {
        let _ = fold.step(offset, &head);
    }
    fold.into_state()
}

#[tokio::test]
async fn sessions_follow_each_other_on_the_embedded_log() {
    let dir = tempfile::tempdir().unwrap();
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::create_or_open(dir.path()).unwrap());
    assert_eq!(
        tail_state(&*log).await.unwrap(),
        Fold::new(log.id()).into_state()
    );
    for round in 0..4u64 {
        let mut session = Session::start(log.clone(), start("main"), options())
            .await
            .unwrap();
        assert_eq!(session.state().set.len(), u128::from(round) * 50);
        assert_eq!(session.state().sites[0].incarnation, session.incarnation());
        for gno in 1..=50 {
            session.append(whole(round * 50 + gno)).await.unwrap();
        }
        session
            .append(chunk(round * 50 + 51, 0, false, &[]))
            .await
            .unwrap();
        session.tick().await.unwrap();
        if round % 2 == 0 {
            let state = session.close().await.unwrap();
            assert!(state.sites[0].open.is_some());
            assert_eq!(state, from_scratch(&*log).await);
        } else {
            session.settle().await.unwrap();
            drop(session);
        }
        let tail = tail_state(&*log).await.unwrap();
        assert_eq!(tail, from_scratch(&*log).await);
        assert_eq!(tail.set.len(), u128::from(round + 1) * 50);
    }
    // A new attempt does not read from the beginning.
    let state = tail(&*log).await;
    let end = log.bounds().await.unwrap().end;
    assert!(state.needs.0 > end.0 - 60, "{state:?} of {end:?}");
}

async fn tail(log: &dyn Log) -> Standing {
    resume::tail(log).await.unwrap().checkpoint.unwrap()
}

#[tokio::test]
async fn idle_time_brings_checkpoints() {
    let log = SimulatedLog::new();
    let idle = SessionOptions {
        checkpoint_interval: Duration::ZERO,
        ..SessionOptions::default()
    };
    let mut session = Session::start(Arc::new(log.clone()), start("main"), idle)
        .await
        .unwrap();
    for _ in 0..3 {
        session.tick().await.unwrap();
    }
    assert_eq!(log.end(), Offset(4));
    assert_eq!(tail(&log).await.needs, Offset(3));
}

#[tokio::test]
async fn a_zombie_learns_that_it_has_ended_and_its_records_are_void() {
    for log in [SimulatedLog::new(), SimulatedLog::with_gaps()] {
        zombie_and_successor(log).await;
    }
}

async fn zombie_and_successor(log: SimulatedLog) {
    let shared: Arc<dyn Log> = Arc::new(log.clone());
    let mut zombie = Session::start(shared.clone(), start("main"), options())
        .await
        .unwrap();
    zombie.append(whole(1)).await.unwrap();
    zombie.flush().await.unwrap();
    let mut other_site = Session::start(shared.clone(), start("second"), options())
        .await
        .unwrap();
    zombie.append(whole(2)).await.unwrap();
    zombie.flush().await.unwrap();
    let newer = Session::start(shared, start("main"), options())
        .await
        .unwrap();
    assert_eq!(newer.state().set.len(), 2);

    zombie.append(whole(3)).await.unwrap();
    match zombie.flush().await {
        Err(LogError::Ended { by, .. }) => assert_eq!(by, Some(newer.incarnation())),
        other => panic!("{other:?}"),
    }
    assert!(!from_scratch(&log).await.set.contains(&gtid(3)));
    other_site.append(whole(4)).await.unwrap();
    other_site.flush().await.unwrap();
    assert_eq!(*other_site.state(), from_scratch(&log).await);
}

#[tokio::test]
async fn a_lost_append_ends_the_session() {
    for log in [SimulatedLog::new(), SimulatedLog::with_gaps()] {
        lost_append(log).await;
    }
}

async fn lost_append(log: SimulatedLog) {
    let mut session = Session::start(Arc::new(log.clone()), start("main"), options())
        .await
        .unwrap();
    log.lose(1);
    session.append(whole(1)).await.unwrap();
    session.flush().await.unwrap();
    session.append(whole(2)).await.unwrap();
    match session.flush().await {
        Err(LogError::Ended { by: None, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert!(tail_state(&log).await.unwrap().set.is_empty());
}

/// `Start A, Start B, A: Checkpoint, A's record`: the last record's pointer leads to a zombie's checkpoint, which is true all the same.
#[tokio::test]
async fn a_zombies_checkpoint_is_resumed_from() {
    for log in [SimulatedLog::new(), SimulatedLog::with_gaps()] {
        zombies_checkpoint(log).await;
    }
}

async fn zombies_checkpoint(log: SimulatedLog) {
    let shared: Arc<dyn Log> = Arc::new(log.clone());
    let mut zombie = Session::start(shared.clone(), start("main"), options())
        .await
        .unwrap();
    zombie.append(whole(1)).await.unwrap();
    zombie.flush().await.unwrap();
    drop(
        Session::start(shared, start("main"), options())
            .await
            .unwrap(),
    );
    zombie.push_checkpoint().unwrap();
    assert!(zombie.flush().await.is_err());
    let truth = from_scratch(&log).await;
    assert_eq!(truth.sites[0].next, Some(1));
    assert_eq!(tail_state(&log).await.unwrap(), truth);
}

#[tokio::test]
async fn an_expired_beginning_is_never_assumed_away() {
    let log = SimulatedLog::new();
    let shared: Arc<dyn Log> = Arc::new(log.clone());
    let mut session = Session::start(shared, start("main"), SessionOptions::default())
        .await
        .unwrap();
    session.append(whole(1)).await.unwrap();
    session.flush().await.unwrap();
    session.push_checkpoint().unwrap();
    session.append(whole(2)).await.unwrap();
    session.flush().await.unwrap();
    session.push_checkpoint().unwrap();
    session.append(whole(3)).await.unwrap();
    session.flush().await.unwrap();
    let truth = from_scratch(&log).await;
    // 0 Start, 1 T1, 2 Checkpoint (k = 2), 3 T2, 4 Checkpoint (k = 4), 5 T3, which points to 4.
    for begin in 0..=4 {
        log.expire_to(begin);
        assert_eq!(tail_state(&log).await.unwrap(), truth, "from {begin}");
        let (mut fold, from) = Fold::resume(start_state(&log).await.unwrap());
        let mut scan = Scan::new(&log, from, truth.offset).await.unwrap();
        while let Some((offset, head)) = scan.next().await.unwrap() {
            let _ = fold.step(offset, &head);
        }
        assert_eq!(*fold.state(), truth, "from {begin}");
    }
    log.expire_to(5);
    assert!(matches!(
        tail_state(&log).await,
        Err(LogError::NoCheckpoint {
            start: Offset(5),
            ..
        })
    ));
    log.expire_to(6);
    assert!(matches!(
        tail_state(&log).await,
        Err(LogError::Emptied { end: Offset(6), .. })
    ));
}

#[tokio::test]
async fn a_pointer_that_leads_astray_is_not_followed() {
    let log = SimulatedLog::new();
    let mut session = Session::start(Arc::new(log.clone()), start("main"), options())
        .await
        .unwrap();
    session.append(whole(1)).await.unwrap();
    session.flush().await.unwrap();
    let truth_then = from_scratch(&log).await;
    // As on a mirrored copy: another log's checkpoint, and pointers to what is none.
    let mut foreign = truth_then.clone();
    foreign.log = Uuid::from_u128(1);
    foreign.set.insert(gtid(77));
    for (pointer, body) in [
        (
            Some(Offset(1)),
            Body::Heartbeat(Heartbeat {
                at_us: 0,
                counts: None,
            }),
        ),
        (
            Some(Offset(900)),
            Body::Heartbeat(Heartbeat {
                at_us: 0,
                counts: None,
            }),
        ),
        (None, Body::Checkpoint(foreign)),
    ] {
        let mut bytes = Vec::new();
        let header = Header {
            incarnation: Incarnation(Uuid::from_u128(4)),
            sequence: 8,
            checkpoint: pointer,
        };
        Record { header, body }.encode(&mut bytes);
        log.put(bytes);
        assert_eq!(tail_state(&log).await.unwrap(), from_scratch(&log).await);
    }
    // Another program's records count as nothing; what has our marker has to be a record.
    log.put(b"no record".to_vec());
    log.gap();
    let state = from_scratch(&log).await;
    assert_eq!(state.offset, Offset(5));
    assert_eq!(tail_state(&log).await.unwrap(), state);
    log.put(b"\xc3\x01 and no record".to_vec());
    assert!(matches!(
        tail_state(&log).await,
        Err(LogError::Record {
            offset: Offset(7),
            ..
        })
    ));
}

#[tokio::test]
async fn a_log_without_a_record_of_ours_is_not_new() {
    let log = SimulatedLog::new();
    for fill in [SimulatedLog::gap, |log: &SimulatedLog| log.put(vec![1])] {
        fill(&log);
        for state in [tail_state(&log).await, start_state(&log).await] {
            assert!(matches!(state, Err(LogError::Emptied { .. })), "{state:?}");
        }
    }
}

#[tokio::test]
async fn retention_leaves_a_log_that_can_be_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let small = EmbeddedOptions {
        segment_bytes: 8 * 1024,
        ..EmbeddedOptions::default()
    };
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::create_or_open_with(dir.path(), small).unwrap());
    let kept = SessionOptions {
        checkpoint_bytes: 20_000,
        retention: Retention {
            bytes: Some(1),
            age: None,
        },
        ..SessionOptions::default()
    };
    let mut session = Session::start(log.clone(), start("main"), kept)
        .await
        .unwrap();
    for gno in 1..=500 {
        session.append(whole(gno)).await.unwrap();
        if gno % 10 == 0 {
            session.flush().await.unwrap();
            session.settle().await.unwrap();
            session.expire().await;
            assert_eq!(tail_state(&*log).await.unwrap().set.len(), u128::from(gno));
        }
    }
    assert!(log.bounds().await.unwrap().start.0 > 100);
    let state = session.close().await.unwrap();
    assert_eq!(tail_state(&*log).await.unwrap(), state);
    assert_eq!(state.set.len(), 500);
}

#[tokio::test]
async fn cancelled_flushes_and_ticks_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let narrow = EmbeddedOptions {
        in_flight_bytes: 1_000,
        ..EmbeddedOptions::default()
    };
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::create_or_open_with(dir.path(), narrow).unwrap());
    let mut session = Session::start(log.clone(), start("main"), options())
        .await
        .unwrap();
    for gno in 1..=400 {
        session.append(whole(gno)).await.unwrap();
        if gno % 7 == 0 {
            let _ = tokio::time::timeout(Duration::from_micros(gno % 50), session.flush()).await;
        }
    }
    let state = session.close().await.unwrap();
    assert_eq!(state.set.len(), 400);
    assert_eq!(state, from_scratch(&*log).await);
}
