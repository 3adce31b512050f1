//! Keys, signatures and password hashes.

mod passwords;
mod tickets;
mod tokens;

pub use passwords::Argon2Hasher;
pub use tickets::{Ed25519TicketSigner, verify_ed25519};
pub use tokens::{SignedQueueTokens, SignedTokens};

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// A key for one purpose, derived from the installation's secret, so that a signature made for one purpose is
/// worthless for another.
fn derive_key(secret: &[u8], purpose: &str) -> Vec<u8> {
    // HMAC takes keys of any length, so this cannot fail; an empty key would fail every later check.
    Hmac::<Sha256>::new_from_slice(secret)
        .map(|mac| mac.chain_update(purpose.as_bytes()).finalize().into_bytes().to_vec())
        .unwrap_or_default()
}
