//! `--on-conflict`: who wins, by table and kind.
//!
//! A rule is `[TABLES:][KIND,…=]POLICY`:
//!
//! ```text
//! target_wins                              every table, every kind
//! row_missing,row_differs=source_wins      every table, two kinds
//! shop.*,!shop.stock:source_wins           some tables, the kinds that the target can be forced to
//! shop.*:unique_key=source_wins
//! ```
//! Tables are patterns as in `--tables`. Of several rules that fit, the last one counts; where none does, it is `stop`.

use binferry_schemas::{
    fault::{Fault, Kind},
    filter::{TableFilter, TableFilterError},
};

use super::kind::ConflictKind;
use crate::error::TableName;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The stream stops; nothing of the transaction is done.
    Stop,
    /// The target ends as the source says.
    SourceWins,
    /// The change is left out.
    TargetWins,
}

impl Policy {
    const ALL: [Self; 3] = [Self::Stop, Self::SourceWins, Self::TargetWins];

    /// Its name in options and journals.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::SourceWins => "source_wins",
            Self::TargetWins => "target_wins",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    tables: TableFilter,
    /// Empty: all, or for `source_wins` those that can be forced.
    kinds: Vec<ConflictKind>,
    policy: Policy,
}

impl Rule {
    fn fits(&self, table: &TableName, kind: ConflictKind) -> bool {
        let of_kind = match self.kinds.is_empty() {
            true => self.policy != Policy::SourceWins || kind.can_be_forced(),
            false => self.kinds.contains(&kind),
        };
        of_kind && self.tables.matches(&table.database, &table.table)
    }
}

/// The rules, in the order given. The default stops at every conflict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies(Vec<Rule>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("{name:?} in {rule:?} is not a policy: stop, source_wins or target_wins")]
    Policy { rule: String, name: String },
    #[error("{name:?} in {rule:?} is not a kind of conflict: {}", kinds())]
    Kind { rule: String, name: String },
    #[error(
        "source_wins in {rule:?} cannot be: a conflict {} means that the target's own schema refuses the row",
        .kind.name()
    )]
    Unforceable { rule: String, kind: ConflictKind },
    #[error("in {rule:?}: {source}")]
    Tables {
        rule: String,
        #[source]
        source: TableFilterError,
    },
}

fn kinds() -> String {
    ConflictKind::ALL.map(ConflictKind::name).join(", ")
}

impl Fault for PolicyError {
    fn kind(&self) -> Kind {
        Kind::Configuration
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unforceable { kind, .. } => format!(
                "use stop or target_wins for {}, or change the target's table",
                kind.name()
            ),
            Self::Tables { source, .. } => return source.hint(),
            _ => "write --on-conflict POLICY, KIND=POLICY or TABLES:KIND=POLICY, for example --on-conflict 'shop.*:row_differs=source_wins'"
                .to_owned(),
        })
    }
}

impl Policies {
    pub fn parse<S: AsRef<str>>(rules: impl IntoIterator<Item = S>) -> Result<Self, PolicyError> {
        let rules = rules.into_iter().map(|rule| parse(rule.as_ref().trim()));
        Ok(Self(rules.collect::<Result<_, _>>()?))
    }

    /// The source's row wins, but for one that holds the value of a unique key when `unique` is false.
    pub fn source_wins(unique: bool) -> Self {
        let rule = |kinds, policy| Rule {
            tables: TableFilter::default(),
            kinds,
            policy,
        };
        let mut rules = vec![rule(Vec::new(), Policy::SourceWins)];
        if !unique {
            rules.push(rule(vec![ConflictKind::UniqueKey], Policy::Stop));
        }
        Self(rules)
    }

    pub fn of(&self, table: &TableName, kind: ConflictKind) -> Policy {
        let rule = self.0.iter().rev().find(|rule| rule.fits(table, kind));
        rule.map_or(Policy::Stop, |rule| rule.policy)
    }
}

