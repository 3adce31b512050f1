//! Access tokens, refresh tokens and queue tokens.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Duration, Utc};
use hmac::{Hmac, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use moka::sync::Cache;
use onsale_application::{
    accounts::{Identity, Tokens},
    line::{Place, QueueTokens, Receipts, StreamPass, TokenClaims},
};
use onsale_domain::{
    account::Role,
    ids::{ConcertId, UserId},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{derive_key, tickets::Ed25519TicketSigner};

const ISSUER: &str = "onsale";
const AUDIENCE: &str = "onsale-api";

/// Access tokens are JWTs under HMAC-SHA-256: only this installation has to verify them, and that costs under a
/// microsecond where a public-key signature costs tens.
pub struct SignedTokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    access_ttl_secs: i64,
    refresh_ttl: Duration,
    genuine: Cache<Box<str>, Genuine>,
}

/// Genuine tokens that are remembered: fans ask again and again, and a token is read once. Only what was verified is kept,
/// so strangers fill nothing. About 30 MB when full.
const REMEMBERED: u64 = 50_000;

/// What a genuine token says. Whether its time has come is asked anew at each use.
#[derive(Clone, Copy)]
struct Genuine {
    identity: Identity,
    not_before: i64,
    ends: i64,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    role: String,
    iat: i64,
    nbf: i64,
    exp: i64,
}

impl SignedTokens {
    /// Tokens under keys derived from `secret`.
    pub fn new(secret: &[u8], access_ttl_secs: i64, refresh_ttl: Duration) -> Self {
        let key = derive_key(secret, "access token");
        // Only this algorithm is accepted, whatever a token's header says. Times are checked against the
        // application's clock below, not against the one that the library would read.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Self {
            encoding: EncodingKey::from_secret(&key),
            decoding: DecodingKey::from_secret(&key),
            validation,
            access_ttl_secs,
            refresh_ttl,
            genuine: Cache::new(REMEMBERED),
        }
    }

    /// What a token of ours says, whatever the time.
    fn read(&self, token: &str) -> Option<Genuine> {
        if let Some(known) = self.genuine.get(token) {
            return Some(known);
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation).ok()?.claims;
        let identity = Identity { user_id: UserId(claims.sub), role: Role::parse(&claims.role)? };
        let genuine = Genuine { identity, not_before: claims.nbf, ends: claims.exp };
        self.genuine.insert(token.into(), genuine);
        Some(genuine)
    }
}

impl Tokens for SignedTokens {
    fn access_ttl_secs(&self) -> i64 {
        self.access_ttl_secs
    }

    fn refresh_ttl(&self) -> Duration {
        self.refresh_ttl
    }

    fn sign_access(&self, identity: Identity, now: DateTime<Utc>) -> String {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: identity.user_id.0,
            role: identity.role.as_str().to_owned(),
            iat: now.timestamp(),
            nbf: now.timestamp(),
            exp: now.timestamp() + self.access_ttl_secs,
        };
        // Signing these claims with HMAC has no way to fail; an empty token would be refused everywhere.
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).unwrap_or_default()
    }

    fn verify_access(&self, token: &str, now: DateTime<Utc>) -> Option<Identity> {
        let genuine = self.read(token)?;
        let now = now.timestamp();
        // Five seconds for instances whose clocks differ.
        (now < genuine.ends && genuine.not_before <= now + 5).then_some(genuine.identity)
    }

    fn new_refresh(&self) -> String {
        URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
    }

    fn hash_refresh(&self, token: &str) -> [u8; 32] {
        Sha256::digest(token.as_bytes()).into()
    }
}

/// Queue tokens: a fixed layout under HMAC-SHA-256, base64url.
///
/// Bytes: 0 version (2); 1 key id; 2..18 concert; 18..34 fan; 34..42 number; 42..58 id; 58..90 MAC over
/// all before.
pub struct SignedQueueTokens {
    mac: Hmac<Sha256>,
    receipts: Ed25519TicketSigner,
}

