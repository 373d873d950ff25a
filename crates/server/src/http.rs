//! `/metrics`, `/livez` and `/readyz`.

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;
use tokio::net::TcpListener;

/// One thing that must hold before the node takes traffic.
pub struct Check {
    /// Its name in `/readyz?verbose`.
    pub name: &'static str,
    /// `Ok` with a remark, or what is wrong.
    pub probe: Box<dyn Fn() -> Result<String, String> + Send + Sync>,
}

struct Shared {
    prometheus: PrometheusHandle,
    checks: Vec<Check>,
}

/// Serves until `shutdown` completes.
pub async fn serve(
    listener: TcpListener,
    prometheus: PrometheusHandle,
    checks: Vec<Check>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let shared = Arc::new(Shared { prometheus, checks });
    let app = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(|State(shared): State<Arc<Shared>>| async move { shared.prometheus.render() }))
        .with_state(shared);
    axum::serve(listener, app).with_graceful_shutdown(shutdown).await
}

/// 200 if every check holds, 503 if one does not; `?verbose` lists them.
async fn readyz(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<BTreeMap<String, String>>,
) -> (StatusCode, String) {
    let mut text = String::new();
    let mut ready = true;
    for check in &shared.checks {
        let outcome = (check.probe)();
        ready &= outcome.is_ok();
        let (sign, remark) = match &outcome {
            Ok(remark) => ('+', remark),
            Err(remark) => ('-', remark),
        };
        let _ = writeln!(text, "[{sign}] {}: {remark}", check.name);
    }
    let verdict = if ready { "ready\n" } else { "not ready\n" };
    if query.contains_key("verbose") || !ready {
        text.push_str(verdict);
    } else {
        text = verdict.to_owned();
    }
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
}
