//! Looks at rows again until it is known whether they differ.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep};

use super::{
    Both, Options,
    error::DiffError,
    judge::{Judge, Look, Verdict},
    pair::Pair,
    server::{Digest, Server},
    sql::Key,
};

/// Rows that are looked at together.
pub const TOGETHER: usize = 500;
/// Between two rounds: at random, so that no load keeps step; longer while the target is far behind.
const PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// What became of a row in question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    Equal,
    Differs {
        source: Option<Digest>,
        target: Option<Digest>,
        /// Which columns; empty where one side has no row.
        columns: Vec<String>,
    },
    Open,
}

pub async fn settle(
    servers: &mut Both<Server>,
    pair: &Pair,
    keys: &[Key],
    options: &Options,
) -> Result<Vec<Settled>, DiffError> {
    let mut judge = Judge::new(keys.len());
    let mut columns: Vec<Vec<String>> = vec![Vec::new(); keys.len()];
    let mut until = Instant::now() + options.patience;
    let (mut judged, mut pause) = (false, PAUSE);
    judge.source(source(&mut servers.source, pair, keys).await?);
    while judge.is_open() && Instant::now() < until {
        let (applied, rows) = target(&mut servers.target, pair, keys, options).await?;
        judge.source(source(&mut servers.source, pair, keys).await?);
        let stream = options.stream.as_ref().map(|_| applied.unwrap_or_default());
        if judge.target(stream.as_ref(), &rows) {
            pause = PAUSE;
            if !std::mem::replace(&mut judged, true) {
                until = Instant::now() + options.settle;
            }
            name_columns(servers, pair, keys, &mut judge, &mut columns).await?;
        } else {
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if judge.is_open() {
            sleep(pause + pause.mul_f64(chance())).await;
        }
    }
    let settled = judge.verdicts().iter().zip(columns);
    Ok(settled
        .map(|(verdict, columns)| match *verdict {
            Verdict::Equal => Settled::Equal,
            Verdict::Open => Settled::Open,
            Verdict::Differs(source, target) => Settled::Differs {
                source,
                target,
                columns,
            },
        })
        .collect())
}

pub async fn source(server: &mut Server, pair: &Pair, keys: &[Key]) -> Result<Look, DiffError> {
    Ok(Look {
        before: server.executed().await?,
        rows: server.look(pair, keys).await?,
        after: server.executed().await?,
    })
}

/// Progress and rows in one snapshot.
async fn target(
    server: &mut Server,
    pair: &Pair,
    keys: &[Key],
    options: &Options,
) -> Result<(Option<binferry_schemas::gtid::GtidSet>, Vec<Option<Digest>>), DiffError> {
    let Some(stream) = &options.stream else {
        return Ok((None, server.look(pair, keys).await?));
    };
    server.begin_snapshot().await?;
    let applied = server.applied(stream).await?;
    let rows = server.look(pair, keys).await;
    server.run("COMMIT").await?;
    Ok((applied, rows?))
}

/// Which columns differ of the rows that have just been found to; a row that is another by now is open again.
async fn name_columns(
    servers: &mut Both<Server>,
    pair: &Pair,
    keys: &[Key],
    judge: &mut Judge,
    columns: &mut [Vec<String>],
) -> Result<(), DiffError> {
    if pair.key.is_empty() {
        return Ok(());
    }
    let mut found = Vec::new();
    for (at, verdict) in judge.verdicts().iter().enumerate() {
        if let Verdict::Differs(Some(here), Some(there)) = verdict
            && columns[at].is_empty()
        {
            found.push((at, *here, *there));
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let wanted: Vec<Key> = found.iter().map(|(at, ..)| keys[*at].clone()).collect();
    let (here, there) = tokio::try_join!(
        servers.source.columns(pair, &wanted),
        servers.target.columns(pair, &wanted)
    )?;
    for (at, source, target) in found {
        let (here, there) = (here.get(&keys[at]), there.get(&keys[at]));
        match (here.map(Vec::as_slice), there.map(Vec::as_slice)) {
            (Some([first, here @ ..]), Some([second, there @ ..]))
                if (*first, *second) == (source, target) =>
            {
                let differing = here.iter().zip(there).zip(&pair.columns);
                columns[at] = differing
                    .filter(|((here, there), _)| here != there)
                    .map(|(_, column)| column.name.clone())
                    .collect();
            }
            _ => judge.reopen(at),
        }
    }
    Ok(())
}

/// From 0 to 1.
fn chance() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    f64::from(now.map_or(0, |now| now.subsec_nanos()) % 1000) / 1000.0
}
