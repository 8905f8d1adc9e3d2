//! ALTER of tables and databases: what happens to rows, which other tables are named, and what keeps it from being run elsewhere.

use binferry_schemas::record::DdlEffect;

use super::{Definition, Parser, Statement, all_of, tokens::Token};

impl Parser<'_> {
    pub(super) fn alter(mut self) -> Option<Statement> {
        let mut effect = DdlEffect::Define;
        let mut obstacle = None;
        loop {
            if self.skip(&["IGNORE"]) {
                // Rows that a new unique key forbids vanish.
                effect = DdlEffect::Truncate;
                obstacle = Some(
                    "which rows a unique key leaves depends on the order in which a table holds them",
                );
            } else if !self.skip(&["ONLINE", "OFFLINE"]) {
                break;
            }
        }
        if self.skip(&["SEQUENCE"]) {
            return self.sequence(false);
        }
        if self.skip(&["DATABASE", "SCHEMA"]) {
            return self.alter_database();
        }
        if !self.skip(&["TABLE"]) {
            // ALTER ALGORITHM = … VIEW and the like have the modifiers of CREATE.
            return match self.create()? {
                Statement::Definition(definition) if definition.effect == DdlEffect::None => {
                    Some(Statement::Definition(definition))
                }
                _ => None,
            };
        }
        self.if_exists();
        let mut tables = vec![self.table()?];
        self.wait();
        let numbers_rows = self.numbers_rows();
        if self.fills_with_other_values() {
            obstacle = Some(
                "it fills rows with what a function gives, which is something else on each server",
            );
        }
        let mut depth = 0_u32;
        let mut action = true;
        while let Some(token) = self.next() {
            let begins = std::mem::take(&mut action);
            match token {
                Token::Symbol(b'(') => depth += 1,
                Token::Symbol(b')') => depth = depth.saturating_sub(1),
                Token::Symbol(b',') if depth == 0 => action = true,
                _ if depth > 0 => {}
                token
                    if token.is("RENAME")
                        && !["COLUMN", "INDEX", "KEY"].iter().any(|what| self.at(what)) =>
                {
                    self.skip_symbol(b'=');
                    self.skip(&["TO", "AS"]);
                    tables.push(self.table()?);
                    effect = DdlEffect::Rename;
                }
                _ if !begins => {}
                // Rows vanish, or come without row events.
                token if token.is("DISCARD") || token.is("IMPORT") => {
                    effect = DdlEffect::Truncate;
                    obstacle = Some("it takes or gives a file of the source's");
                }
                token if (token.is("DROP") || token.is("TRUNCATE")) && self.at("PARTITION") => {
                    effect = DdlEffect::Truncate;
                }
                // The rows of the past.
                token
                    if token.is("DROP")
                        && matches!(self.tokens, [system, versioning, ..]
                            if system.is("SYSTEM") && versioning.is("VERSIONING")) =>
                {
                    effect = DdlEffect::Truncate;
                }
                token
                    if (token.is("EXCHANGE") || token.is("CONVERT"))
                        && (self.at("PARTITION") || self.at("TABLE")) =>
                {
                    effect = DdlEffect::Truncate;
                    while let Some(token) = self.next() {
                        if token.is("TABLE") {
                            tables.push(self.table()?);
                            break;
                        }
                    }
                }
                _ => {}
            }
        }
        let definition = Definition {
            obstacle,
            numbers_rows,
            ..Definition::new(effect, tables)
        };
        Some(definition.into())
    }

    /// Of a database that is named, or the default one.
    fn alter_database(mut self) -> Option<Statement> {
        let option = [
            "DEFAULT",
            "CHARACTER",
            "CHARSET",
            "COLLATE",
            "ENCRYPTION",
            "READ",
            "COMMENT",
        ];
        let database = match option.iter().any(|word| self.at(word)) {
            true => self.database.to_owned(),
            false => self.identifier()?,
        };
        let tables = all_of(database);
        (!tables[0].0.is_empty()).then(|| Statement::definition(DdlEffect::Define, tables))
    }

    /// AUTO_INCREMENT of a column, not of the table.
    fn numbers_rows(&self) -> bool {
        let counts = |token: Option<&Token<'_>>| match token {
            Some(Token::Symbol(symbol)) => *symbol == b'=',
            Some(Token::Word(word)) => word.starts_with(|c: char| c.is_ascii_digit()),
            _ => false,
        };
        (self.tokens.iter().enumerate())
            .any(|(at, token)| token.is("AUTO_INCREMENT") && !counts(self.tokens.get(at + 1)))
    }

    /// It adds a column, and calls a function that no other server answers in the same way.
    fn fills_with_other_values(&self) -> bool {
        const ALONE: [&str; 1] = ["CURRENT_USER"];
        const CALLED: [&str; 17] = [
            "UUID",
            "UUID_SHORT",
            "UUID_V4",
            "UUID_V7",
            "SYS_GUID",
            "RAND",
            "CONNECTION_ID",
            "USER",
            "SESSION_USER",
            "SYSTEM_USER",
            "DATABASE",
            "SCHEMA",
            "VERSION",
            "LAST_INSERT_ID",
            "ROW_COUNT",
            "FOUND_ROWS",
            "SYSDATE",
        ];
        let any = |token: &Token<'_>, words: &[&str]| words.iter().any(|word| token.is(word));
        let adds = self.tokens.iter().any(|token| token.is("ADD"));
        let calls = self.tokens.windows(3).any(|three| {
            let open = three[1] == Token::Symbol(b'(');
            any(&three[0], &CALLED) && open && three[2] == Token::Symbol(b')')
                || any(&three[0], &["RANDOM_BYTES", "NEXTVAL", "LASTVAL"]) && open
                || any(&three[0], &["NEXT", "PREVIOUS"])
                    && three[1].is("VALUE")
                    && three[2].is("FOR")
        });
        adds && (calls || self.tokens.iter().any(|token| any(token, &ALONE)))
    }
}
