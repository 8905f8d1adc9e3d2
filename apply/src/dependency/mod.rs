//! Which changes must wait for which: the dependencies between groups of transactions that are applied at the same time.
//!
//! A change *touches* tokens: its table, its keys (every unique key of the target without NULL parts, of both images) and the parent rows
//! that its foreign keys refer to. It writes its keys, and reads its table and its parents; what can reach rows that its images don't
//! name (a cascade, a key that can't be computed here) writes a whole table. Two changes depend on each other when they touch a token
//! that one of them writes. A token is a hash: a collision makes a change wait for nothing, and never the other way round.
//!
//! Groups are numbered, run on several connections at once and are committed in their order. The changes of a group that depend on a
//! group that may not be committed yet, and those of the same group that depend on them, are *late*: they run after the groups before
//! have been committed. The others run at any time. So a row that every transaction changes holds nothing up but itself.
//!
//! A token costs a few steps of a hash table; the tokens of groups that are surely committed are forgotten.

mod collation;
mod touch;

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
};

pub(crate) use self::touch::{Keys, Touches, name_token};

/// By token.
type ByToken<T> = HashMap<u64, T, BuildHasherDefault<AsItIs>>;

/// A token is a hash already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, token: u64) {
        self.0 = token;
    }
}

/// The numbers of the last groups that touched a token; 0: none.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    read: u64,
    written: u64,
}

/// A token inside one group.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// The first change that touched it.
    change: usize,
    written: bool,
}

#[derive(Debug)]
pub struct Tracker {
    /// So many groups may be under way at once.
    window: u64,
    newest: u64,
    seen: ByToken<Seen>,
    groups: VecDeque<(u64, Vec<u64>)>,
    /// Nothing after this group may run beside it or those before.
    barrier: u64,
}

impl Tracker {
    pub fn new(window: usize) -> Self {
        Self {
            window: window.max(1) as u64,
            newest: 0,
            seen: ByToken::default(),
            groups: VecDeque::new(),
            barrier: 0,
        }
    }

    /// All that follows depends on all before: the same value may be another token from here on.
    pub fn barrier(&mut self) {
        self.barrier = self.newest;
    }

    /// Gives the next group its number, and says for each of its changes whether it is late.
    pub fn group(&mut self, touches: &Touches) -> (u64, Vec<bool>) {
        self.newest += 1;
        if self.window == 1 {
            return (self.newest, vec![false; touches.len()]);
        }
        // With so many workers, the group before the window is committed when this one begins.
        let committed = self.newest.saturating_sub(self.window);
        self.forget(committed);
        let nodes = nodes(touches);
        let mut sets = Sets::new(touches.len());
        let mut late = vec![self.barrier > committed; touches.len()];
        for (change, touched) in touches.iter().enumerate() {
            for touch in touched {
                let node = nodes[&touch.token];
                if node.written {
                    sets.join(change, node.change);
                }
                let seen = self.seen.get(&touch.token).copied().unwrap_or_default();
                late[change] |= seen.written > committed || touch.written && seen.read > committed;
            }
        }
        for change in 0..late.len() {
            if late[change] {
                let root = sets.root(change);
                late[root] = true;
            }
        }
        for change in 0..late.len() {
            late[change] = late[sets.root(change)];
        }
        self.remember(nodes);
        (self.newest, late)
    }

    fn remember(&mut self, nodes: ByToken<Node>) {
        let tokens = nodes.keys().copied().collect();
        for (token, node) in nodes {
            let seen = self.seen.entry(token).or_default();
            seen.read = self.newest;
            if node.written {
                seen.written = self.newest;
            }
        }
        self.groups.push_back((self.newest, tokens));
    }

    fn forget(&mut self, committed: u64) {
        while let Some((group, _)) = self.groups.front()
            && *group <= committed
            && let Some((group, tokens)) = self.groups.pop_front()
        {
            for token in tokens {
                // A later group may have touched it again; it forgets it then.
                if self.seen.get(&token).is_some_and(|seen| seen.read <= group) {
                    self.seen.remove(&token);
                }
            }
        }
    }
}

fn nodes(touches: &Touches) -> ByToken<Node> {
    let mut nodes =
        ByToken::with_capacity_and_hasher(touches.len() * 2, BuildHasherDefault::default());
    for (change, touched) in touches.iter().enumerate() {
        for touch in touched {
            let node = nodes.entry(touch.token).or_insert(Node {
                change,
                written: false,
            });
            node.written |= touch.written;
        }
    }
    nodes
}

/// Disjoint sets of changes.
struct Sets(Vec<usize>);

impl Sets {
    fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        // The smaller one is the root: the order is the same in every run.
        self.0[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests;
