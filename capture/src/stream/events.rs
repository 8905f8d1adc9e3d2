//! Where a stream's events come from: a live dump, or files.

use crate::{
    dump::{Dump, Event},
    error::CaptureError,
};

/// What a wait for more events has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    /// Look into the buffer again.
    More,
    /// There is nothing more, and there will be nothing.
    End,
}

/// How far a source that ends has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub read: u64,
    pub total: u64,
}

/// A source of events, all of them verified. They are lent out of its buffer, so that the hot path neither copies nor waits.
pub(crate) trait Events {
    /// The next event, when it lies whole in the buffer: no waiting. `None`: call [`fill`](Self::fill).
    fn buffered(&mut self) -> Result<Option<Event<'_>>, CaptureError>;

    /// Waits for more. Dropping the future loses nothing. `open`: the last event was in the middle of a transaction.
    fn fill(&mut self, open: bool) -> impl Future<Output = Result<Filled, CaptureError>> + Send;

    /// `None`: it has no end.
    fn extent(&self) -> Option<Extent>;

    /// It has come to its end; in the middle of a transaction there may be an excuse.
    fn end(&self, open: bool) -> Result<(), CaptureError>;
}

impl Events for Dump {
    #[inline]
    fn buffered(&mut self) -> Result<Option<Event<'_>>, CaptureError> {
        Dump::buffered(self)
    }

    async fn fill(&mut self, _open: bool) -> Result<Filled, CaptureError> {
        Dump::fill(self).await.map(|()| Filled::More)
    }

    fn extent(&self) -> Option<Extent> {
        None
    }

    /// A dump that follows has no end but an error.
    fn end(&self, _open: bool) -> Result<(), CaptureError> {
        Ok(())
    }
}
