//! `--tables 'shop.*,!shop.tmp_*'`: which tables a capture carries.
//!
//! A list of patterns `database.table`, separated by commas. `*` stands for any characters, `!` in front excludes. A part in backquotes
//! is a name as it is (a backquote in it is doubled). A table is carried when an including pattern matches it (or there is none) and no
//! excluding one does.
//!
//! Names are compared as the server does that they come from: exactly where `lower_case_table_names` is 0, and [`folded`] where it is
//! 1 or 2.
//!
//! [`folded`]: TableFilter::folded
//!
//! The servers' own databases and ours are never carried, whatever the patterns say.

use std::{borrow::Cow, collections::BTreeSet, fmt, str::FromStr};

use crate::fault::{Fault, Kind};

/// Never carried: the server's own, and `binferry`, which holds the progress on targets.
pub const SYSTEM_DATABASES: [&str; 5] = [
    "mysql",
    "sys",
    "information_schema",
    "performance_schema",
    "binferry",
];

/// The default carries every table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableFilter {
    /// Empty: everything.
    include: BTreeSet<Pattern>,
    exclude: BTreeSet<Pattern>,
    /// The patterns are in lower case, and names are taken so.
    folds: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Pattern {
    database: Glob,
    table: Glob,
}

/// Literal pieces with a `*` between each two.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Glob(Vec<String>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableFilterError {
    #[error("the table pattern {pattern:?} is not of the form database.table")]
    Form { pattern: String },
    #[error(
        "the table pattern {pattern:?} has a backquote that is not closed, or text beside a quoted name"
    )]
    Quote { pattern: String },
    #[error("the table pattern {pattern:?} names a database that is never carried")]
    System { pattern: String },
}

impl Fault for TableFilterError {
    fn kind(&self) -> Kind {
        Kind::Configuration
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Form { .. } | Self::Quote { .. } => {
                "write patterns like --tables 'shop.*,!shop.tmp_*', with names that hold . , * ! or ` in backquotes".to_owned()
            }
            Self::System { .. } => format!("leave out {}", SYSTEM_DATABASES.join(", ")),
        })
    }
}

/// A name in lower case, as a server folds it: character by character.
pub fn lower_case(name: &str) -> Cow<'_, str> {
    if name
        .bytes()
        .all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase())
    {
        return Cow::Borrowed(name);
    }
    let folded = name.chars().map(|c| {
        let mut lower = c.to_lowercase();
        match (lower.next(), lower.next()) {
            (Some(only), None) => only,
            _ => c,
        }
    });
    Cow::Owned(folded.collect())
}

impl TableFilter {
    /// The same for names whose case means nothing. It prints in lower case.
    pub fn folded(&self) -> Self {
        let fold = |patterns: &BTreeSet<Pattern>| {
            let folded = patterns.iter().map(|pattern| Pattern {
                database: pattern.database.folded(),
                table: pattern.table.folded(),
            });
            folded.collect()
        };
        Self {
            include: fold(&self.include),
            exclude: fold(&self.exclude),
            folds: true,
        }
    }

