//! The command line, and the configuration file that takes the same names (the command line wins).

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use binferry_apply::{Compare as Compared, DdlMode, Gtids, IntoTables, conflict::Policies};
use binferry_capture::snapshot::CopyOptions;
use binferry_schemas::{
    address::{Address, Secret},
    filter::TableFilter,
    gtid::{Gtid, GtidSet},
    record::Over,
    source::SourceAddress,
};
use binferry_transport::{
    kafka::{KafkaAddress, KafkaOptions, Properties, Wanted},
    log::Retention,
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize;

use crate::failure::Failure;

/// Carries MySQL changes, in order and exactly once, through a durable log to other servers.
#[derive(Debug, Parser)]
#[command(
    name = "binferry",
    version,
    propagate_version = true,
    max_term_width = 110
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Capture, log and apply in one process.
    Run(Options),
    /// Read a source's binlog and write its transactions to the log.
    Capture(Options),
    /// Apply the log's transactions to a target.
    Apply(Options),
    /// Print every row change of the log, a line of JSON each, and follow.
    Tail(Options),
    /// Preflight: every setting and privilege, each finding with its remedy.
    Check(Options),
    /// Positions, readers and lag of a log and, with --target, of what is applied there.
    Status(Options),
    /// Wait until the target shows a set of GTIDs.
    Wait(Options),
    /// Have tables copied into the log, for the first time or again, while the stream goes on.
    Snapshot(Options),
    /// Pass one transaction that the applier stops at: it is journaled on the target, whole, and not applied.
    Skip(Options),
    /// Read the journal of conflicts on a target.
    Conflicts(Conflicts),
    /// List the log's registered readers, or remove one, so that retention no longer waits for it.
    Readers(Options),
}

#[derive(Debug, Args)]
pub struct Conflicts {
    #[command(subcommand)]
    pub action: ConflictsAction,
}

#[derive(Debug, Subcommand)]
pub enum ConflictsAction {
    /// A line for each journaled conflict, oldest first.
    List {
        #[command(flatten)]
        options: Box<Options>,
        /// Only of these tables: 'shop.*,!shop.tmp_*'.
        #[arg(long, value_name = "PATTERNS")]
        table: Option<String>,
        /// Only of this kind: row_missing, row_exists, row_differs, unique_key, foreign_key, check_constraint, type, skipped.
        #[arg(long, value_name = "KIND")]
        kind: Option<String>,
        /// Only from then on: 2026-03-01T12:00:00Z, or a duration back from now, e.g. 2h.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
    /// Everything that is journaled of one conflict.
    Show {
        /// Its id in the list.
        id: u64,
        #[command(flatten)]
        options: Box<Options>,
    },
}

impl Conflicts {
    pub fn options(&self) -> &Options {
        match &self.action {
            ConflictsAction::List { options, .. } | ConflictsAction::Show { options, .. } => {
                options
            }
        }
    }
}

/// Every option; a command refuses those that it has no use for.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// TOML file with the same names as these options; the command line wins.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
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
    /// Connections that apply at the same time [default: 4].
    #[arg(long, value_name = "N")]
    pub workers: Option<u32>,
    /// Registered reader to remove.
    #[arg(long, value_name = "NAME")]
    pub remove: Option<String>,
    /// First offset to print [default: the log's start].
    #[arg(long, value_name = "OFFSET")]
    pub offset: Option<u64>,
    /// Longest time to wait [default: without limit].
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// Output of tail.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Machine-readable output.
    #[arg(long)]
    #[serde(default)]
    pub json: bool,
    /// Form of the log lines on stderr.
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormat>,
}

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

/// Where the log is.
#[derive(Debug, Clone)]
pub enum LogPlace {
    Directory(PathBuf),
    Kafka(Box<KafkaOptions>),
}

/// Where a first start begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Earliest,
    /// Only for the beginning.
    Snapshot,
    Now,
    Set(GtidSet),
}

