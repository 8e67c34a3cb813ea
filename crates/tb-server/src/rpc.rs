//! `POST /rpc/{name}`: one call to the command table.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde_json::Value;
use tb_api::{
    Actor,
    commands::{COMMANDS, dispatch},
};
use tb_core::{ApiError, ErrorCode};

use crate::{
    app::App,
    body::{Pieces, must_be_json},
    error::{Failure, json},
};

/// Runs a command with the body as its arguments; no body stands for none.
pub(crate) async fn call(
    State(app): State<Arc<App>>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let arguments = arguments(&app, &headers, body).await?;
    let ctx = app.ctx.as_actor(actor);
    let changes = COMMANDS.iter().any(|c| c.name == name && c.changes());
    let out = if changes {
        let name = name.clone();
        let work = app.tasks.see_through(async move { dispatch(&ctx, &name, arguments).await });
        work.await.unwrap_or_else(|| Err(cut_off()))
    } else {
        dispatch(&ctx, &name, arguments).await
    };
    match out {
        Ok(out) => Ok(json(&out)),
        Err(error) => {
            if error.code == ErrorCode::Internal {
                tracing::error!(command = name, %error, "a command failed");
            }
            Err(error.into())
        }
    }
}

/// The JSON arguments in a body.
///
/// # Errors
/// A body that is too large, too slow or no JSON.
pub(crate) async fn arguments(app: &App, headers: &HeaderMap, body: Body) -> Result<Value, Failure> {
    must_be_json(headers)?;
    let pieces = Pieces::new(headers, body, app.limits.arguments_bytes, app.limits.body_idle)?;
    let text = pieces.all().await?;
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&text).map_err(|e| {
        Failure::new(
            StatusCode::BAD_REQUEST,
            ErrorCode::InvalidArgument,
            format!("Nothing was done: the arguments are no JSON that can be read: {e}."),
        )
    })
}

/// The error of a change whose task came to no end.
pub(crate) fn cut_off() -> ApiError {
    ApiError::new(ErrorCode::Internal, "The command was cut off, by a fault or by the end of the server.")
        .hint("What is stored is whole. Look whether the change was made before you try again.")
}
