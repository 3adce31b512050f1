//! Sign-up, login, refresh, logout.

use std::future::Future;

use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
use onsale_domain::{
    account::{DisplayName, Email, Password, Role},
    fault::Faults,
    ids::{SessionId, UserId},
};

use crate::{
    context::{Clock, Ids},
    error::StoreError,
};

/// A user as others of the same installation may see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Id.
    pub id: UserId,
    /// E-mail address, lower case.
    pub email: String,
    /// Name.
    pub display_name: String,
    /// Role.
    pub role: Role,
    /// When the account was made.
    pub created_at: DateTime<Utc>,
}

/// Who a verified access token speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user_id: UserId,
    /// The user's role when the token was issued.
    pub role: Role,
}

/// A fresh pair of tokens.
#[derive(Debug, Clone)]
pub struct TokenPair {
    /// For the `Authorization` header.
    pub access_token: String,
    /// Seconds until the access token ends.
    pub expires_in_secs: i64,
    /// For one refresh.
    pub refresh_token: String,
    /// Whose they are.
    pub user: User,
}

/// A refresh token about to be stored.
#[derive(Debug, Clone)]
pub struct NewRefreshToken {
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// The login it descends from.
    pub session_id: SessionId,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
}

/// What came of presenting a refresh token.
#[derive(Debug, Clone)]
pub enum RefreshUse {
    /// It was good and is now used; the next one of its session is stored.
    Good(User),
    /// It had been used before: its whole session is revoked now.
    Reused,
    /// Unknown, expired or revoked.
    Unknown,
}

