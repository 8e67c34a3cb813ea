//! Which user an actor is in the database. The owner of this machine's program has a row too, made when it is first needed,
//! so that what they judge is theirs.

use tb_core::{
    ids::UserId,
    user::{Role, User},
};
use tb_db::Tx;
use uuid::Uuid;

use crate::Actor;

/// The user of the owner at the window, the command line or with the access token: the same id in every home folder.
#[must_use]
pub(crate) fn owner_id() -> UserId {
    UserId::from_uuid(Uuid::nil())
}

/// The user that an actor is.
#[must_use]
pub(crate) fn user_id(actor: &Actor) -> UserId {
    actor.user_id.clone().unwrap_or_else(owner_id)
}

/// The user that an actor is, there for rows to refer to.
///
/// # Errors
/// The database's.
pub(crate) async fn in_database(tx: &mut Tx, actor: &Actor) -> tb_db::Result<UserId> {
    let id = user_id(actor);
    if actor.user_id.is_none() && tb_db::users::get(&mut *tx, &id).await?.is_none() {
        let mut name = "owner".to_owned();
        while tb_db::users::by_name(&mut *tx, &name).await?.is_some() {
            name.push_str(" (this machine)");
        }
        let owner = User {
            id: id.clone(),
            name,
            role: Role::Admin,
            created_at_ms: crate::ctx::now_ms(),
            disabled_at_ms: None,
            last_seen_at_ms: None,
        };
        tb_db::users::insert(tx, &owner).await?;
    }
    Ok(id)
}
