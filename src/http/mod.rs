//! `--http`: metrics for Prometheus, health, readiness and status, over plain HTTP/1.1, read only.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | text for Prometheus: [`metrics`] |
//! | `/healthz` | 200 while nothing is wrong; 503 and what is wrong, a line each |
//! | `/readyz` | 200 while every stage is connected and nothing is wrong; 503 otherwise |
//! | `/status` | JSON: [`status`] |
//!
//! Nothing is asked for an answer that could wait: what is shown is what the board says.

mod metrics;
mod status;

use std::{
    convert::Infallible,
    fmt::Write,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CACHE_CONTROL, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tracing::{debug, info, warn};

use crate::{
    failure::Failure,
    watch::board::{Board, View},
};

/// Connections at a time; more wait.
const CONNECTIONS: usize = 64;
/// Until a request has been read, or the next one has come.
const PATIENCE: Duration = Duration::from_secs(30);
const AFTER_FAILURE: Duration = Duration::from_millis(200);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// A port that is listened on; requests are answered when it is served.
#[derive(Debug)]
pub struct Listener(TcpListener);

/// Listens at `HOST:PORT`. `PORT` and `:PORT` are at 127.0.0.1: what is for other machines has to be said.
pub fn listen(given: &str) -> Result<Listener, Failure> {
    let fail = |reason: String| Failure::usage(format!("--http {given}: {reason}"));
    let port = given.strip_prefix(':').unwrap_or(given);
    let address = match port.parse::<u16>() {
        Ok(port) => SocketAddr::from(([127, 0, 0, 1], port)),
        Err(_) => given
            .to_socket_addrs()
            .map_err(|e| fail(format!("{e}; expected PORT, or HOST:PORT")))?
            .next()
            .ok_or_else(|| fail("the name has no address".to_owned()))?,
    };
    let listener = TcpListener::bind(address).map_err(|e| {
        fail(match e.kind() {
            std::io::ErrorKind::AddrInUse => format!(
                "another program listens at {address}; end that one, or choose another port"
            ),
            _ => format!("cannot listen at {address}: {e}"),
        })
    })?;
    let listening = listener
        .set_nonblocking(true)
        .and_then(|()| listener.local_addr())
        .map_err(|e| fail(e.to_string()))?;
    info!(address = %listening, "metrics, health and status are served over HTTP");
    if !listening.ip().is_loopback() {
        warn!(address = %listening, "it is served to other machines, without encryption and to everybody who reaches the port");
    }
    Ok(Listener(listener))
}

/// Until the process ends.
pub async fn serve(listener: Listener, board: Arc<Board>) {
    let listener = match tokio::net::TcpListener::from_std(listener.0) {
        Ok(listener) => listener,
        Err(error) => {
            warn!(%error, "HTTP cannot be served");
            return;
        }
    };
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // It is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Too many open files, mostly: passes.
                debug!(%error, "a connection cannot be taken");
                tokio::time::sleep(AFTER_FAILURE).await;
                continue;
            }
        };
        let board = Arc::clone(&board);
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let answer = answer(request.method(), request.uri().path(), &board);
                async { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                debug!(%error, "a connection over HTTP has ended");
            }
            drop(permit);
        });
    }
}

fn answer(method: &Method, path: &str, board: &Board) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let text = "only GET and HEAD are answered\n".to_owned();
        return response(StatusCode::METHOD_NOT_ALLOWED, TEXT, text);
    }
    match path {
        "/metrics" => match metrics::page(&board.look()) {
            Ok(page) => response(StatusCode::OK, metrics::CONTENT, page),
            Err(error) => response(
                StatusCode::INTERNAL_SERVER_ERROR,
                TEXT,
                format!("the metrics cannot be written: {error}\n"),
            ),
        },
        "/healthz" => {
            let view = board.look();
            verdict(view.is_well(), "well", &view)
        }
        "/readyz" => {
            let view = board.look();
            verdict(view.is_ready(), "ready", &view)
        }
        "/status" => {
            let status = status::of(&board.look());
            response(StatusCode::OK, JSON, format!("{status}\n"))
        }
        _ => {
            let text = "there is /metrics, /healthz, /readyz and /status\n".to_owned();
            response(StatusCode::NOT_FOUND, TEXT, text)
        }
    }
}

fn verdict(good: bool, word: &str, view: &View) -> Response<Full<Bytes>> {
    if good {
        return response(StatusCode::OK, TEXT, format!("{word}\n"));
    }
    let mut text = String::new();
    for problem in &view.problems {
        let _ = writeln!(text, "{}: {}", problem.stage, problem.problem);
        if let Some(remedy) = &problem.remedy {
            let _ = writeln!(text, "  remedy: {remedy}");
        }
    }
    if text.is_empty() {
        text.push_str("starting\n");
    }
    response(StatusCode::SERVICE_UNAVAILABLE, TEXT, text)
}

fn response(status: StatusCode, content: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static(content),
    );
    headers.insert(
        CACHE_CONTROL,
        hyper::header::HeaderValue::from_static("no-store"),
    );
    response
}
