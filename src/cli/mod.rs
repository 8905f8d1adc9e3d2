//! The command line, and the configuration file that takes the same names (the command line wins): `commands` says what there is, `choices`
//! the words that options take, `file` fills in what a file says, `values` reads what was given, and `example` makes other things out of the same definitions.

mod choices;
mod commands;
pub mod example;
mod file;
mod values;

pub use choices::{Format, LogFormat};
pub use commands::{Cli, Command, ConflictsAction};
pub use values::{LogPlace, Place};

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use choices::{Compare, Ddl};

/// Of `run`.
pub const DEFAULT_LOG: &str = "binferry-log";

/// Every option; a command refuses those that it has no use for.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// TOML file with the same names as these options; the command line wins.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Which one of the file's pipelines.
    #[arg(long, value_name = "NAME")]
    #[serde(skip)]
    pub pipeline: Option<String>,
    /// mysql://user@host:port/?tls=MODE&ca=FILE, password in BINFERRY_SOURCE_PASSWORD; or binlog files: file:PATH[,PATH…].
    #[arg(long, value_name = "URL")]
    pub source: Option<String>,
    /// mysql://user@host:port/?tls=MODE&ca=FILE; password in BINFERRY_TARGET_PASSWORD.
    #[arg(long, value_name = "URL")]
    pub target: Option<String>,
    /// A directory, or kafka://host:port[,host:port]/NAME [default for run: ./binferry-log].
    #[arg(long, value_name = "LOG")]
    pub log: Option<String>,
    /// Client property of librdkafka for the log; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub kafka: Vec<String>,
    /// File with client properties of librdkafka, a line each; the place for passwords.
    #[arg(long, value_name = "FILE")]
    pub kafka_config: Option<PathBuf>,
    /// Copies that Kafka keeps of each record, when the topics are made [default: 3, or as many as there are brokers].
    #[arg(long, value_name = "N")]
    pub kafka_replicas: Option<u16>,
    /// File that holds the source's password.
    #[arg(long, value_name = "FILE")]
    pub source_password_file: Option<PathBuf>,
    /// File that holds the target's password.
    #[arg(long, value_name = "FILE")]
    pub target_password_file: Option<PathBuf>,
    /// Which tables: 'shop.*,!shop.tmp_*' [default: all but the server's own].
    #[arg(long, value_name = "PATTERNS")]
    pub tables: Option<String>,
    /// Where a first start begins: snapshot copies the tables that are there; earliest, now, or a GTID set that the target already holds.
    /// [default: snapshot, from a MySQL server.]
    #[arg(long, value_name = "snapshot|earliest|now|GTIDSET")]
    pub from: Option<String>,
    /// Stop, cleanly, when everything up to there is through.
    #[arg(long, value_name = "now|GTIDSET")]
    pub until: Option<String>,
    /// For wait: the GTID set; for skip: the GTID. For run, apply and check: whether target transactions keep the source's GTIDs [default:
    /// they do not].
    #[arg(long, value_name = "GTIDSET|preserve")]
    pub gtid: Option<String>,
    /// What becomes of the source's schema changes: they are run on the target, they stop the stream, or they are passed over [default:
    /// apply].
    #[arg(long, value_enum)]
    pub ddl: Option<Ddl>,
    /// Who wins a conflict: [TABLES:][KIND,…=]stop|source_wins|target_wins, e.g. 'shop.*:row_differs=source_wins'; may be given several
    /// times, and the last one that fits counts [default: stop].
    #[arg(long, value_name = "RULE")]
    pub on_conflict: Vec<String>,
    /// What an update or a delete compares of the target's row that it finds: the before image, or the key alone [default: image].
    #[arg(long, value_enum)]
    pub compare: Option<Compare>,
    /// Tables of the target whose triggers may run for what is applied: 'shop.audited' [default: none; a trigger stops the start].
    #[arg(long, value_name = "PATTERNS")]
    pub allow_triggers: Option<String>,
    /// What a table of the target may hold when its first copy comes: empty, or existing rows: those that are copied must be equal to them,
    /// the others stay [default: empty].
    #[arg(long, value_name = "empty|existing")]
    pub into: Option<String>,
    /// For snapshot: what becomes of the rows that targets have of tables which are copied again: repair makes each range of them equal, in
    /// its place; remove empties the table first [default: repair].
    #[arg(long, value_name = "repair|remove")]
    pub over: Option<String>,
    /// Replica id at the source; must be unique there [default: chosen and checked].
    #[arg(long, value_name = "N")]
    pub server_id: Option<u32>,
    /// Name of the source's role in the log; keep it when a promoted replica takes over.
    #[arg(long, value_name = "NAME")]
    pub site: Option<String>,
    /// Name of the stream at the target; one for each log that is applied there [default: main].
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// Remove the oldest part of the log beyond this size, e.g. 20GiB [default: keep all].
    #[arg(long, value_name = "SIZE")]
    pub keep_bytes: Option<String>,
    /// Remove the part of the log that is older, e.g. 7d [default: keep all].
    #[arg(long, value_name = "DURATION")]
    pub keep_age: Option<String>,
    /// How long an unreachable server or log is retried before exit 4 [default: 10m].
    #[arg(long, value_name = "DURATION")]
    pub retry_for: Option<String>,
    /// With --from snapshot: rows a second at most, of all tables together.
    #[arg(long, value_name = "ROWS")]
    pub snapshot_rate: Option<u64>,
    /// Copies wait while the stream is farther behind the source than this, e.g. 10s [default: they never wait for it].
    #[arg(long, value_name = "DURATION")]
    pub snapshot_max_lag: Option<String>,
    /// Copies wait while more threads than this run on the source (its status Threads_running, each reader's own among them) [default: they
    /// never wait for it].
    #[arg(long, value_name = "N")]
    pub snapshot_max_threads: Option<u64>,
    /// With --from snapshot: tables that are read at the same time [default: 4].
    #[arg(long, value_name = "N")]
    pub snapshot_readers: Option<usize>,
    /// Connections that apply at the same time [default: 4]; for diff: ranges that are compared at the same time [default: 2].
    #[arg(long, value_name = "N")]
    pub workers: Option<u32>,
    /// Registered reader to remove.
    #[arg(long, value_name = "NAME")]
    pub remove: Option<String>,
    /// First offset to print [default: the log's start].
    #[arg(long, value_name = "OFFSET")]
    pub offset: Option<u64>,
    /// Longest time to wait [default: without limit]; for diff: how long a row that changes all the time is looked at [default: 60s].
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// For diff: a file that keeps what was compared and found; an interrupted comparison goes on with it.
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// For diff: bring the target's rows that differ in line with the source's; what is overwritten or deleted is journaled.
    #[arg(long)]
    #[serde(default)]
    pub repair: bool,
    /// With --repair: do it all, say what became of each row, and take it back.
    #[arg(long)]
    #[serde(default)]
    pub dry_run: bool,
    /// Output of tail.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Machine-readable output.
    #[arg(long)]
    #[serde(default)]
    pub json: bool,
    /// Serve metrics, health and status over HTTP at PORT of this machine, or at HOST:PORT.
    #[arg(long, value_name = "ADDR")]
    pub http: Option<String>,
    /// Health is red when there is something to carry and nothing has moved for so long, 15s or more [default: 60s].
    #[arg(long, value_name = "DURATION")]
    pub stall_after: Option<String>,
    /// Form of the log lines on stderr.
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormat>,
}
