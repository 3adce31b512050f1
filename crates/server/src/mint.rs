//! Access tokens for load tests: real fans with real wallets, no password hashing.

use onsale_application::{
    accounts::{Identity, Tokens},
    context::{Clock, Ids},
    error::StoreError,
};
use onsale_domain::{account::Role, ids::UserId};
use onsale_infrastructure::{
    postgres::{Postgres, load_runs::ADDRESSES, seeding::TestFan},
    security::SignedTokens,
    system::System,
};

use crate::config::Config;

/// Why no tokens were made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// It is switched off.
    #[error(
        "token minting is switched off: set ONSALE_AUTH_ALLOW_TOKEN_MINT=true where load tests run, never where fans buy"
    )]
    SwitchedOff,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A user and a token that speaks for the user.
#[derive(Debug, serde::Serialize)]
pub struct MintedToken {
    /// The user.
    pub user_id: uuid::Uuid,
    /// Good for as long as was asked for.
    pub access_token: String,
}

/// Signs tokens that are good for `ttl_secs`, where that may be done.
fn signer(config: &Config, ttl_secs: i64) -> Result<SignedTokens, MintError> {
    if !config.allow_token_mint {
        return Err(MintError::SwitchedOff);
    }
    let refresh_ttl = chrono::Duration::days(config.refresh_ttl_days);
    Ok(SignedTokens::new(&config.secret.0, ttl_secs, refresh_ttl))
}

/// Adds an operator, as whom nobody can log in, and signs a token that is good for `ttl_secs`.
pub async fn mint_operator(config: &Config, postgres: &Postgres, ttl_secs: i64) -> Result<MintedToken, MintError> {
    let tokens = signer(config, ttl_secs)?;
    let id = System.new_id();
    postgres.insert_load_operator(id, &format!("operator-{id}{ADDRESSES}")).await?;
    let identity = Identity { user_id: UserId(id), role: Role::Operator };
    Ok(MintedToken { user_id: id, access_token: tokens.sign_access(identity, System.now()) })
}

/// Adds `fans` fans whose wallets hold `balance_minor` and signs a token for each, good for `ttl_secs`.
pub async fn mint(
    config: &Config,
    postgres: &Postgres,
    fans: usize,
    balance_minor: i64,
    prefix: &str,
    ttl_secs: i64,
) -> Result<Vec<MintedToken>, MintError> {
    const AT_ONCE: usize = 10_000;
    let tokens = signer(config, ttl_secs)?;
    let currency = config.currency.code();
    postgres.ensure_system_accounts([System.new_id(), System.new_id()], currency).await?;
    let mut minted = Vec::with_capacity(fans);
    while minted.len() < fans {
        let people: Vec<TestFan> = (0..AT_ONCE.min(fans - minted.len()))
            .map(|_| {
                let id = System.new_id();
                let email = format!("{prefix}-{id}{ADDRESSES}").to_lowercase();
                TestFan { id, email, wallet_ids: [System.new_id(), System.new_id(), System.new_id()] }
            })
            .collect();
        postgres.insert_test_fans(&people, currency, balance_minor).await?;
        minted.extend(people.iter().map(|fan| MintedToken {
            user_id: fan.id,
            access_token: tokens.sign_access(Identity { user_id: UserId(fan.id), role: Role::Fan }, System.now()),
        }));
    }
    Ok(minted)
}
