//! `snapshot`: asks the log's capture to copy tables, now or when it runs again.

use std::process::ExitCode;

use binferry_capture::snapshot::request::Request;
use binferry_schemas::{filter::TableFilter, gtid::Uuid, record::Over};
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
    let over = options.over()?;
    let log = super::open_log(options).await?;
    let state = tail_state(log.as_ref()).await?;
    let Some(site) = state.sites.first() else {
        return Err(Failure::usage(
            "the log is empty: start the capture with --from snapshot, which copies all of its tables",
        ));
    };
    let logged: TableFilter = site.filter.parse()?;
    if logged.widened(&wanted).is_none() {
        return Err(Failure::usage(format!(
            "the log holds the tables `{logged}`, and some of `{wanted}` are left out there by name: start the capture again with --tables that has them, and --from snapshot, which copies those that the log lacks"
        )));
    }
    let (again, more): (Vec<_>, Vec<_>) = (wanted.patterns().into_iter())
        .partition(|pattern| logged.widened(pattern).as_ref() == Some(&logged));
    for (patterns, over) in [(again, over), (more, Over::Nothing)] {
        if patterns.is_empty() {
            continue;
        }
        let texts: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        let tables: TableFilter = texts.join(",").parse()?;
        let id = Uuid::new_v4();
        let request = Request::Copy {
            tables: tables.clone(),
            over,
        };
        log.request(id, &request.text()).await?;
        match over {
            Over::Nothing => {
                info!(request = %id, tables = %tables, "asked for, with tables that the log does not have; the capture takes it up within seconds, or when it runs again (binferry status shows it), and captures them from then on: put them into its --tables");
            }
            _ => {
                info!(request = %id, tables = %tables, "asked for; the capture takes it up within seconds, or when it runs again (binferry status shows it)");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
