//! A window, as the desk keeps it: what the stream touches while it is open.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use binferry_schemas::{
    gtid::{Gtid, GtidSet},
    record::{Image, TableRef},
};

use super::{definition::Name, keys::KeyLayout};

/// Keys that are kept of one window, in bytes; they also stand in each of its records.
const KEYS: usize = 256 * 1024;

/// What a reader is going to read.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// Which tables there are, or a definition.
    Definitions,
    /// Rows by their key.
    Rows(Arc<KeyLayout>),
    /// All rows at once: the stream waits until the snapshot has opened.
    Whole(Name),
}

/// Why a window came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoiled {
    Definition,
    PartialImage,
    TooManyKeys,
    /// Of a table without a key.
    Touched,
    /// Another copy of the table has begun: this one is over.
    Replaced,
}

/// Keys that transactions outside of the open set have touched.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub keys: HashSet<Box<[u8]>>,
    /// Those of them whose rows the stream may not have with all their columns.
    pub partial: HashSet<Box<[u8]>>,
}

/// Who touched a key.
#[derive(Debug)]
struct Touch {
    last: Gtid,
    before: Before,
    /// One of them without all columns of what it left there.
    partial: bool,
}

/// Who did before the last one, but for those of whom nothing is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nobody,
    One(Gtid),
    Several,
}

#[derive(Debug)]
pub(super) struct Watch {
    what: What,
    table: Option<Name>,
    spoiled: Option<Spoiled>,
    /// Transactions with definition statements about captured tables, for windows in which definitions were read.
    definitions: Vec<Gtid>,
    /// Transactions that touched a table without a key.
    touched: Vec<Gtid>,
    /// Transactions that touched keys of which it can't be told which.
    blind: Vec<Gtid>,
    /// Transactions of which nothing is in the log: what they touched is as if they had not been.
    void: Vec<Gtid>,
    /// Transactions that the snapshot may lack, although the open set has them.
    doubtful: Vec<Gtid>,
    keys: HashMap<Box<[u8]>, Touch>,
    bytes: usize,
}

impl Watch {
    pub fn new(what: What, table: Option<Name>) -> Self {
        Self {
            what,
            table,
            spoiled: None,
            definitions: Vec::new(),
            touched: Vec::new(),
            blind: Vec::new(),
            void: Vec::new(),
            doubtful: Vec::new(),
            keys: HashMap::new(),
            bytes: 0,
        }
    }

    /// A definition statement about tables, or perhaps about `any`.
    pub fn definition(&mut self, gtid: Gtid, any: bool, tables: &[Name]) {
        self.definitions.push(gtid);
        let own = self.table.as_ref();
        if any || own.is_some_and(|own| tables.contains(own)) {
            self.spoiled = Some(Spoiled::Definition);
        }
    }

    /// Changes that can't be looked into.
    pub fn touch_blindly(&mut self, gtid: Gtid, table: &TableRef) {
        if self.is_about(table) {
            self.touched.push(gtid);
            self.blind.push(gtid);
        }
    }

    /// The keys that are to be left out, given the open set; or why nothing can be logged.
    pub fn conclude(self, open: &GtidSet) -> Result<LeftOut, Spoiled> {
        let outside = |gtid: &Gtid| {
            (!open.contains(gtid) || self.doubtful.contains(gtid)) && !self.void.contains(gtid)
        };
        let spoiled = match &self.what {
            // What was read may lack these.
            What::Definitions if self.definitions.iter().any(outside) => Some(Spoiled::Definition),
            What::Definitions => None,
            What::Whole(_) if self.touched.iter().any(outside) => {
                self.spoiled.or(Some(Spoiled::Touched))
            }
            What::Rows(_) if self.spoiled.is_none() && self.blind.iter().any(outside) => {
                Some(Spoiled::PartialImage)
            }
            _ => self.spoiled,
        };
        if let Some(spoiled) = spoiled {
            return Err(spoiled);
        }
        let mut left_out = LeftOut::default();
        for (key, touch) in self.keys {
            let before = match &touch.before {
                Before::Nobody => false,
                Before::One(gtid) => outside(gtid),
                Before::Several => true,
            };
            if before || outside(&touch.last) {
                if touch.partial {
                    left_out.partial.insert(key.clone());
                }
                left_out.keys.insert(key);
            }
        }
        Ok(left_out)
    }

