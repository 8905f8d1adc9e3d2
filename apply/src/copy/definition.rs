//! The text of a CREATE TABLE as SHOW CREATE TABLE prints it, taken apart as far as a copy needs: foreign keys to tables that do not come
//! have to come out, and plain keys may.
//!
//! Only the list in the first parentheses is looked at, and of it only where its items end and how they begin. Quotes are followed as the
//! server of the text would: names in backticks, text in quotes, backslashes in text unless `sql_mode` has `NO_BACKSLASH_ESCAPES`. What is
//! not understood is left alone or refused: never cut in the middle.

use crate::error::TableName;

/// `sql_mode` flags as binlogs and records number them (`sql/sql_const.h`, MODE_…).
const ANSI_QUOTES: u64 = 1 << 2;
const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;

/// A CREATE TABLE, and the foreign keys that were in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// With those foreign keys that can be there from the beginning; the table's name is as it was.
    pub create: String,
    /// There are such.
    pub refers: bool,
    /// The others.
    pub foreign_keys: Vec<ForeignKey>,
    /// The columns that the source computes.
    pub generated: Vec<String>,
    /// Columns that may be NULL and have no default, not even that: no CREATE TABLE gives them that, only `ALTER … DROP DEFAULT`.
    pub bare: Vec<String>,
    /// Its plain keys, when all of them can as well be added after the rows: SHOW CREATE TABLE then prints the same again.
    pub later: Vec<LaterKey>,
    /// `create` without those.
    pub unkeyed: String,
}

/// A key that orders rows, and decides nothing about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaterKey {
    /// `KEY … (…) …`, as it was.
    pub text: String,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// `CONSTRAINT … FOREIGN KEY (…) REFERENCES …`, as it was.
    pub text: String,
    /// SHOW CREATE TABLE always prints one.
    pub name: String,
    pub parent: TableName,
}

/// Why a text cannot be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    #[error("it is no CREATE TABLE with a list of columns")]
    Shape,
    #[error("a quote or a parenthesis is not closed")]
    Open,
    #[error("a foreign key is not in the form of SHOW CREATE TABLE")]
    ForeignKey,
}

impl Definition {
    /// `database` is the table's: a parent without one is there too. `comes`: so does that parent, now or later.
    pub fn parse(
        text: &str,
        sql_mode: u64,
        database: &str,
        comes: impl Fn(&TableName) -> bool,
    ) -> Result<Self, Unclear> {
        let quotes = Quotes { sql_mode };
        let items = quotes.items(text)?;
        let (mut kept, mut foreign_keys, mut generated) = (Vec::new(), Vec::new(), Vec::new());
        let (mut bare, mut refers) = (Vec::new(), false);
        for item in &text_items(text, &items) {
            match quotes.foreign_key(item.trim(), database)? {
                Some(key) if comes(&key.parent) => {
                    refers = true;
                    kept.push(*item);
                }
                Some(key) => foreign_keys.push(key),
                None => {
                    kept.push(*item);
                    generated.extend(quotes.generated(item)?);
                    bare.extend(quotes.bare(item)?);
                }
            }
        }
        if kept.is_empty() {
            return Err(Unclear::Shape);
        }
        let (head, tail) = (&text[..items.start], &text[items.end..]);
        // What stood between the last item and the parenthesis: a line break.
        let last = text_items(text, &items).last().copied().unwrap_or_default();
        let space = &last[last.trim_end().len()..];
        let without = |list: &[&str]| format!("{head}{}{space}{tail}", list.join(",").trim_end());
        let create = match foreign_keys.is_empty() {
            true => text.to_owned(),
            false => without(&kept),
        };
        let (later, rest) = quotes.later(&text_items(text, &items))?;
        let unkeyed = match later.is_empty() {
            true => create.clone(),
            false => without(&rest),
        };
        Ok(Self {
            create,
            refers,
            foreign_keys,
            generated,
            bare,
            later,
            unkeyed,
        })
    }
}

/// Where the list begins and ends, and the commas that part its items.
struct Items {
    start: usize,
    end: usize,
    commas: Vec<usize>,
}

fn text_items<'a>(text: &'a str, items: &Items) -> Vec<&'a str> {
    let starts = std::iter::once(items.start).chain(items.commas.iter().map(|at| at + 1));
    let ends = items.commas.iter().copied().chain([items.end]);
    starts.zip(ends).map(|(from, to)| &text[from..to]).collect()
}

