//! What a statement in the binlog does, as far as it matters for captured tables.
//!
//! Under row format the statements that come are the marks of transactions, DDL, and administration. This is no SQL parser: it knows how
//! each kind of statement begins and where its table names are. Whatever it can't follow, it takes for one that may touch any table.

mod alter;
#[cfg(test)]
mod tests;
mod tokens;

use binferry_schemas::record::{DdlEffect, Xid};

use self::tokens::{Scanned, Token, scan};
use super::{
    error::DecodeError,
    query::QueryEvent,
    xa::{self, XaVerb},
};

/// Stands for all tables of a database.
pub const ALL_TABLES: &str = "*";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// BEGIN, START TRANSACTION.
    Begin,
    Commit,
    /// SAVEPOINT, RELEASE SAVEPOINT.
    Savepoint,
    /// What the transaction has changed so far is taken back: all of it, which ends it, or what came after a savepoint.
    Rollback {
        whole: bool,
    },
    Xa(XaVerb, Xid),
    /// Rows changed by a statement. With triggers, functions and cascading keys it may change any table, whatever it names.
    Change {
        /// The statement's first word, and the table that it names.
        verb: String,
        /// All tables of the databases that the server says it changes; empty: any table.
        tables: Vec<(String, String)>,
    },
    /// DDL, or administration that touches no table (no effect, no tables).
    Definition(Box<Definition>),
}

/// A statement that defines tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    pub effect: DdlEffect,
    /// Database and table; the table [`ALL_TABLES`] for a database and what is in it. Empty with [`DdlEffect::Unknown`]: any table.
    pub tables: Vec<Table>,
    /// CREATE TABLE … SELECT: the rows follow in the same transaction, which ends by itself (XID).
    pub rows_follow: bool,
    /// How it can be divided between its tables.
    pub form: Form,
    /// A table that it copies the definition of.
    pub like: Option<Table>,
    /// What keeps it from being run elsewhere with the same effect.
    pub obstacle: Option<&'static str>,
    /// It gives numbers to rows that are there.
    pub numbers_rows: bool,
    /// Its text without the guards of conditional comments, and without what makes a table with its rows; `None`: there is neither.
    pub plain: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// It can't.
    Whole,
    /// DROP TABLE, with nothing else in it.
    Drop { if_exists: bool },
    /// RENAME TABLE: each two tables are a pair.
    Rename,
}

impl Statement {
    fn definition(effect: DdlEffect, tables: Vec<Table>) -> Self {
        Definition::new(effect, tables).into()
    }

    fn harmless() -> Self {
        Self::definition(DdlEffect::None, Vec::new())
    }

    fn unknown() -> Self {
        Self::definition(DdlEffect::Unknown, Vec::new())
    }
}

impl Definition {
    fn new(effect: DdlEffect, tables: Vec<Table>) -> Self {
        Self {
            effect,
            tables,
            rows_follow: false,
            form: Form::Whole,
            like: None,
            obstacle: None,
            numbers_rows: false,
            plain: None,
        }
    }
}

impl From<Definition> for Statement {
    fn from(definition: Definition) -> Self {
        Self::Definition(Box::new(definition))
    }
}

/// What stops a stream where changes of a captured table are taken back by a statement.
pub const ROLLED_BACK: DecodeError = DecodeError::Unsupported {
    event: "QUERY",
    reason: "changes of captured tables are rolled back in the binlog, as happens in transactions that create or drop temporary tables, or change tables without transactions",
    hint: "create and drop temporary tables outside of transactions that change captured tables, and use InnoDB for all tables that change in the same transactions; copy the tables again, and start a new log behind this transaction",
};

