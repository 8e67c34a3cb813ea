//! `POST /feedback` and `GET /feedback/stats`: feedback for other programs, in words that they can act on. What is stored and
//! counted is tb-api's. A browser that opens the second address gets the view of that name.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use tb_api::{Actor, commands::dispatch};
use tb_core::{
    ApiError, ErrorCode,
    feedback::{BadJudgement, FeedbackSource, Judgement, LONGEST_NAME_BYTES},
    user::Role,
};
use uuid::Uuid;

use crate::{
    app::App,
    assets,
    error::{Failure, json},
    router::wants_page,
    rpc,
};

/// The header that carries the sender's key, as well as the field of that name.
const KEY_HEADER: &str = "idempotency-key";
/// The field.
const KEY: &str = "idempotency_key";

/// Stores what a person says of an answer. 201 if it is new, 200 if the same was stored before under its key, 409 if something else
/// was, 422 with `fields` if it cannot be taken.
pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    actor.require(Role::Reviewer, "feedback_submit")?;
    let Value::Object(mut arguments) = rpc::arguments(&app, &headers, body).await? else {
        return Err(bad_request("Nothing was stored: the body is no JSON object."));
    };
    take_key(&headers, &mut arguments)?;
    if let Err(bad) = check(&arguments) {
        return Ok(bad.answer());
    }
    let ctx = app.ctx.as_actor(actor).via(FeedbackSource::Api);
    // Ids of this process grow, so that a row with an earlier one was there before.
    let before = Uuid::now_v7();
    let work = app.tasks.see_through(async move { dispatch(&ctx, "feedback_submit", Value::Object(arguments)).await });
    let stored = work.await.unwrap_or_else(|| Err(rpc::cut_off()));
    let stored = stored.map_err(|error| match error.code {
        // It is the body that names what there is not; the address is right.
        ErrorCode::NotFound => Failure { status: StatusCode::UNPROCESSABLE_ENTITY, error },
        ErrorCode::Internal => {
            tracing::error!(%error, "feedback was not stored");
            error.into()
        }
        _ => error.into(),
    })?;
    let id = stored.get("id").and_then(Value::as_str).unwrap_or_default();
    let is_new = id.rsplit_once('_').and_then(|(_, uuid)| Uuid::try_parse(uuid).ok()).is_some_and(|id| id > before);
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let answer = json(&json!({ "id": id, "created_at_ms": stored.get("created_at_ms") }));
    Ok((status, answer).into_response())
}

/// Gives the statistics of the feedback that counts; the query restricts it.
pub(crate) async fn stats(
    State(app): State<Arc<App>>,
    Extension(actor): Extension<Actor>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let mut response = if wants_page(&headers) {
        assets::serve(State(app), uri, headers).await?
    } else {
        let Query(query) = query.map_err(|_| bad_request("Nothing was counted: the query cannot be read."))?;
        json(&dispatch(&app.ctx.as_actor(actor), "feedback_stats", selection(query)?).await?)
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// A query as the arguments of `feedback_stats`.
fn selection(query: Vec<(String, String)>) -> Result<Value, Failure> {
    let mut arguments = Map::new();
    for (name, text) in query {
        let value = if name.ends_with("_ms") {
            let number: i64 = text.parse().map_err(|_| {
                bad_request(format!("Nothing was counted: {name} is '{text}', no number of milliseconds since 1970."))
            })?;
            Value::from(number)
        } else {
            Value::String(text)
        };
        if arguments.insert(name.clone(), value).is_some() {
            return Err(bad_request(format!("Nothing was counted: {name} is given twice.")));
        }
    }
    Ok(Value::Object(arguments))
}

fn bad_request(message: impl Into<String>) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, ErrorCode::InvalidArgument, message)
}

/// Puts the key of the header among the arguments.
fn take_key(headers: &HeaderMap, arguments: &mut Map<String, Value>) -> Result<(), Failure> {
    let mut given = headers.get_all(KEY_HEADER).iter();
    let Some(key) = given.next() else { return Ok(()) };
    // Some clients quote it, as the draft of the header's standard has it.
    let key = key.to_str().unwrap_or_default().trim();
    let key = key.strip_prefix('"').and_then(|k| k.strip_suffix('"')).unwrap_or(key);
    if key.is_empty() || given.next().is_some() {
        return Err(bad_request("Nothing was stored: the header Idempotency-Key is not one key in ASCII."));
    }
    match arguments.get(KEY) {
        None | Some(Value::Null) => {
            arguments.insert(KEY.to_owned(), key.into());
            Ok(())
        }
        Some(field) if field == key => Ok(()),
        Some(_) => {
            Err(bad_request("Nothing was stored: the header Idempotency-Key and the field idempotency_key differ."))
        }
    }
}

/// Why a submission cannot be taken.
#[derive(Debug, Default)]
struct Bad {
    /// By the field, in the order that they came.
    fields: Map<String, Value>,
    /// What is about no one field.
    whole: Option<String>,
}

