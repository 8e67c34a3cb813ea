//! `POST /stream/{name}`: one call to the table of streams; its items as lines of JSON. A stream that breaks ends with the line
//! `{"error": {code, message, hint}}`, and a blank line now and then says that a quiet one lives.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tb_api::{Actor, streams::dispatch_stream};
use tb_core::{ApiError, ErrorCode};

use crate::{
    app::App,
    error::Failure,
    live::{self, Live},
    rpc,
};

/// Opens a stream with the body as its arguments.
pub(crate) async fn open(
    State(app): State<Arc<App>>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let arguments = rpc::arguments(&app, &headers, body).await?;
    let place = live::place(&app.answers)?;
    let items = dispatch_stream(&app.ctx.as_actor(actor.clone()), &name, arguments).await?;
    let ended = ApiError::new(ErrorCode::Unavailable, "The server ended before the answer did.")
        .hint("Ask again when it runs.");
    let shut_out =
        ApiError::new(ErrorCode::Unauthenticated, "The answer ended: you were signed out, or your role changed.");
    let live = Live {
        pieces: items.map(|item| line(&item)).boxed(),
        sign_of_life: "\n",
        farewell: Some(line(&Err(ended))),
        shut_out: Some(line(&Err(shut_out))),
        place,
    };
    Ok(live.answer(&app, actor, "application/x-ndjson"))
}

fn line(item: &Result<Value, ApiError>) -> String {
    match item {
        // JSON has no line breaks of its own.
        Ok(item) => format!("{item}\n"),
        Err(error) => format!("{}\n", json!({ "error": error })),
    }
}
