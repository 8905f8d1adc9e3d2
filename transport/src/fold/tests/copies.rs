//! Copies: ranges count once and in order, across incarnations.

use binferry_schemas::{
    fingerprint::Fingerprint,
    record::{
        ForeignKeys, GivenUp, Over, RowsHead, Snapshot, SnapshotBegin, SnapshotEnd,
        SnapshotGivenUp, SnapshotJob, SnapshotStep, TableRef, Window,
    },
};

use super::*;

const JOB: Uuid = Uuid::from_u128(0x10b);

fn job() -> SnapshotJob {
    SnapshotJob {
        id: JOB,
        tables: "d.*".to_owned(),
        except: String::new(),
        over: Over::Nothing,
    }
}

fn table(name: &str) -> TableRef {
    TableRef {
        database: "d".to_owned(),
        table: name.to_owned(),
        schema: Fingerprint(1),
        foreign_keys: ForeignKeys::Enforced,
    }
}

fn step(step: SnapshotStep) -> HeadBody {
    HeadBody::Snapshot(Snapshot { at_us: 0, step })
}

fn begin(copy: u128, name: &str) -> HeadBody {
    step(SnapshotStep::Begin(Box::new(SnapshotBegin {
        job: JOB,
        copy: Uuid::from_u128(copy),
        table: table(name),
        over: Over::Nothing,
        replaces: None,
        create_database: String::new(),
        create_table: String::new(),
        sql_mode: 0,
        collations: [0; 3],
        time_zone: String::new(),
        key_name: "PRIMARY".to_owned(),
        key: vec!["id".to_owned()],
        estimated_rows: 5,
        estimated_bytes: 6,
        window: Window::default(),
    })))
}

fn rows(copy: u128, chunk: u64, part: u32, last: bool) -> HeadBody {
    HeadBody::SnapshotRows(RowsHead {
        copy: Uuid::from_u128(copy),
        chunk,
        part,
        last,
        rows: u64::from(last),
        upper: Some(vec![chunk as u8]),
        table: table("a"),
    })
}

/// A log of one site, at consecutive offsets.
struct Told {
    fold: Fold,
    capture: usize,
    sequence: u64,
}

impl Told {
    fn new() -> Self {
        let mut told = Self {
            fold: Fold::new(Uuid::from_u128(99)),
            capture: 0,
            sequence: 0,
        };
        let mut start = start(0, GtidSet::new());
        if let HeadBody::Start(start) = &mut start.body {
            start.job = Some(job());
        }
        told.take(start);
        told
    }

    fn take(&mut self, head: Head) -> Outcome {
        self.fold.step(self.fold.state().offset, &head).outcome
    }

    fn tell(&mut self, body: HeadBody) -> Outcome {
        self.sequence += 1;
        self.take(record(self.capture, self.sequence, body))
    }

    fn restart(&mut self) {
        (self.capture, self.sequence) = (self.capture + 1, 0);
        self.take(start(self.capture, GtidSet::new()));
    }

    fn site(&self) -> &SiteState {
        &self.fold.state().sites[0]
    }
}

const fn counted(first: u64, last: bool) -> Outcome {
    Outcome::Rows {
        first: Offset(first),
        last,
        again: false,
    }
}