macro_rules! fill {
    ($into:ident, $from:ident, $($field:ident),+ $(,)?) => {
        $(if $into.$field.is_none() { $into.$field = $from.$field; })+
    };
}

impl Options {
    /// The options of the configuration file are filled in where the command line has none.
    pub fn with_file(mut self) -> Result<Self, Failure> {
        let Some(path) = self.config.clone() else {
            return Ok(self);
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|e| Failure::usage(format!("--config {}: {e}", path.display())))?;
        let file: Options = toml::from_str(&text).map_err(|e| {
            Failure::usage(format!(
                "--config {}: {}",
                path.display(),
                e.to_string().trim_end()
            ))
        })?;
        fill!(
            self,
            file,
            source,
            target,
            log,
            kafka_config,
            kafka_replicas,
            source_password_file,
            target_password_file,
            tables,
            from,
            until,
            gtid,
            ddl,
            compare,
            allow_triggers,
            into,
            over,
            server_id,
            site,
            stream,
            keep_bytes,
            keep_age,
            retry_for,
            snapshot_rate,
            snapshot_readers,
            snapshot_max_lag,
            snapshot_max_threads,
            workers,
            remove,
            offset,
            timeout,
            format,
            log_format,
        );
        self.json |= file.json;
        // The last one of a name wins.
        self.kafka.splice(0..0, file.kafka);
        self.on_conflict.splice(0..0, file.on_conflict);
        Ok(self)
    }

    /// A server, or binlog files.
    pub fn source(&self) -> Result<SourceAddress, Failure> {
        if let Some(text) = self
            .source
            .as_deref()
            .filter(|t| SourceAddress::is_files(t))
        {
            if self.server_id.is_some() || self.source_password_file.is_some() {
                return Err(Failure::usage(
                    "--server-id and --source-password-file are for a server, and --source names files",
                ));
            }
            return Ok(text.parse()?);
        }
        Ok(SourceAddress::Server(self.source_server()?))
    }

    fn source_server(&self) -> Result<Address, Failure> {
        server(
            "--source",
            self.source.as_deref(),
            "BINFERRY_SOURCE_PASSWORD",
            self.source_password_file.as_deref(),
        )
    }

    pub fn target(&self) -> Result<Address, Failure> {
        server(
            "--target",
            self.target.as_deref(),
            "BINFERRY_TARGET_PASSWORD",
            self.target_password_file.as_deref(),
        )
    }

    pub fn log(&self) -> Result<LogPlace, Failure> {
        let text = self.log.as_deref().ok_or_else(|| {
            Failure::usage("--log is missing: the log's directory, or kafka://host:port/NAME")
        })?;
        if KafkaAddress::is_one(text) {
            return Ok(LogPlace::Kafka(Box::new(KafkaOptions {
                address: text.parse()?,
                properties: self.kafka_properties()?,
                wanted: Wanted {
                    replicas: self.kafka_replicas,
                    retention: self.retention()?,
                },
                patience: self.retry_for()?,
            })));
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(Failure::usage(format!(
                "--log {scheme}://…: a log is a directory, or kafka://host:port/NAME"
            )));
        }
        let only_kafka =
            !self.kafka.is_empty() || self.kafka_config.is_some() || self.kafka_replicas.is_some();
        if only_kafka {
            return Err(Failure::usage(
                "--kafka, --kafka-config and --kafka-replicas are for a log in Kafka, and --log is a directory",
            ));
        }
        Ok(LogPlace::Directory(text.into()))
    }

    fn kafka_properties(&self) -> Result<Properties, Failure> {
        let mut properties = Properties::default();
        if let Some(file) = &self.kafka_config {
            let name = file.display();
            let text = std::fs::read_to_string(file)
                .map_err(|e| Failure::usage(format!("--kafka-config {name}: {e}")))?;
            properties.add_file(&text).map_err(|(line, error)| {
                Failure::usage(format!("--kafka-config {name}, line {line}: {error}"))
            })?;
        }
        for given in &self.kafka {
            properties.add(given)?;
        }
        Ok(properties)
    }