#[derive(Debug, Clone, Copy)]
struct Quotes {
    sql_mode: u64,
}

impl Quotes {
    /// The end of the quoted text that begins at `at`.
    fn skip(self, bytes: &[u8], at: usize) -> Result<usize, Unclear> {
        let quote = bytes[at];
        let name = quote == b'`' || quote == b'"' && self.sql_mode & ANSI_QUOTES != 0;
        let escapes = !name && self.sql_mode & NO_BACKSLASH_ESCAPES == 0;
        let mut at = at + 1;
        while at < bytes.len() {
            match bytes[at] {
                b'\\' if escapes => at += 2,
                byte if byte == quote && bytes.get(at + 1) == Some(&quote) => at += 2,
                byte if byte == quote => return Ok(at + 1),
                _ => at += 1,
            }
        }
        Err(Unclear::Open)
    }

    fn items(self, text: &str) -> Result<Items, Unclear> {
        let bytes = text.as_bytes();
        let (mut at, mut depth, mut start, mut commas) = (0, 0_u32, 0, Vec::new());
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'`' | b'\'' | b'"' => {
                    at = self.skip(bytes, at)?;
                    continue;
                }
                b'(' => {
                    depth += 1;
                    if depth == 1 {
                        start = at + 1;
                    }
                }
                b')' => {
                    depth = depth.checked_sub(1).ok_or(Unclear::Shape)?;
                    if depth == 0 {
                        let end = at;
                        return Ok(Items { start, end, commas });
                    }
                }
                b',' if depth == 1 => commas.push(at),
                _ => {}
            }
            at += 1;
        }
        Err(match depth {
            0 => Unclear::Shape,
            _ => Unclear::Open,
        })
    }

    fn foreign_key(self, item: &str, database: &str) -> Result<Option<ForeignKey>, Unclear> {
        let tokens = self.tokens(item)?;
        let mut tokens = tokens.iter().peekable();
        let mut name = None;
        if tokens
            .next_if(|token| token.is_word("CONSTRAINT"))
            .is_some()
        {
            name = tokens.next_if(|token| token.is_name());
        }
        if !(tokens.next().is_some_and(|token| token.is_word("FOREIGN"))
            && tokens.next().is_some_and(|token| token.is_word("KEY")))
        {
            return Ok(None);
        }
        let name = name.ok_or(Unclear::ForeignKey)?.text.clone();
        let mut tokens = tokens.skip_while(|token| !token.is_word("REFERENCES"));
        tokens.next().ok_or(Unclear::ForeignKey)?;
        let mut part = || tokens.next().ok_or(Unclear::ForeignKey);
        let first = part()?;
        let parent = match part()? {
            dot if dot.text == "." && !dot.quoted => TableName {
                database: first.text.clone(),
                table: part()?.text.clone(),
            },
            _ => TableName {
                database: database.to_owned(),
                table: first.text.clone(),
            },
        };
        Ok(Some(ForeignKey {
            text: item.to_owned(),
            name,
            parent,
        }))
    }

    /// The plain keys and the rest of the list; no key where one of them has to be there, or would come to stand in another place than it had.
    fn later<'a>(self, items: &[&'a str]) -> Result<(Vec<LaterKey>, Vec<&'a str>), Unclear> {
        let (mut later, mut rest, mut first_columns) = (Vec::new(), Vec::new(), Vec::new());
        let mut counter = None;
        for item in items {
            let tokens = self.tokens(item)?;
            match &tokens[..] {
                // An expression means what it means in the session of the whole text.
                [key, name, open, column, ..]
                    if key.is_word("KEY") && name.quoted && open.is_sign("(") && column.quoted =>
                {
                    first_columns.push(column.text.clone());
                    later.push(LaterKey {
                        text: item.trim().to_owned(),
                        name: name.text.clone(),
                    });
                    continue;
                }
                // A foreign key needs one of the keys; the others are printed behind plain ones.
                [first, ..]
                    if ["KEY", "FULLTEXT", "SPATIAL", "FOREIGN"]
                        .iter()
                        .any(|word| first.is_word(word)) =>
                {
                    return Ok((Vec::new(), Vec::new()));
                }
                [_, _, foreign, ..] if foreign.is_word("FOREIGN") => {
                    return Ok((Vec::new(), Vec::new()));
                }
                [column, ..] if tokens.iter().any(|token| token.is_word("AUTO_INCREMENT")) => {
                    counter = Some(column.text.clone());
                }
                _ => {}
            }
            rest.push(*item);
        }
        // The server wants a key on it from the beginning.
        if counter.is_some_and(|counter| first_columns.contains(&counter)) {
            return Ok((Vec::new(), Vec::new()));
        }
        Ok((later, rest))
    }

    /// The name, when it is a column that is computed.
    fn generated(self, item: &str) -> Result<Option<String>, Unclear> {
        let tokens = self.tokens(item)?;
        let words = ["GENERATED", "ALWAYS", "AS"];
        let computed = tokens.windows(words.len()).any(|some| {
            some.iter()
                .zip(words)
                .all(|(token, word)| token.is_word(word))
        });
        let name = tokens.into_iter().next();
        Ok(name.filter(|_| computed).map(|token| token.text))
    }

    /// The name, when it is a column without a default that could be NULL. Of types that have no default, none is ever printed.
    fn bare(self, item: &str) -> Result<Option<String>, Unclear> {
        const WITHOUT: [&str; 19] = [
            "TINYTEXT",
            "TEXT",
            "MEDIUMTEXT",
            "LONGTEXT",
            "TINYBLOB",
            "BLOB",
            "MEDIUMBLOB",
            "LONGBLOB",
            "JSON",
            "VECTOR",
            "GEOMETRY",
            "POINT",
            "LINESTRING",
            "POLYGON",
            "MULTIPOINT",
            "MULTILINESTRING",
            "MULTIPOLYGON",
            "GEOMCOLLECTION",
            "GEOMETRYCOLLECTION",
        ];
        let tokens = self.tokens(item)?;
        let [name, ty, rest @ ..] = &tokens[..] else {
            return Ok(None);
        };
        let is_column = name.quoted && !ty.quoted;
        let has_none = WITHOUT.iter().any(|word| ty.is_word(word));
        let word = |a: &str| rest.iter().any(|token| token.is_word(a));
        let may_be_null = !rest
            .windows(2)
            .any(|some| some[0].is_word("NOT") && some[1].is_word("NULL"));
        let defined = word("DEFAULT") || word("GENERATED") || word("AS") || word("AUTO_INCREMENT");
        Ok((is_column && !has_none && may_be_null && !defined).then(|| name.text.clone()))
    }

    /// Names, words and single characters.
    fn tokens(self, item: &str) -> Result<Vec<Token>, Unclear> {
        let bytes = item.as_bytes();
        let (mut at, mut tokens) = (0, Vec::new());
        while let Some(&byte) = bytes.get(at) {
            let from = at;
            match byte {
                b'`' | b'\'' | b'"' => {
                    at = self.skip(bytes, at)?;
                    let quote = char::from(byte);
                    let inner = item.get(from + 1..at - 1).ok_or(Unclear::Open)?;
                    let doubled: String = [quote, quote].iter().collect();
                    tokens.push(Token {
                        text: inner.replace(&doubled, &quote.to_string()),
                        quoted: true,
                    });
                }
                _ if byte.is_ascii_whitespace() => at += 1,
                _ => {
                    let is_word = |byte: u8| {
                        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
                    };
                    while bytes.get(at).is_some_and(|byte| is_word(*byte)) {
                        at += 1;
                    }
                    at = at.max(from + 1);
                    tokens.push(Token {
                        text: item[from..at].to_owned(),
                        quoted: false,
                    });
                }
            }
        }
        Ok(tokens)
    }
}

