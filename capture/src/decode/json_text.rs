//! JSON text to its values: such as the server prints it, and no other.

use std::borrow::Cow;

use super::{
    cursor::{Flaw, Read},
    json::DEPTH_MAX,
    json_selected::Kind,
};

#[derive(Debug, Clone, Copy)]
pub(super) enum Token<'a> {
    /// 0 is null, 1 true, 2 false.
    Literal(u8),
    Number(&'a str),
    /// Behind the opening quote.
    String(&'a str),
}

#[derive(Debug)]
pub(super) enum Node<'a> {
    Scalar(Token<'a>, Kind),
    Array(Vec<Node<'a>>),
    Object(Vec<(&'a str, Node<'a>)>),
}

/// Reads a document, of values whose types are not known yet.
pub(super) fn parse(text: &str) -> Read<Node<'_>> {
    let mut parser = Parser { rest: text };
    let node = parser.value(0)?;
    match parser.rest.is_empty() {
        true => Ok(node),
        false => Err(FOREIGN),
    }
}

struct Parser<'a> {
    rest: &'a str,
}

const FOREIGN: Flaw = Flaw("is a JSON document in another form than the server prints");

impl<'a> Parser<'a> {
    fn skip(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn require(&mut self, text: &str) -> Read<()> {
        match self.skip(text) {
            true => Ok(()),
            false => Err(FOREIGN),
        }
    }

    fn value(&mut self, depth: u32) -> Read<Node<'a>> {
        if matches!(self.rest.as_bytes().first(), Some(b'{' | b'[')) && depth >= DEPTH_MAX {
            return Err(Flaw("is a JSON document of too many levels"));
        }
        if self.skip("{") {
            let mut members = Vec::new();
            if self.skip("}") {
                return Ok(Node::Object(members));
            }
            loop {
                self.require("\"")?;
                let name = self.string()?;
                self.require(": ")?;
                members.push((name, self.value(depth + 1)?));
                if !self.skip(", ") {
                    self.require("}")?;
                    return Ok(Node::Object(members));
                }
            }
        }
        if self.skip("[") {
            let mut elements = Vec::new();
            if self.skip("]") {
                return Ok(Node::Array(elements));
            }
            loop {
                elements.push(self.value(depth + 1)?);
                if !self.skip(", ") {
                    self.require("]")?;
                    return Ok(Node::Array(elements));
                }
            }
        }
        let token = if self.skip("\"") {
            Token::String(self.string()?)
        } else if self.skip("null") {
            Token::Literal(0)
        } else if self.skip("true") {
            Token::Literal(1)
        } else if self.skip("false") {
            Token::Literal(2)
        } else {
            let number = |c: char| c.is_ascii_digit() || matches!(c, '-' | '.' | 'e');
            let end = self.rest.find(|c: char| !number(c));
            let (text, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
            self.rest = rest;
            Token::Number(Some(text).filter(|text| !text.is_empty()).ok_or(FOREIGN)?)
        };
        Ok(Node::Scalar(token, Kind::Plain))
    }

    /// The rest of a string, with the closing quote.
    fn string(&mut self) -> Read<&'a str> {
        let bytes = self.rest.as_bytes();
        let mut at = 0;
        loop {
            let stop = bytes.get(at..).ok_or(FOREIGN)?.iter();
            let stop = stop
                .take_while(|byte| !matches!(byte, b'"' | b'\\'))
                .count();
            at += stop;
            match bytes.get(at).ok_or(FOREIGN)? {
                b'"' => break,
                _ => at += 2,
            }
        }
        let (text, rest) = self.rest.split_at_checked(at + 1).ok_or(FOREIGN)?;
        self.rest = rest;
        Ok(text)
    }
}

/// A string behind its opening quote.
pub(super) fn unescaped(text: &str) -> Read<Cow<'_, [u8]>> {
    quoted(text.as_bytes()).map(|(text, _)| text).ok_or(FOREIGN)
}

/// A JSON string whose opening quote has been read, and its length with the closing one.
pub(super) fn quoted(text: &[u8]) -> Option<(Cow<'_, [u8]>, usize)> {
    let stop = |from: usize| {
        let found = text[from..].iter().position(|b| matches!(b, b'"' | b'\\'));
        found.map(|at| from + at)
    };
    let mut at = stop(0)?;
    if text[at] == b'"' {
        return Some((Cow::Borrowed(&text[..at]), at + 1));
    }
    let mut name = text[..at].to_vec();
    while text[at] == b'\\' {
        let escape = text.get(at + 1)?;
        let mut length = 2;
        name.push(match escape {
            b'"' | b'\\' | b'/' => *escape,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            // The server escapes control characters alone in this way.
            b'u' => {
                let digits = text.get(at + 2..at + 6)?;
                let digits = std::str::from_utf8(digits).ok()?;
                length = 6;
                match u16::from_str_radix(digits, 16) {
                    Ok(code @ 0..0x80) => code as u8,
                    _ => return None,
                }
            }
            _ => return None,
        });
        let from = at + length;
        at = stop(from)?;
        name.extend_from_slice(&text[from..at]);
    }
    Some((Cow::Owned(name), at + 1))
}
