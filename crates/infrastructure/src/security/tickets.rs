//! Ticket codes: compact JWS with Ed25519, so that a gate with the public key needs no connection and no secret.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{
    Signature, SigningKey, VerifyingKey,
    pkcs8::{EncodePrivateKey, KeypairBytes},
};
use jsonwebtoken::{Algorithm, EncodingKey, Extras, Header};
use onsale_application::{
    error::StoreError,
    line::Place,
    tickets::{Ticket, TicketSigner},
};
use onsale_domain::{ids::ConcertId, queue::place_hash};
use serde_json::json;
use sha2::{Digest, Sha256};

/// Whether `signature` is that of the key over `signed`. Stricter than `jsonwebtoken`, which takes keys of small order, too:
/// under such a key one signature fits many texts.
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
    key: EncodingKey,
    public: VerifyingKey,
    key_id: String,
}

impl Ed25519TicketSigner {
    /// The key made from a 32-byte seed.
    pub fn new(seed: &[u8; 32]) -> Result<Self, StoreError> {
        // Without the public key, which would be compared at each signature.
        let document = KeypairBytes { secret_key: *seed, public_key: None }
            .to_pkcs8_der()
            .map_err(|error| StoreError::Broken(error.into()))?;
        let key = EncodingKey::from_ed_der(document.as_bytes());
        // The library reads the key at each signature; one that cannot sign is found out here.
        jsonwebtoken::crypto::sign(&[], &key, Algorithm::EdDSA).map_err(|error| StoreError::Broken(error.into()))?;
        let public = SigningKey::from_bytes(seed).verifying_key();
        // The key id is the start of the public key's hash, so it changes with the key and with nothing else.
        let digest = Sha256::digest(public.as_bytes());
        let key_id = URL_SAFE_NO_PAD.encode(digest.first_chunk::<6>().copied().unwrap_or_default());
        Ok(Self { key, public, key_id })
    }

    /// A compact JWS over these claims.
    fn sign(&self, kind: SignedKind, mut claims: serde_json::Value) -> String {
        if let Some(claims) = claims.as_object_mut() {
            claims.insert("iss".to_owned(), "onsale".into());
            claims.insert("aud".to_owned(), kind.audience().into());
        }
        // The same ticket has the same code for ever, so the members stay in the order that they always had: by name. The
        // library puts its own `typ` first, and what it is given as extra after `alg`, by name.
        let mut extras = Extras::default();
        extras.insert("kid", &self.key_id);
        extras.insert("typ", kind.typ());
        let header = Header { typ: None, extras, ..Header::new(Algorithm::EdDSA) };
        // The key has signed before, and texts and numbers have no way to fail.
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap_or_default()
    }

