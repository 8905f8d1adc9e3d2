//! Statements cut into tokens, as far as it takes to tell names from words, literals and comments.
//!
//! Comments are dropped; what `/*!` guards is read as a part of the statement, unless it is for a version that no server has yet: where a
//! server leaves out what is for a newer one, it takes the `!` out of the text that it logs. MariaDB has `/*M!` besides, and leaves out
//! what `/*!` guards for MySQL 5.7 and later. Guards do not nest: the first `*/` ends all of them. A literal is one token without its
//! content.
//!
//! (MariaDB's `sql/sql_lex.cc`, MySQL's too; tried out on both.)

use std::{borrow::Cow, ops::Range};

/// `sql_mode` bits (`sql/system_variables.h`).
const ANSI_QUOTES: u64 = 1 << 2;
const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;
/// `/*!99999` is a way to write a comment.
const NO_SERVER: u32 = 99_999;
/// `/*!` with these versions of MySQL's is a comment for MariaDB.
const NOT_MARIADB: std::ops::RangeInclusive<u32> = 50_700..=99_999;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword, a number, or a name without quotes.
    Word(&'a str),
    /// A name in quotes.
    Name(Cow<'a, str>),
    Literal,
    Symbol(u8),
}

impl Token<'_> {
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// A statement's tokens, and where guards stand in its text.
#[derive(Debug)]
pub(super) struct Scanned<'a> {
    pub tokens: Vec<Token<'a>>,
    /// Where each token ends.
    pub ends: Vec<usize>,
    /// Bytes of `/*!50100` and of the `*/` that ends it: without them the text says the same, to each server.
    pub guards: Vec<Range<usize>>,
}

/// `None` when a quote or a comment does not end.
pub(super) fn scan(text: &str, sql_mode: u64, mariadb: bool) -> Option<Scanned<'_>> {
    let mut scanner = Scanner {
        text,
        at: 0,
        sql_mode,
        mariadb,
        guarded: false,
        guards: Vec::new(),
    };
    let (mut tokens, mut ends) = (Vec::new(), Vec::new());
    while let Some(byte) = scanner.peek(0) {
        scanner.one(byte, &mut tokens)?;
        // One at a time, or none.
        ends.resize(tokens.len(), scanner.at);
    }
    let guards = scanner.guards;
    (!scanner.guarded).then_some(Scanned {
        tokens,
        ends,
        guards,
    })
}

