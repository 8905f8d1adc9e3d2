//! `skip`: the way past a transaction that the applier stops at.

use std::process::ExitCode;

use binferry_apply::Skipped;

use crate::{
    cli::Options,
    failure::{Failure, NO},
};

/// 0 when it is passed now, 1 when there was nothing to pass.
pub async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let (gtid, target, stream) = (options.gtid_to_skip()?, options.target()?, options.stream());
    let log = super::open_log(options).await?;
    let mut wanted = binferry_apply::Options::new(target, log);
    wanted.stream = stream.clone();
    match binferry_apply::skip(&wanted, gtid).await? {
        Skipped::Done { journaled } => {
            eprintln!(
                "stream {stream} goes on behind {gtid}; {journaled} rows are in the journal: binferry conflicts list --kind skipped"
            );
            Ok(ExitCode::SUCCESS)
        }
        Skipped::Applied => {
            eprintln!("nothing is skipped: stream {stream} has {gtid} behind it already");
            Ok(ExitCode::from(NO))
        }
        Skipped::NotNext { next } => {
            let next = match next {
                Some(next) => format!("the next one is {next}"),
                None => "nothing is left to apply".to_owned(),
            };
            eprintln!(
                "nothing is skipped: {gtid} is not what stream {stream} applies next; {next}"
            );
            Ok(ExitCode::from(NO))
        }
    }
}