    /// The receipt of a place: its concert, its number, and the hash of its id, which the published log shows when the
    /// place is admitted. Who sees a receipt cannot use the place.
    pub fn receipt(&self, concert: ConcertId, place: &Place) -> String {
        let kind = if place.number == 0 { SignedKind::Ballot } else { SignedKind::Receipt };
        let claims = json!({
            "concert": concert.0,
            "number": place.number,
            "place": hex::encode(place_hash(place.place_id)),
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
            "x": URL_SAFE_NO_PAD.encode(self.public.as_bytes()),
        }] })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use onsale_application::line::Stand;
    use onsale_domain::{
        ids::{ReservationId, SeatId, ShowId, TicketId, UserId},
        ticket::TicketState,
    };
    use uuid::Uuid;

    use super::*;

    const SHOW: Uuid = Uuid::from_u128(0x0199_7b1e_80a2_7d94_a1b7_5e2f_8c6d_9034);
    const TICKET: Uuid = Uuid::from_u128(0x0199_7b1e_9c03_7a11_b0e2_3c5f_7d9e_1a42);

    /// The key of RFC 8037, appendix A.
    fn signer() -> Ed25519TicketSigner {
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").expect("base64url");
        Ed25519TicketSigner::new(&seed.try_into().expect("32 bytes")).expect("a key")
    }

    fn place(number: i64) -> Place {
        Place {
            user_id: UserId(Uuid::nil()),
            number,
            place_id: TICKET,
            token_id: Uuid::nil(),
            joined_ms: 1_803_897_662_999,
            at: Stand::Waiting,
            came: false,
            over: false,
        }
    }

    /// Header and claims as text, and the signature.
    fn parts(code: &str) -> [String; 3] {
        let text = |part: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("text");
        let parts: Vec<&str> = code.split('.').collect();
        [text(parts[0]), text(parts[1]), parts[2].to_owned()]
    }

    #[test]
    fn the_same_ticket_has_the_same_code_for_ever() {
        let ticket = Ticket {
            id: TicketId(TICKET),
            reservation_id: ReservationId(Uuid::nil()),
            show_id: ShowId(SHOW),
            seat_id: SeatId(Uuid::nil()),
            section: "A".to_owned(),
            row: "1".to_owned(),
            number: 12,
            state: TicketState::Valid,
            issued_at: chrono::DateTime::from_timestamp(1_803_897_662, 0).expect("a time"),
        };
        let code = signer().code(&ticket);
        // Signed by another program (Python's `cryptography`), like those below.
        let expected = [
            r#"{"alg":"EdDSA","kid":"If4x36FU","typ":"onsale-ticket+jwt"}"#,
            r#"{"aud":"onsale-gate","iat":1803897662,"iss":"onsale","seat":"A-1-12","show":"01997b1e-80a2-7d94-a1b7-5e2f8c6d9034","sub":"01997b1e-9c03-7a11-b0e2-3c5f7d9e1a42"}"#,
            "09uUtdcvkTV3gwvi-XJGMUNSAG6sjOF17StxTNkLO-Jbrtz-burLdom8oqQG7dn2rLkG8bsIgy-13eBLLB2jBQ",
        ];
        assert_eq!(parts(&code), expected);
        let (signed, signature) = code.rsplit_once('.').expect("three parts");
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        assert!(verify_ed25519(signer().public.as_bytes(), signed, &signature));
        assert!(!verify_ed25519(signer().public.as_bytes(), &format!("{signed}A"), &signature));
        let document = include_str!("../../../../docs/API.md");
        assert!(document.lines().any(|line| line == code), "docs/API.md has another code for this ticket");
        assert!(document.lines().any(|line| line == signer().public_keys()), "docs/API.md has another key set");
    }

    #[test]
    fn the_same_place_has_the_same_receipt_for_ever() {
        let concert = ConcertId(SHOW);
        let receipt = [
            r#"{"alg":"EdDSA","kid":"If4x36FU","typ":"onsale-receipt+jwt"}"#,
            r#"{"aud":"onsale-line","ballot":null,"concert":"01997b1e-80a2-7d94-a1b7-5e2f8c6d9034","iat":1803897662,"iss":"onsale","number":41200,"place":"39a404df2989e2b09f4168d81c08ef13d9363503bf95ebfcdde4c3da199f714a"}"#,
            "hdxNxhR7bBfFrvmonbQ68BoKCVi4QTq_j3gsLu4ANSBn1e_AEBkIPV3v3XAu1k_-k2qDAhXKIB8EBqIIbSWuCg",
        ];
        assert_eq!(parts(&signer().receipt(concert, &place(41_200))), receipt);
        let ballot = [
            r#"{"alg":"EdDSA","kid":"If4x36FU","typ":"onsale-ballot+jwt"}"#,
            r#"{"aud":"onsale-draw","ballot":"01997b1e-9c03-7a11-b0e2-3c5f7d9e1a42","concert":"01997b1e-80a2-7d94-a1b7-5e2f8c6d9034","iat":1803897662,"iss":"onsale","number":0,"place":"39a404df2989e2b09f4168d81c08ef13d9363503bf95ebfcdde4c3da199f714a"}"#,
            "90G5lgFSM5_nXTd28zzufNfWJeOTrvdyOQezbm3hbewGGBXgSV5EBb-858G0YbBYGP9hbGq6LPt2kNXaHMgOAw",
        ];
        assert_eq!(parts(&signer().receipt(concert, &place(0))), ballot);
    }
}
