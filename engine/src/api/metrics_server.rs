//! `GET /metrics` for Prometheus, `GET /healthz` for whoever restarts engines.

use super::status::Status;
use super::{ApiHandle, ApiRequest, Stopping, metrics};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::io;

/// Serves until dropped.
pub async fn serve(listener: tokio::net::TcpListener, api: ApiHandle) -> io::Result<()> {
    let routes = Router::new().route("/metrics", get(show)).route("/healthz", get(health)).with_state(api);
    axum::serve(listener, routes).await
}

async fn show(State(api): State<ApiHandle>) -> Response {
    match gather(&api).await {
        Ok(report) => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], metrics::text(&report)).into_response()
        }
        Err(stopping) => unavailable(&stopping.to_string()),
    }
}

async fn health(State(api): State<ApiHandle>) -> Response {
    match api.ask(ApiRequest::Status).await {
        Ok(Status { ready: true, .. }) => "ready\n".into_response(),
        Ok(_) => unavailable("not ready"),
        Err(stopping) => unavailable(&stopping.to_string()),
    }
}

fn unavailable(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
}

async fn gather(api: &ApiHandle) -> Result<metrics::Report, Stopping> {
    Ok(metrics::Report {
        status: api.ask(ApiRequest::Status).await?,
        ports: api.ask(ApiRequest::Ports).await?,
        tunnels: api.ask(ApiRequest::Tunnels).await?,
        workers: api.ask(ApiRequest::Workers).await?,
        drops: api.ask(ApiRequest::Drops).await?,
        mirror: api.ask(ApiRequest::Mirror).await?,
    })
}
