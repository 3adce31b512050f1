//! Ticket codes: compact JWS with Ed25519, so that a gate with the public key needs no connection and no secret.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use onsale_application::{
    line::Place,
    tickets::{Ticket, TicketSigner},
};
use onsale_domain::{
    ids::ConcertId,
    queue::{hex, place_hash},
};
use serde_json::json;
use sha2::{Digest, Sha256};

/// Whether `signature` is that of the key over `signed`.
pub fn verify_ed25519(key: &[u8], signed: &str, signature: &[u8]) -> bool {
    let Ok(key) = <[u8; 32]>::try_from(key) else { return false };
    let Ok(signature) = <[u8; 64]>::try_from(signature) else { return false };
    VerifyingKey::from_bytes(&key)
        .is_ok_and(|key| key.verify_strict(signed.as_bytes(), &Signature::from_bytes(&signature)).is_ok())
}

/// What is signed with the key of tickets. Each kind says what it is, in its header and to whom it speaks, so that a gate that
/// is shown a receipt does not take it for a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedKind {
    /// The right to a seat, for the gate.
    Ticket,
    /// The proof of a place in line, for whoever checks the line.
    Receipt,
    /// The proof of a registration for the opening draw, for whoever checks the draw.
    Ballot,
}

impl SignedKind {
    /// All kinds.
    pub const ALL: [SignedKind; 3] = [SignedKind::Ticket, SignedKind::Receipt, SignedKind::Ballot];

    /// The header `typ`.
    pub fn typ(self) -> &'static str {
        match self {
            SignedKind::Ticket => "onsale-ticket+jwt",
            SignedKind::Receipt => "onsale-receipt+jwt",
            SignedKind::Ballot => "onsale-ballot+jwt",
        }
    }

    /// The claim `aud`.
    pub fn audience(self) -> &'static str {
        match self {
            SignedKind::Ticket => "onsale-gate",
            SignedKind::Receipt => "onsale-line",
            SignedKind::Ballot => "onsale-draw",
        }
    }
}

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

impl Ed25519TicketSigner {
    /// A compact JWS over these claims.
    fn sign(&self, kind: SignedKind, mut claims: serde_json::Value) -> String {
        if let Some(claims) = claims.as_object_mut() {
            claims.insert("iss".to_owned(), "onsale".into());
            claims.insert("aud".to_owned(), kind.audience().into());
        }
        let header = json!({ "alg": "EdDSA", "kid": self.key_id, "typ": kind.typ() });
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    /// The receipt of a place: its concert, its number, and the hash of its id, which the published log shows when the
    /// place is admitted. Who sees a receipt cannot use the place.
    pub fn receipt(&self, concert: ConcertId, place: &Place) -> String {
        let kind = if place.number == 0 { SignedKind::Ballot } else { SignedKind::Receipt };
        let claims = json!({
            "concert": concert.0,
            "number": place.number,
            "place": hex(place_hash(place.place_id)),
            "ballot": (place.number == 0).then_some(place.place_id),
            "iat": place.joined_ms / 1_000,
        });
        self.sign(kind, claims)
    }
}

impl TicketSigner for Ed25519TicketSigner {
    fn code(&self, ticket: &Ticket) -> String {
        let claims = json!({
            "sub": ticket.id.0,
            "show": ticket.show_id.0,
            "seat": format!("{}-{}-{}", ticket.section, ticket.row, ticket.number),
            "iat": ticket.issued_at.timestamp(),
        });
        self.sign(SignedKind::Ticket, claims)
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
