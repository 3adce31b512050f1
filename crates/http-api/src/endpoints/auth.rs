//! Accounts.

use actix_web::{HttpResponse, get, post};
use chrono::{DateTime, Utc};
use onsale_application::accounts::{TokenPair, User};
use onsale_domain::account::Email;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ApiResult, instant, private};
use crate::extract::{Json, SignedIn, State};

/// A new account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignUp {
    /// E-mail address, unique.
    #[schema(example = "mina@example.org", min_length = 3, max_length = 254)]
    email: String,
    /// 8 to 128 characters.
    #[schema(example = "correct horse battery", min_length = 8, max_length = 128)]
    password: String,
    /// 1 to 80 characters.
    #[schema(example = "Mina", min_length = 1, max_length = 80)]
    display_name: String,
}

/// A login.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogIn {
    /// E-mail address.
    #[schema(example = "fan@onsale.example")]
    email: String,
    /// Password.
    #[schema(example = "onsale-demo-fan")]
    password: String,
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// As it was issued.
    #[schema(example = "kJ4y3vO8m0Zk1y9v2uQm4bq2w8cJx7l5r6t9p0s1a2d")]
    refresh_token: String,
}

/// A user.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub struct UserDto {
    #[schema(example = "01997b1e-6d10-7b52-9c3e-8f0a1d2b3c4d")]
    id: Uuid,
    #[schema(example = "mina@example.org")]
    email: String,
    #[schema(example = "Mina")]
    display_name: String,
    /// `fan` or `operator`.
    #[schema(example = "fan")]
    role: String,
    #[schema(example = "2027-03-01T08:59:12.412Z")]
    created_at: DateTime<Utc>,
}

/// A pair of tokens.
#[derive(Serialize, ToSchema)]
#[schema(as = TokenPair)]
pub struct TokenPairDto {
    /// For the `Authorization` header, after `Bearer `.
    #[schema(example = "eyJhbGciOiJIUzI1NiJ9.e30.signature")]
    access_token: String,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    token_type: String,
    /// Seconds until the access token ends.
    #[schema(example = 900)]
    expires_in: i64,
    /// Good for one refresh. Using it twice revokes the whole session.
    #[schema(example = "kJ4y3vO8m0Zk1y9v2uQm4bq2w8cJx7l5r6t9p0s1a2d")]
    refresh_token: String,
    user: UserDto,
}

impl From<User> for UserDto {
    fn from(user: User) -> Self {
        Self {
            id: user.id.0,
            email: user.email,
            display_name: user.display_name,
            role: user.role.as_str().to_owned(),
            created_at: instant(user.created_at),
        }
    }
}

impl From<TokenPair> for TokenPairDto {
    fn from(pair: TokenPair) -> Self {
        Self {
            access_token: pair.access_token,
            token_type: "Bearer".to_owned(),
            expires_in: pair.expires_in_secs,
            refresh_token: pair.refresh_token,
            user: pair.user.into(),
        }
    }
}

/// Sign up as a fan
#[utoipa::path(operation_id = "signUp", request_body = SignUp,
    responses((status = 201, description = "The account, signed in", body = TokenPairDto)))]
#[post("/auth/signup")]
pub(crate) async fn sign_up(state: State, body: Json<SignUp>) -> ApiResult {
    let accounts = state.facades.accounts.clone();
    let SignUp { email, password, display_name } = body.value;
    let pair = state.detached.run(async move { accounts.sign_up(&email, &password, &display_name).await }).await??;
    Ok(HttpResponse::Created().insert_header(("Cache-Control", "no-store")).json(TokenPairDto::from(pair)))
}

/// Log in
///
/// The access token goes into `Authorize` as `access_token`; it is good for 15 minutes.
#[utoipa::path(operation_id = "logIn", request_body = LogIn,
    responses((status = 200, description = "Tokens", body = TokenPairDto)))]
#[post("/auth/login")]
pub(crate) async fn log_in(state: State, body: Json<LogIn>) -> ApiResult {
    let LogIn { email, password } = body.value;
    // What could never be an address is no account's, and is not counted.
    if let Ok(email) = Email::parse(&email) {
        state.check_login_rate(&email)?;
    }
    let accounts = state.facades.accounts.clone();
    let pair = state.detached.run(async move { accounts.log_in(&email, &password).await }).await??;
    Ok(private(&TokenPairDto::from(pair)))
}

/// Trade a refresh token for a new pair
///
/// A refresh token is good for one use. Using it a second time ends the whole session.
#[utoipa::path(operation_id = "refreshTokens", request_body = Refresh,
    responses((status = 200, description = "New tokens; the old refresh token is used", body = TokenPairDto)))]
#[post("/auth/refresh")]
pub(crate) async fn refresh(state: State, body: Json<Refresh>) -> ApiResult {
    let accounts = state.facades.accounts.clone();
    let token = body.value.refresh_token;
    let pair = state.detached.run(async move { accounts.refresh(&token).await }).await??;
    Ok(private(&TokenPairDto::from(pair)))
}

/// End my session
///
/// The access token ends by itself within 15 minutes.
#[utoipa::path(operation_id = "logOut", request_body = Refresh,
    responses((status = 204, description = "The session is over")))]
#[post("/auth/logout")]
pub(crate) async fn log_out(user: SignedIn, state: State, body: Json<Refresh>) -> ApiResult {
    let accounts = state.facades.accounts.clone();
    let token = body.value.refresh_token;
    state.detached.run(async move { accounts.log_out(user.0, &token).await }).await??;
    Ok(HttpResponse::NoContent().finish())
}

/// Who am I?
#[utoipa::path(operation_id = "readMe",
    responses((status = 200, description = "The signed-in user", body = UserDto)))]
#[get("/me")]
pub(crate) async fn me(user: SignedIn, state: State) -> ApiResult {
    Ok(private(&UserDto::from(state.facades.accounts.me(user.0).await?)))
}