    /// A name as this filter compares it.
    pub fn fold<'a>(&self, name: &'a str) -> Cow<'a, str> {
        match self.folds {
            true => lower_case(name),
            false => Cow::Borrowed(name),
        }
    }

    pub fn matches(&self, database: &str, table: &str) -> bool {
        let (database, table) = (&*self.fold(database), &*self.fold(table));
        let hit = |pattern: &Pattern| pattern.matches(database, table);
        !SYSTEM_DATABASES.contains(&database)
            && (self.include.is_empty() || self.include.iter().any(hit))
            && !self.exclude.iter().any(hit)
    }

    /// Whether the table is carried by a pattern that says something of its database: it is not just one of all.
    pub fn names(&self, database: &str, table: &str) -> bool {
        let (lower_database, lower_table) = (self.fold(database), self.fold(table));
        self.matches(database, table)
            && (self.include.iter()).any(|pattern| {
                pattern.matches(&lower_database, &lower_table) && !pattern.database.is_any()
            })
    }

    /// Whether a statement about `table` may change a carried one. An empty table name stands for the whole database: then whether an
    /// including pattern may match any of its tables.
    pub fn touches(&self, database: &str, table: &str) -> bool {
        if !table.is_empty() {
            return self.matches(database, table);
        }
        let database = &*self.fold(database);
        !SYSTEM_DATABASES.contains(&database)
            && (self.include.is_empty()
                || self
                    .include
                    .iter()
                    .any(|pattern| pattern.database.matches(database)))
    }

    /// Whether it is certain from the patterns that every table of a database is carried.
    pub fn covers(&self, database: &str) -> bool {
        let database = &*self.fold(database);
        let whole =
            |pattern: &Pattern| pattern.database.matches(database) && pattern.table.is_everything();
        !SYSTEM_DATABASES.contains(&database)
            && (self.include.is_empty() || self.include.iter().any(whole))
            && !self
                .exclude
                .iter()
                .any(|pattern| pattern.database.matches(database))
    }

    /// Whether it is certain from the patterns that no table matches this filter and not `older`. A false negative is possible where
    /// patterns overlap in more intricate ways; a false positive is not.
    pub fn within(&self, older: &Self) -> bool {
        if self.include.is_empty() {
            let everything = older.include.is_empty()
                || older.include.iter().any(|pattern| pattern.is_everything());
            return everything && older.exclude.iter().all(|left_out| self.excludes(left_out));
        }
        self.include.iter().all(|pattern| {
            if self.excludes(pattern) {
                return true;
            }
            if let Some((database, table)) = pattern.literal() {
                return older.matches(database, table);
            }
            (older.include.is_empty() || older.include.iter().any(|wider| pattern.within(wider)))
                && older
                    .exclude
                    .iter()
                    .all(|left_out| self.excludes(left_out) || pattern.apart(left_out))
        })
    }

    /// What this filter carries and what `more` does. `None`: one leaves out what the other one has, or it is not certain that it doesn't.
    pub fn widened(&self, more: &Self) -> Option<Self> {
        let both = |a: &BTreeSet<Pattern>, b: &BTreeSet<Pattern>| a.union(b).cloned().collect();
        let more = match self.folds {
            true => &more.folded(),
            false => more,
        };
        if more.within(self) {
            return Some(self.clone());
        }
        let widened = Self {
            // No pattern carries everything.
            include: match self.include.is_empty() || more.include.is_empty() {
                true => BTreeSet::new(),
                false => both(&self.include, &more.include),
            },
            exclude: both(&self.exclude, &more.exclude),
            folds: self.folds,
        };
        (self.within(&widened) && more.within(&widened)).then_some(widened)
    }

    /// The databases of its tables, if it says all of them.
    pub fn databases(&self) -> Option<BTreeSet<&str>> {
        let named = self
            .include
            .iter()
            .map(|pattern| pattern.database.literal());
        (!self.include.is_empty()).then(|| named.collect())?
    }

    /// A filter for each including pattern; together they carry what this one does.
    pub fn patterns(&self) -> Vec<Self> {
        if self.include.is_empty() {
            return vec![self.clone()];
        }
        let one = |pattern: &Pattern| Self {
            include: BTreeSet::from([pattern.clone()]),
            ..self.clone()
        };
        self.include.iter().map(one).collect()
    }

    fn excludes(&self, pattern: &Pattern) -> bool {
        self.exclude.iter().any(|wider| pattern.within(wider))
    }
}

impl FromStr for TableFilter {
    type Err = TableFilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut filter = Self::default();
        for item in split_outside_quotes(text, ',') {
            let item = item.trim();
            if item.is_empty() {
                continue;
            }
            let (excluded, pattern) = match item.strip_prefix('!') {
                Some(rest) => (true, rest.trim_start()),
                None => (false, item),
            };
            let pattern = Pattern::parse(pattern)?;
            if excluded {
                filter.exclude.insert(pattern);
            } else if pattern
                .database
                .literal()
                .is_some_and(|name| SYSTEM_DATABASES.contains(&name))
            {
                return Err(TableFilterError::System {
                    pattern: item.to_owned(),
                });
            } else {
                filter.include.insert(pattern);
            }
        }
        Ok(filter)
    }
}