impl Bad {
    fn answer(self) -> Response {
        let fields = self.fields.iter().map(|(field, why)| format!("{field}: {}", why.as_str().unwrap_or_default()));
        let why: Vec<String> = fields.chain(self.whole).collect();
        let error = ApiError::new(ErrorCode::InvalidArgument, format!("Nothing was stored: {}.", why.join("; ")));
        let mut body = serde_json::to_value(error).unwrap_or_default();
        body["fields"] = Value::Object(self.fields);
        (StatusCode::UNPROCESSABLE_ENTITY, json(&body)).into_response()
    }

    fn add(&mut self, field: &str, why: impl Into<String>) {
        self.fields.insert(field.to_owned(), Value::String(why.into()));
    }
}

/// Checks the fields of a submission, and names each that does not fit.
fn check(arguments: &Map<String, Value>) -> Result<(), Bad> {
    let mut bad = Bad::default();
    match arguments.get(KEY) {
        None | Some(Value::Null) => {}
        Some(Value::String(key)) if (1..=LONGEST_NAME_BYTES).contains(&key.len()) => {}
        Some(_) => bad.add(KEY, format!("use a text of 1 to {LONGEST_NAME_BYTES} bytes")),
    }
    let fields: Map<String, Value> =
        arguments.iter().filter(|(name, _)| *name != KEY).map(|(name, value)| (name.clone(), value.clone())).collect();
    match serde_json::from_value::<Judgement>(Value::Object(fields)) {
        Ok(judgement) => match judgement.check() {
            Ok(_) => {}
            Err(BadJudgement::Empty(field)) => bad.add(field, "it is empty"),
            Err(why @ BadJudgement::TooLong { field, .. }) => bad.add(field, why.to_string()),
            Err(why @ BadJudgement::TooManyFlags(_)) => bad.add("flags", why.to_string()),
            Err(why @ BadJudgement::Duration(_)) => bad.add("duration_ms", why.to_string()),
            Err(why @ BadJudgement::Nothing) => bad.whole = Some(why.to_string()),
        },
        Err(why) => one_by_one(arguments, &why, &mut bad),
    }
    if bad.fields.is_empty() && bad.whole.is_none() { Ok(()) } else { Err(bad) }
}

/// serde tells the first thing that is wrong, and not where; each field alone tells.
fn one_by_one(arguments: &Map<String, Value>, why: &serde_json::Error, bad: &mut Bad) {
    for field in ["input_text", "output_text"] {
        if !arguments.contains_key(field) {
            bad.add(field, "it is missing");
        }
    }
    for (name, value) in arguments.iter().filter(|(name, _)| *name != KEY) {
        let mut alone = json!({ "input_text": "", "output_text": "" });
        alone[name] = value.clone();
        if let Err(why) = serde_json::from_value::<Judgement>(alone) {
            bad.add(name, why.to_string());
        }
    }
    if bad.fields.is_empty() {
        bad.whole = Some(why.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(value: Value) -> Vec<(String, String)> {
        let Value::Object(arguments) = value else { panic!("an object") };
        let bad = check(&arguments).expect_err("it is bad");
        bad.fields.into_iter().map(|(name, why)| (name, why.as_str().unwrap().to_owned())).collect()
    }

    #[test]
    fn every_field_that_does_not_fit_is_named() {
        let found = fields(json!({"input_text": 3, "rating": 9, "colour": "red", "idempotency_key": ""}));
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["idempotency_key", "output_text", "input_text", "rating", "colour"]);
        assert_eq!(found[3].1, "9 is no rating: use 1 to 5");
        assert!(found[4].1.starts_with("unknown field `colour`"), "{}", found[4].1);
        let found = fields(json!({"input_text": "", "output_text": "", "rating": 4}));
        assert_eq!(found, [("input_text".into(), "it is empty".into())]);
        let found = fields(json!({"input_text": "a", "output_text": "b", "choice": {"preferred": "a"}}));
        assert_eq!(found, [("choice".into(), "missing field `other_text`".into())]);
        let nothing = json!({"input_text": "a", "output_text": "b"});
        let bad = check(nothing.as_object().unwrap()).unwrap_err();
        assert!(bad.fields.is_empty() && bad.whole.unwrap().contains("no judgement"));
        let good = json!({"input_text": "a", "output_text": "b", "rating": 4, "idempotency_key": null});
        assert!(check(good.as_object().unwrap()).is_ok());
    }

    #[test]
    fn the_key_is_that_of_the_header_or_of_the_field() {
        let judge = |headers: &[&str], field: Value| {
            let mut map = HeaderMap::new();
            for key in headers {
                map.append(KEY_HEADER, key.parse().unwrap());
            }
            let mut arguments = Map::new();
            arguments.insert(KEY.into(), field);
            take_key(&map, &mut arguments).map(|()| arguments[KEY].clone()).ok()
        };
        assert_eq!(judge(&[], json!("f")), Some(json!("f")));
        assert_eq!(judge(&["k"], Value::Null), Some(json!("k")));
        assert_eq!(judge(&["\"k\""], json!("k")), Some(json!("k")));
        assert_eq!(judge(&["k"], json!("other")), None);
        assert_eq!(judge(&["k", "k"], Value::Null), None);
        assert_eq!(judge(&[""], Value::Null), None);
    }
}