fn parse(rule: &str) -> Result<Rule, PolicyError> {
    let named = || rule.to_owned();
    // Neither kinds nor policies hold a colon; the names of tables may.
    let (tables, rest) = match rule.rsplit_once(':') {
        Some((tables, rest)) => (Some(tables), rest.trim()),
        None => (None, rule),
    };
    let (kinds, policy) = match rest.rsplit_once('=') {
        Some((kinds, policy)) => (Some(kinds), policy.trim()),
        None => (None, rest),
    };
    let policy = Policy::from_name(policy).ok_or_else(|| PolicyError::Policy {
        rule: named(),
        name: policy.to_owned(),
    })?;
    let mut list = Vec::new();
    for name in kinds.into_iter().flat_map(|kinds| kinds.split(',')) {
        let name = name.trim();
        let kind = ConflictKind::from_name(name).ok_or_else(|| PolicyError::Kind {
            rule: named(),
            name: name.to_owned(),
        })?;
        if policy == Policy::SourceWins && !kind.can_be_forced() {
            return Err(PolicyError::Unforceable {
                rule: named(),
                kind,
            });
        }
        list.push(kind);
    }
    let tables = tables
        .unwrap_or_default()
        .parse()
        .map_err(|source| PolicyError::Tables {
            rule: named(),
            source,
        })?;
    Ok(Rule {
        tables,
        kinds: list,
        policy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(database: &str, table: &str) -> TableName {
        TableName {
            database: database.into(),
            table: table.into(),
        }
    }

    fn policies(rules: &[&str]) -> Policies {
        Policies::parse(rules).unwrap()
    }

    #[test]
    fn nothing_said_stops() {
        for kind in ConflictKind::ALL {
            assert_eq!(Policies::default().of(&table("a", "b"), kind), Policy::Stop);
        }
    }

    #[test]
    fn the_last_rule_that_fits_counts() {
        use ConflictKind::{ForeignKey, RowDiffers, RowMissing, UniqueKey};
        let policies = policies(&[
            "target_wins",
            "shop.*,!shop.stock : row_differs, row_missing = source_wins",
            "shop.item:row_missing=stop",
        ]);
        let of = |t: &str, kind| policies.of(&table("shop", t), kind);
        assert_eq!(of("order", RowDiffers), Policy::SourceWins);
        assert_eq!(of("order", UniqueKey), Policy::TargetWins);
        assert_eq!(of("stock", RowDiffers), Policy::TargetWins);
        assert_eq!(of("item", RowMissing), Policy::Stop);
        assert_eq!(of("item", RowDiffers), Policy::SourceWins);
        assert_eq!(of("order", ForeignKey), Policy::TargetWins);
        assert_eq!(
            policies.of(&table("crm", "order"), RowDiffers),
            Policy::TargetWins
        );
    }

    #[test]
    fn source_wins_alone_is_for_what_can_be_forced() {
        let policies = policies(&["foreign_key=target_wins", "source_wins"]);
        for kind in ConflictKind::ALL {
            let wanted = match kind {
                ConflictKind::ForeignKey => Policy::TargetWins,
                ConflictKind::Check | ConflictKind::Type => Policy::Stop,
                _ => Policy::SourceWins,
            };
            assert_eq!(policies.of(&table("a", "b"), kind), wanted, "{kind:?}");
        }
    }

    #[test]
    fn names_that_hold_colons_and_equals_signs() {
        let policies = policies(&["`a:b`.`c=d`:unique_key=target_wins", "x.y:z:target_wins"]);
        let of = |d: &str, t: &str| policies.of(&table(d, t), ConflictKind::UniqueKey);
        assert_eq!(of("a:b", "c=d"), Policy::TargetWins);
        assert_eq!(of("x", "y:z"), Policy::TargetWins);
        assert_eq!(of("x", "y"), Policy::Stop);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_reason() {
        for kind in ["foreign_key", "check_constraint", "type"] {
            let error =
                Policies::parse([format!("a.b:row_missing,{kind}=source_wins")]).unwrap_err();
            assert!(
                matches!(&error, PolicyError::Unforceable { kind: found, .. } if found.name() == kind)
            );
            assert!(error.to_string().contains(kind));
        }
        for (rule, says) in [
            ("", "not a policy"),
            ("newest_wins", "newest_wins"),
            ("shop.*", "not a policy"),
            ("row_differ=stop", "row_differ"),
            ("=stop", "not a kind"),
            ("shop:row_differs=stop", "database.table"),
            ("mysql.*:stop", "never carried"),
        ] {
            let error = Policies::parse([rule]).unwrap_err();
            assert!(error.to_string().contains(says), "{rule}: {error}");
            assert_eq!(error.kind(), Kind::Configuration);
            assert!(error.hint().is_some());
        }
    }
}
