//! `--state FILE`: what a comparison has done and found, so that the next one goes on there.
//!
//! A line of JSON each: first what is compared, then `done` (a table, up to a key or all of it) and `found`. A line that was cut off by a
//! crash ends the file; what it said is done again.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use binferry_apply::{
    TableName,
    diff::{Done, Options},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::Failure;

const FORMAT: u32 = 1;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    binferry_diff: u32,
    source: String,
    target: String,
    tables: String,
    /// A comparison that only looks has not repaired what it is done with.
    #[serde(default)]
    repair: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Found {
    pub document: Value,
    pub line: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Done {
        database: String,
        table: String,
        upto: Option<Vec<Vec<u8>>>,
    },
    Found(Found),
}

#[derive(Debug)]
pub struct State {
    path: PathBuf,
    file: File,
    done: HashMap<TableName, Option<Vec<Vec<u8>>>>,
    /// Lines that were told.
    told: HashSet<String>,
}

impl State {
    /// Begins it, or goes on with what it has, and gives what it has found.
    pub fn open(path: &Path, wanted: &Options) -> Result<(Self, Vec<Found>), Failure> {
        let fail =
            |problem: String| Failure::usage(format!("--state {}: {problem}", path.display()));
        let head = Head {
            binferry_diff: FORMAT,
            source: wanted.source.to_string(),
            target: wanted.target.to_string(),
            tables: wanted.filter.to_string(),
            repair: (wanted.repair.as_ref()).is_some_and(|repair| !repair.dry_run),
        };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(fail(error.to_string())),
        };
        // Only whole lines count.
        let text = &text[..text.rfind('\n').map_or(0, |at| at + 1)];
        let (mut done, mut told, mut found) = (HashMap::new(), HashSet::new(), Vec::new());
        let mut lines = text.lines();
        let begins = match lines.next() {
            None => true,
            Some(first) => {
                let other = "it is of another comparison, or one with or without --repair: give another file, or remove it";
                let there: Head =
                    serde_json::from_str(first).map_err(|_| fail(other.to_owned()))?;
                if there != head {
                    return Err(fail(other.to_owned()));
                }
                false
            }
        };
        for line in lines {
            match serde_json::from_str(line).map_err(|error| fail(error.to_string()))? {
                Line::Done {
                    database,
                    table,
                    upto,
                } => {
                    done.insert(TableName { database, table }, upto);
                }
                Line::Found(one) => {
                    told.insert(one.line.clone());
                    found.push(one);
                }
            }
        }
        let file = File::options().create(true).append(true).open(path);
        let file = file.map_err(|error| fail(error.to_string()))?;
        file.set_len(text.len() as u64)
            .map_err(|error| fail(error.to_string()))?;
        let mut state = Self {
            path: path.to_owned(),
            file,
            done,
            told,
        };
        if begins {
            state.append(&head)?;
        }
        Ok((state, found))
    }

    pub fn done(&self) -> Vec<Done> {
        let of = |(table, upto): (&TableName, &Option<Vec<Vec<u8>>>)| Done {
            table: table.clone(),
            upto: upto.clone(),
        };
        self.done.iter().map(of).collect()
    }

    pub fn put_done(&mut self, done: &Done) -> Result<(), Failure> {
        self.append(&Line::Done {
            database: done.table.database.clone(),
            table: done.table.table.clone(),
            upto: done.upto.clone(),
        })
    }

    /// False: it is there already.
    pub fn put_found(&mut self, document: &Value, line: &str) -> Result<bool, Failure> {
        if !self.told.insert(line.to_owned()) {
            return Ok(false);
        }
        self.append(&Line::Found(Found {
            document: document.clone(),
            line: line.to_owned(),
        }))?;
        Ok(true)
    }

    fn append(&mut self, line: &impl Serialize) -> Result<(), Failure> {
        let fail =
            |problem: String| Failure::usage(format!("--state {}: {problem}", self.path.display()));
        let mut text = serde_json::to_string(line).map_err(|error| fail(error.to_string()))?;
        text.push('\n');
        (self.file.write_all(text.as_bytes())).map_err(|error| fail(error.to_string()))
    }
}
