//! Net effects: what a run of changes does to each row of one table, in the end.
//!
//! A *lineage* is one row as it goes through the run: created or found there, changed, given another key, deleted. Lineages are followed
//! by key, compared byte for byte. A key that is freed by one row and taken by another belongs to two lineages.
//!
//! The effects are applied in three phases: deletes and the old places of movers; updates; inserts and the new places of movers. A mover
//! is a row of which a value in any unique key has changed. No phase can violate a unique key that the history itself respects: after the
//! first, the values in use are a part of those before the run; updates touch none; and with the third they become a part of those after
//! the run. So swaps and shifts need no special care.
//!
//! Images may lack columns; the image of a mover that is written anew must not (the caller sees to it).

use std::{collections::HashMap, hash::Hash};

/// The changes contradict each other: a row is inserted that is there, or the image before a change is not the one after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    #[error("a row is inserted, or moved to a key, that is there")]
    There,
    #[error("a row is changed that is not there")]
    Missing,
    #[error("the image before a change is not the one after the last")]
    Differs,
    #[error("an image cannot be read")]
    Unreadable,
}

/// What is known of a row at one point of the run.
pub trait Image: Sized {
    /// `self` is the row now, and a change says that it was `before` and is `after`, which has all that `before` has; gives the row after.
    /// `first` is the row before the run: what only `before` knows of the row now has been so from the first.
    fn followed(
        &self,
        first: Option<&mut Self>,
        before: Self,
        after: Option<Self>,
    ) -> Result<Option<Self>, Contradiction>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Net<I> {
    /// The row before the run; `None`: it was not there.
    pub before: Option<I>,
    /// The row after the run; `None`: it is not there.
    pub after: Option<I>,
}

impl<I: Image> Net<I> {
    fn follow(&mut self, before: I, after: Option<I>) -> Result<(), Contradiction> {
        let now = self.after.as_ref().ok_or(Contradiction::Missing)?;
        self.after = now.followed(self.before.as_mut(), before, after)?;
        Ok(())
    }
}

/// Who has a key, at the end of the run so far.
#[derive(Debug, Clone, Copy)]
enum Holder {
    Row(usize),
    /// Nobody; the row that had it before the run was deleted, and is this one.
    Deleted(usize),
    Nobody,
}

#[derive(Debug)]
struct Lineage<I> {
    net: Net<I>,
    /// It has had more than one key.
    moved: bool,
}

#[derive(Debug)]
pub struct Lineages<K, I> {
    holders: HashMap<K, Holder>,
    lineages: Vec<Lineage<I>>,
}

impl<K, I> Default for Lineages<K, I> {
    fn default() -> Self {
        Self {
            holders: HashMap::new(),
            lineages: Vec::new(),
        }
    }
}

impl<K: Eq + Hash, I: Image> Lineages<K, I> {
    pub fn insert(&mut self, key: K, after: I) -> Result<(), Contradiction> {
        let at = match self.holders.get(&key) {
            Some(Holder::Row(_)) => return Err(Contradiction::There),
            // Deleted and inserted again: the row has changed, that is all.
            Some(Holder::Deleted(at)) => {
                let at = *at;
                self.lineages[at].net.after = Some(after);
                at
            }
            Some(Holder::Nobody) | None => self.begin(None, Some(after)),
        };
        self.holders.insert(key, Holder::Row(at));
        Ok(())
    }

    /// `key` is the row's before the change, `moved` its new one when that is another.
    pub fn update(
        &mut self,
        key: K,
        moved: Option<K>,
        before: I,
        after: I,
    ) -> Result<(), Contradiction> {
        if let Some(moved) = &moved
            && matches!(self.holders.get(moved), Some(Holder::Row(_)))
        {
            return Err(Contradiction::There);
        }
        let at = match self.holders.get(&key) {
            Some(Holder::Row(at)) => {
                let at = *at;
                self.lineages[at].net.follow(before, Some(after))?;
                at
            }
            Some(Holder::Deleted(_) | Holder::Nobody) => return Err(Contradiction::Missing),
            None => self.begin(Some(before), Some(after)),
        };
        match moved {
            Some(moved) => {
                self.lineages[at].moved = true;
                self.holders.insert(key, Holder::Nobody);
                self.holders.insert(moved, Holder::Row(at));
            }
            None => {
                self.holders.insert(key, Holder::Row(at));
            }
        }
        Ok(())
    }

    pub fn delete(&mut self, key: K, before: I) -> Result<(), Contradiction> {
        let at = match self.holders.get(&key) {
            Some(Holder::Row(at)) => {
                let at = *at;
                self.lineages[at].net.follow(before, None)?;
                at
            }
            Some(Holder::Deleted(_) | Holder::Nobody) => return Err(Contradiction::Missing),
            None => self.begin(Some(before), None),
        };
        let lineage = &self.lineages[at];
        let holder = if lineage.net.before.is_some() && !lineage.moved {
            Holder::Deleted(at)
        } else {
            Holder::Nobody
        };
        self.holders.insert(key, holder);
        Ok(())
    }

    fn begin(&mut self, before: Option<I>, after: Option<I>) -> usize {
        self.lineages.push(Lineage {
            net: Net { before, after },
            moved: false,
        });
        self.lineages.len() - 1
    }

    /// The effects, rows that came and went left out.
    pub fn into_nets(self) -> impl Iterator<Item = Net<I>> {
        self.lineages
            .into_iter()
            .map(|lineage| lineage.net)
            .filter(|net| net.before.is_some() || net.after.is_some())
    }
}

#[cfg(test)]
mod tests;
