//! Accounts and refresh tokens.

use chrono::{DateTime, Utc};
use diesel::{
    pg::Pg,
    prelude::*,
    sql_types::{Binary, Text, Timestamptz, Uuid as SqlUuid},
};
use onsale_application::{
    accounts::{AccountStore, NewRefreshToken, RefreshUse, User},
    error::StoreError,
};
use onsale_domain::{
    account::{Email, Role},
    ids::UserId,
};
use uuid::Uuid;

use super::{
    Postgres,
    pool::impossible,
    schema::{refresh_tokens, users},
    statement::sql,
    words::Word,
};

#[derive(Queryable, Selectable)]
#[diesel(table_name = users, check_for_backend(Pg))]
struct UserRow {
    #[diesel(deserialize_as = Uuid)]
    id: UserId,
    email: String,
    display_name: String,
    #[diesel(deserialize_as = Word<Role>)]
    role: Role,
    created_at: DateTime<Utc>,
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        let UserRow { id, email, display_name, role, created_at } = row;
        Self { id, email, display_name, role, created_at }
    }
}

#[derive(Insertable)]
#[diesel(table_name = refresh_tokens)]
struct NewToken {
    token_hash: Vec<u8>,
    session_id: Uuid,
    user_id: Uuid,
    expires_at: DateTime<Utc>,
}

/// Whose token was used.
#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
struct Used {
    #[diesel(sql_type = SqlUuid, deserialize_as = Uuid)]
    user_id: UserId,
}

impl AccountStore for Postgres {
    async fn insert_user(
        &self,
        user: &User,
        password_hash: &str,
        wallet_id: Uuid,
        currency: &str,
    ) -> Result<bool, StoreError> {
        let sign_up = sql(include_str!("sql/sign_up.sql"))
            .bind::<SqlUuid, _>("user_id", user.id.0)
            .bind::<Text, _>("email", user.email.clone())
            .bind::<Text, _>("password_hash", password_hash.to_owned())
            .bind::<Text, _>("display_name", user.display_name.clone())
            .bind::<Text, _>("role", Word(user.role))
            .bind::<Timestamptz, _>("created_at", user.created_at)
            .bind::<SqlUuid, _>("wallet_id", wallet_id)
            .bind::<Text, _>("currency", currency.to_owned());
        Ok(self.execute(sign_up).await? == 1)
    }

    async fn user_by_email(&self, email: &Email) -> Result<Option<(User, String)>, StoreError> {
        let row: Option<(UserRow, String)> = self
            .read_one(|| {
                users::table
                    .filter(users::email.eq(email.as_str().to_owned()))
                    .select((UserRow::as_select(), users::password_hash))
            })
            .await?;
        Ok(row.map(|(user, hash)| (user.into(), hash)))
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let row: Option<UserRow> = self.read_one(|| users::table.find(id.0).select(UserRow::as_select())).await?;
        Ok(row.map(User::from))
    }

    async fn insert_refresh_token(&self, user: UserId, token: &NewRefreshToken) -> Result<(), StoreError> {
        let new = NewToken {
            token_hash: token.hash.to_vec(),
            session_id: token.session_id.0,
            user_id: user.0,
            expires_at: token.expires_at,
        };
        self.execute(diesel::insert_into(refresh_tokens::table).values(new)).await.map(|_| ())
    }

    async fn rotate_refresh_token(
        &self,
        hash: [u8; 32],
        next_hash: [u8; 32],
        next_expires_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<RefreshUse, StoreError> {
        let rotate = sql(include_str!("sql/rotate_refresh_token.sql"))
            .bind::<Binary, _>("hash", hash.to_vec())
            .bind::<Binary, _>("next_hash", next_hash.to_vec())
            .bind::<Timestamptz, _>("now", now)
            .bind::<Timestamptz, _>("next_expires_at", next_expires_at);
        let used: Option<Used> = self.write_one(rotate).await?;
        if let Some(used) = used {
            let user = self.user(used.user_id).await?.ok_or_else(|| impossible("a token without a user"))?;
            return Ok(RefreshUse::Good(user));
        }
        let known: Option<(Uuid, Option<DateTime<Utc>>)> = self
            .read_one(|| {
                refresh_tokens::table.find(hash.to_vec()).select((refresh_tokens::session_id, refresh_tokens::used_at))
            })
            .await?;
        let Some((session, Some(_))) = known else { return Ok(RefreshUse::Unknown) };
        self.revoke(session, now).await?;
        Ok(RefreshUse::Reused)
    }

    async fn revoke_session(&self, user: UserId, hash: [u8; 32], now: DateTime<Utc>) -> Result<(), StoreError> {
        let session: Option<Uuid> = self
            .read_one(|| {
                refresh_tokens::table
                    .find(hash.to_vec())
                    .filter(refresh_tokens::user_id.eq(user.0))
                    .select(refresh_tokens::session_id)
            })
            .await?;
        match session {
            Some(session) => self.revoke(session, now).await,
            None => Ok(()),
        }
    }
}

impl Postgres {
    async fn revoke(&self, session: Uuid, now: DateTime<Utc>) -> Result<(), StoreError> {
        let of_session = refresh_tokens::table
            .filter(refresh_tokens::session_id.eq(session))
            .filter(refresh_tokens::revoked_at.is_null());
        self.execute(diesel::update(of_session).set(refresh_tokens::revoked_at.eq(now))).await.map(|_| ())
    }
}
