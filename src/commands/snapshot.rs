//! `snapshot`: asks the log's capture to copy tables, now or when it runs again.

use std::process::ExitCode;

use binferry_capture::snapshot::request;
use binferry_schemas::{filter::TableFilter, gtid::Uuid};
use binferry_transport::resume::tail_state;
use tracing::info;

use crate::{cli::Options, failure::Failure};

pub async fn run(options: &Options) -> Result<ExitCode, Failure> {
    if options.tables.is_none() {
        return Err(Failure::usage(
            "--tables is missing: the tables to copy, e.g. --tables 'shop.orders,shop.items'",
        ));
    }
    let wanted = options.filter()?;
    let log = super::open_log(options).await?;
    let state = tail_state(log.as_ref()).await?;
    let Some(site) = state.sites.first() else {
        return Err(Failure::usage(
            "the log is empty: start the capture with --from snapshot, which copies all of its tables",
        ));
    };
    let logged: TableFilter = site.filter.parse()?;
    if !wanted.within(&logged) {
        return Err(Failure::usage(format!(
            "the log holds the tables `{logged}`, and `{wanted}` asks for more: start the capture again with --tables that has them all, and --from snapshot, which copies those that the log lacks"
        )));
    }
    let id = Uuid::new_v4();
    log.request(id, &request::text(&wanted)).await?;
    info!(job = %id, tables = %wanted, "asked for; the capture takes it up within seconds, or when it runs again (binferry status shows it)");
    Ok(ExitCode::SUCCESS)
}
