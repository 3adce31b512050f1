//! Accounts and refresh tokens.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Binary, Bool, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use onsale_application::{
    accounts::{AccountStore, NewRefreshToken, RefreshUse, User},
    error::StoreError,
};
use onsale_domain::{
    account::{Email, Role},
    ids::UserId,
};
use uuid::Uuid;

use super::{Postgres, pool::impossible, statement::statement};

type UserSql = (SqlUuid, Text, Text, Text, Timestamptz, Text);
type UserRow = (Uuid, String, String, String, DateTime<Utc>, String);

fn user_from(row: UserRow) -> Result<(User, String), StoreError> {
    let (id, email, display_name, role, created_at, hash) = row;
    let role = Role::parse(&role).ok_or_else(|| impossible("an unknown role"))?;
    Ok((User { id: UserId(id), email, display_name, role, created_at }, hash))
}

impl AccountStore for Postgres {
    async fn insert_user(
        &self,
        user: &User,
        password_hash: &str,
        wallet_id: Uuid,
        currency: &str,
    ) -> Result<bool, StoreError> {
        let added: Option<Uuid> = self
            .row(|| {
                statement::<SqlUuid>(
                    "WITH added AS (
                        INSERT INTO users (id, email, password_hash, display_name, role, created_at)
                        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (email) DO NOTHING RETURNING id
                     )
                     INSERT INTO ledger_accounts (id, kind, user_id, currency, balance_minor)
                     SELECT $7, 'wallet', added.id, $8, 0 FROM added RETURNING id",
                )
                .bind::<SqlUuid, _>(user.id.0)
                .bind::<Text, _>(user.email.clone())
                .bind::<Text, _>(password_hash.to_owned())
                .bind::<Text, _>(user.display_name.clone())
                .bind::<Text, _>(user.role.as_str().to_owned())
                .bind::<Timestamptz, _>(user.created_at)
                .bind::<SqlUuid, _>(wallet_id)
                .bind::<Text, _>(currency.to_owned())
            })
            .await?;
        Ok(added.is_some())
    }

    async fn user_by_email(&self, email: &Email) -> Result<Option<(User, String)>, StoreError> {
        let row: Option<UserRow> = self
            .row(|| {
                statement::<UserSql>(
                    "SELECT id, email, display_name, role, created_at, password_hash FROM users WHERE email = $1",
                )
                .bind::<Text, _>(email.as_str().to_owned())
            })
            .await?;
        row.map(user_from).transpose()
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let row: Option<UserRow> = self
            .row(|| {
                statement::<UserSql>(
                    "SELECT id, email, display_name, role, created_at, password_hash FROM users WHERE id = $1",
                )
                .bind::<SqlUuid, _>(id.0)
            })
            .await?;
        Ok(row.map(user_from).transpose()?.map(|(user, _)| user))
    }

    async fn insert_refresh_token(&self, user: UserId, token: &NewRefreshToken) -> Result<(), StoreError> {
        let _: Option<bool> = self
            .row(|| {
                statement::<Bool>(
                    "INSERT INTO refresh_tokens (token_hash, session_id, user_id, expires_at)
                     VALUES ($1, $2, $3, $4) RETURNING true",
                )
                .bind::<Binary, _>(token.hash.to_vec())
                .bind::<SqlUuid, _>(token.session_id.0)
                .bind::<SqlUuid, _>(user.0)
                .bind::<Timestamptz, _>(token.expires_at)
            })
            .await?;
        Ok(())
    }

    async fn rotate_refresh_token(
        &self,
        hash: [u8; 32],
        next_hash: [u8; 32],
        next_expires_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<RefreshUse, StoreError> {
        // The row lock of the UPDATE lets one of many simultaneous uses through; the others see used_at. A session with
        // any revoked token is over, so a token that was stored while the session was being revoked is no good either.
        let used: Option<Uuid> = self
            .row(|| {
                statement::<SqlUuid>(
                    "WITH used AS (
                        UPDATE refresh_tokens SET used_at = $3
                        WHERE token_hash = $1 AND used_at IS NULL AND expires_at > $3
                            AND NOT EXISTS (SELECT 1 FROM refresh_tokens other
                                WHERE other.session_id = refresh_tokens.session_id AND other.revoked_at IS NOT NULL)
                        RETURNING session_id, user_id
                     )
                     INSERT INTO refresh_tokens (token_hash, session_id, user_id, expires_at)
                     SELECT $2, used.session_id, used.user_id, $4 FROM used RETURNING user_id",
                )
                .bind::<Binary, _>(hash.to_vec())
                .bind::<Binary, _>(next_hash.to_vec())
                .bind::<Timestamptz, _>(now)
                .bind::<Timestamptz, _>(next_expires_at)
            })
            .await?;
        if let Some(user) = used {
            let user = self.user(UserId(user)).await?.ok_or_else(|| impossible("a token without a user"))?;
            return Ok(RefreshUse::Good(user));
        }
        let known: Option<(Uuid, Option<DateTime<Utc>>)> = self
            .row(|| {
                statement::<(SqlUuid, Nullable<Timestamptz>)>(
                    "SELECT session_id, used_at FROM refresh_tokens WHERE token_hash = $1",
                )
                .bind::<Binary, _>(hash.to_vec())
            })
            .await?;
        let Some((session, Some(_))) = known else { return Ok(RefreshUse::Unknown) };
        self.revoke(session, now).await?;
        Ok(RefreshUse::Reused)
    }

    async fn revoke_session(&self, user: UserId, hash: [u8; 32], now: DateTime<Utc>) -> Result<(), StoreError> {
        let session: Option<Uuid> = self
            .row(|| {
                statement::<SqlUuid>("SELECT session_id FROM refresh_tokens WHERE token_hash = $1 AND user_id = $2")
                    .bind::<Binary, _>(hash.to_vec())
                    .bind::<SqlUuid, _>(user.0)
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
        let _: Vec<bool> = self
            .rows(|| {
                statement::<Bool>(
                    "UPDATE refresh_tokens SET revoked_at = $2 WHERE session_id = $1 AND revoked_at IS NULL RETURNING true",
                )
                .bind::<SqlUuid, _>(session)
                .bind::<Timestamptz, _>(now)
            })
            .await?;
        Ok(())
    }
}