/// The text without some parts of it.
pub(super) fn without(text: &str, parts: &[Range<usize>]) -> Option<String> {
    let mut rest = String::with_capacity(text.len());
    let mut at = 0;
    for part in parts {
        rest.push_str(text.get(at..part.start)?);
        // As a comment, it kept words apart.
        rest.push(' ');
        at = part.end;
    }
    rest.push_str(text.get(at..)?);
    Some(rest)
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    sql_mode: u64,
    mariadb: bool,
    /// Inside `/*! … */`.
    guarded: bool,
    guards: Vec<Range<usize>>,
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

impl<'a> Scanner<'a> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn one(&mut self, byte: u8, tokens: &mut Vec<Token<'a>>) -> Option<()> {
        match byte {
            b'#' => self.line(),
            b'-' if self.peek(1) == Some(b'-') && self.peek(2).is_none_or(|b| b <= b' ') => {
                self.line();
            }
            b'/' if self.peek(1) == Some(b'*') => self.comment()?,
            b'*' if self.guarded && self.peek(1) == Some(b'/') => {
                self.guarded = false;
                self.guards.push(self.at..self.at + 2);
                self.at += 2;
            }
            b'`' => tokens.push(Token::Name(self.quoted(byte, false)?)),
            b'"' if self.sql_mode & ANSI_QUOTES != 0 => {
                tokens.push(Token::Name(self.quoted(byte, false)?));
            }
            b'\'' | b'"' => {
                self.quoted(byte, self.sql_mode & NO_BACKSLASH_ESCAPES == 0)?;
                tokens.push(Token::Literal);
            }
            _ if is_word(byte) => {
                let length = self.rest().iter().take_while(|&&b| is_word(b)).count();
                // Word bytes are whole characters: everything from 0x80 on is one.
                tokens.push(Token::Word(self.text.get(self.at..self.at + length)?));
                self.at += length;
            }
            _ => {
                if byte > b' ' {
                    tokens.push(Token::Symbol(byte));
                }
                self.at += 1;
            }
        }
        Some(())
    }

    fn line(&mut self) {
        let rest = self.rest();
        self.at += rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
    }

    fn comment(&mut self) -> Option<()> {
        let own = self.mariadb && self.rest().starts_with(b"/*M!");
        if own || self.peek(2) == Some(b'!') {
            let begin = self.at + if own { 4 } else { 3 };
            let digits = self.text.as_bytes().get(begin..)?;
            let count = digits
                .iter()
                .take(6)
                .take_while(|b| b.is_ascii_digit())
                .count();
            // Fewer than 5 digits are no version but a part of the text.
            let count = if count >= 5 { count } else { 0 };
            let version: u32 = self.text.get(begin..begin + count)?.parse().unwrap_or(0);
            let never = match count {
                0 => false,
                _ if self.mariadb && !own && NOT_MARIADB.contains(&version) => true,
                5 => !own && version == NO_SERVER,
                _ => version >= NO_SERVER * 10,
            };
            if !never {
                self.guards.push(self.at..begin + count);
                self.at = begin + count;
                self.guarded = true;
                return Some(());
            }
        }
        let inside = self.rest().get(2..)?;
        let end = inside.windows(2).position(|pair| pair == b"*/")?;
        self.at += 2 + end + 2;
        Some(())
    }

    /// The text between quotes, a doubled quote taken for one.
    fn quoted(&mut self, quote: u8, escapes: bool) -> Option<Cow<'a, str>> {
        self.at += 1;
        let start = self.at;
        let mut doubled = false;
        loop {
            match self.peek(0)? {
                b'\\' if escapes => self.at += 2,
                byte if byte == quote => {
                    if self.peek(1) != Some(quote) {
                        break;
                    }
                    doubled = true;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
        let inside = self.text.get(start..self.at)?;
        self.at += 1;
        if !doubled {
            return Some(Cow::Borrowed(inside));
        }
        let quote = char::from(quote);
        let pair = String::from_iter([quote, quote]);
        Some(Cow::Owned(inside.replace(&pair, &quote.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, sql_mode: u64) -> Option<String> {
        printed(scan(text, sql_mode, false)?.tokens)
    }

    fn of_mariadb(text: &str) -> Option<String> {
        printed(scan(text, 0, true)?.tokens)
    }

    fn printed(tokens: Vec<Token<'_>>) -> Option<String> {
        let printed = |token: &Token<'_>| match token {
            Token::Word(word) => (*word).to_owned(),
            Token::Name(name) => format!("<{name}>"),
            Token::Literal => "''".to_owned(),
            Token::Symbol(byte) => char::from(*byte).to_string(),
        };
        Some(tokens.iter().map(printed).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn guards_of_each_server() {
        for (text, mysql, mariadb) in [
            ("a /*M!100100 b */ c", "a c", "a b c"),
            ("a /*M! b*/ c", "a c", "a b c"),
            ("a /*M!50701 b*/ c", "a c", "a b c"),
            ("a /*M!99999 b*/ c", "a c", "a b c"),
            ("a /*M!999999 b*/ c", "a c", "a c"),
            ("a /*!50699 b*/ c", "a b c", "a b c"),
            ("a /*!50701 b*/ c", "a b c", "a c"),
            ("a /*!080400 b*/ c", "a b c", "a c"),
            ("a /*!100000 b*/ c", "a b c", "a b c"),
            ("a /*!1001 b*/ c", "a 1001 b c", "a 1001 b c"),
            // As MariaDB logs what it has left out.
            ("a /*M 999999 b */ /* 50701 c (* d *) e */ f", "a f", "a f"),
            // The first end is the end of both.
            ("/*!50100 a /*!50100 b */ c", "a b c", "a b c"),
            ("/*!50100 a /* x */ b */ c", "a b c", "a b c"),
        ] {
            assert_eq!(words(text, 0).as_deref(), Some(mysql), "{text}");
            assert_eq!(of_mariadb(text).as_deref(), Some(mariadb), "{text}");
        }
        assert_eq!(of_mariadb("a /*M!100100 b"), None);
    }

    #[test]
    fn guards_are_opened() {
        for (text, mariadb, plain) in [
            ("a /*!50100 b */ c", false, "a   b   c"),
            ("/*!80000 a 'x*/' */", false, "  a 'x*/'  "),
            ("a /*!50100 b /* c */ d */ e", false, "a   b /* c */ d   e"),
            ("a /*M!100100 b*/ /*!50701 c*/", true, "a   b  /*!50701 c*/"),
            ("'/*!1*/' /* d */", false, "'/*!1*/' /* d */"),
        ] {
            let scanned = scan(text, 0, mariadb).unwrap();
            assert_eq!(without(text, &scanned.guards).as_deref(), Some(plain));
        }
    }

    #[test]
    fn quotes_comments_and_guards() {
        let check = |text, mode, expected: &str| {
            assert_eq!(words(text, mode).as_deref(), Some(expected), "{text}")
        };
        check("a /* b */ c -- d\ne # f\n g", 0, "a c e g");
        check("a--b", 0, "a - - b");
        check("x '--' \"it''s\" 'a\\'b'", 0, "x '' '' ''");
        check("x 'a\\' y", NO_BACKSLASH_ESCAPES, "x '' y");
        check("`a``b`.\"c\"", ANSI_QUOTES, "<a`b> . <c>");
        check(
            "a /*!50100 b */ c /*!99999 d */ /*! e*/ f /*+ g */",
            0,
            "a b c e f",
        );
        check("a /*!999990 b*/ /*!080400 c*/", 0, "a c");
        check("größe.日本", 0, "größe . 日本");
        for open in ["'a", "`a", "/* a", "/*! a", "'a\\", "\"a"] {
            assert_eq!(words(open, 0), None, "{open}");
        }
    }
}