/// Normalised: the same filter prints the same text. Everything is `*.*`.
impl fmt::Display for TableFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if self.include.is_empty() {
            f.write_str("*.*")?;
            separator = ",";
        }
        for pattern in &self.include {
            write!(f, "{separator}{}.{}", pattern.database, pattern.table)?;
            separator = ",";
        }
        for pattern in &self.exclude {
            write!(f, "{separator}!{}.{}", pattern.database, pattern.table)?;
        }
        Ok(())
    }
}

/// The pieces between separators that stand outside backquotes.
fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut start, mut quoted) = (0, false);
    for (at, c) in text.char_indices() {
        if c == '`' {
            quoted = !quoted;
        } else if c == separator && !quoted {
            pieces.push(&text[start..at]);
            start = at + c.len_utf8();
        }
    }
    pieces.push(&text[start..]);
    pieces
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, TableFilterError> {
        let form = || TableFilterError::Form {
            pattern: text.to_owned(),
        };
        let quote = || TableFilterError::Quote {
            pattern: text.to_owned(),
        };
        let parts = split_outside_quotes(text, '.');
        let &[database, table] = parts.as_slice() else {
            return Err(form());
        };
        if database.is_empty() || table.is_empty() {
            return Err(form());
        }
        Ok(Self {
            database: Glob::parse(database).ok_or_else(quote)?,
            table: Glob::parse(table).ok_or_else(quote)?,
        })
    }

    fn matches(&self, database: &str, table: &str) -> bool {
        self.database.matches(database) && self.table.matches(table)
    }

    fn is_everything(&self) -> bool {
        self.database.is_everything() && self.table.is_everything()
    }

    fn literal(&self) -> Option<(&str, &str)> {
        Some((self.database.literal()?, self.table.literal()?))
    }

    fn within(&self, wider: &Self) -> bool {
        self.database.within(&wider.database) && self.table.within(&wider.table)
    }

    /// Whether it is certain that nothing matches both.
    fn apart(&self, other: &Self) -> bool {
        self.database.apart(&other.database) || self.table.apart(&other.table)
    }
}

impl Glob {
    fn parse(text: &str) -> Option<Self> {
        if let Some(quoted) = text.strip_prefix('`') {
            let quoted = quoted.strip_suffix('`')?;
            let name = quoted.replace("``", "`");
            // Every backquote inside was one of a pair.
            let single = quoted.len() - name.len() != name.matches('`').count();
            return (!single && !name.is_empty()).then(|| Self(vec![name]));
        }
        if text.contains('`') {
            return None;
        }
        let mut pieces: Vec<String> = text.split('*').map(str::to_owned).collect();
        // Two stars side by side mean what one does.
        let inner = 1..pieces.len().saturating_sub(1);
        let mut at = 0;
        pieces.retain(|piece| {
            at += 1;
            !(inner.contains(&(at - 1)) && piece.is_empty())
        });
        Some(Self(pieces))
    }

    fn folded(&self) -> Self {
        let pieces = self.0.iter().map(|piece| lower_case(piece).into_owned());
        Self(pieces.collect())
    }

    /// `*` alone.
    fn is_any(&self) -> bool {
        self.0.len() > 1 && self.0.iter().all(String::is_empty)
    }

    fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    fn is_everything(&self) -> bool {
        self.0.len() == 2 && self.0.iter().all(String::is_empty)
    }

