//! What the program can be told to do.

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::Options;

/// Carries MySQL changes, in order and exactly once, through a durable log to other servers.
#[derive(Debug, Parser)]
#[command(
    name = "binferry",
    version,
    long_version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("BINFERRY_BUILD"), ")"),
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
    Status(Status),
    /// Wait until the target shows a set of GTIDs.
    Wait(Options),
    /// Have tables copied into the log, for the first time or again, while the stream goes on.
    Snapshot(Options),
    /// Pass one transaction that the applier stops at: it is journaled on the target, whole, and not applied.
    Skip(Options),
    /// Read the journal of conflicts on a target.
    Conflicts(Conflicts),
    /// Compare a target with its source while traffic flows: which rows and columns differ.
    Diff(Options),
    /// List the log's registered readers, or remove one, so that retention no longer waits for it.
    Readers(Options),
    /// Configuration files.
    #[command(subcommand)]
    Config(ConfigAction),
    /// Print a script that completes this program's commands and options in a shell.
    Completions {
        /// For this shell.
        shell: Shell,
    },
    /// Print the manual's page of the program, or of one of its commands.
    Man {
        /// The command.
        command: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigAction {
    /// Print a configuration file with every option, described and commented out.
    Example,
}

impl Command {
    /// `None`: it needs none.
    pub fn options(&self) -> Option<&Options> {
        match self {
            Self::Run(options)
            | Self::Capture(options)
            | Self::Apply(options)
            | Self::Tail(options)
            | Self::Check(options)
            | Self::Wait(options)
            | Self::Snapshot(options)
            | Self::Skip(options)
            | Self::Diff(options)
            | Self::Readers(options) => Some(options),
            Self::Status(status) => Some(&status.options),
            Self::Conflicts(conflicts) => Some(conflicts.options()),
            Self::Config(_) | Self::Completions { .. } | Self::Man { .. } => None,
        }
    }
}

#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    pub options: Box<Options>,
    /// Look again every so many seconds, in the same place of a terminal, until Ctrl-C [default when no number is given: 2].
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub watch: Option<u64>,
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
        /// Only of this kind: row_missing, row_exists, row_differs, unique_key, foreign_key, check_constraint, type, skipped, repaired.
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