const VERSION: u8 = 2;
const KEY_ID: u8 = 1;
const BODY: usize = 58;
const WHOLE: usize = BODY + 32;

impl SignedQueueTokens {
    /// Tokens under a key derived from `secret`; receipts under the key that signs tickets.
    pub fn new(secret: &[u8], receipt_seed: &[u8; 32]) -> Result<Self, onsale_application::error::StoreError> {
        let mac = Hmac::new_from_slice(&derive_key(secret, "queue token"))
            .map_err(|error| onsale_application::error::StoreError::Broken(error.into()))?;
        Ok(Self { mac, receipts: Ed25519TicketSigner::new(receipt_seed)? })
    }
}

fn body_of(version: u8, claims: &TokenClaims) -> Vec<u8> {
    let mut body = Vec::with_capacity(WHOLE_PASS);
    body.extend([version, KEY_ID]);
    body.extend(claims.concert_id.0.as_bytes());
    body.extend(claims.user_id.0.as_bytes());
    body.extend(claims.number.to_be_bytes());
    body.extend(claims.id.as_bytes());
    body
}

/// Bytes of a pass: those of a token's body, 58..74 id, 74..82 end in milliseconds, 82..114 MAC over all before.
const PASS_VERSION: u8 = 3;
const PASS_BODY: usize = BODY + 16 + 8;
const WHOLE_PASS: usize = PASS_BODY + 32;

/// Takes the next `N` bytes off the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn take_claims(body: &mut &[u8]) -> Option<TokenClaims> {
    Some(TokenClaims {
        concert_id: ConcertId(Uuid::from_bytes(take(body)?)),
        user_id: UserId(Uuid::from_bytes(take(body)?)),
        number: i64::from_be_bytes(take(body)?),
        id: Uuid::from_bytes(take(body)?),
    })
}

impl SignedQueueTokens {
    fn seal(&self, mut whole: Vec<u8>) -> String {
        let mac = self.mac.clone().chain_update(&whole).finalize().into_bytes();
        whole.extend(mac);
        URL_SAFE_NO_PAD.encode(whole)
    }

    /// What a genuine text of this version says behind its first two bytes; `whole` has room for it.
    fn unseal<'a>(&self, text: &str, version: u8, length: usize, whole: &'a mut [u8]) -> Option<&'a [u8]> {
        let decoded = URL_SAFE_NO_PAD.decode_slice(text, whole).ok()?;
        let (mut body, mac) = whole.get(..decoded)?.split_at_checked(length)?;
        self.mac.clone().chain_update(body).verify_slice(mac).ok()?;
        (take::<2>(&mut body)? == [version, KEY_ID]).then_some(body)
    }
}

impl QueueTokens for SignedQueueTokens {
    fn sign_queue(&self, claims: &TokenClaims) -> String {
        self.seal(body_of(VERSION, claims))
    }

    fn verify_queue(&self, token: &str) -> Option<TokenClaims> {
        let mut whole = [0_u8; WHOLE + 3];
        take_claims(&mut self.unseal(token, VERSION, BODY, &mut whole)?)
    }

    fn sign_pass(&self, pass: &StreamPass) -> String {
        let mut whole = body_of(PASS_VERSION, &pass.claims);
        whole.extend(pass.id.as_bytes());
        whole.extend(pass.until_ms.to_be_bytes());
        self.seal(whole)
    }

    fn verify_pass(&self, pass: &str) -> Option<StreamPass> {
        let mut whole = [0_u8; WHOLE_PASS + 3];
        let mut body = self.unseal(pass, PASS_VERSION, PASS_BODY, &mut whole)?;
        Some(StreamPass {
            claims: take_claims(&mut body)?,
            id: Uuid::from_bytes(take(&mut body)?),
            until_ms: i64::from_be_bytes(take(&mut body)?),
        })
    }

    fn jitter(&self) -> f64 {
        rand::random::<f64>()
    }
}