/// Accounts in the database.
pub trait AccountStore: Send + Sync + 'static {
    /// Adds a user with an empty wallet, both or none. `false` when the e-mail address is taken.
    fn insert_user(
        &self,
        user: &User,
        password_hash: &str,
        wallet_id: uuid::Uuid,
        currency: &str,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// The user with this address and the password hash.
    fn user_by_email(&self, email: &Email) -> impl Future<Output = Result<Option<(User, String)>, StoreError>> + Send;
    /// The user with this id.
    fn user(&self, id: UserId) -> impl Future<Output = Result<Option<User>, StoreError>> + Send;
    /// Stores a refresh token.
    fn insert_refresh_token(
        &self,
        user: UserId,
        token: &NewRefreshToken,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Trades a refresh token for the next one of its session, in one step. MUST let exactly one of many simultaneous
    /// uses succeed, and revoke the whole session, the next token included, when a used token comes back.
    fn rotate_refresh_token(
        &self,
        hash: [u8; 32],
        next_hash: [u8; 32],
        next_expires_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> impl Future<Output = Result<RefreshUse, StoreError>> + Send;
    /// Revokes the session of a refresh token; nothing happens when it is unknown or another user's.
    fn revoke_session(
        &self,
        user: UserId,
        hash: [u8; 32],
        now: DateTime<Utc>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Why a password was not hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// Too many hashes are under way or waiting.
    #[error("too many logins at once")]
    Busy,
    /// The hash function failed.
    #[error("the hash function failed")]
    Failed(#[source] crate::error::Cause),
}

/// Slow password hashes, off the async threads, a bounded number at a time.
pub trait PasswordHasher: Send + Sync + 'static {
    /// Hashes.
    fn hash(&self, password: &Password) -> impl Future<Output = Result<String, HashError>> + Send;
    /// Compares. With no hash it takes as long and says no, so that answers do not tell which accounts exist.
    fn verify(&self, password: &Password, hash: Option<String>)
    -> impl Future<Output = Result<bool, HashError>> + Send;
}

/// Signed access tokens and random refresh tokens.
pub trait Tokens: Send + Sync + 'static {
    /// Seconds that an access token lives.
    fn access_ttl_secs(&self) -> i64;
    /// How long a refresh token lives.
    fn refresh_ttl(&self) -> Duration;
    /// Signs.
    fn sign_access(&self, identity: Identity, now: DateTime<Utc>) -> String;
    /// The identity of a token that is genuine and in time.
    fn verify_access(&self, token: &str, now: DateTime<Utc>) -> Option<Identity>;
    /// A new refresh token.
    fn new_refresh(&self) -> String;
    /// What is stored of a refresh token.
    fn hash_refresh(&self, token: &str) -> [u8; 32];
}

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The input is wrong.
    #[error(transparent)]
    Invalid(#[from] Faults),
    /// Somebody has this address.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// No such address, or another password.
    #[error("the e-mail address or the password is wrong")]
    BadCredentials,
    /// The refresh token had been used; its session is revoked.
    #[error("the refresh token was used before")]
    RefreshReused,
    /// The refresh token is unknown, expired or revoked.
    #[error("the refresh token is not valid")]
    RefreshInvalid,
    /// The account of a valid token is gone.
    #[error("the account is gone")]
    Gone,
    /// Too many logins at once.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Accounts, as the HTTP edge sees them.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Makes a fan's account and logs in.
    async fn sign_up(&self, email: &str, password: &str, display_name: &str) -> Result<TokenPair, AccountError>;
    /// Logs in.
    async fn log_in(&self, email: &str, password: &str) -> Result<TokenPair, AccountError>;
    /// Trades a refresh token for a new pair.
    async fn refresh(&self, refresh_token: &str) -> Result<TokenPair, AccountError>;
    /// Ends the session of a refresh token.
    async fn log_out(&self, user: UserId, refresh_token: &str) -> Result<(), AccountError>;
    /// The user behind an identity.
    async fn me(&self, user: UserId) -> Result<User, AccountError>;
    /// Makes an account of any role; for the command line only.
    async fn create(&self, email: &str, password: &str, display_name: &str, role: Role) -> Result<User, AccountError>;
    /// Who an access token speaks for.
    fn identify(&self, access_token: &str) -> Option<Identity>;
}

/// Accounts over a store, a hasher and tokens.
pub struct AccountsFacade<S, H, T, C> {
    /// Where accounts are.
    pub store: S,
    /// Password hashes.
    pub hasher: H,
    /// Tokens.
    pub tokens: T,
    /// Time and ids.
    pub context: C,
    /// The currency of new wallets.
    pub currency: String,
}

impl<S: AccountStore, H: PasswordHasher, T: Tokens, C: Clock + Ids> AccountsFacade<S, H, T, C> {
    async fn start_session(&self, user: User) -> Result<TokenPair, AccountError> {
        let now = self.context.now();
        let refresh_token = self.tokens.new_refresh();
        let token = NewRefreshToken {
            hash: self.tokens.hash_refresh(&refresh_token),
            session_id: SessionId(self.context.new_id()),
            expires_at: now + self.tokens.refresh_ttl(),
        };
        self.store.insert_refresh_token(user.id, &token).await?;
        Ok(self.pair(user, refresh_token, now))
    }

    fn pair(&self, user: User, refresh_token: String, now: DateTime<Utc>) -> TokenPair {
        let access_token = self.tokens.sign_access(Identity { user_id: user.id, role: user.role }, now);
        TokenPair { access_token, expires_in_secs: self.tokens.access_ttl_secs(), refresh_token, user }
    }
}

#[async_trait]
impl<S: AccountStore, H: PasswordHasher, T: Tokens, C: Clock + Ids> Accounts for AccountsFacade<S, H, T, C> {
    async fn sign_up(&self, email: &str, password: &str, display_name: &str) -> Result<TokenPair, AccountError> {
        let user = self.create(email, password, display_name, Role::Fan).await?;
        self.start_session(user).await
    }

    async fn log_in(&self, email: &str, password: &str) -> Result<TokenPair, AccountError> {
        // What could never be an account is answered like a wrong password: the form is no secret, the accounts are.
        let (Ok(email), Ok(password)) = (Email::parse(email), Password::parse(password)) else {
            return Err(AccountError::BadCredentials);
        };
        let (user, hash) = self.store.user_by_email(&email).await?.unzip();
        let matches = self.hasher.verify(&password, hash).await?;
        match user {
            Some(user) if matches => self.start_session(user).await,
            _ => Err(AccountError::BadCredentials),
        }
    }

    async fn refresh(&self, refresh_token: &str) -> Result<TokenPair, AccountError> {
        let hash = self.tokens.hash_refresh(refresh_token);
        let now = self.context.now();
        let next = self.tokens.new_refresh();
        let next_hash = self.tokens.hash_refresh(&next);
        match self.store.rotate_refresh_token(hash, next_hash, now + self.tokens.refresh_ttl(), now).await? {
            RefreshUse::Good(user) => Ok(self.pair(user, next, now)),
            RefreshUse::Reused => Err(AccountError::RefreshReused),
            RefreshUse::Unknown => Err(AccountError::RefreshInvalid),
        }
    }

    async fn log_out(&self, user: UserId, refresh_token: &str) -> Result<(), AccountError> {
        let hash = self.tokens.hash_refresh(refresh_token);
        Ok(self.store.revoke_session(user, hash, self.context.now()).await?)
    }

    async fn me(&self, user: UserId) -> Result<User, AccountError> {
        self.store.user(user).await?.ok_or(AccountError::Gone)
    }

    async fn create(&self, email: &str, password: &str, display_name: &str, role: Role) -> Result<User, AccountError> {
        let mut faults = Faults::new();
        let email = faults.take(Email::parse(email));
        let password = faults.take(Password::parse(password));
        let display_name = faults.take(DisplayName::parse(display_name));
        let input = match (email, password, display_name) {
            (Some(email), Some(password), Some(name)) => Some((email, password, name)),
            _ => None,
        };
        let (email, password, name) = faults.finish(input)?;
        let password_hash = self.hasher.hash(&password).await?;
        let user = User {
            id: UserId(self.context.new_id()),
            email: email.as_str().to_owned(),
            display_name: name.as_str().to_owned(),
            role,
            created_at: self.context.now(),
        };
        if self.store.insert_user(&user, &password_hash, self.context.new_id(), &self.currency).await? {
            Ok(user)
        } else {
            Err(AccountError::EmailTaken)
        }
    }

    fn identify(&self, access_token: &str) -> Option<Identity> {
        self.tokens.verify_access(access_token, self.context.now())
    }
}
