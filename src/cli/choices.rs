//! Options that take one of a few words.

use binferry_apply::{Compare as Compared, DdlMode};
use clap::ValueEnum;
use serde::Deserialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ddl {
    Apply,
    Stop,
    Ignore,
}

impl From<Ddl> for DdlMode {
    fn from(ddl: Ddl) -> Self {
        match ddl {
            Ddl::Apply => Self::Apply,
            Ddl::Stop => Self::Stop,
            Ddl::Ignore => Self::Ignore,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compare {
    Image,
    Key,
}

impl From<Compare> for Compared {
    fn from(compare: Compare) -> Self {
        match compare {
            Compare::Image => Self::Image,
            Compare::Key => Self::Key,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}
