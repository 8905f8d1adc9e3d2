//! GTIDs and sets as text.
//!
//! ```text
//! set    = [ part ] { "," [ part ] }                 whitespace and newlines anywhere between tokens
//! part   = uuid { ":" ( tag | interval ) }           a tag holds for the intervals up to the next tag
//!        | domain "-" server "-" [ first ".." ] last MariaDB's: from 1, or from `first`, to the GTID at the end
//! interval = first [ "-" last ]                      empty when last is below first
//! ```
//!
//! MariaDB prints a position as its GTIDs with commas between them; `first` is of our own, for what one set has and another has not.
//! Of MySQL's, the server (sql/rpl_gtid_set.cc, `Gtid_set::add_gtid_text`) accepts unordered and overlapping intervals, repeated UUIDs, empty parts
//! and upper case; so do we. It also takes a UUID without any interval, and numbers in C's octal and hexadecimal notation; we refuse these,
//! since what was meant would be a guess. It prints each UUID once, its untagged intervals first, then tag by tag.

use std::{fmt, str::FromStr};

use super::{DomainRange, Gtid, GtidSet, MAX_GNO, Tag, Uuid};
use crate::fault::{Fault, Kind};

/// What is wrong with a GTID or a set of them, and at which character.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GtidTextError {
    #[error("not a server UUID at character {at} of the GTID set: {text:?}")]
    Uuid { at: usize, text: String },
    #[error("neither a tag nor an interval at character {at} of the GTID set: {text:?}")]
    Interval { at: usize, text: String },
    #[error("no interval for {text:?} at character {at} of the GTID set")]
    Missing { at: usize, text: String },
    #[error("{text:?} is not a single GTID")]
    NotSingle { text: String },
    #[error("not a GTID of MariaDB's at character {at} of the GTID set: {text:?}")]
    MariaDb { at: usize, text: String },
}

impl Fault for GtidTextError {
    fn kind(&self) -> Kind {
        Kind::Configuration
    }

    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::NotSingle { .. } => "write one GTID, as in UUID:17 or UUID:tag:17, or MariaDB's 0-1-17",
                Self::MariaDb { .. } => {
                    "write MariaDB's GTIDs as @@GLOBAL.gtid_binlog_pos shows them, as in 0-1-17,5-2-3"
                }
                _ => {
                    "write a GTID set as @@GLOBAL.gtid_executed shows it, as in UUID:1-5:7:tag:1-3"
                }
            }
            .to_owned(),
        )
    }
}

/// Errors quote at most so much of the text.
const QUOTED: usize = 64;

fn quote(text: &str) -> String {
    text.chars().take(QUOTED).collect()
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((domain, server, sequence)) = self.as_mariadb() {
            write!(f, "{domain}-{server}-{sequence}")
        } else if self.tag.is_none() {
            write!(f, "{}:{}", self.uuid, self.gno)
        } else {
            write!(f, "{}:{}:{}", self.uuid, self.tag, self.gno)
        }
    }
}

