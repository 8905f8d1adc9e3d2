//! Looks at the target for states that the source never had.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Result, anyhow, bail};
use binferry_load::{relay, tpcc};
use binferry_servers::MySql;
use mysql_async::{Conn, Opts, prelude::Queryable};

use crate::schema::DATABASE;

const EVERY: Duration = Duration::from_millis(25);
/// Of the looks, those that go through the shop's books: they take longer.
const BOOKS: u64 = 20;

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    looks: AtomicU64,
    wrong: Mutex<Option<String>>,
}

#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<()>>,
}

impl Reader {
    pub fn start(target: &MySql) -> Self {
        let shared = Arc::new(Shared::default());
        let (opts, theirs) = (target.opts(), Arc::clone(&shared));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(look(opts, &theirs))
        });
        Self { shared, thread }
    }

    /// An error when it has seen something wrong.
    pub fn check(&self) -> Result<()> {
        let wrong = self.shared.wrong.lock();
        if let Some(wrong) = &*wrong.unwrap_or_else(PoisonError::into_inner) {
            bail!("the target showed a state that the source did not have: {wrong}");
        }
        Ok(())
    }

    /// How many states it has seen.
    pub fn stop(self) -> Result<u64> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.check()?;
        let Self { shared, thread } = self;
        thread
            .join()
            .map_err(|_| anyhow!("the reader panicked"))??;
        Ok(shared.looks.load(Ordering::Relaxed))
    }
}

async fn look(opts: Opts, shared: &Shared) -> Result<()> {
    let mut connection = Conn::new(opts).await?;
    connection.query_drop(format!("USE {DATABASE}")).await?;
    while !shared.stop.load(Ordering::Relaxed) {
        let number = shared.looks.fetch_add(1, Ordering::Relaxed);
        let lead: Option<i64> = connection.query_first(relay::LEAD).await?;
        let mut wrong = match lead {
            None | Some(0 | 1) => None,
            Some(lead) => Some(format!("of two counters the first is ahead by {lead}")),
        };
        if number.is_multiple_of(BOOKS) {
            let contradictions: Option<i64> = connection.query_first(tpcc::CONTRADICTIONS).await?;
            if let Some(rows @ 1..) = contradictions {
                wrong = Some(format!("{rows} rows contradict what was written with them"));
            }
        }
        if wrong.is_some() {
            *shared.wrong.lock().unwrap_or_else(PoisonError::into_inner) = wrong;
            return Ok(());
        }
        tokio::time::sleep(EVERY).await;
    }
    connection.disconnect().await?;
    Ok(())
}