    fn matches(&self, name: &str) -> bool {
        let [first, middle @ .., last] = self.0.as_slice() else {
            return self.literal() == Some(name);
        };
        let Some(mut rest) = name
            .strip_prefix(first.as_str())
            .and_then(|rest| rest.strip_suffix(last.as_str()))
        else {
            return false;
        };
        // Taking each piece at its first place leaves the most for those after it.
        for piece in middle {
            match rest.split_once(piece.as_str()) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        true
    }

    fn within(&self, wider: &Self) -> bool {
        match self.literal() {
            Some(name) => wider.matches(name),
            None => self == wider || wider.is_everything() || self.within_affixes(wider),
        }
    }

    /// `wider` is `a*b`, and whatever this glob matches starts with a and ends with b, apart from each other.
    fn within_affixes(&self, wider: &Self) -> bool {
        match (self.0.as_slice(), wider.0.as_slice()) {
            ([first, .., last], [prefix, suffix]) => {
                first.starts_with(prefix.as_str()) && last.ends_with(suffix.as_str())
            }
            _ => false,
        }
    }

    fn apart(&self, other: &Self) -> bool {
        match (self.literal(), other.literal()) {
            (Some(a), Some(b)) => a != b,
            (Some(name), None) => !other.matches(name),
            (None, Some(name)) => !self.matches(name),
            (None, None) => {
                let (Some(a), Some(b)) = (self.0.first(), other.0.first()) else {
                    return false;
                };
                let (Some(y), Some(z)) = (self.0.last(), other.0.last()) else {
                    return false;
                };
                !(a.starts_with(b.as_str()) || b.starts_with(a.as_str()))
                    || !(y.ends_with(z.as_str()) || z.ends_with(y.as_str()))
            }
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.literal() {
            Some(name) if name.contains(['.', ',', '*', '!', '`']) || name.trim() != name => {
                write!(f, "`{}`", name.replace('`', "``"))
            }
            _ => f.write_str(&self.0.join("*")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(text: &str) -> TableFilter {
        text.parse().unwrap()
    }

    #[test]
    fn widening_leaves_nothing_out() {
        let filter = |text: &str| text.parse::<TableFilter>().unwrap();
        let widened = |a: &str, b: &str| {
            let widened = filter(a).widened(&filter(b));
            widened.map(|filter| filter.to_string())
        };
        assert_eq!(widened("a.x", "b.*"), Some("a.x,b.*".to_owned()));
        assert_eq!(widened("a.*,!a.x", "b.y"), Some("a.*,b.y,!a.x".to_owned()));
        assert_eq!(widened("a.*", "a.y"), Some("a.*".to_owned()));
        assert_eq!(widened("*.*", "b.y"), Some("*.*".to_owned()));
        // One leaves out what the other one names.
        assert_eq!(widened("a.*,!a.x", "a.x"), None);
        assert_eq!(widened("a.*", "b.*,!a.x"), None);
        let folded = filter("a.*").folded().widened(&filter("B.Y")).unwrap();
        assert!(folded.matches("b", "y"));
        let patterns = filter("a.*,b.y,!a.x").patterns();
        let texts: Vec<_> = patterns.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["a.*,!a.x", "b.y,!a.x"]);
    }

    #[test]
    fn tables_that_are_named() {
        for (text, named) in [
            ("shop.*", true),
            ("sh*.items", true),
            ("*.items", false),
            ("*.*", false),
            ("shop.*,!shop.items", false),
        ] {
            assert_eq!(filter(text).names("shop", "items"), named, "{text}");
        }
        let all = TableFilter::default();
        assert!(!all.names("shop", "items") && !filter(&all.to_string()).names("shop", "items"));
    }

    #[test]
    fn a_database_is_touched_through_its_tables() {
        let filter: TableFilter = "shop.item*,!shop.items_old".parse().unwrap();
        assert!(
            filter.touches("shop", "")
                && filter.touches("shop", "items")
                && !filter.touches("shop", "items_old")
        );
        assert!(!filter.touches("other", "") && !TableFilter::default().touches("mysql", ""));
        assert!(TableFilter::default().touches("other", ""));
    }

    #[test]
    fn names_without_case() {
        let exact = filter("Shop.*,!shop.Tmp_*,Größe.`ÄB İ`");
        assert!(exact.matches("Shop", "a") && !exact.matches("shop", "a"));
        let folded = exact.folded();
        assert!(folded.matches("SHOP", "A") && folded.matches("shop", "a"));
        assert!(!folded.matches("shop", "TMP_1") && folded.touches("sHop", ""));
        assert!(folded.matches("GRÖSSE".replace("SS", "ß").as_str(), "äb İ"));
        assert_eq!(folded.to_string(), "größe.äb İ,shop.*,!shop.tmp_*");
        assert!(folded.within(&filter(&folded.to_string())));
        assert!(folded.names("SHOP", "x") && !folded.matches("MYSQL", "user"));
    }

    #[test]
    fn whole_databases() {
        for (text, covers) in [
            ("*.*", true),
            ("", true),
            ("shop.*", true),
            ("sh*.*", true),
            ("shop.a*", false),
            ("shop.*,!shop.tmp", false),
            ("shop.*,!*.tmp", false),
            ("shop.*,!other.tmp", true),
            ("other.*", false),
        ] {
            assert_eq!(filter(text).covers("shop"), covers, "{text}");
        }
        assert!(!TableFilter::default().covers("mysql"));
    }

    #[test]
    fn includes_then_excludes() {
        let shop = filter("shop.*, !shop.tmp_*");
        assert!(shop.matches("shop", "orders"));
        assert!(!shop.matches("shop", "tmp_1"));
        assert!(!shop.matches("shop2", "orders"));
        assert!(filter("!a.b").matches("c", "d"));
        assert!(!filter("!a.b").matches("a", "b"));
        assert!(filter("a*c.x*y*z").matches("abc", "x1y2yz"));
        assert!(!filter("a*a.*").matches("a", "t"));
    }

    #[test]
    fn system_databases_are_never_carried() {
        for database in SYSTEM_DATABASES {
            assert!(!TableFilter::default().matches(database, "t"));
        }
        assert!(matches!(
            "mysql.*".parse::<TableFilter>(),
            Err(TableFilterError::System { .. })
        ));
    }

    #[test]
    fn quoted_names_are_taken_as_they_are() {
        let odd = filter("`a.b`.`x,*``y`");
        assert!(odd.matches("a.b", "x,*`y"));
        assert!(!odd.matches("a.b", "x,1`y"));
        assert_eq!(odd.to_string(), "`a.b`.`x,*``y`");
        for bad in [
            "`a.b", "a`b`.c", "`a`b`.c", "``.c", "a", "a.", ".b", "a.b.c",
        ] {
            assert!(bad.parse::<TableFilter>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_normalised_text_does_not_depend_on_order() {
        assert_eq!(filter("b.*,!c.d,a.**").to_string(), "a.*,b.*,!c.d");
        assert_eq!(filter("a.*, b.*,a.*,!c.d"), filter("b.*,!c.d,a.*"));
        assert_eq!(TableFilter::default().to_string(), "*.*");
    }

    #[test]
    fn narrower_filters_are_within() {
        for (narrow, wide) in [
            ("shop.*", "*.*"),
            ("shop.*", "!hr.*"),
            ("shop.orders", "shop.*,!shop.tmp_*"),
            ("shop.*,!shop.*_log,!shop.tmp_1", "shop.*,!shop.tmp_1"),
            ("!a.b,!c.d", "!a.b"),
            ("shop.ab*,!shop.tmp*", "shop.a*,!shop.tmp_*"),
            ("*.*", ""),
        ] {
            assert!(filter(narrow).within(&filter(wide)), "{narrow} in {wide}");
        }
        for (wider, narrower) in [
            ("*.*", "shop.*"),
            ("shop.*,hr.*", "shop.*"),
            ("shop.tmp_1", "shop.*,!shop.tmp_*"),
            ("!a.b", "!a.b,!c.d"),
            ("shop.*", "shop.*,!shop.tmp_*"),
        ] {
            assert!(
                !filter(wider).within(&filter(narrower)),
                "{wider} in {narrower}"
            );
        }
    }

    fn texts() -> impl Strategy<Value = String> {
        proptest::collection::vec("!?[ab*]{1,3}\\.[ab*]{1,3}", 0..4).prop_map(|p| p.join(","))
    }

    proptest! {
        #[test]
        fn within_is_never_claimed_wrongly(a in texts(), b in texts(), names in proptest::collection::vec("[ab]{1,4}", 2..40)) {
            let (a, b) = (filter(&a), filter(&b));
            if a.within(&b) {
                for database in &names {
                    for table in &names {
                        prop_assert!(!a.matches(database, table) || b.matches(database, table), "{} {}", database, table);
                    }
                }
            }
            prop_assert!(a.within(&a));
        }

        #[test]
        fn printing_and_reading_again_gives_the_same(text in texts()) {
            let it = filter(&text);
            prop_assert_eq!(filter(&it.to_string()).to_string(), it.to_string());
        }

        #[test]
        fn no_text_panics(text in "[ab.,*!` ]{0,20}") {
            if let Ok(it) = text.parse::<TableFilter>() {
                prop_assert_eq!(filter(&it.to_string()).to_string(), it.to_string());
            }
        }
    }
}
