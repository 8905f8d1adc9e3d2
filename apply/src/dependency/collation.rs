//! When two texts are equal by a collation, as far as that can be told without the server.
//!
//! Equal texts must give equal folds; texts that differ may give equal folds too. Where the fold of a text is not sure, there is none, and
//! its row counts as one that may be equal to any other.

use std::borrow::Cow;

/// How a collation compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folding {
    /// By code points or bytes; trailing blanks may or may not count.
    Exact,
    /// Printable ASCII texts are equal when their letters are, whatever their case.
    Ascii,
    Unknown,
}

/// Collations that compare by root rules: no letter of ASCII is equal to another one, none is left out, and no two of them are one.
/// (In Swedish of the old UCA kind V is W, in Hungarian DDZS is DZSDZS, and so on.)
const ROOT: [&str; 18] = [
    "general_ci",
    "general_mysql500_ci",
    "general_nopad_ci",
    "unicode_ci",
    "unicode_nopad_ci",
    "unicode_520_ci",
    "unicode_520_nopad_ci",
    "0900_ai_ci",
    "0900_as_ci",
    "0900_as_cs",
    "uca1400_ai_ci",
    "uca1400_ai_cs",
    "uca1400_as_ci",
    "uca1400_as_cs",
    "uca1400_nopad_ai_ci",
    "uca1400_nopad_ai_cs",
    "uca1400_nopad_as_ci",
    "uca1400_nopad_as_cs",
];

impl Folding {
    pub fn of(collation: &str) -> Self {
        if collation == "binary" || collation.ends_with("_bin") || collation.ends_with("_nopad_bin")
        {
            return Self::Exact;
        }
        if matches!(collation, "latin1_swedish_ci" | "latin1_swedish_nopad_ci") {
            return Self::Ascii;
        }
        match collation.split_once('_') {
            Some(("utf8" | "utf8mb3" | "utf8mb4" | "ascii" | "latin1", rules))
                if ROOT.contains(&rules) =>
            {
                Self::Ascii
            }
            _ => Self::Unknown,
        }
    }

    /// The fold of the first `prefix` characters, when the text has one.
    pub fn fold<'a>(self, text: &'a str, prefix: Option<usize>) -> Option<Cow<'a, [u8]>> {
        if self == Self::Unknown {
            return None;
        }
        let end = prefix
            .and_then(|characters| text.char_indices().nth(characters))
            .map_or(text.len(), |(at, _)| at);
        let text = text[..end].trim_end_matches(' ').as_bytes();
        match self {
            Self::Exact => Some(Cow::Borrowed(text)),
            _ if !text.iter().all(|byte| (b' '..=b'~').contains(byte)) => None,
            _ if text.iter().any(u8::is_ascii_uppercase) => {
                Some(Cow::Owned(text.to_ascii_lowercase()))
            }
            _ => Some(Cow::Borrowed(text)),
        }
    }
}

#[cfg(test)]
mod tests;
