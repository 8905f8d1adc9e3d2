//! Names in SQL text: identifiers quoted, character sets and collations checked.

/// An identifier between backticks.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// The name of a character set or a collation, as the target's catalog gives it; it stands in SQL text without quotes, so it holds only
/// letters, digits and underscores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charset(String);

impl Charset {
    pub fn new(name: &str) -> Option<Self> {
        let fits = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        fits.then(|| Self(name.to_owned()))
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    /// True when text in it has the same bytes as in UTF-8.
    pub fn is_utf8(&self) -> bool {
        matches!(self.0.as_str(), "utf8mb4" | "utf8mb3" | "utf8" | "ascii")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_cannot_be_left() {
        assert_eq!(quoted("a`; DROP"), "`a``; DROP`");
        assert_eq!(quoted("a`b"), "`a``b`");
        assert_eq!(Charset::new("latin1 x"), None);
    }
}
