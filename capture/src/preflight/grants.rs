//! Privileges out of SHOW GRANTS: the global ones, and which tables may be read.
//!
//! The statement shows what active roles give, too; USER_PRIVILEGES in the information schema does not.

use std::collections::BTreeSet;

use binferry_schemas::filter::TableFilter;

/// What the session's user may do on `*.*`, and the lines themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Grants {
    held: BTreeSet<String>,
    lines: Vec<String>,
}

impl Grants {
    pub(super) fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut held = BTreeSet::new();
        let lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
        for line in &lines {
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
        Self { held, lines }
    }

    /// Whether it is certain that every table of the filter may be read.
    pub(super) fn may_read(&self, tables: &TableFilter) -> bool {
        let mut readable = match self.has("SELECT") {
            true => vec!["*.*".to_owned()],
            false => Vec::new(),
        };
        for line in &self.lines {
            if let Some((object, revoked)) = readable_object(line) {
                readable.extend(pattern(object).map(|pattern| match revoked {
                    true => format!("!{pattern}"),
                    false => pattern,
                }));
            }
        }
        // An excluding pattern alone would leave everything else.
        let any = readable.iter().any(|pattern| !pattern.starts_with('!'));
        let readable = readable.join(",").parse::<TableFilter>();
        any && readable.is_ok_and(|readable| tables.within(&readable))
    }

    pub(super) fn has(&self, privilege: &str) -> bool {
        ["ALL", "ALL PRIVILEGES", privilege]
            .iter()
            .any(|held| self.held.contains(*held))
    }
}

/// Of `GRANT SELECT, … ON object TO user`, and of a partial revoke: the object.
fn readable_object(line: &str) -> Option<(&str, bool)> {
    let (rest, revoked) = match line.strip_prefix("GRANT ") {
        Some(rest) => (rest, false),
        None => (line.strip_prefix("REVOKE ")?, true),
    };
    // A backquote begins the object's name; privileges on columns have one before, and do not count.
    let (privileges, rest) = rest.split_once(" ON `")?;
    let reads = privileges.split(',').any(|privilege| {
        ["SELECT", "ALL", "ALL PRIVILEGES"]
            .contains(&privilege.trim().to_ascii_uppercase().as_str())
    });
    let end = rest.rfind(if revoked { " FROM " } else { " TO " })?;
    (reads && !privileges.contains('`')).then_some((&rest[..end], revoked))
}

/// Of a database's name the characters `%` and `_` stand for others, unless a backslash is before them; `object` lacks its first backquote.
fn pattern(object: &str) -> Option<String> {
    let Some(database) = object.strip_suffix("`.*") else {
        // A table, by its name.
        return Some(format!("`{object}"));
    };
    let (mut name, mut wild) = (String::new(), false);
    let mut rest = database.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => name.extend(rest.next()),
            '%' => {
                name.push('*');
                wild = true;
            }
            // Any character, and so this one.
            c => name.push(c),
        }
    }
    let plain = |c: char| c.is_alphanumeric() || "_*$".contains(c);
    match wild {
        false => Some(format!("`{name}`.*")),
        true => name.chars().all(plain).then(|| format!("{name}.*")),
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

    #[test]
    fn what_may_be_read() {
        let reads = |lines: &[&str], tables: &str| {
            Grants::parse(lines.iter().copied()).may_read(&tables.parse().unwrap())
        };
        let shop = "GRANT SELECT, INSERT ON `shop`.* TO `u`@`%`";
        assert!(reads(&[shop], "shop.*") && reads(&[shop], "shop.a,shop.b*"));
        assert!(!reads(&[shop], "*.*") && !reads(&[shop], "shop.*,other.a"));
        let all = "GRANT SELECT ON *.* TO `u`@`%`";
        assert!(reads(&[all], "*.*") && reads(&["GRANT ALL PRIVILEGES ON *.* TO `u`@`%`"], "a.b"));
        let revoked = "REVOKE SELECT ON `shop`.* FROM `u`@`%`";
        assert!(!reads(&[all, revoked], "shop.a") && reads(&[all, revoked], "other.*"));
        let table = "GRANT SELECT ON `shop`.`my TO t` TO `u`@`%`";
        assert!(reads(&[table], "shop.`my TO t`") && !reads(&[table], "shop.*"));
        let columns = "GRANT SELECT (`a`), INSERT ON `shop`.`t` TO `u`@`%`";
        assert!(!reads(&[columns], "shop.t"));
        assert!(!reads(&["GRANT INSERT ON `shop`.* TO `u`@`%`"], "shop.t"));
        let wild = ["GRANT SELECT ON `my\\_%`.* TO `u`@`%`"];
        assert!(reads(&wild, "my_a.*") && !reads(&wild, "mya.*"));
        assert!(!reads(&["GRANT USAGE ON *.* TO `u`@`%`"], "a.b"));
        assert!(!reads(&[revoked], "a.b"));
    }
}
