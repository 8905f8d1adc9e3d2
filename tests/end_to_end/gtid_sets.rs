//! GTID sets against the server's own functions.

use std::fmt::Write;

use anyhow::{Result, ensure};
use binferry_schemas::gtid::GtidSet;
use binferry_servers::pair;
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};

/// The text of a set, as people write them: unordered, overlapping, with tags.
fn text() -> impl Strategy<Value = String> {
    let uuid = prop::sample::select(vec![
        "3e11fa47-71ca-11e1-9e33-c80aa9429562",
        "3E11FA47-71CA-11E1-9E33-C80AA9429563",
    ]);
    let tag = prop::sample::select(vec!["", "", "a", "tag_2"]);
    let interval = (1u64..40, 0u64..6).prop_map(|(from, more)| (from, from + more));
    prop::collection::vec((uuid, tag, prop::collection::vec(interval, 1..5)), 0..5).prop_map(
        |parts| {
            let mut text = String::new();
            for (uuid, tag, intervals) in parts {
                if !text.is_empty() {
                    text.push_str(", ");
                }
                text.push_str(uuid);
                if !tag.is_empty() {
                    let _ = write!(text, ":{tag}");
                }
                for (from, to) in intervals {
                    let _ = if from == to {
                        write!(text, ":{from}")
                    } else {
                        write!(text, ":{from}-{to}")
                    };
                }
            }
            text
        },
    )
}

#[test]
fn algebra_equals_the_server() -> Result<()> {
    let server = &pair()?.source;
    let cases: Vec<(String, String)> = {
        let mut runner = TestRunner::new(Config::default());
        (0..300)
            .map(|_| {
                let tree = (text(), text())
                    .new_tree(&mut runner)
                    .map_err(|e| anyhow::anyhow!("{e}"))?;
                Ok(tree.current())
            })
            .collect::<Result<_>>()?
    };
    let ask: Vec<String> = cases
        .iter()
        .map(|(a, b)| format!("SELECT GTID_SUBSET('{a}', '{b}'), GTID_SUBTRACT('{a}', '{b}'), GTID_SUBTRACT('{a}', ''), GTID_SUBTRACT('{a}', GTID_SUBTRACT('{a}', '{b}'))"))
        .collect();
    let rows = server.rows(&ask.join(";"))?;
    ensure!(rows.len() == cases.len());
    for ((a, b), row) in cases.iter().zip(rows) {
        let (x, y): (GtidSet, GtidSet) = (a.parse()?, b.parse()?);
        let said = |n: usize| row[n].as_deref().unwrap_or_default().replace('\n', "");
        ensure!(
            y.contains_set(&x) == (said(0) == "1"),
            "GTID_SUBSET('{a}', '{b}')"
        );
        ensure!(
            x.subtract(&y).to_string() == said(1),
            "GTID_SUBTRACT('{a}', '{b}'): {} and {}",
            x.subtract(&y),
            said(1)
        );
        ensure!(x.to_string() == said(2), "{x} is printed as {}", said(2));
        ensure!(
            x.intersect(&y).to_string() == said(3),
            "the intersection of '{a}' and '{b}'"
        );
    }
    Ok(())
}
