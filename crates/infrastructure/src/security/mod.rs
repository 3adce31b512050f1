//! Keys, signatures and password hashes.

mod passwords;
mod tickets;
mod tokens;

pub use passwords::Argon2Hasher;
pub use tickets::{Ed25519TicketSigner, SignedKind, verify_ed25519};
pub use tokens::{SignedQueueTokens, SignedTokens};

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Seals short texts that this installation gives out and wants back as they were.
pub struct Sealer(Hmac<Sha256>);

impl Sealer {
    /// Under a key for one purpose.
    pub fn new(secret: &[u8], purpose: &str) -> Result<Self, onsale_application::error::StoreError> {
        Hmac::new_from_slice(&derive_key(secret, purpose))
            .map(Self)
            .map_err(|error| onsale_application::error::StoreError::Broken(error.into()))
    }

    /// 128 bits that nobody else can make, as lower-case hex.
    pub fn seal(&self, text: &str) -> String {
        let mac: [u8; 32] = self.0.clone().chain_update(text.as_bytes()).finalize().into_bytes().into();
        let mut sealed = hex::encode(mac);
        sealed.truncate(32);
        sealed
    }
}

/// A key for one purpose, derived from the installation's secret, so that a signature made for one purpose is
/// worthless for another.
fn derive_key(secret: &[u8], purpose: &str) -> Vec<u8> {
    // HMAC takes keys of any length, so this cannot fail; an empty key would fail every later check.
    Hmac::<Sha256>::new_from_slice(secret)
        .map(|mac| mac.chain_update(purpose.as_bytes()).finalize().into_bytes().to_vec())
        .unwrap_or_default()
}