/// `mariadb`: it wrote the statement. Errors: XA statements that no server writes.
pub fn classify(query: &QueryEvent<'_>, mariadb: bool) -> Result<Statement, DecodeError> {
    // A statement that is no text in its client's character set: quotes can't be told apart.
    let Some(text) = query.text() else {
        return Ok(Statement::unknown());
    };
    if let Some((verb, xid)) = xa::statement(&text) {
        return Ok(Statement::Xa(verb, xid));
    }
    let scanned = scan(&text, query.sql_mode(), mariadb);
    let Some(Scanned {
        tokens,
        ends,
        guards: mut parts,
    }) = scanned
    else {
        return Ok(Statement::unknown());
    };
    let parser = Parser {
        tokens: &tokens,
        database: query.database(),
    };
    let parser = match mariadb {
        true => parser.without_settings(),
        false => Some(parser),
    };
    let Some(parser) = parser else {
        return Ok(Statement::unknown());
    };
    let mut statement = parser.statement()?;
    if let Statement::Change { tables, .. } = &mut statement {
        let touched = query.session().databases.iter().flatten();
        *tables = touched
            .map(|database| ((*database).to_owned(), ALL_TABLES.to_owned()))
            .collect();
    }
    if let Statement::Definition(definition) = &mut statement {
        if definition.rows_follow
            && let Some(at) = atomic(&tokens)
        {
            // The rows come as events, in a transaction of their own.
            parts.push(ends[at] - "START".len()..ends[at + 1]);
            parts.sort_by_key(|part| part.start);
        }
        if !parts.is_empty() {
            definition.plain = tokens::without(&text, &parts);
        }
        // Quoted, it is a name.
        let starred = |token: &Token<'_>| matches!(token, Token::Name(name) if name == ALL_TABLES);
        if (definition.tables.iter()).any(|(_, table)| table == ALL_TABLES)
            && tokens.iter().any(starred)
        {
            definition.obstacle = Some("the name `*` cannot be told from all tables of a database");
        }
        if query.error_code() != 0 {
            definition.obstacle = Some("it failed on the source, after a part of it was done");
        }
    }
    Ok(statement)
}

/// Of a statement by a MySQL, with the default database `shop`.
#[cfg(test)]
pub(crate) fn definition_of(statement: &str) -> Definition {
    tests::definition(statement, false)
}

fn refused(reason: &'static str, hint: &'static str) -> Result<Statement, DecodeError> {
    Err(DecodeError::Unsupported {
        event: "QUERY",
        reason,
        hint,
    })
}

/// The tokens that are left, and the database of names that don't say theirs.
#[derive(Clone, Copy)]
struct Parser<'t> {
    tokens: &'t [Token<'t>],
    database: &'t str,
}

/// Database and table.
pub type Table = (String, String);

impl<'t> Parser<'t> {
    fn next(&mut self) -> Option<&'t Token<'t>> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn at(&self, keyword: &str) -> bool {
        self.tokens.first().is_some_and(|token| token.is(keyword))
    }

    /// Takes the next token when it is one of these words.
    fn skip(&mut self, keywords: &[&str]) -> bool {
        let hit = keywords.iter().any(|keyword| self.at(keyword));
        if hit {
            self.next();
        }
        hit
    }

    fn skip_symbol(&mut self, symbol: u8) -> bool {
        let hit = self.tokens.first() == Some(&Token::Symbol(symbol));
        if hit {
            self.next();
        }
        hit
    }

