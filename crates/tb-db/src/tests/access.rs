//! Passwords, access tokens and sessions: there and back, and gone when they should be.

use tb_core::{
    ids::{SessionId, TokenId, UserId},
    user::{AccessToken, Role, Session},
};

use super::*;
use crate::{Error, access_tokens, browser_sessions, passwords, users};

fn user_id(n: u32) -> UserId {
    UserId::from_uuid(uuid(n.into()))
}

fn token(n: u32, of: u32) -> AccessToken {
    AccessToken {
        id: TokenId::from_uuid(uuid(n.into())),
        user_id: user_id(of),
        name: format!("夜間バッチ {n}"),
        created_at_ms: 1_000 + i64::from(n),
        last_used_at_ms: None,
        expires_at_ms: n.is_multiple_of(2).then_some(9_000),
    }
}

fn session(n: u32, of: u32) -> Session {
    Session {
        id: SessionId::from_uuid(uuid(n.into())),
        user_id: user_id(of),
        user_agent: "Firefox 'on' Linux".into(),
        created_at_ms: 1_000 + i64::from(n),
        last_used_at_ms: 1_000,
        expires_at_ms: 2_000 + i64::from(n),
    }
}

async fn with_users() -> (Fixture, Tx) {
    let fixture = Fixture::new().await;
    let mut tx = fixture.begin().await;
    users::insert(&mut tx, &user(1, Role::Trainer)).await.unwrap();
    users::insert(&mut tx, &user(2, Role::Viewer)).await.unwrap();
    (fixture, tx)
}

#[tokio::test]
async fn a_user_is_shut_out_let_in_and_seen() {
    let (_fixture, mut tx) = with_users().await;
    users::set_disabled(&mut tx, &user_id(1), Some(7)).await.unwrap();
    users::set_seen(&mut tx, &user_id(1), 8).await.unwrap();
    let out = users::get(&mut tx, &user_id(1)).await.unwrap().unwrap();
    assert_eq!((out.disabled_at_ms, out.last_seen_at_ms), (Some(7), Some(8)));
    users::set_disabled(&mut tx, &user_id(1), None).await.unwrap();
    assert_eq!(users::get(&mut tx, &user_id(1)).await.unwrap().unwrap().disabled_at_ms, None);
    assert_eq!(users::get(&mut tx, &user_id(2)).await.unwrap(), Some(user(2, Role::Viewer)), "the other is untouched");
    assert!(matches!(users::set_disabled(&mut tx, &user_id(9), None).await, Err(Error::Stale { table: "users", .. })));
}

#[tokio::test]
async fn a_password_is_replaced_and_only_known_users_have_one() {
    let (_fixture, mut tx) = with_users().await;
    assert_eq!(passwords::get(&mut tx, &user_id(1)).await.unwrap(), None);
    passwords::put(&mut tx, &user_id(1), "$argon2id$one", 1).await.unwrap();
    passwords::put(&mut tx, &user_id(1), "$argon2id$two", 2).await.unwrap();
    assert_eq!(passwords::get(&mut tx, &user_id(1)).await.unwrap().as_deref(), Some("$argon2id$two"));
    assert_eq!(passwords::holders(&mut tx).await.unwrap(), [user_id(1)]);
    let nobody = passwords::put(&mut tx, &user_id(9), "x", 1).await;
    assert!(matches!(nobody, Err(Error::MissingReference { table: "passwords", .. })));
}

#[tokio::test]
async fn tokens_are_found_by_digest_and_end_alone_or_together() {
    let (_fixture, mut tx) = with_users().await;
    for (n, of) in [(1, 1), (2, 1), (3, 2)] {
        access_tokens::insert(&mut tx, &token(n, of), &format!("digest {n}")).await.unwrap();
    }
    assert_eq!(access_tokens::by_digest(&mut tx, "digest 2").await.unwrap(), Some(token(2, 1)));
    assert_eq!(access_tokens::by_digest(&mut tx, "digest").await.unwrap(), None);
    access_tokens::set_used(&mut tx, &token(2, 1).id, 77).await.unwrap();
    let used = access_tokens::get(&mut tx, &token(2, 1).id).await.unwrap().unwrap();
    assert_eq!(used, AccessToken { last_used_at_ms: Some(77), ..token(2, 1) });
    assert_eq!(access_tokens::list(&mut tx, None).await.unwrap().len(), 3);
    assert_eq!(access_tokens::list(&mut tx, Some(&user_id(1))).await.unwrap(), [token(1, 1), used]);
    let same = access_tokens::insert(&mut tx, &token(4, 1), "digest 1").await;
    assert!(matches!(same, Err(Error::Taken { table: "access_tokens", .. })));
    access_tokens::delete(&mut tx, &token(1, 1).id).await.unwrap();
    assert!(matches!(access_tokens::delete(&mut tx, &token(1, 1).id).await, Err(Error::Stale { .. })));
    access_tokens::delete_of(&mut tx, &user_id(1)).await.unwrap();
    assert_eq!(access_tokens::list(&mut tx, None).await.unwrap(), [token(3, 2)]);
}

#[tokio::test]
async fn sessions_slide_and_end_alone_together_or_by_themselves() {
    let (_fixture, mut tx) = with_users().await;
    for (n, of) in [(1, 1), (2, 1), (3, 1), (4, 2)] {
        browser_sessions::insert(&mut tx, &session(n, of), &format!("digest {n}")).await.unwrap();
    }
    browser_sessions::set_used(&mut tx, &session(4, 2).id, 1_500, 5_000).await.unwrap();
    let used = Session { last_used_at_ms: 1_500, expires_at_ms: 5_000, ..session(4, 2) };
    assert_eq!(browser_sessions::by_digest(&mut tx, "digest 4").await.unwrap(), Some(used.clone()));
    browser_sessions::delete_expired(&mut tx, session(1, 1).expires_at_ms).await.unwrap();
    assert_eq!(browser_sessions::get(&mut tx, &session(1, 1).id).await.unwrap(), None);
    assert_eq!(browser_sessions::list(&mut tx, Some(&user_id(1))).await.unwrap(), [session(3, 1), session(2, 1)]);
    browser_sessions::delete_of(&mut tx, &user_id(1), Some(&session(2, 1).id)).await.unwrap();
    assert_eq!(browser_sessions::list(&mut tx, None).await.unwrap(), [used, session(2, 1)]);
    browser_sessions::delete_of(&mut tx, &user_id(1), None).await.unwrap();
    browser_sessions::delete(&mut tx, &session(4, 2).id).await.unwrap();
    assert!(browser_sessions::list(&mut tx, None).await.unwrap().is_empty());
    assert!(matches!(browser_sessions::delete(&mut tx, &session(4, 2).id).await, Err(Error::Stale { .. })));
}
