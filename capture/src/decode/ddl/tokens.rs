//! Statements cut into tokens, as far as it takes to tell names from words, literals and comments.
//!
//! Comments are dropped; what `/*!` guards is read as a part of the statement, unless it is for a version that no server has yet. A
//! literal is one token without its content.

use std::borrow::Cow;

/// `sql_mode` bits (`sql/system_variables.h`).
const ANSI_QUOTES: u64 = 1 << 2;
const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;
/// `/*!99999` is a way to write a comment.
const NO_SERVER: u32 = 99_999;

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

/// `None` when a quote or a comment does not end.
pub(super) fn tokens(text: &str, sql_mode: u64) -> Option<Vec<Token<'_>>> {
    let mut scanner = Scanner {
        text,
        at: 0,
        sql_mode,
        guarded: false,
    };
    let mut tokens = Vec::new();
    while let Some(byte) = scanner.peek(0) {
        scanner.one(byte, &mut tokens)?;
    }
    (!scanner.guarded).then_some(tokens)
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    sql_mode: u64,
    /// Inside `/*! … */`.
    guarded: bool,
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
        if self.peek(2) == Some(b'!') && !self.guarded {
            let digits = &self.rest()[3..];
            let count = digits
                .iter()
                .take(6)
                .take_while(|b| b.is_ascii_digit())
                .count();
            let version: u32 = self
                .text
                .get(self.at + 3..self.at + 3 + count)?
                .parse()
                .unwrap_or(0);
            let never = match count {
                5 => version == NO_SERVER,
                6 => version >= NO_SERVER * 10,
                _ => false,
            };
            if !never {
                // Fewer than 5 digits are no version but a part of the text.
                self.at += 3 + if count >= 5 { count } else { 0 };
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
        let printed = |token: &Token<'_>| match token {
            Token::Word(word) => (*word).to_owned(),
            Token::Name(name) => format!("<{name}>"),
            Token::Literal => "''".to_owned(),
            Token::Symbol(byte) => char::from(*byte).to_string(),
        };
        let tokens = tokens(text, sql_mode)?;
        Some(tokens.iter().map(printed).collect::<Vec<_>>().join(" "))
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
