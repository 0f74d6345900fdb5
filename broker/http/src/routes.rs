//! Paths, and what each answers.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, Request, State as Shared};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tokio::time::timeout;

use crate::access::{self, Denied};
use crate::server::Options;
use crate::{Admin, Refusal, Token};

/// What the handlers share.
#[derive(Clone)]
struct App {
    admin: Arc<dyn Admin>,
    token: Option<Token>,
    answer_timeout: Duration,
    reload_timeout: Duration,
}

pub(crate) fn router(admin: Arc<dyn Admin>, options: &Options) -> Router {
    let app = App {
        admin,
        token: options.token.clone(),
        answer_timeout: options.answer_timeout,
        reload_timeout: options.reload_timeout,
    };
    Router::new()
        .route("/health", get(async || Json(json!({ "status": "ok" }))))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status))
        .route("/v1/plugins", get(plugins))
        .route("/v1/plugins/{name}", get(plugin))
        .route("/v1/topics/{name}", get(topic))
        .route("/v1/plan", get(plan))
        .route("/v1/reload", post(reload))
        .fallback(async |uri: Uri| {
            refuse(StatusCode::NOT_FOUND, format!("there is no {}", uri.path()), "see GET /v1/status")
        })
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            let what = format!("{} does not take {method}", uri.path());
            refuse(StatusCode::METHOD_NOT_ALLOWED, what, "the Allow header names the methods")
        })
        .layer(DefaultBodyLimit::max(options.body_bytes_max))
        .layer(middleware::from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

/// Before every handler: may this caller ask, and within what time.
async fn guard(Shared(app): Shared<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if let Err(denied) = access::check(app.token.as_ref(), request.method(), path, request.headers()) {
        return deny(denied);
    }
    let limit =
        if matches!(path, "/v1/reload" | "/v1/plan") { app.reload_timeout } else { app.answer_timeout };
    match timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refuse(
            StatusCode::GATEWAY_TIMEOUT,
            format!("no answer within {limit:?}"),
            "try again; the log of the broker may say what it waits for",
        ),
    }
}

async fn ready(Shared(app): Shared<App>) -> Response {
    match app.admin.unready() {
        None => Json(json!({ "ready": true })).into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false, "reason": reason })))
            .into_response(),
    }
}

async fn metrics(Shared(app): Shared<App>) -> Response {
    let content = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content, app.admin.metrics().render()).into_response()
}

async fn status(Shared(app): Shared<App>) -> Response {
    Json(app.admin.status().await).into_response()
}

async fn plugins(Shared(app): Shared<App>) -> Response {
    Json(app.admin.status().await.plugins).into_response()
}

async fn plugin(Shared(app): Shared<App>, Path(name): Path<String>) -> Response {
    match app.admin.status().await.plugins.into_iter().find(|plugin| plugin.name == name) {
        Some(plugin) => Json(plugin).into_response(),
        None => {
            refuse(StatusCode::NOT_FOUND, format!("no plugin is named \"{name}\""), "see GET /v1/plugins")
        }
    }
}

async fn topic(Shared(app): Shared<App>, Path(name): Path<String>) -> Response {
    match app.admin.partitions(&name).await {
        Some(partitions) => Json(partitions).into_response(),
        None => refuse(StatusCode::NOT_FOUND, format!("no topic is named \"{name}\""), "see GET /v1/status"),
    }
}

async fn reload(Shared(app): Shared<App>) -> Response {
    // A task of its own: a caller that hangs up must not stop a reload half-way.
    let admin = app.admin.clone();
    match tokio::spawn(async move { admin.reload().await }).await {
        Ok(outcome) => changes(outcome),
        Err(ended) if ended.is_panic() => resume_unwind(ended.into_panic()),
        Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "the broker is stopping".into(), "start it again"),
    }
}

async fn plan(Shared(app): Shared<App>) -> Response {
    changes(app.admin.plan().await)
}

fn changes(outcome: Result<Vec<String>, Refusal>) -> Response {
    match outcome {
        Ok(changes) => Json(json!({ "changes": changes })).into_response(),
        Err(refusal) => {
            let error = json!({
                "what": "the configuration is not valid; the one before goes on",
                "problems": refusal.problems,
                "todo": "mend the file; `flumen check` shows the same problems",
            });
            (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "error": error }))).into_response()
        }
    }
}

fn refuse(status: StatusCode, what: String, todo: &str) -> Response {
    (status, Json(json!({ "error": { "what": what, "todo": todo } }))).into_response()
}

fn deny(denied: Denied) -> Response {
    let mut response = refuse(denied.status, denied.what.into(), denied.todo);
    if denied.status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