    pub fn retention(&self) -> Result<Retention, Failure> {
        Ok(Retention {
            bytes: self.keep_bytes()?,
            age: self.keep_age()?,
        })
    }

    pub fn filter(&self) -> Result<TableFilter, Failure> {
        match &self.tables {
            None => Ok(TableFilter::default()),
            Some(text) => text
                .parse()
                .map_err(|e| Failure::usage(format!("--tables: {e}"))),
        }
    }

    pub fn from(&self) -> Result<Option<Place>, Failure> {
        match self.from.as_deref() {
            None => Ok(None),
            Some("earliest") => Ok(Some(Place::Earliest)),
            Some("now") => Ok(Some(Place::Now)),
            Some("snapshot") => Ok(Some(Place::Snapshot)),
            Some(set) => Ok(Some(Place::Set(gtid_set(
                "--from",
                set,
                "snapshot, earliest, now or a GTID set",
            )?))),
        }
    }

    pub fn until(&self) -> Result<Option<Place>, Failure> {
        match self.until.as_deref() {
            None => Ok(None),
            Some("now") => Ok(Some(Place::Now)),
            Some(set) => Ok(Some(Place::Set(gtid_set(
                "--until",
                set,
                "now or a GTID set",
            )?))),
        }
    }

    pub fn gtid(&self) -> Result<GtidSet, Failure> {
        let text = self
            .gtid
            .as_deref()
            .ok_or_else(|| Failure::usage("--gtid is missing: the GTID set to wait for"))?;
        gtid_set("--gtid", text, "a GTID set")
    }

    /// The one GTID to skip.
    pub fn gtid_to_skip(&self) -> Result<Gtid, Failure> {
        let text = self.gtid.as_deref().ok_or_else(|| {
            Failure::usage("--gtid is missing: the GTID of the transaction to skip")
        })?;
        text.trim().parse().map_err(|e| {
            Failure::usage(format!("--gtid: {e}; expected the GTID of one transaction"))
        })
    }

    /// What the target's transactions are called.
    pub fn gtids(&self) -> Result<Gtids, Failure> {
        match self.gtid.as_deref() {
            None => Ok(Gtids::Own),
            Some("preserve") => Ok(Gtids::Preserve),
            Some(_) => Err(Failure::usage(
                "--gtid: expected preserve; GTIDs are for wait and skip",
            )),
        }
    }

    pub fn ddl(&self) -> DdlMode {
        self.ddl.map(DdlMode::from).unwrap_or_default()
    }

    pub fn compare(&self) -> Compared {
        self.compare.map(Compared::from).unwrap_or_default()
    }

    pub fn allow_triggers(&self) -> Result<Option<TableFilter>, Failure> {
        (self.allow_triggers.as_deref())
            .map(|text| {
                text.parse()
                    .map_err(|e| Failure::usage(format!("--allow-triggers: {e}")))
            })
            .transpose()
    }

    /// What a table may hold when its first copy comes.
    pub fn copy_into(&self) -> Result<IntoTables, Failure> {
        match self.into.as_deref() {
            None | Some("empty") => Ok(IntoTables::Empty),
            Some("existing") => Ok(IntoTables::Existing),
            Some(other) => Err(Failure::usage(format!(
                "--into {other}: expected empty or existing"
            ))),
        }
    }

    /// What becomes of the rows of tables that are copied again.
    pub fn over(&self) -> Result<Over, Failure> {
        match self.over.as_deref() {
            None | Some("repair") => Ok(Over::Repair),
            Some("remove") => Ok(Over::Remove),
            Some(other) => Err(Failure::usage(format!(
                "--over {other}: expected repair or remove"
            ))),
        }
    }

