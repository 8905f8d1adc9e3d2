use std::collections::BTreeSet;

use anyhow::{Context, Result};
use binferry_servers::{MySql, Release, database, mariadb};

use super::*;

#[test]
fn folds() {
    let fold = |collation: &str, text, prefix| {
        Folding::of(collation)
            .fold(text, prefix)
            .map(Cow::into_owned)
    };
    let equal = |collation, a, b| {
        let (a, b) = (fold(collation, a, None), fold(collation, b, None));
        a.is_some() && a == b
    };
    assert!(equal("utf8mb4_0900_ai_ci", "Ab-1", "aB-1"));
    assert!(equal("utf8mb4_general_ci", "a", "a  "));
    assert!(!equal("utf8mb4_bin", "a", "A"));
    assert!(equal("utf8mb4_bin", "ä", "ä "));
    // It may be equal to an ASCII text.
    assert_eq!(fold("utf8mb4_0900_ai_ci", "ß", None), None);
    assert_eq!(fold("utf8mb4_0900_ai_ci", "a\u{1}", None), None);
    assert_eq!(fold("utf8mb4_hu_0900_ai_ci", "a", None), None);
    assert_eq!(fold("utf8mb4_bin", "äbc", Some(2)), Some("äb".into()));
    assert_eq!(fold("ascii_general_ci", "AB c", Some(3)), Some("ab".into()));
}

/// All short texts of printable ASCII, with what is likely to be equal to something else.
fn texts() -> BTreeSet<String> {
    let printable: Vec<String> = (b' '..=b'~').map(|byte| char::from(byte).into()).collect();
    let likely = [
        "a", "A", "d", "ss", "SS", "ae", "dz", "DZS", "ch", "ll", "v", "W", "i", "I", "-", "''",
        " ", "  ", "\t", "\u{1}", "\u{ad}", "\u{200d}", "ä", "a\u{308}", "Ä", "ß", "ẞ", "æ", "ø",
        "ı", "İ", "Σ", "ς", "ﬀ", "ß ", "é", "漢", "😀", "½", "２",
    ];
    let pairs = |of: &[String]| -> Vec<String> {
        of.iter()
            .flat_map(|first| of.iter().map(move |second| format!("{first}{second}")))
            .collect()
    };
    let likely: Vec<String> = likely.map(str::to_owned).into();
    let mut texts: BTreeSet<String> = pairs(&printable).into_iter().collect();
    texts.extend(pairs(&likely));
    texts.extend(pairs(&pairs(&likely[..9])));
    texts.extend(printable);
    texts.extend(likely);
    texts
}

/// What a server takes for equal has equal folds, by each of its collations that is trusted here.
fn agrees_with(server: &MySql) -> Result<()> {
    let database = database([server], "collations")?;
    let texts: Vec<String> = texts().into_iter().collect();
    server.sql(&format!(
        "CREATE TABLE `{database}`.texts (id INT PRIMARY KEY, t VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL)"
    ))?;
    for (chunk, some) in texts.chunks(4000).enumerate() {
        let rows: Vec<String> = some
            .iter()
            .enumerate()
            .map(|(at, text)| {
                let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
                format!("({}, x'{hex}')", chunk * 4000 + at)
            })
            .collect();
        server.sql(&format!(
            "INSERT INTO `{database}`.texts VALUES {}",
            rows.join(", ")
        ))?;
    }
    let name = match server.release().is_mariadb() {
        true => "full_collation_name",
        false => "collation_name",
    };
    let mut seen = BTreeSet::new();
    for row in server.rows(&format!(
        "SELECT {name}, character_set_name FROM information_schema.collation_character_set_applicability"
    ))? {
        let [Some(collation), Some(charset)] = &row[..] else {
            continue;
        };
        let folding = Folding::of(collation);
        if folding == Folding::Unknown || charset == "binary" {
            continue;
        }
        seen.insert(collation.clone());
        // Only what the character set can hold.
        let groups = server.rows(&format!(
            "SET SESSION group_concat_max_len = 10000000; \
             SELECT GROUP_CONCAT(id) FROM `{database}`.texts WHERE CONVERT(CONVERT(t USING {charset}) USING utf8mb4) COLLATE utf8mb4_bin = t \
             GROUP BY CONVERT(t USING {charset}) COLLATE {collation} HAVING COUNT(*) > 1"
        ))?;
        assert!(
            folding == Folding::Exact || !groups.is_empty(),
            "{collation} takes no two texts for equal"
        );
        for group in groups.iter().flatten().flatten() {
            let mut folds = BTreeSet::new();
            for id in group.split(',') {
                let text = &texts[id.parse::<usize>().context("an id")?];
                folds.extend(folding.fold(text, None).map(|fold| (fold, text)));
            }
            let (first, last) = (folds.first(), folds.last());
            assert_eq!(
                first.map(|(fold, _)| fold),
                last.map(|(fold, _)| fold),
                "{collation}: {first:?} and {last:?} are equal on the server"
            );
        }
    }
    let has = |name: &str| seen.contains(name);
    assert!(
        has("utf8mb4_general_ci") && has("utf8mb4_bin") && has("latin1_swedish_ci"),
        "{seen:?}"
    );
    Ok(())
}

#[test]
fn mysql_agrees() -> Result<()> {
    agrees_with(&MySql::start()?)
}

#[test]
fn mariadb_agrees() -> Result<()> {
    agrees_with(mariadb(Release::MariaDb10_11)?)?;
    agrees_with(mariadb(Release::MariaDb11_8)?)
}
