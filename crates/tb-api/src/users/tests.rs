//! Users, their passwords, tokens and sessions through the command table, as each kind of actor.

use serde_json::{Value, json};
use tb_core::{ErrorCode, settings::Secret};
use tempfile::TempDir;

use crate::{Actor, Ctx, PasswordCost, SignIn, commands::dispatch, open_with_cost, sign_in, sign_out};

const GOOD: &str = "correct horse";
const NEW: &str = "battery staple";

struct Place {
    ctx: Ctx,
    _home: TempDir,
}

impl Place {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let cost = PasswordCost { memory_kib: 8, passes: 1, lanes: 1 };
        let ctx = open_with_cost(home.path(), &[], Actor::local(), cost).await.unwrap();
        Self { ctx, _home: home }
    }

    async fn call(&self, name: &str, arguments: Value) -> Value {
        dispatch(&self.ctx, name, arguments).await.unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    async fn refused(ctx: &Ctx, name: &str, arguments: Value) -> ErrorCode {
        let error = dispatch(ctx, name, arguments).await.expect_err(name);
        for secret in [GOOD, NEW, "tbu_", "tbs_"] {
            assert!(!error.to_string().contains(secret), "{error}");
        }
        error.code
    }

    async fn add(&self, name: &str, role: &str) -> String {
        let user = self.call("user_add", json!({ "name": name, "role": role, "password": GOOD })).await;
        user["id"].as_str().unwrap().to_owned()
    }

    /// The program as a user who signed in with a password, and the cookie.
    async fn enter(&self, name: &str, password: &str) -> (Ctx, String) {
        let result = sign_in(&self.ctx, name, &Secret::from(password.to_owned()), "Firefox").await.unwrap();
        let SignIn::In(signed) = result else { panic!("{result:?}") };
        let cookie = signed.cookie.reveal().to_owned();
        let identity = self.ctx.identify(&cookie).await.unwrap().unwrap();
        (self.ctx.as_actor(identity.actor), cookie)
    }

    async fn is_in(&self, shown: &str) -> bool {
        self.ctx.identify(shown).await.unwrap().is_some()
    }

    async fn wrong(&self, name: &str, password: &str) -> bool {
        let result = sign_in(&self.ctx, name, &Secret::from(password.to_owned()), "").await.unwrap();
        matches!(result, SignIn::Wrong)
    }
}

#[tokio::test]
async fn a_user_signs_in_is_known_and_signs_out() {
    let place = Place::new().await;
    let id = place.add("山田", "reviewer").await;
    let (own, cookie) = place.enter(" 山田 ", GOOD).await;
    let who = dispatch(&own, "whoami", json!({})).await.unwrap();
    assert_eq!((&who["user"]["id"], &who["role"], &who["owner"]), (&json!(id), &json!("reviewer"), &json!(false)));
    assert_eq!(own.actor().user_id.as_ref().unwrap().as_str(), id, "what they judge is theirs");
    assert_eq!(place.call("whoami", json!({})).await["owner"], true);
    assert!(place.wrong("山田", NEW).await && place.wrong("nobody", GOOD).await && place.wrong("", "").await);

    let sessions = dispatch(&own, "session_list", json!({})).await.unwrap();
    assert_eq!((&sessions[0]["current"], &sessions[0]["user_agent"]), (&json!(true), &json!("Firefox")));
    let (_, second) = place.enter("山田", GOOD).await;
    assert_ne!(cookie, second, "each time another");
    sign_out(&place.ctx, own.actor()).await.unwrap();
    sign_out(&place.ctx, own.actor()).await.unwrap();
    assert!(!place.is_in(&cookie).await && place.is_in(&second).await);
    assert!(!place.ctx.still_admits(own.actor()).await.unwrap());
    assert!(place.ctx.still_admits(&Actor::local()).await.unwrap());
}