#[test]
fn a_job_is_known_until_it_is_done() {
    let mut told = Told::new();
    let awaits = |told: &Told, name| told.site().jobs.iter().any(|job| job.awaits("d", name));
    assert!(awaits(&told, "a") && awaits(&told, "b"));
    assert!(!told.site().jobs[0].awaits("other", "b"));
    assert_eq!(told.tell(begin(1, "a")), Outcome::Snapshot);
    assert!(!awaits(&told, "a") && awaits(&told, "b"));
    told.restart();
    told.tell(begin(2, "b"));
    // A copy again: the job does not go back.
    told.tell(begin(3, "a"));
    assert!(!awaits(&told, "b"));
    let copies: Vec<u128> = told
        .site()
        .copies
        .iter()
        .map(|c| c.copy.as_u128())
        .collect();
    assert_eq!(copies, [2, 3]);
    told.tell(step(SnapshotStep::Planned(JOB)));
    assert!(!awaits(&told, "z"));
    told.tell(step(SnapshotStep::End(SnapshotEnd {
        copy: Uuid::from_u128(2),
        rows: 0,
        left_out: 0,
    })));
    told.tell(step(SnapshotStep::GivenUp(SnapshotGivenUp {
        copy: Uuid::from_u128(3),
        reason: GivenUp::Gone,
        detail: String::new(),
    })));
    assert!(told.site().copies.is_empty() && told.site().jobs.len() == 1);
    told.tell(step(SnapshotStep::Done(JOB)));
    assert!(told.site().jobs.is_empty());
    told.tell(step(SnapshotStep::Wanted(job())));
    told.tell(step(SnapshotStep::Wanted(job())));
    assert_eq!(told.site().jobs.len(), 1);
}

#[test]
fn ranges_count_once_and_in_order() {
    let mut told = Told::new();
    told.tell(begin(1, "a"));
    assert_eq!(told.tell(rows(1, 0, 0, true)), counted(2, true));
    assert_eq!(
        told.tell(rows(1, 2, 0, true)),
        Outcome::Ignored(Reason::Orphan)
    );
    assert_eq!(
        told.tell(rows(1, 0, 0, true)),
        Outcome::Ignored(Reason::Known)
    );
    assert_eq!(
        told.tell(rows(9, 0, 0, true)),
        Outcome::Ignored(Reason::Orphan)
    );
    told.restart();
    assert_eq!(told.tell(rows(1, 1, 0, true)), counted(7, true));
    let copy = &told.site().copies[0];
    assert_eq!((copy.next_chunk, copy.rows), (2, 2));
    assert_eq!(copy.upper.as_deref(), Some(&[1][..]));
    // What the incarnation before it still sends is void.
    let zombie = record(0, 6, rows(1, 2, 0, true));
    assert_eq!(told.take(zombie), Outcome::Ignored(Reason::Void));
}

#[test]
fn a_range_in_parts_counts_with_its_last_and_is_read_again() {
    let mut told = Told::new();
    told.tell(begin(1, "a"));
    assert_eq!(
        told.tell(rows(1, 0, 1, false)),
        Outcome::Ignored(Reason::Orphan)
    );
    assert_eq!(told.tell(rows(1, 0, 0, false)), counted(3, false));
    assert_eq!(told.tell(heartbeat(0, 0).body), Outcome::Heartbeat);
    assert_eq!(told.tell(rows(1, 0, 1, false)), counted(3, false));
    assert_eq!(told.site().copies[0].next_chunk, 0);

    // A reader that goes on here gets the parts again.
    let (mut fold, from) = Fold::resume(told.fold.state().clone());
    assert_eq!(from, Offset(3));
    let again = Outcome::Rows {
        first: Offset(3),
        last: false,
        again: true,
    };
    let heads = [
        rows(1, 0, 0, false),
        heartbeat(0, 0).body,
        rows(1, 0, 1, false),
    ];
    for (at, body) in heads.into_iter().enumerate() {
        let outcome = fold
            .step(Offset(3 + at as u64), &record(0, 3 + at as u64, body))
            .outcome;
        assert_eq!(
            outcome,
            if at == 1 {
                Outcome::Ignored(Reason::Repeat)
            } else {
                again
            }
        );
    }
    assert_eq!(told.tell(rows(1, 0, 2, true)), counted(3, true));

    // One that its capture did not live to end begins anew.
    told.tell(rows(1, 1, 0, false));
    told.restart();
    assert_eq!(told.site().copies[0].open, None);
    assert_eq!(
        told.tell(rows(1, 1, 1, true)),
        Outcome::Ignored(Reason::Orphan)
    );
    assert_eq!(told.tell(rows(1, 1, 0, true)), counted(10, true));
}
