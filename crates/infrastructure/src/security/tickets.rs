//! Ticket codes: compact JWS with Ed25519, so that a gate with the public key needs no connection and no secret.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer, SigningKey};
use onsale_application::tickets::{Ticket, TicketSigner};
use serde_json::json;
use sha2::{Digest, Sha256};

/// Signs ticket codes with one key.
pub struct Ed25519TicketSigner {
    key: SigningKey,
    key_id: String,
}

impl Ed25519TicketSigner {
    /// The key made from a 32-byte seed.
    pub fn new(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        // The key id is the start of the public key's hash, so it changes with the key and with nothing else.
        let digest = Sha256::digest(key.verifying_key().as_bytes());
        let key_id = URL_SAFE_NO_PAD.encode(digest.first_chunk::<6>().copied().unwrap_or_default());
        Self { key, key_id }
    }
}

impl TicketSigner for Ed25519TicketSigner {
    fn code(&self, ticket: &Ticket) -> String {
        let header = json!({ "alg": "EdDSA", "kid": self.key_id, "typ": "JWT" });
        let claims = json!({
            "iss": "onsale",
            "sub": ticket.id.0,
            "show": ticket.show_id.0,
            "seat": format!("{}-{}-{}", ticket.section, ticket.row, ticket.number),
            "iat": ticket.issued_at.timestamp(),
        });
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    fn public_keys(&self) -> String {
        json!({ "keys": [{
            "kty": "OKP",
            "crv": "Ed25519",
            "use": "sig",
            "alg": "EdDSA",
            "kid": self.key_id,
            "x": URL_SAFE_NO_PAD.encode(self.key.verifying_key().as_bytes()),
        }] })
        .to_string()
    }
}