#[tokio::test]
async fn whoever_is_shut_out_loses_sessions_and_tokens_at_once() {
    let place = Place::new().await;
    let id = place.add("ken", "trainer").await;
    let (own, cookie) = place.enter("ken", GOOD).await;
    let token = dispatch(&own, "token_create", json!({ "name": "nightly", "expires_in_days": 1 })).await.unwrap();
    let secret = token["secret"].as_str().unwrap().to_owned();
    assert!(place.is_in(&secret).await && place.is_in(&cookie).await);
    let mut changes = place.ctx.identity_changes();
    changes.mark_unchanged();
    let out = place.call("user_disable", json!({ "id": "ken" })).await;
    assert!(out["disabled_at_ms"].is_number() && changes.has_changed().unwrap());
    assert!(!place.is_in(&secret).await && !place.is_in(&cookie).await && place.wrong("ken", GOOD).await);
    assert_eq!(
        Place::refused(&place.ctx, "token_create", json!({ "name": "x", "user": id })).await,
        ErrorCode::Conflict
    );
    place.call("user_enable", json!({ "id": id })).await;
    assert!(!place.is_in(&secret).await && !place.is_in(&cookie).await, "old ones stay gone");
    place.enter("ken", GOOD).await;
}

#[tokio::test]
async fn a_change_of_role_counts_at_once() {
    let place = Place::new().await;
    place.add("ken", "admin").await;
    let (own, cookie) = place.enter("ken", GOOD).await;
    place.call("user_set_role", json!({ "id": "ken", "role": "viewer" })).await;
    let now = place.ctx.identify(&cookie).await.unwrap().unwrap().actor;
    assert_eq!(Place::refused(&place.ctx.as_actor(now), "user_list", json!({})).await, ErrorCode::Forbidden);
    assert!(!place.ctx.still_admits(own.actor()).await.unwrap(), "a stream that was opened as an admin ends");
}

#[tokio::test]
async fn another_name_keeps_everything_and_is_nobody_elses() {
    let place = Place::new().await;
    let (id, _) = (place.add("ken", "reviewer").await, place.add("yuki", "reviewer").await);
    let (_, cookie) = place.enter("ken", GOOD).await;
    for (name, code) in
        [("Yuki", ErrorCode::Conflict), (" ", ErrorCode::InvalidArgument), (&id, ErrorCode::InvalidArgument)]
    {
        assert_eq!(
            Place::refused(&place.ctx, "user_rename", json!({ "id": "ken", "name": name })).await,
            code,
            "{name}"
        );
    }
    let renamed = place.call("user_rename", json!({ "id": "ken", "name": "Kenji" })).await;
    assert_eq!((&renamed["id"], &renamed["name"], &renamed["role"]), (&json!(id), &json!("Kenji"), &json!("reviewer")));
    // In other capitals the name is still their own.
    place.call("user_rename", json!({ "id": id, "name": "kenji" })).await;
    assert!(place.is_in(&cookie).await && place.wrong("ken", GOOD).await);
    place.enter("kenji", GOOD).await;
}

#[tokio::test]
async fn a_new_password_needs_the_old_one_and_signs_the_others_out() {
    let place = Place::new().await;
    let id = place.add("ken", "viewer").await;
    let (own, here) = place.enter("ken", GOOD).await;
    let (_, there) = place.enter("ken", GOOD).await;
    let set = |old: Value, new: &str| json!({ "old": old, "password": new });
    for (old, new) in
        [(Value::Null, NEW), (json!("wrong horse"), NEW), (json!(GOOD), "short"), (json!(GOOD), "kenkenkenken")]
    {
        assert_eq!(Place::refused(&own, "user_set_password", set(old, new)).await, ErrorCode::InvalidArgument);
    }
    dispatch(&own, "user_set_password", set(json!(GOOD), NEW)).await.unwrap();
    assert!(place.is_in(&here).await && !place.is_in(&there).await);
    assert!(place.wrong("ken", GOOD).await);
    // An admin needs no old one, and everyone is out.
    place.call("user_set_password", json!({ "id": id, "password": GOOD })).await;
    assert!(!place.is_in(&here).await && place.wrong("ken", NEW).await);
    assert_eq!(
        Place::refused(&place.ctx, "user_set_password", json!({ "password": NEW })).await,
        ErrorCode::InvalidArgument,
        "the owner has none"
    );
    // Whoever has a token and no password cannot make an account of it.
    place.call("user_add", json!({ "name": "bot", "role": "trainer" })).await;
    let token = place.call("token_create", json!({ "name": "ci", "user": "bot" })).await;
    let bot = place.ctx.identify(token["secret"].as_str().unwrap()).await.unwrap().unwrap().actor;
    let bot = place.ctx.as_actor(bot);
    assert_eq!(Place::refused(&bot, "user_set_password", json!({ "password": NEW })).await, ErrorCode::Forbidden);
}

