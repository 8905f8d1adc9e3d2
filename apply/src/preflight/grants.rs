//! What SHOW GRANTS says, as far as its text tells: global grants and those of databases and tables; roles only as far as they are active
//! by default.

use mysql_async::{Conn, prelude::Queryable};

use super::DOING;
use crate::{connection::from_mysql, error::ApplyError};

#[derive(Debug)]
pub struct Grants(Vec<String>);

impl Grants {
    pub async fn read(conn: &mut Conn) -> Result<Self, ApplyError> {
        let grants = conn.query("SHOW GRANTS").await;
        Ok(Self(grants.map_err(|error| from_mysql(error, DOING))?))
    }

    /// Is it granted anywhere but in scopes that begin with one of these?
    pub fn has_beside(&self, scopes: &[&str], privilege: &str) -> bool {
        let others = self.0.iter().filter(|grant| {
            let scope = grant.split_once(" ON ").map_or("", |(_, scope)| scope);
            !scopes.iter().any(|unwanted| scope.starts_with(unwanted))
        });
        Self(others.cloned().collect()).has(&[], privilege)
    }

    /// Is the privilege granted in a scope that begins with one of these? Without any: anywhere.
    pub fn has(&self, scopes: &[&str], privilege: &str) -> bool {
        let found = self.scopes(privilege);
        let begins = |scope: &&str| scopes.iter().any(|wanted| scope.starts_with(wanted));
        !found.is_empty() && (scopes.is_empty() || found.iter().any(begins))
    }

    /// Where the privilege is granted.
    pub fn scopes(&self, privilege: &str) -> Vec<&str> {
        let granted = self.0.iter().filter_map(|grant| {
            let (list, scope) = grant.strip_prefix("GRANT ")?.split_once(" ON ")?;
            // MySQL puts no space between dynamic privileges; MariaDB prints READ_ONLY ADMIN.
            let listed = list.split(',').any(|item| {
                let item = item.trim();
                item == "ALL PRIVILEGES" || item.replace('_', " ") == privilege.replace('_', " ")
            });
            listed.then_some(scope)
        });
        granted.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes() {
        let grants = Grants(vec![
            "GRANT SELECT, INSERT ON `shop`.* TO `a`@`%`".to_owned(),
            "GRANT CONNECTION_ADMIN,REPLICATION_APPLIER ON *.* TO `a`@`%`".to_owned(),
            "GRANT READ_ONLY ADMIN ON *.* TO `a`@`%`".to_owned(),
        ]);
        assert!(grants.has(&[], "INSERT") && grants.has(&["`shop`."], "SELECT"));
        assert!(!grants.has(&["*.*"], "INSERT") && !grants.has(&[], "DELETE"));
        assert!(grants.has_beside(&["`x`."], "INSERT"));
        assert!(!grants.has_beside(&["`shop`."], "INSERT"));
        assert!(grants.has(&["*.*"], "REPLICATION_APPLIER"));
        assert!(grants.has(&["*.*"], "READ ONLY ADMIN"));
    }
}