    pub fn policies(&self) -> Result<Policies, Failure> {
        Policies::parse(&self.on_conflict)
            .map_err(|error| Failure::from(error).within("--on-conflict"))
    }

    pub fn site(&self) -> String {
        self.site.clone().unwrap_or_else(|| "main".to_owned())
    }

    pub fn stream(&self) -> String {
        self.stream.clone().unwrap_or_else(|| "main".to_owned())
    }

    fn keep_bytes(&self) -> Result<Option<u64>, Failure> {
        self.keep_bytes
            .as_deref()
            .map(|t| bytes("--keep-bytes", t))
            .transpose()
    }

    fn keep_age(&self) -> Result<Option<Duration>, Failure> {
        self.keep_age
            .as_deref()
            .map(|t| duration("--keep-age", t))
            .transpose()
    }

    pub fn retry_for(&self) -> Result<Duration, Failure> {
        self.retry_for
            .as_deref()
            .map_or(Ok(Duration::from_secs(600)), |t| duration("--retry-for", t))
    }

    pub fn copy(&self) -> Result<CopyOptions, Failure> {
        let readers = match self.snapshot_readers {
            None => CopyOptions::default().readers,
            Some(readers @ 1..=64) => readers,
            Some(other) => {
                return Err(Failure::usage(format!(
                    "--snapshot-readers {other}: between 1 and 64"
                )));
            }
        };
        let rate = match self.snapshot_rate {
            Some(0) => return Err(Failure::usage("--snapshot-rate 0: at least 1 row a second")),
            rate => rate,
        };
        let threads = match self.snapshot_max_threads {
            Some(0) => {
                return Err(Failure::usage(
                    "--snapshot-max-threads 0: at least 1, for the thread that asks is one of them",
                ));
            }
            threads => threads,
        };
        let lag = (self.snapshot_max_lag.as_deref())
            .map(|text| duration("--snapshot-max-lag", text))
            .transpose()?;
        Ok(CopyOptions {
            readers,
            rate,
            lag,
            threads,
        })
    }

    pub fn workers(&self) -> Result<u32, Failure> {
        match self.workers.unwrap_or(4) {
            workers @ 1..=64 => Ok(workers),
            other => Err(Failure::usage(format!(
                "--workers {other}: between 1 and 64"
            ))),
        }
    }

    pub fn timeout(&self) -> Result<Option<Duration>, Failure> {
        self.timeout
            .as_deref()
            .map(|t| duration("--timeout", t))
            .transpose()
    }
}

fn server(
    option: &str,
    url: Option<&str>,
    variable: &str,
    file: Option<&Path>,
) -> Result<Address, Failure> {
    let url =
        url.ok_or_else(|| Failure::usage(format!("{option} is missing: mysql://user@host:port/")))?;
    let mut address: Address = url
        .parse()
        .map_err(|e| Failure::usage(format!("{option}: {e}")))?;
    if let Some(file) = file {
        let text = std::fs::read_to_string(file).map_err(|e| {
            Failure::usage(format!("{option}-password-file {}: {e}", file.display()))
        })?;
        address.password = Secret::new(text.trim_end_matches(['\r', '\n']));
    } else if let Ok(password) = std::env::var(variable) {
        address.password = Secret::new(password);
    }
    Ok(address)
}

fn gtid_set(option: &str, text: &str, expected: &str) -> Result<GtidSet, Failure> {
    text.parse()
        .map_err(|e| Failure::usage(format!("{option}: {e}; expected {expected}")))
}

fn duration(option: &str, text: &str) -> Result<Duration, Failure> {
    humantime::parse_duration(text)
        .map_err(|e| Failure::usage(format!("{option} {text}: {e}; for example 90s, 10m, 7d")))
}

fn bytes(option: &str, text: &str) -> Result<u64, Failure> {
    text.parse::<bytesize::ByteSize>()
        .map(|b| b.0)
        .map_err(|e| Failure::usage(format!("{option} {text}: {e}; for example 500MiB, 20GiB")))
}
