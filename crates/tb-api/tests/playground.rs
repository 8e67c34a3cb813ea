//! The stream `generate`, from the table to a worker and back. It needs the worker program beside this test, as `cargo xtask test`
//! builds it.

// Helpers outside #[test] functions fail the test that calls them.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tb_api::{Actor, Ctx, GenerateItem, commands, streams};
use tb_core::{ApiError, ErrorCode, run_folder::Framing, serving::Finish, user::Role};

/// Longest time anything may take; only a broken program needs it.
const LIMIT: Duration = Duration::from_secs(120);

struct Place {
    ctx: Ctx,
    base: Value,
    _home: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let ctx = tb_api::open(home.path(), &[], Actor::local()).await.unwrap();
        let sample = commands::dispatch(&ctx, "sample_install", Value::Null).await.unwrap();
        Self { ctx, base: sample["base_model"].clone(), _home: home }
    }

    async fn items(&self, arguments: Value) -> Result<Vec<GenerateItem>, ApiError> {
        let items = streams::dispatch_stream(&self.ctx, "generate", arguments).await?;
        let items: Vec<_> = tokio::time::timeout(LIMIT, items.collect()).await.expect("the stream ends");
        items.into_iter().map(|item| Ok(serde_json::from_value(item?).unwrap())).collect()
    }
}

fn text(items: &[GenerateItem], of: u32) -> String {
    let parts = items.iter().filter_map(|item| match item {
        GenerateItem::Text { side, text } if *side == of => Some(text.as_str()),
        _ => None,
    });
    parts.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sides_answer_from_one_base_that_is_loaded_once() {
    let place = Place::new().await;
    let side = json!({ "base_model": place.base });
    let broken = json!({ "base_model": place.base, "adapter": place.ctx.home().join("gone") });
    let ask = json!({
        "sides": [side, side],
        "messages": [{ "role": "user", "content": "文章にする：\n・チラシの原稿が完成" }],
        "decoding": { "max_new_tokens": 40, "seed": 3 },
    });
    let items = place.items(ask.clone()).await.unwrap();
    for side in 0..2 {
        let of_side = |item: &&GenerateItem| match item {
            GenerateItem::Started { side: s, .. }
            | GenerateItem::Text { side: s, .. }
            | GenerateItem::Done { side: s, .. }
            | GenerateItem::Failed { side: s, .. } => *s == side,
        };
        let own: Vec<&GenerateItem> = items.iter().filter(of_side).collect();
        let Some(GenerateItem::Started { name, framing: Framing::Chat, prompt_tokens, .. }) = own.first() else {
            panic!("{own:?}")
        };
        assert!(name == "base" && *prompt_tokens > 5, "{name}");
        let Some(GenerateItem::Done { finish, tokens, .. }) = own.last() else { panic!("{own:?}") };
        assert!(matches!(finish, Finish::Eos | Finish::Length) && *tokens > 0);
        assert!(!text(&items, side).is_empty());
    }
    assert_eq!(text(&items, 0), text(&items, 1), "the same model, decoding and seed");

    let before = place.ctx.serving().in_memory();
    let framed = "<|user|>文章にする：\n・チラシの原稿が完成<|assistant|>";
    let prompt = json!({ "sides": [side], "prompt": framed, "decoding": { "max_new_tokens": 40 } });
    assert_eq!(text(&place.items(prompt).await.unwrap(), 0), text(&items, 0), "the row's own frame is the template's");
    let after = place.ctx.serving().in_memory();
    assert!(before.len() == 1 && after.len() == 1 && before[0].pid == after[0].pid, "{before:?} {after:?}");

    let error = place.items(json!({ "sides": [side, broken], "prompt": "a" })).await.unwrap_err();
    assert!(error.message.contains("gone"), "{error}");
    place.ctx.close().await;
    assert!(place.ctx.serving().in_memory().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_side_that_fails_leaves_the_others_alone() {
    let place = Place::new().await;
    let damaged = place.ctx.home().join("damaged");
    std::fs::create_dir(&damaged).unwrap();
    std::fs::write(damaged.join("config.json"), "{}").unwrap();
    let sides = json!([{ "base_model": damaged }, { "base_model": place.base }]);
    let items =
        place.items(json!({ "sides": sides, "prompt": "Hi", "decoding": { "max_new_tokens": 5 } })).await.unwrap();
    let failed = items.iter().find_map(|item| match item {
        GenerateItem::Failed { side, error } => Some((*side, error.code)),
        _ => None,
    });
    assert_eq!(failed, Some((0, ErrorCode::DataInvalid)), "{items:?}");
    assert!(items.iter().any(|item| matches!(item, GenerateItem::Done { side: 1, .. })), "{items:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_answered_is_refused_before_anything_begins() {
    let place = Place::new().await;
    let side = json!({ "base_model": place.base });
    let message = json!([{ "role": "user", "content": "Hi" }]);
    for (arguments, what) in [
        (json!({ "sides": [], "prompt": "Hi" }), "1 to 4"),
        (json!({ "sides": [side, side, side, side, side], "prompt": "Hi" }), "not 5"),
        (json!({ "sides": [side] }), "no prompt"),
        (json!({ "sides": [side], "prompt": "" }), "no prompt"),
        (json!({ "sides": [side], "prompt": "Hi", "messages": message }), "not both"),
        (json!({ "sides": [{}], "prompt": "Hi" }), "registered model"),
        (json!({ "sides": [{ "base_model": "/nowhere" }], "prompt": "Hi" }), "/nowhere"),
        (json!({ "sides": [side], "prompt": "Hi", "temperature": 1 }), "temperature"),
    ] {
        let error = place.items(arguments).await.unwrap_err();
        assert!(error.code == ErrorCode::InvalidArgument && error.message.contains(what), "{what}: {error}");
    }
    let open = |actor: Actor, name: &'static str| {
        let ctx = place.ctx.as_actor(actor);
        let arguments = json!({ "sides": [side], "prompt": "Hi" });
        async move { streams::dispatch_stream(&ctx, name, arguments).await.err().map(|e| (e.code, e.message)) }
    };
    let viewer = open(Actor::with_role(Role::Viewer), "generate").await;
    assert_eq!(viewer.map(|(code, _)| code), Some(ErrorCode::Forbidden));
    let (code, message) = open(Actor::local(), "generated").await.unwrap();
    assert!(code == ErrorCode::NotFound && message.contains("'generate'"), "{message}");
    assert!(place.ctx.serving().in_memory().is_empty(), "nothing was started");
}