impl FromStr for Gtid {
    type Err = GtidTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim_ascii();
        if is_mariadb(trimmed) {
            return match parse_mariadb(trimmed) {
                Some((
                    domain,
                    DomainRange {
                        start: 1,
                        end,
                        server,
                    },
                    false,
                )) => Self::mariadb(domain, server, end),
                _ => None,
            }
            .ok_or_else(|| GtidTextError::NotSingle { text: quote(text) });
        }
        let set: GtidSet = text.parse()?;
        let mut intervals = set.iter();
        match (intervals.next(), intervals.next()) {
            (Some((uuid, tag, first, last)), None) if first == last => Ok(Self {
                uuid,
                tag,
                gno: first,
            }),
            _ => Err(GtidTextError::NotSingle { text: quote(text) }),
        }
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut previous = None;
        for ((uuid, tag), list) in self.sources() {
            if previous != Some(uuid) {
                if previous.is_some() {
                    f.write_str(",")?;
                }
                write!(f, "{uuid}")?;
                previous = Some(uuid);
            }
            if !tag.is_none() {
                write!(f, ":{tag}")?;
            }
            for interval in list {
                if interval.start == interval.end {
                    write!(f, ":{}", interval.start)?;
                } else {
                    write!(f, ":{}-{}", interval.start, interval.end)?;
                }
            }
        }
        let mut first = previous.is_none();
        for (domain, DomainRange { start, end, server }) in self.domains() {
            if !std::mem::take(&mut first) {
                f.write_str(",")?;
            }
            match start {
                1 => write!(f, "{domain}-{server}-{end}")?,
                _ => write!(f, "{domain}-{server}-{start}..{end}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for GtidSet {
    type Err = GtidTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut set = Self::new();
        let mut at = 0;
        for part in text.split(',') {
            parse_part(&mut set, part, at)?;
            at += part.len() + 1;
        }
        Ok(set)
    }
}

fn parse_part(set: &mut GtidSet, part: &str, at: usize) -> Result<(), GtidTextError> {
    if part.trim_ascii().is_empty() {
        return Ok(());
    }
    if is_mariadb(part.trim_ascii()) {
        let wrong = || GtidTextError::MariaDb {
            at,
            text: quote(part),
        };
        let (domain, range, _) = parse_mariadb(part.trim_ascii()).ok_or_else(wrong)?;
        set.insert_domain(domain, range);
        return Ok(());
    }
    let mut tokens = part.split(':');
    let head = tokens.next().unwrap_or_default();
    let uuid = parse_uuid(head.trim_ascii()).ok_or_else(|| GtidTextError::Uuid {
        at,
        text: quote(head),
    })?;
    let missing = || GtidTextError::Missing {
        at,
        text: quote(part),
    };
    let mut at = at + head.len() + 1;
    let mut tag = Tag::NONE;
    let mut complete = false;
    for token in tokens {
        let trimmed = token.trim_ascii();
        let wrong = || GtidTextError::Interval {
            at,
            text: quote(token),
        };
        if trimmed.starts_with(|c: char| c.is_ascii_digit()) {
            let (first, last) = parse_interval(trimmed).ok_or_else(wrong)?;
            set.insert_range(uuid, tag, first, last);
            complete = true;
        } else {
            // A tag after a tag: the first had no interval.
            if !complete && !tag.is_none() {
                return Err(missing());
            }
            tag = Tag::new(trimmed)
                .filter(|tag| !tag.is_none())
                .ok_or_else(wrong)?;
            complete = false;
        }
        at += token.len() + 1;
    }
    if complete { Ok(()) } else { Err(missing()) }
}

/// Looks like one of MariaDB's: a UUID has four dashes or none, and then a colon.
fn is_mariadb(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && !text.contains(':')
        && text.bytes().filter(|&byte| byte == b'-').count() == 2
}

/// Domain, range, and whether the range's start was written out.
fn parse_mariadb(text: &str) -> Option<(u32, DomainRange, bool)> {
    let mut parts = text.splitn(3, '-');
    let mut number = || parts.next().filter(|text| is_number(text));
    let domain = number()?.parse().ok()?;
    let server = number()?.parse().ok()?;
    let (start, end, stated) = match parts.next()? {
        range if range.contains("..") => {
            let (start, end) = range.split_once("..")?;
            (parse_gno(start)?, parse_gno(end)?, true)
        }
        end => (1, parse_gno(end)?, false),
    };
    (1 <= start && start <= end).then_some((domain, DomainRange { start, end, server }, stated))
}

/// With dashes, without them, or in braces: what the server takes.
fn parse_uuid(text: &str) -> Option<Uuid> {
    match text.len() {
        32 | 36 | 38 => Uuid::try_parse(text).ok(),
        _ => None,
    }
}

fn parse_interval(text: &str) -> Option<(u64, u64)> {
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (first.trim_ascii_end(), Some(last.trim_ascii_start())),
        None => (text, None),
    };
    let first = parse_gno(first).filter(|first| *first > 0)?;
    let last = last.map_or(Some(first), parse_gno)?;
    Some((first, last))
}

fn parse_gno(text: &str) -> Option<u64> {
    if !is_number(text) {
        return None;
    }
    text.parse().ok().filter(|gno| *gno <= MAX_GNO)
}

/// In decimal: what C takes for octal is none.
fn is_number(text: &str) -> bool {
    let octal = text.len() > 1 && text.starts_with('0');
    !octal && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
