//! The fan's wallet.

use actix_web::{get, post};
use chrono::{DateTime, Utc};
use onsale_application::{
    idempotency::Idempotent,
    wallets::{Charge, Wallet, WalletEntry},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ApiResult, PageQuery, created, instant, private, written};
use crate::extract::{IdempotencyKey, Json, Query, SignedIn, State};

/// A wallet.
#[derive(Serialize, ToSchema)]
#[schema(as = Wallet)]
pub struct WalletDto {
    /// Minor units, never negative.
    #[schema(example = 1_000_000)]
    balance_minor: i64,
    /// ISO 4217 code.
    #[schema(example = "KRW")]
    currency: String,
}

/// Money to put into the wallet.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCharge {
    /// Minor units, 1 up to the installation's limit (10,000,000 unless configured otherwise).
    #[schema(example = 1_000_000, minimum = 1)]
    amount_minor: i64,
}

/// A charge.
#[derive(Serialize, ToSchema)]
#[schema(as = Charge)]
pub struct ChargeDto {
    #[schema(example = "01997b1e-9b11-7a2d-9f60-2c8e5b7d4a13")]
    id: Uuid,
    /// Minor units.
    #[schema(example = 1_000_000)]
    amount_minor: i64,
    /// The balance afterwards.
    #[schema(example = 1_000_000)]
    balance_minor: i64,
    #[schema(example = "KRW")]
    currency: String,
}

/// A line of the wallet's account.
#[derive(Serialize, ToSchema)]
#[schema(as = WalletEntry)]
pub struct WalletEntryDto {
    #[schema(example = 204_117)]
    id: i64,
    /// `charge`, `payment` or `refund`.
    #[schema(example = "charge")]
    kind: String,
    /// Positive into the wallet, negative out of it.
    #[schema(example = 1_000_000)]
    amount_minor: i64,
    #[schema(example = 1_000_000)]
    balance_after_minor: i64,
    #[schema(example = "KRW")]
    currency: String,
    /// The charge or payment.
    #[schema(example = "01997b1e-9b11-7a2d-9f60-2c8e5b7d4a13")]
    reference_id: Uuid,
    #[schema(example = "2027-03-01T10:40:50.004Z")]
    created_at: DateTime<Utc>,
}

/// A page of entries.
#[derive(Serialize, ToSchema)]
pub struct WalletEntryPage {
    items: Vec<WalletEntryDto>,
    /// For the `cursor` of the next page; null on the last.
    next_cursor: Option<String>,
}

impl From<Wallet> for WalletDto {
    fn from(wallet: Wallet) -> Self {
        Self { balance_minor: wallet.balance_minor, currency: wallet.currency }
    }
}

impl From<WalletEntry> for WalletEntryDto {
    fn from(entry: WalletEntry) -> Self {
        Self {
            id: entry.id,
            kind: entry.kind,
            amount_minor: entry.amount_minor,
            balance_after_minor: entry.balance_after_minor,
            currency: entry.currency,
            reference_id: entry.reference_id,
            created_at: instant(entry.created_at),
        }
    }
}

/// Read my balance
#[utoipa::path(operation_id = "readWallet",
    responses((status = 200, description = "The wallet", body = WalletDto)))]
#[get("/me/wallet")]
pub(crate) async fn read(user: SignedIn, state: State) -> ApiResult {
    Ok(private(&WalletDto::from(state.facades.wallets.wallet(user.0).await?)))
}

/// List my wallet's entries
///
/// The newest first.
#[utoipa::path(operation_id = "listWalletEntries", params(PageQuery),
    responses((status = 200, description = "A page of entries", body = WalletEntryPage)))]
#[get("/me/wallet/entries")]
pub(crate) async fn entries(user: SignedIn, state: State, query: Query<PageQuery>) -> ApiResult {
    let before = query.0.after_number()?;
    let page = state.facades.wallets.entries(user.0, before, query.0.limit()?).await?.map(WalletEntryDto::from);
    Ok(private(&WalletEntryPage { items: page.items, next_cursor: page.next.map(|id| id.to_string()) }))
}

/// Put money into my wallet
///
/// Without paying for it, where the installation allows that (`money.free_top_up`). The `Idempotency-Key` makes a
/// repeated request harmless.
#[utoipa::path(operation_id = "chargeWallet", request_body = NewCharge,
    responses((status = 201, description = "The charge and the new balance", body = ChargeDto)))]
#[post("/me/wallet/charges")]
pub(crate) async fn charge(user: SignedIn, state: State, key: IdempotencyKey, body: Json<NewCharge>) -> ApiResult {
    let idempotent = Idempotent {
        key: Some(key.required(&body.bytes)?),
        render: Box::new(|charge: &Charge| {
            written(&ChargeDto {
                id: charge.id,
                amount_minor: charge.amount_minor,
                balance_minor: charge.wallet.balance_minor,
                currency: charge.wallet.currency.clone(),
            })
        }),
    };
    let wallets = state.facades.wallets.clone();
    let write = async move { wallets.charge(user.0, body.value.amount_minor, idempotent).await };
    Ok(created(state.detached.run(write).await??, None))
}