    /// The transaction was prepared (XA), or is taken back: the log has none of its changes now.
    pub fn forget(&mut self, gtid: Gtid) {
        self.void.push(gtid);
    }

    /// Its changes are in question whatever the open set says.
    pub fn doubt(&mut self, gtid: Gtid) {
        self.doubtful.push(gtid);
    }

    fn is_about(&self, table: &TableRef) -> bool {
        let is = |database: &str, name: &str| (database, name) == (&table.database, &table.table);
        match &self.what {
            What::Definitions => false,
            What::Rows(layout) => is(&layout.schema.database, &layout.schema.table),
            What::Whole((database, name)) => is(database, name),
        }
    }

    pub fn touch(&mut self, gtid: Gtid, table: &TableRef, images: [Option<Image<'_>>; 2]) {
        if !self.is_about(table) {
            return;
        }
        let layout = match &self.what {
            What::Definitions => return,
            What::Whole(_) => {
                if self.touched.last() != Some(&gtid) {
                    self.touched.push(gtid);
                }
                return;
            }
            What::Rows(layout) => layout,
        };
        if layout.fingerprint != table.schema {
            self.spoiled = Some(Spoiled::Definition);
            return;
        }
        let Some(keys) = layout.of_images(images) else {
            self.blind.push(gtid);
            return;
        };
        if self.spoiled.is_some() {
            return;
        }
        // What is deleted needs no columns.
        let partial = images[1].is_some_and(|after| after.present.is_some());
        for key in keys.into_iter().flatten() {
            match self.keys.get_mut(&key) {
                Some(touch) => {
                    if touch.last != gtid && !self.void.contains(&touch.last) {
                        touch.before = match touch.before {
                            Before::Nobody => Before::One(touch.last),
                            _ => Before::Several,
                        };
                    }
                    touch.last = gtid;
                    touch.partial |= partial;
                }
                None => {
                    self.bytes += key.len() + 4;
                    let touch = Touch {
                        last: gtid,
                        before: Before::Nobody,
                        partial,
                    };
                    self.keys.insert(key, touch);
                }
            }
            if self.bytes > KEYS {
                self.spoiled = Some(Spoiled::TooManyKeys);
                self.keys = HashMap::new();
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! The counterexamples of docs/snapshot.md: each history in which a simpler window would log a wrong row.

    use binferry_schemas::{
        datum::{self, Value},
        fingerprint::Fingerprint,
        gtid::Uuid,
        record::ForeignKeys,
        row::{Column, ColumnType, RowSchema, Width},
    };

    use super::*;

    const SERVER: Uuid = Uuid::from_u128(5);

    fn gtid(gno: u64) -> Gtid {
        Gtid::new(SERVER, gno)
    }

    fn open(gnos: &[u64]) -> GtidSet {
        gnos.iter().map(|gno| gtid(*gno)).collect()
    }

    fn schema() -> RowSchema {
        let column = |name: &str, ty| Column {
            name: name.to_owned(),
            ty,
            nullable: false,
            visible: true,
            key: None,
        };
        RowSchema {
            database: "d".to_owned(),
            table: "t".to_owned(),
            columns: vec![
                column("v", ColumnType::Year),
                column(
                    "id",
                    ColumnType::Integer {
                        width: Width::Big,
                        unsigned: false,
                    },
                ),
            ],
        }
    }

    fn row(id: i64) -> Vec<u8> {
        let mut out = Vec::new();
        for (column, value) in schema().columns.iter().zip([2026, id]) {
            datum::put(&mut out, &column.ty, &Value::Int(value)).unwrap();
        }
        out
    }

    fn layout() -> Arc<KeyLayout> {
        Arc::new(KeyLayout::by(schema(), Fingerprint(9), vec![1]))
    }

    fn table(name: &str, schema: u64) -> TableRef {
        TableRef {
            database: "d".to_owned(),
            table: name.to_owned(),
            schema: Fingerprint(schema),
            foreign_keys: ForeignKeys::Enforced,
        }
    }

    fn rows() -> Watch {
        Watch::new(What::Rows(layout()), Some(("d".into(), "t".into())))
    }

    fn image(datum: &[u8]) -> Option<Image<'_>> {
        Some(Image {
            present: None,
            datum,
        })
    }

    fn key(id: i64) -> Box<[u8]> {
        let mut key = Vec::new();
        assert!(layout().put(&mut key, &row(id)));
        key.into()
    }

    #[test]
    fn what_the_open_set_lacks_is_left_out_by_both_images() {
        let mut watch = rows();
        let (one, two) = (row(1), row(2));
        watch.touch(gtid(8), &table("t", 9), [image(&one), image(&two)]);
        watch.touch(gtid(9), &table("other", 9), [None, image(&row(3))]);
        let left_out = watch.conclude(&open(&[9])).unwrap();
        assert_eq!(left_out.keys, HashSet::from([key(1), key(2)]));
        assert!(left_out.partial.is_empty());
    }

    #[test]
    fn what_the_open_set_holds_is_shown_by_the_snapshot() {
        let mut watch = rows();
        watch.touch(gtid(8), &table("t", 9), [None, image(&row(1))]);
        watch.touch(gtid(9), &table("t", 9), [None, image(&row(2))]);
        let left_out = watch.conclude(&open(&[8])).unwrap();
        assert_eq!(left_out.keys, HashSet::from([key(2)]));
    }

    #[test]
    fn a_key_that_several_transactions_touch_is_left_out_if_in_doubt() {
        let mut watch = rows();
        for gno in [8, 9] {
            watch.touch(gtid(gno), &table("t", 9), [None, image(&row(1))]);
        }
        assert_eq!(watch.conclude(&open(&[9])).unwrap().keys.len(), 1);
    }

    #[test]
    fn definitions_spoil_rows() {
        let mut watch = rows();
        watch.definition(gtid(8), false, &[("d".into(), "other".into())]);
        assert!(watch.conclude(&open(&[])).is_ok());
        for any in [false, true] {
            let mut watch = rows();
            watch.definition(gtid(8), any, &[("d".into(), "t".into())]);
            // Also when the open set has it: the definition in use may be older.
            assert_eq!(watch.conclude(&open(&[8])), Err(Spoiled::Definition));
        }
        let mut watch = rows();
        watch.touch(gtid(8), &table("t", 10), [None, image(&row(1))]);
        assert_eq!(watch.conclude(&open(&[])), Err(Spoiled::Definition));
    }

    /// Of the columns, only those in `present`.
    fn partial(
        present: &'static [u8],
        v: Option<i64>,
        id: Option<i64>,
    ) -> (Vec<u8>, &'static [u8]) {
        let mut out = Vec::new();
        for (column, value) in schema().columns.iter().zip([v, id]) {
            match value {
                Some(value) => datum::put(&mut out, &column.ty, &Value::Int(value)).unwrap(),
                None => out.push(0),
            }
        }
        (out, present)
    }

    fn partial_image<'a>(partial: &'a (Vec<u8>, &'static [u8])) -> Option<Image<'a>> {
        Some(Image {
            present: Some(partial.1),
            datum: &partial.0,
        })
    }

    #[test]
    fn what_lacks_columns_is_known_by_its_key() {
        let before = partial(&[2], None, Some(1));
        let after = partial(&[1], Some(2027), None);
        let mut watch = rows();
        let images = [partial_image(&before), partial_image(&after)];
        watch.touch(gtid(8), &table("t", 9), images);
        // It takes the row to another key.
        let (before, after) = (partial(&[2], None, Some(2)), partial(&[2], None, Some(3)));
        let images = [partial_image(&before), partial_image(&after)];
        watch.touch(gtid(8), &table("t", 9), images);
        // What is gone lacks nothing.
        let deleted = partial(&[2], None, Some(4));
        watch.touch(gtid(8), &table("t", 9), [partial_image(&deleted), None]);
        let left_out = watch.conclude(&open(&[])).unwrap();
        let all: HashSet<_> = (1..=4).map(key).collect();
        assert_eq!(left_out.keys, all);
        assert_eq!(left_out.partial, (1..=3).map(key).collect());
    }

    #[test]
    fn what_is_only_prepared_leaves_nothing_out() {
        let mut watch = rows();
        watch.touch(gtid(8), &table("t", 9), [image(&row(1)), None]);
        watch.touch(gtid(9), &table("t", 9), [image(&row(2)), None]);
        // Rolled back later, the row would be nowhere.
        watch.forget(gtid(8));
        let left_out = watch.conclude(&open(&[])).unwrap();
        assert_eq!(left_out.keys, HashSet::from([key(2)]));
    }

    #[test]
    fn what_is_prepared_again_and_again_leaves_nothing_out() {
        let mut watch = rows();
        for gno in [7, 8] {
            watch.touch(gtid(gno), &table("t", 9), [image(&row(1)), None]);
            watch.forget(gtid(gno));
        }
        for gno in [9, 10] {
            watch.touch(gtid(gno), &table("t", 9), [image(&row(2)), None]);
        }
        watch.forget(gtid(10));
        let left_out = watch.conclude(&open(&[])).unwrap();
        assert_eq!(left_out.keys, HashSet::from([key(2)]));
    }

    #[test]
    fn what_is_doubted_is_left_out_although_the_open_set_holds_it() {
        let mut watch = rows();
        watch.touch(gtid(8), &table("t", 9), [None, image(&row(1))]);
        watch.touch(gtid(9), &table("t", 9), [None, image(&row(2))]);
        watch.doubt(gtid(8));
        let left_out = watch.conclude(&open(&[8, 9])).unwrap();
        assert_eq!(left_out.keys, HashSet::from([key(1)]));
    }

    #[test]
    fn what_lacks_its_key_spoils_the_window_unless_the_snapshot_shows_it() {
        let blind = || {
            let mut watch = rows();
            let image = partial(&[1], Some(2026), None);
            watch.touch(gtid(8), &table("t", 9), [partial_image(&image), None]);
            watch
        };
        assert_eq!(blind().conclude(&open(&[])), Err(Spoiled::PartialImage));
        assert!(blind().conclude(&open(&[8])).is_ok());
    }

    #[test]
    fn a_definition_that_was_read_holds_if_the_open_set_has_all_statements() {
        let about = |gno| {
            let mut watch = Watch::new(What::Definitions, None);
            watch.definition(gtid(gno), false, &[("d".into(), "new".into())]);
            watch
        };
        assert!(about(8).conclude(&open(&[8])).is_ok());
        assert_eq!(about(9).conclude(&open(&[8])), Err(Spoiled::Definition));
    }

    #[test]
    fn a_table_without_a_key_must_be_left_alone() {
        let touched = || {
            let what = What::Whole(("d".into(), "t".into()));
            let mut watch = Watch::new(what, Some(("d".into(), "t".into())));
            watch.touch(gtid(8), &table("t", 9), [None, image(&row(1))]);
            watch
        };
        assert_eq!(touched().conclude(&open(&[])), Err(Spoiled::Touched));
        assert!(touched().conclude(&open(&[8])).is_ok());
    }

    #[test]
    fn keys_beyond_the_room_for_them_spoil_the_window() {
        let mut watch = rows();
        for id in 0..100_000 {
            watch.touch(gtid(8), &table("t", 9), [None, image(&row(id << 40))]);
        }
        assert_eq!(watch.conclude(&open(&[])), Err(Spoiled::TooManyKeys));
    }
}