#[derive(Debug)]
struct Token {
    text: String,
    quoted: bool,
}

impl Token {
    fn is_word(&self, word: &str) -> bool {
        !self.quoted && self.text.eq_ignore_ascii_case(word)
    }

    fn is_sign(&self, sign: &str) -> bool {
        !self.quoted && self.text == sign
    }

    fn is_name(&self) -> bool {
        self.quoted || !self.is_word("FOREIGN")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Definition {
        Definition::parse(text, 0, "shop", |_| false).unwrap()
    }

    #[test]
    fn foreign_keys_come_out() {
        let definition = parse(
            "CREATE TABLE `c` (\n  `id` int NOT NULL,\n  `p` int DEFAULT NULL,\n  PRIMARY KEY (`id`),\n  KEY `p` (`p`),\n  \
             CONSTRAINT `c_ibfk_1` FOREIGN KEY (`p`) REFERENCES `p` (`id`) ON DELETE SET NULL,\n  \
             CONSTRAINT `x``y` FOREIGN KEY (`p`, `id`) REFERENCES `other db`.`q``r` (`a`, `b`),\n  \
             CONSTRAINT `c_chk_1` CHECK ((`id` > 0))\n) ENGINE=InnoDB COMMENT='a, FOREIGN KEY (`'",
        );
        assert_eq!(
            definition.create,
            "CREATE TABLE `c` (\n  `id` int NOT NULL,\n  `p` int DEFAULT NULL,\n  PRIMARY KEY (`id`),\n  KEY `p` (`p`),\n  \
             CONSTRAINT `c_chk_1` CHECK ((`id` > 0))\n) ENGINE=InnoDB COMMENT='a, FOREIGN KEY (`'"
        );
        let parents: Vec<_> = (definition.foreign_keys.iter())
            .map(|key| (key.name.as_str(), key.parent.to_string()))
            .collect();
        assert_eq!(
            parents,
            [
                ("c_ibfk_1", "shop.p".to_owned()),
                ("x`y", "other db.q`r".to_owned())
            ]
        );
        assert_eq!(
            definition.foreign_keys[0].text,
            "CONSTRAINT `c_ibfk_1` FOREIGN KEY (`p`) REFERENCES `p` (`id`) ON DELETE SET NULL"
        );
    }

    #[test]
    fn plain_keys_may_come_later() {
        let definition = parse(
            "CREATE TABLE `c` (\n  `id` int NOT NULL AUTO_INCREMENT,\n  `a``b` varchar(40),\n  PRIMARY KEY (`id`),\n  UNIQUE KEY `u` (`id`),\n  \
             KEY `a``k` (`a``b`(5) DESC) COMMENT ',KEY',\n  CONSTRAINT `x` CHECK ((`id` > 0)),\n  KEY `z` (`id`,`a``b`)\n) ENGINE=InnoDB",
        );
        // Whose first column counts.
        assert!(definition.later.is_empty());
        assert_eq!(definition.unkeyed, definition.create);
        let definition = parse(
            "CREATE TABLE `c` (\n  `id` int NOT NULL AUTO_INCREMENT,\n  `a``b` varchar(40),\n  PRIMARY KEY (`id`),\n  UNIQUE KEY `u` (`id`),\n  \
             KEY `a``k` (`a``b`(5) DESC) COMMENT ',KEY',\n  KEY `z` (`a``b`,`id`)\n) ENGINE=InnoDB",
        );
        let names: Vec<_> = definition.later.iter().map(|key| &*key.name).collect();
        assert_eq!(names, ["a`k", "z"]);
        assert_eq!(
            definition.later[0].text,
            "KEY `a``k` (`a``b`(5) DESC) COMMENT ',KEY'"
        );
        assert_eq!(
            definition.unkeyed,
            "CREATE TABLE `c` (\n  `id` int NOT NULL AUTO_INCREMENT,\n  `a``b` varchar(40),\n  PRIMARY KEY (`id`),\n  UNIQUE KEY `u` (`id`)\n) ENGINE=InnoDB"
        );
        for other in [
            "FULLTEXT KEY `f` (`a`)",
            "SPATIAL KEY `s` (`a`)",
            "KEY `f` ((`a` + 1))",
            "CONSTRAINT `x` FOREIGN KEY (`a`) REFERENCES `p` (`id`)",
        ] {
            let definition = parse(&format!(
                "CREATE TABLE `c` (`a` int, KEY `k` (`a`), {other})"
            ));
            assert!(definition.later.is_empty(), "{other}");
        }
    }

    #[test]
    fn columns_without_any_default() {
        let definition = parse(
            "CREATE TABLE `c` (\n  `id` int NOT NULL,\n  `a` varchar(40),\n  `b` varchar(40) DEFAULT NULL,\n  `t` text,\n  \
             `g` int GENERATED ALWAYS AS ((`id` + 1)) VIRTUAL,\n  `d``e` decimal(9,2) COMMENT 'NOT NULL DEFAULT',\n  `s` timestamp NULL,\n  \
             PRIMARY KEY (`id`),\n  KEY `a` (`a`),\n  CONSTRAINT `x` CHECK ((`id` > 0))\n) ENGINE=InnoDB",
        );
        assert_eq!(definition.bare, ["a", "d`e", "s"]);
    }

    #[test]
    fn foreign_keys_to_tables_that_come_stay() {
        let text = "CREATE TABLE `c` (\n  `p` int,\n  CONSTRAINT `f` FOREIGN KEY (`p`) REFERENCES `p` (`id`),\n  \
             CONSTRAINT `g` FOREIGN KEY (`p`) REFERENCES `q` (`id`)\n) ENGINE=InnoDB";
        let all = Definition::parse(text, 0, "shop", |_| true).unwrap();
        assert_eq!((all.create.as_str(), all.foreign_keys.len()), (text, 0));
        assert!(all.refers);
        let one = Definition::parse(text, 0, "shop", |parent| parent.table == "p").unwrap();
        assert_eq!(one.foreign_keys[0].name, "g");
        assert_eq!(
            one.create,
            "CREATE TABLE `c` (\n  `p` int,\n  CONSTRAINT `f` FOREIGN KEY (`p`) REFERENCES `p` (`id`)\n) ENGINE=InnoDB"
        );
    }

    #[test]
    fn a_foreign_key_at_the_end() {
        let definition = parse(
            "CREATE TABLE `c` (\n  `p` int,\n  CONSTRAINT `f` FOREIGN KEY (`p`) REFERENCES `p` (`id`)\n) ENGINE=InnoDB",
        );
        assert_eq!(
            definition.create,
            "CREATE TABLE `c` (\n  `p` int\n) ENGINE=InnoDB"
        );
    }

    #[test]
    fn what_only_looks_like_one() {
        for text in [
            r"CREATE TABLE `a(b` (`x` int COMMENT 'it''s \', CONSTRAINT `f` FOREIGN KEY (`x`) REFERENCES `p` (`id`)') ENGINE=InnoDB",
            "CREATE TABLE `t` (`FOREIGN KEY` int, `,` enum('a,b','c)(') DEFAULT 'c)(', KEY `CONSTRAINT` (`,`)) /*!50100 PARTITION BY KEY () */",
            "CREATE TABLE `t` (`constraint` int, CONSTRAINT `k` CHECK ((`constraint` <> _utf8mb4'FOREIGN KEY')))",
        ] {
            let definition = parse(text);
            assert_eq!(definition.create, text);
            assert_eq!(
                (definition.foreign_keys, definition.generated),
                (vec![], vec![])
            );
        }
    }

    #[test]
    fn columns_that_are_computed() {
        let definition = parse(
            "CREATE TABLE `t` (`a` int, `b`` c` int GENERATED ALWAYS AS ((`a` + 1)) VIRTUAL, `d` varchar(9) DEFAULT ' GENERATED ALWAYS AS ')",
        );
        assert_eq!(definition.generated, ["b` c"]);
    }

    #[test]
    fn quotes_follow_the_sql_mode() {
        let key = r#"CONSTRAINT "f" FOREIGN KEY ("x") REFERENCES "p" ("id")"#;
        let text = format!(r#"CREATE TABLE "t" ("x\" int DEFAULT '\', {key})"#);
        let mode = ANSI_QUOTES | NO_BACKSLASH_ESCAPES;
        let definition = Definition::parse(&text, mode, "shop", |_| false).unwrap();
        assert_eq!(definition.foreign_keys.len(), 1);
        assert_eq!(definition.foreign_keys[0].name, "f");
        assert_eq!(
            Definition::parse(&text, 0, "shop", |_| false),
            Err(Unclear::Open)
        );
    }

    #[test]
    fn refused() {
        for (text, why) in [
            ("CREATE TABLE `t` LIKE `u`", Unclear::Shape),
            ("", Unclear::Shape),
            ("CREATE TABLE `t` (`x` int", Unclear::Open),
            ("CREATE TABLE `t", Unclear::Open),
            ("CREATE TABLE `t` (`x` int) )", Unclear::Shape),
            (
                "CREATE TABLE `t` (`x` int, FOREIGN KEY (`x`) REFERENCES `p` (`id`))",
                Unclear::ForeignKey,
            ),
            (
                "CREATE TABLE `t` (`x` int, CONSTRAINT `f` FOREIGN KEY (`x`))",
                Unclear::ForeignKey,
            ),
        ] {
            let found = Definition::parse(text, 0, "shop", |_| false);
            match text.ends_with(") )") {
                // The list ends before.
                true => assert!(found.is_ok()),
                false => assert_eq!(found, Err(why), "{text}"),
            }
        }
    }
}