impl Receipts for SignedQueueTokens {
    fn receipt(&self, concert: ConcertId, place: &Place) -> String {
        self.receipts.receipt(concert, place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> TokenClaims {
        TokenClaims {
            concert_id: ConcertId(Uuid::from_u128(1)),
            user_id: UserId(Uuid::from_u128(2)),
            number: 41_200,
            id: Uuid::from_u128(3),
        }
    }

    #[test]
    fn a_queue_token_says_what_was_signed_and_nothing_else_is_believed() {
        let tokens = SignedQueueTokens::new(&[7; 32], &[9; 32]).expect("a key");
        let text = tokens.sign_queue(&claims());
        assert_eq!(tokens.verify_queue(&text), Some(claims()));
        for index in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            if let Some(byte) = bytes.get_mut(index) {
                *byte = if *byte == b'A' { b'B' } else { b'A' };
            }
            let forged = String::from_utf8(bytes).expect("ascii");
            assert_eq!(tokens.verify_queue(&forged), None, "byte {index}");
            assert_eq!(tokens.verify_queue(text.get(..index).unwrap_or_default()), None, "cut at {index}");
        }
        assert_eq!(tokens.verify_queue(&format!("{text}AAAA")), None);
        assert_eq!(tokens.verify_queue(&"A".repeat(10_000)), None);
        let others = SignedQueueTokens::new(&[8; 32], &[9; 32]).expect("a key");
        assert_eq!(others.verify_queue(&text), None);
    }

    #[test]
    fn a_pass_says_what_was_signed_and_is_no_token_nor_the_other_way_round() {
        let tokens = SignedQueueTokens::new(&[7; 32], &[9; 32]).expect("a key");
        let pass = StreamPass { claims: claims(), id: Uuid::from_u128(4), until_ms: 1_900_000_000_000 };
        let text = tokens.sign_pass(&pass);
        assert_eq!(tokens.verify_pass(&text), Some(pass));
        assert_eq!(tokens.verify_queue(&text), None);
        assert_eq!(tokens.verify_pass(&tokens.sign_queue(&claims())), None);
        for index in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            if let Some(byte) = bytes.get_mut(index) {
                *byte = if *byte == b'A' { b'B' } else { b'A' };
            }
            assert_eq!(tokens.verify_pass(&String::from_utf8(bytes).expect("ascii")), None, "byte {index}");
        }
    }

    #[test]
    fn access_tokens_end_and_cannot_be_forged() {
        let tokens = SignedTokens::new(&[7; 32], 900, Duration::days(30));
        let now: DateTime<Utc> = "2027-01-01T00:00:00Z".parse().expect("a date");
        let identity = Identity { user_id: UserId(Uuid::from_u128(2)), role: Role::Operator };
        let text = tokens.sign_access(identity, now);
        assert_eq!(tokens.verify_access(&text, now), Some(identity));
        assert_eq!(tokens.verify_access(&text, now + Duration::seconds(899)), Some(identity));
        assert_eq!(tokens.verify_access(&text, now + Duration::seconds(900)), None);
        assert_eq!(tokens.verify_access(&text, now - Duration::seconds(60)), None, "not valid yet");
        let others = SignedTokens::new(&[8; 32], 900, Duration::days(30));
        assert_eq!(others.verify_access(&text, now), None);
        // Signed by us for somebody else.
        let claims = serde_json::json!({ "iss": "onsale", "aud": "another-api", "sub": Uuid::from_u128(2), "role": "operator",
            "iat": now.timestamp(), "nbf": now.timestamp(), "exp": now.timestamp() + 900 });
        let foreign = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &tokens.encoding).expect("a token");
        assert_eq!(tokens.verify_access(&foreign, now), None);
        // The algorithm "none", with the same claims.
        let payload = text.split('.').nth(1).expect("three parts");
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        assert_eq!(tokens.verify_access(&format!("{header}.{payload}."), now), None);
        assert_eq!(tokens.verify_access(text.get(..text.len() - 5).unwrap_or_default(), now), None);
    }
}
