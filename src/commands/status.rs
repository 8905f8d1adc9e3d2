//! `status`: where a log stands, who reads it, what its captures said last, and what a target shows of it. `facts` asks, and what it finds
//! is JSON; `page` makes a screen for people of that, and of nothing else.

mod facts;
mod page;

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use console::Term;
use serde_json::Value;

use crate::{cli::Options, failure::Failure};
use facts::Asker;

/// `watch`: looks again so often, until Ctrl-C.
pub async fn run(options: &Options, watch: Option<Duration>) -> Result<ExitCode, Failure> {
    let mut asker = Asker::open(options).await?;
    let Some(every) = watch else {
        let (status, code) = asker.look().await?;
        print(options, &status, false)?;
        return Ok(code);
    };
    let looking = async {
        loop {
            let (status, _) = asker.look().await?;
            if !print(options, &status, true)? {
                return Ok(ExitCode::SUCCESS);
            }
            tokio::time::sleep(every).await;
        }
    };
    tokio::select! {
        biased;
        stopped = tokio::signal::ctrl_c() => match stopped {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) => Err(Failure::defect(format!("signals cannot be listened to: {error}"))),
        },
        ended = looking => ended,
    }
}

/// A line of JSON or a page; `again`: the page takes the place of the one before on a terminal. `false`: nobody reads on.
fn print(options: &Options, status: &Value, again: bool) -> Result<bool, Failure> {
    let text = match options.json {
        true => format!("{status}\n"),
        false => page::of(status),
    };
    let mut term = Term::buffered_stdout();
    let printed = match again && !options.json {
        true if term.is_term() => in_place(&mut term, &text),
        true => writeln!(term, "{text}"),
        false => term.write_all(text.as_bytes()),
    };
    match printed.and_then(|()| term.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::usage(format!("stdout: {error}"))),
    }
}

/// Written at once, so that it does not flicker; lines that are too long are cut, so that it stays one screen.
fn in_place(term: &mut Term, page: &str) -> io::Result<()> {
    let width = usize::from(term.size().1);
    term.clear_screen()?;
    for line in page.lines() {
        writeln!(term, "{}", console::truncate_str(line, width, "…"))?;
    }
    Ok(())
}