#[tokio::test]
async fn an_account_is_closed_for_a_while_after_ten_wrong_passwords() {
    let place = Place::new().await;
    place.add("ken", "viewer").await;
    let (own, cookie) = place.enter("ken", GOOD).await;
    for n in 0..10 {
        assert!(place.wrong("ken", &format!("guess {n}")).await);
    }
    for name in ["ken", "KEN"] {
        let result = sign_in(&place.ctx, name, &Secret::from(GOOD.to_owned()), "").await.unwrap();
        assert!(matches!(result, SignIn::TooMany), "{result:?}");
    }
    let change = json!({ "old": GOOD, "password": NEW });
    assert_eq!(Place::refused(&own, "user_set_password", change).await, ErrorCode::Unavailable);
    assert!(place.is_in(&cookie).await, "those inside stay");
    assert!(place.wrong("nobody", GOOD).await, "others are judged as before");
}

#[tokio::test]
async fn what_belongs_to_others_is_for_admins_only() {
    let place = Place::new().await;
    let (ken, yuki) = (place.add("ken", "trainer").await, place.add("yuki", "reviewer").await);
    let (own, _) = place.enter("ken", GOOD).await;
    let (other, other_cookie) = place.enter("yuki", GOOD).await;
    let theirs = dispatch(&other, "token_create", json!({ "name": "theirs" })).await.unwrap();
    let session = other.actor().session().unwrap().to_string();
    for (name, arguments, code) in [
        ("user_list", json!({}), ErrorCode::Forbidden),
        ("user_add", json!({ "name": "x", "role": "admin" }), ErrorCode::Forbidden),
        ("user_set_role", json!({ "id": ken, "role": "admin" }), ErrorCode::Forbidden),
        ("user_rename", json!({ "id": ken, "name": "x" }), ErrorCode::Forbidden),
        ("user_disable", json!({ "id": yuki }), ErrorCode::Forbidden),
        ("user_set_password", json!({ "id": yuki, "password": NEW }), ErrorCode::Forbidden),
        ("token_create", json!({ "name": "x", "user": yuki }), ErrorCode::Forbidden),
        ("token_list", json!({ "id": yuki }), ErrorCode::Forbidden),
        ("token_list", json!({ "id": "nobody" }), ErrorCode::Forbidden),
        ("token_revoke", json!({ "id": theirs["id"] }), ErrorCode::NotFound),
        ("session_list", json!({ "id": yuki }), ErrorCode::Forbidden),
        ("session_revoke", json!({ "id": session }), ErrorCode::NotFound),
        ("audit_list", json!({}), ErrorCode::Forbidden),
    ] {
        assert_eq!(Place::refused(&own, name, arguments).await, code, "{name}");
    }
    let mine = dispatch(&own, "token_create", json!({ "name": "mine" })).await.unwrap();
    let listed = dispatch(&own, "token_list", json!({ "id": ken })).await.unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    dispatch(&own, "token_revoke", json!({ "id": mine["id"] })).await.unwrap();
    assert!(!place.is_in(mine["secret"].as_str().unwrap()).await);
    // An admin may.
    assert_eq!(place.call("token_list", json!({})).await.as_array().unwrap().len(), 1);
    place.call("session_revoke", json!({ "id": session })).await;
    place.call("token_revoke", json!({ "id": theirs["id"] })).await;
    assert!(!place.is_in(&other_cookie).await && !place.is_in(theirs["secret"].as_str().unwrap()).await);
}

#[tokio::test]
async fn names_are_unique_and_can_be_seen() {
    let place = Place::new().await;
    place.add("Ken", "viewer").await;
    let add = |name: &str| json!({ "name": name, "role": "viewer" });
    assert_eq!(Place::refused(&place.ctx, "user_add", add("kEN ")).await, ErrorCode::Conflict);
    for bad in ["", "  ", "a\nb", "a\u{202e}b", "local", "usr_019b0c5e-0000-7000-8000-000000000000", &"x".repeat(65)] {
        assert_eq!(Place::refused(&place.ctx, "user_add", add(bad)).await, ErrorCode::InvalidArgument, "{bad:?}");
    }
    assert_eq!(Place::refused(&place.ctx, "user_disable", json!({ "id": "Kenn" })).await, ErrorCode::NotFound);
    let users = place.call("user_list", json!({})).await;
    assert_eq!(
        (&users[0]["name"], &users[0]["has_password"], &users[0]["tokens"]),
        (&json!("Ken"), &json!(true), &json!(0))
    );
}

