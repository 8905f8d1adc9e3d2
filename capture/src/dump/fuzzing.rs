//! Events out of plain bytes, for the fuzzer.

use super::event::{Event, HEADER, Opener};
use crate::error::Permanent;

/// A format description event that says: no checksums.
const DESCRIPTION: &[u8] = &{
    let mut event = [13; HEADER + 57 + 40 + 1 + 4];
    event[4] = super::FORMAT_DESCRIPTION;
    event[9] = event.len() as u8;
    (event[10], event[11], event[12]) = (0, 0, 0);
    event[event.len() - 5] = 0;
    event
};

/// The events that lie one after the other in `rest`.
pub(crate) fn events(mut rest: &[u8], mut each: impl FnMut(Event<'_>) -> bool) {
    let mut opener = Opener::new();
    let described: Result<_, Permanent> = opener.open(DESCRIPTION);
    debug_assert!(described.is_ok());
    while let Some(length) = rest.get(9..).and_then(|rest| rest.first_chunk::<4>()) {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((bytes, behind)) = rest.split_at_checked(length) else {
            return;
        };
        match opener.open(bytes) {
            Ok(event) if each(event) => rest = behind,
            _ => return,
        }
    }
}
