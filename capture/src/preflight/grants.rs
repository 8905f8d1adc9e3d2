//! Global privileges out of SHOW GRANTS.
//!
//! The statement shows what active roles give, too; USER_PRIVILEGES in the information schema does not.

use std::collections::BTreeSet;

/// What the session's user may do on `*.*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Grants(BTreeSet<String>);

impl Grants {
    pub(super) fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut held = BTreeSet::new();
        for line in lines {
            // ON *.* is never part of a quoted name here: column and table privileges have other objects, roles have none.
            let Some((privileges, _)) = line
                .strip_prefix("GRANT ")
                .and_then(|line| line.split_once(" ON *.* TO "))
            else {
                continue;
            };
            held.extend(
                privileges
                    .split(',')
                    .map(|privilege| privilege.trim().to_ascii_uppercase()),
            );
        }
        Self(held)
    }

    pub(super) fn has(&self, privilege: &str) -> bool {
        ["ALL", "ALL PRIVILEGES", privilege]
            .iter()
            .any(|held| self.0.contains(*held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn global_ones_count() {
        let grants = Grants::parse([
            "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `u`@`%` WITH GRANT OPTION",
            "GRANT SELECT ON `shop`.* TO `u`@`%`",
            "GRANT `role`@`%` TO `u`@`%`",
        ]);
        assert!(grants.has("REPLICATION SLAVE") && grants.has("REPLICATION CLIENT"));
        assert!(!grants.has("SELECT"));
        assert!(Grants::parse(["GRANT ALL PRIVILEGES ON *.* TO `u`@`%`"]).has("REPLICATION SLAVE"));
        assert!(!Grants::parse(["GRANT USAGE ON *.* TO `u`@`%`"]).has("REPLICATION SLAVE"));
    }
}