#[tokio::test]
async fn no_secret_reaches_the_audit_an_event_or_the_database() {
    let place = Place::new().await;
    let id = place.add("ken", "admin").await;
    let (own, cookie) = place.enter("ken", GOOD).await;
    let token = dispatch(&own, "token_create", json!({ "name": "t" })).await.unwrap();
    let secret = token["secret"].as_str().unwrap().to_owned();
    dispatch(&own, "user_set_password", json!({ "old": GOOD, "password": NEW })).await.unwrap();
    place.call("user_set_password", json!({ "id": id, "password": GOOD })).await;

    let lines = place.call("audit_list", json!({})).await;
    let commands: Vec<&str> = lines.as_array().unwrap().iter().filter_map(|l| l["command"].as_str()).collect();
    assert_eq!(commands, ["user_set_password", "user_set_password", "token_create", "sign_in", "user_add"]);
    assert_eq!(lines[4]["arguments"]["password"], "(set)");
    assert_eq!((&lines[2]["actor"], &lines[4]["actor"]), (&json!(id), &json!("local")));
    let theirs = place.call("audit_list", json!({ "actor": "ken", "limit": 2 })).await;
    assert_eq!(theirs.as_array().unwrap().len(), 2);
    let before = theirs[1]["seq"].as_i64().unwrap();
    let rest = place.call("audit_list", json!({ "actor": id, "before": before })).await;
    assert_eq!(rest[0]["command"], "sign_in");
    let added = place.call("audit_list", json!({ "subject": id, "command": "user_add" })).await;
    assert_eq!(added.as_array().unwrap().len(), 1);

    let events = place.call("events_after", json!({ "seq": 0 })).await;
    let told = format!(
        "{lines}{events}{}{}",
        place.call("user_list", json!({})).await,
        place.call("token_list", json!({})).await
    );
    let mut kept = told.into_bytes();
    for entry in std::fs::read_dir(place.ctx.home()).unwrap().filter_map(Result::ok).filter(|e| e.path().is_file()) {
        kept.extend(std::fs::read(entry.path()).unwrap());
    }
    for secret in [GOOD, NEW, &cookie, &secret] {
        assert!(!kept.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret}");
    }
}

#[tokio::test]
async fn no_path_in_an_argument_leads_a_trainer_to_the_servers_secrets() {
    let place = Place::new().await;
    place.add("ken", "trainer").await;
    let (own, _) = place.enter("ken", GOOD).await;
    let secret = place.ctx.home().join("secret.csv");
    std::fs::write(&secret, "prompt,completion\ncanary,b\n").unwrap();
    let model = "mdl_019b0c5e-0000-7000-8000-000000000000";
    for (name, arguments) in [
        ("data_preview", json!({ "path": secret })),
        ("data_import", json!({ "path": secret })),
        ("base_inspect", json!({ "path": place.ctx.home() })),
        ("base_add", json!({ "path": "/" })),
        ("job_start", json!({ "name": "x", "base_model": "/", "data": secret, "hyperparameters": {} })),
        ("eval_start", json!({ "data": secret })),
    ] {
        assert_eq!(Place::refused(&own, name, arguments).await, ErrorCode::Forbidden, "{name}");
    }
    for (name, arguments) in [
        ("generate", json!({ "sides": [{ "base_model": "/" }], "prompt": "x" })),
        ("model_export", json!({ "id": model, "format": "merged", "out": "/tmp/elsewhere" })),
    ] {
        let error = crate::streams::dispatch_stream(&own, name, arguments).await.err().unwrap();
        assert_eq!(error.code, ErrorCode::Forbidden, "{name}");
    }
    let uploads = place.ctx.home().join("uploads/u");
    std::fs::create_dir_all(&uploads).unwrap();
    std::fs::write(uploads.join("rows.csv"), "prompt,completion\na,b\nc,d\n").unwrap();
    dispatch(&own, "data_preview", json!({ "path": uploads.join("rows.csv") })).await.unwrap();
    place.call("data_preview", json!({ "path": secret })).await;
}
