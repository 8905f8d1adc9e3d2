//! Conflicts: what is wrong with a change on the target, what is to be done about it, and the record of what was done.
//!
//! Comes into play when the changes of one transaction go row by row, because their statements found other rows than they must, or were
//! refused. In the order of the flow: `bench` tries a change, `find` says what is wrong (`kind` names it), with a look at the target's
//! rows (`way`, `found`); `policy` says who wins, `resolve` acts on it, and `journal` keeps both sides. `mend` is for rows of which a
//! comparison has found that they differ.
//!
//! - All of it happens inside the target transaction of the changes: the decision, its effect, its journal rows and the progress row are
//!   committed together or not at all. So a crash, a lost answer or a takeover neither repeats a decision nor journals it twice.
//! - Rows are looked at with a lock, so what is decided about is what is there when it is done.
//! - A change that the policy leaves out leaves nothing: a savepoint takes back what was done on the way.
//! - No row goes without being in the journal, whole. Where that can't be (a cascade would take others along), the stream stops.
//! - Under `stop` nothing is written: the transaction is rolled back, and the error names the conflict.

mod bench;
mod find;
mod found;
pub mod journal;
mod kind;
mod mend;
mod policy;
mod resolve;
mod way;

pub(crate) use self::mend::{Mend, Mender, reason};
pub use self::{
    journal::{Journaled, Wanted, count, read},
    kind::{Conflict, ConflictKind, Tally},
    policy::{Policies, Policy, PolicyError},
    resolve::{Court, one_by_one},
};