    /// What stands behind `SET STATEMENT … FOR`, as often as that comes; MariaDB logs it as a part of the statement. `None`: no end of it.
    fn without_settings(mut self) -> Option<Self> {
        while let [set, statement, rest @ ..] = self.tokens
            && set.is("SET")
            && statement.is("STATEMENT")
        {
            self.tokens = rest;
            let mut depth = 0_u32;
            let mut before: [Option<&Token<'_>>; 2] = [None; 2];
            loop {
                let token = self.next()?;
                match token {
                    Token::Symbol(b'(') => depth += 1,
                    Token::Symbol(b')') => depth = depth.saturating_sub(1),
                    token if depth == 0 && token.is("FOR") => {
                        // NEXT VALUE FOR a sequence.
                        let of_sequence = matches!(before, [Some(a), Some(b)]
                            if (a.is("NEXT") || a.is("PREVIOUS")) && b.is("VALUE"));
                        if !of_sequence {
                            break;
                        }
                    }
                    _ => {}
                }
                before = [before[1], Some(token)];
            }
        }
        Some(self)
    }

    /// MariaDB's `WAIT 1.5` and `NOWAIT`, for the lock.
    fn wait(&mut self) {
        if self.skip(&["WAIT"]) {
            while self.at_number() {
                self.next();
            }
        } else {
            self.skip(&["NOWAIT"]);
        }
    }

    fn at_number(&self) -> bool {
        match self.tokens.first() {
            Some(Token::Word(word)) => word.starts_with(|c: char| c.is_ascii_digit()),
            Some(Token::Symbol(symbol)) => matches!(symbol, b'.' | b'+'),
            _ => false,
        }
    }

    fn if_exists(&mut self) {
        if self.skip(&["IF"]) {
            self.skip(&["NOT"]);
            self.skip(&["EXISTS"]);
        }
    }

    fn identifier(&mut self) -> Option<String> {
        match self.next()? {
            Token::Word(word) => Some((*word).to_owned()),
            Token::Name(name) => Some(name.clone().into_owned()),
            Token::Literal | Token::Symbol(_) => None,
        }
    }

    fn table(&mut self) -> Option<Table> {
        let first = self.identifier()?;
        if self.skip_symbol(b'.') {
            return Some((first, self.identifier()?));
        }
        // A name without a database needs one that is selected.
        (!self.database.is_empty()).then(|| (self.database.to_owned(), first))
    }

    fn tables(&mut self) -> Option<Vec<Table>> {
        let mut tables = vec![self.table()?];
        while self.skip_symbol(b',') {
            tables.push(self.table()?);
        }
        Some(tables)
    }

    fn statement(mut self) -> Result<Statement, DecodeError> {
        let Some(Token::Word(first)) = self.next() else {
            // `(SELECT …)`, or nothing but comments.
            return Ok(if self.tokens.is_empty() {
                Statement::harmless()
            } else {
                Statement::unknown()
            });
        };
        let known = match first.to_ascii_uppercase().as_str() {
            "BEGIN" => Some(Statement::Begin),
            "START" if self.at("TRANSACTION") => Some(Statement::Begin),
            "COMMIT" => Some(Statement::Commit),
            "SAVEPOINT" | "RELEASE" => Some(Statement::Savepoint),
            "ROLLBACK" => Some(Statement::Rollback {
                whole: !self.tokens.iter().any(|token| token.is("TO")),
            }),
            "XA" => {
                return refused(
                    "the XA statement is none that a server writes",
                    "check the binlog file on the source with mysqlbinlog --verify-binlog-checksum",
                );
            }
            verb @ ("INSERT" | "REPLACE" | "UPDATE" | "DELETE" | "LOAD" | "WITH" | "SELECT"
            | "CALL" | "DO" | "VALUES" | "HANDLER" | "TABLE") => Some(self.change(verb)),
            "CREATE" => self.create(),
            "ALTER" => self.alter(),
            "DROP" => self.drop(),
            "TRUNCATE" => {
                self.skip(&["TABLE"]);
                self.table()
                    .map(|table| Statement::definition(DdlEffect::Truncate, vec![table]))
            }
            "RENAME" => self.rename(),
            "ANALYZE" => Some(self.analyze()),
            "GRANT" | "REVOKE" | "SET" | "OPTIMIZE" | "REPAIR" | "CHECK" | "CHECKSUM" | "FLUSH"
            | "INSTALL" | "UNINSTALL" | "RESET" | "PURGE" | "CACHE" | "KILL" | "LOCK"
            | "UNLOCK" | "USE" => Some(Statement::harmless()),
            _ => None,
        };
        Ok(known.unwrap_or_else(Statement::unknown))
    }

    /// Of tables, or MariaDB's `ANALYZE FORMAT=JSON UPDATE …`, which changes rows.
    fn analyze(mut self) -> Statement {
        while self.skip(&["EXTENDED", "PARTITIONS", "FORMAT"]) {
            if self.skip_symbol(b'=') {
                self.next();
            }
        }
        match self.next() {
            Some(Token::Word(verb))
                if ["INSERT", "REPLACE", "UPDATE", "DELETE", "SELECT", "WITH"]
                    .iter()
                    .any(|change| verb.eq_ignore_ascii_case(change)) =>
            {
                self.change(&verb.to_ascii_uppercase())
            }
            _ => Statement::harmless(),
        }
    }

    fn change(mut self, verb: &str) -> Statement {
        let found = match verb {
            "INSERT" | "REPLACE" | "UPDATE" => {
                while self.skip(&["LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "IGNORE", "INTO"]) {}
                self.table()
            }
            "DELETE" => {
                while self.skip(&["LOW_PRIORITY", "QUICK", "IGNORE", "FROM"]) {}
                self.table()
            }
            "LOAD" => loop {
                match self.next() {
                    None => break None,
                    Some(token) if token.is("TABLE") => break self.table(),
                    Some(_) => {}
                }
            },
            _ => None,
        };
        Statement::Change {
            verb: match found {
                Some((database, table)) => format!("{verb} {database}.{table}"),
                None => verb.to_owned(),
            },
            tables: Vec::new(),
        }
    }

    fn create(mut self) -> Option<Statement> {
        let mut temporary = false;
        let mut replace = false;
        loop {
            if self.skip(&["OR"]) {
                replace = self.skip(&["REPLACE"]);
            } else if self.skip(&["TEMPORARY"]) {
                temporary = true;
            } else if self.skip(&["ALGORITHM"]) {
                self.skip_symbol(b'=');
                self.next();
            } else if self.skip(&["DEFINER"]) {
                self.skip_symbol(b'=');
                self.next();
                if self.skip_symbol(b'@') {
                    self.next();
                }
                // CURRENT_USER().
                if self.skip_symbol(b'(') {
                    self.skip_symbol(b')');
                }
            } else if self.skip(&["SQL"]) {
                self.skip(&["SECURITY"]);
                self.next();
            } else if !self.skip(&[
                "UNIQUE",
                "FULLTEXT",
                "SPATIAL",
                "VECTOR",
                "AGGREGATE",
                "UNDO",
                "ONLINE",
                "OFFLINE",
                "JSON",
                "RELATIONAL",
                "DUALITY",
            ]) {
                break;
            }
        }
        let Some(Token::Word(object)) = self.next() else {
            return None;
        };
        match object.to_ascii_uppercase().as_str() {
            "TABLE" | "SEQUENCE" if temporary => Some(Statement::harmless()),
            "TABLE" => self.create_table(replace),
            "SEQUENCE" => self.sequence(replace),
            "INDEX" => self.index(),
            "DATABASE" | "SCHEMA" => {
                self.if_exists();
                let database = self.identifier()?;
                let effect = match replace {
                    true => DdlEffect::Drop,
                    false => DdlEffect::Define,
                };
                Some(Statement::definition(effect, all_of(database)))
            }
            object => is_other_object(object).then(Statement::harmless),
        }
    }

    fn create_table(mut self, replace: bool) -> Option<Statement> {
        self.if_exists();
        let table = self.table()?;
        // Rows that come out of the statement itself: under row format the server writes it without its SELECT.
        let mut depth = 0_u32;
        for token in self.tokens {
            match token {
                Token::Symbol(b'(') => depth += 1,
                Token::Symbol(b')') => depth = depth.saturating_sub(1),
                token
                    if token.is("SELECT")
                        || depth == 0 && (token.is("VALUES") || token.is("TABLE")) =>
                {
                    return Some(Statement::Change {
                        verb: format!("CREATE TABLE {}.{} … SELECT", table.0, table.1),
                        tables: Vec::new(),
                    });
                }
                _ => {}
            }
        }
        let rows_follow = atomic(self.tokens).is_some();
        let mut like = self;
        like.skip_symbol(b'(');
        let like = match like.skip(&["LIKE"]) {
            true => Some(like.table()?),
            false => None,
        };
        let effect = match replace {
            true => DdlEffect::Drop,
            false => DdlEffect::Define,
        };
        let definition = Definition {
            rows_follow,
            like,
            ..Definition::new(effect, vec![table])
        };
        Some(definition.into())
    }

    /// A sequence is a table of one row, and its row is never captured: no effect on rows, unless it replaces a table.
    fn sequence(mut self, replace: bool) -> Option<Statement> {
        self.if_exists();
        let tables = self.tables()?;
        let effect = if replace {
            DdlEffect::Drop
        } else {
            DdlEffect::Define
        };
        Some(Statement::definition(effect, tables))
    }

    /// `name [USING type] ON table`, of CREATE INDEX and DROP INDEX.
    fn index(mut self) -> Option<Statement> {
        self.if_exists();
        self.identifier()?;
        if self.skip(&["USING"]) {
            self.next();
        }
        if !self.skip(&["ON"]) {
            return None;
        }
        let table = self.table()?;
        Some(Statement::definition(DdlEffect::Define, vec![table]))
    }

    fn drop(mut self) -> Option<Statement> {
        let temporary = self.skip(&["TEMPORARY"]);
        while self.skip(&["UNDO", "SPATIAL", "ONLINE", "OFFLINE"]) {}
        let Some(Token::Word(object)) = self.next() else {
            return None;
        };
        match object.to_ascii_uppercase().as_str() {
            "TABLE" | "TABLES" | "SEQUENCE" if temporary => Some(Statement::harmless()),
            "TABLE" | "TABLES" => {
                let if_exists = self.at("IF");
                self.if_exists();
                let tables = self.tables()?;
                self.wait();
                self.skip(&["RESTRICT", "CASCADE"]);
                let form = match self.tokens.is_empty() {
                    true => Form::Drop { if_exists },
                    false => Form::Whole,
                };
                let definition = Definition {
                    form,
                    ..Definition::new(DdlEffect::Drop, tables)
                };
                Some(definition.into())
            }
            "SEQUENCE" => self.sequence(false),
            "INDEX" => self.index(),
            "DATABASE" | "SCHEMA" => {
                self.if_exists();
                let database = self.identifier()?;
                Some(Statement::definition(DdlEffect::Drop, all_of(database)))
            }
            "PREPARE" => Some(Statement::harmless()),
            object => is_other_object(object).then(Statement::harmless),
        }
    }

    fn rename(mut self) -> Option<Statement> {
        if self.skip(&["USER"]) {
            return Some(Statement::harmless());
        }
        if !self.skip(&["TABLE", "TABLES"]) {
            return None;
        }
        self.if_exists();
        let mut tables = Vec::new();
        loop {
            tables.push(self.table()?);
            self.wait();
            if !self.skip(&["TO"]) {
                return None;
            }
            tables.push(self.table()?);
            if !self.skip_symbol(b',') {
                let form = match self.tokens.is_empty() {
                    true => Form::Rename,
                    false => Form::Whole,
                };
                let definition = Definition {
                    form,
                    ..Definition::new(DdlEffect::Rename, tables)
                };
                return Some(definition.into());
            }
        }
    }
}

/// Where START TRANSACTION stands among the options of a table.
fn atomic(tokens: &[Token<'_>]) -> Option<usize> {
    let mut depth = 0_u32;
    tokens.windows(2).position(|pair| {
        match pair[0] {
            Token::Symbol(b'(') => depth += 1,
            Token::Symbol(b')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && pair[0].is("START") && pair[1].is("TRANSACTION")
    })
}

fn all_of(database: String) -> Vec<Table> {
    vec![(database, ALL_TABLES.to_owned())]
}

/// What can be created and dropped and holds no rows of a table.
fn is_other_object(word: &str) -> bool {
    matches!(
        word,
        "DATABASE"
            | "SCHEMA"
            | "VIEW"
            | "PROCEDURE"
            | "FUNCTION"
            | "TRIGGER"
            | "EVENT"
            | "USER"
            | "ROLE"
            | "SERVER"
            | "TABLESPACE"
            | "LOGFILE"
            | "RESOURCE"
            | "REFERENCE"
            | "LIBRARY"
            // And its body.
            | "PACKAGE"
            | "INSTANCE"
    )
}
