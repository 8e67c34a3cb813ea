//! `tonebridge generate --stream`: the answer word by word, through the stream that the window and the server use.

use futures_util::StreamExt;
use serde_json::{Value, json};
use tb_api::{Ctx, GenerateItem, streams};
use tb_core::{
    ApiError, ErrorCode,
    run_folder::{Decoding, Framing},
};

use crate::{args::Generate, measure, output::Output};

/// Prints the answer as it comes; for programs one object at the end, as without `--stream`.
pub async fn generate(ctx: &Ctx, args: &Generate, decoding: &Decoding, output: &Output) -> Result<(), ApiError> {
    let model = measure::source(&args.model)?;
    let mut side = json!({ "base_model": model.base });
    if let Some(adapter) = model.adapter {
        side["adapter"] = json!(adapter);
    }
    let mut arguments = json!({ "sides": [side], "decoding": decoding });
    match args.framing() {
        Framing::Chat => arguments["messages"] = json!([{ "role": "user", "content": args.prompt }]),
        Framing::Plain => arguments["prompt"] = json!(args.prompt),
    }
    let answer = print(ctx, arguments, output).await;
    ctx.close().await;
    let (text, done) = answer?;
    if output.is_json() {
        output.result(&done, &text);
    }
    Ok(())
}

async fn print(ctx: &Ctx, arguments: Value, output: &Output) -> Result<(String, Value), ApiError> {
    let mut items = streams::dispatch_stream(ctx, "generate", arguments).await?;
    let mut text = String::new();
    while let Some(item) = items.next().await {
        let item: GenerateItem = serde_json::from_value(item?)
            .map_err(|e| ApiError::new(ErrorCode::Internal, format!("An item cannot be read: {e}.")))?;
        match item {
            GenerateItem::Started { .. } => {}
            GenerateItem::Text { text: more, .. } => {
                output.piece(&more);
                text += &more;
            }
            GenerateItem::Failed { error, .. } => return Err(error),
            GenerateItem::Done { tokens, tokens_per_s, finish, first_token_ms, time_ms, .. } => {
                output.piece("\n");
                let metrics =
                    json!({ "tokens_per_s": tokens_per_s, "first_token_ms": first_token_ms, "time_ms": time_ms });
                let done = json!({ "text": text, "tokens": tokens, "finish_reason": finish, "metrics": metrics });
                return Ok((text, done));
            }
        }
    }
    Err(ApiError::new(ErrorCode::Internal, "The worker ended without an answer."))
}
