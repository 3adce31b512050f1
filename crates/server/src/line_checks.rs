//! `onsale line verify`: checks what a line has published, from files, without any store.

use std::{fs::File, io::BufRead, path::Path};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hex::FromHex;
use onsale_domain::queue::{DrawBlock, DrawSeed, LogEntry, LogKind, check_draw, check_log, place_hash};
use onsale_infrastructure::security::SignedKind;
use serde::Deserialize;
use uuid::Uuid;

/// Why something that was published does not hold.
#[derive(Debug, thiserror::Error)]
pub enum CheckFault {
    /// A file.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    /// A line of a file.
    #[error("line {0} is not what it should be: {1}")]
    Line(usize, String),
    /// The draw.
    #[error("the draw does not hold: {0}")]
    Draw(#[from] onsale_domain::queue::DrawFault),
    /// The log.
    #[error(transparent)]
    Log(#[from] onsale_domain::queue::LogFault),
    /// The receipt.
    #[error("the receipt does not hold: {0}")]
    Receipt(String),
}

#[derive(Deserialize)]
struct DrawHead {
    commitment: String,
    seed: Option<String>,
    first: i64,
    last: i64,
}

#[derive(Deserialize)]
struct Ballot {
    number: i64,
    ballot: Uuid,
}

#[derive(Deserialize)]
struct LogLine {
    index: i64,
    kind: String,
    number: i64,
    place: Option<String>,
    at_ms: i64,
    hash: String,
}

/// What a receipt says.
#[derive(Debug, Deserialize)]
pub struct ReceiptClaims {
    /// Number of the place; 0 for a ballot.
    pub number: i64,
    /// SHA-256 of the place's id, lower-case hex.
    pub place: String,
    /// The ballot, in a pre-queue.
    pub ballot: Option<Uuid>,
}

fn lines<T: for<'de> Deserialize<'de>>(file: impl BufRead, skip: usize) -> impl Iterator<Item = Result<T, CheckFault>> {
    file.lines().enumerate().skip(skip).map(|(index, line)| {
        let broken = |what: String| CheckFault::Line(index + 1, what);
        let line = line.map_err(|error| broken(error.to_string()))?;
        serde_json::from_str(&line).map_err(|error| broken(error.to_string()))
    })
}

fn open(path: &Path) -> Result<std::io::BufReader<File>, CheckFault> {
    let file = File::open(path).map_err(|error| CheckFault::File(path.display().to_string(), error))?;
    Ok(std::io::BufReader::new(file))
}

fn bytes32(text: &str) -> Option<[u8; 32]> {
    <[u8; 32]>::from_hex(text).ok()
}

/// Recomputes every place of a draw. Answers what was found, in sentences.
pub fn verify_draw(path: &Path, receipt: Option<&ReceiptClaims>) -> Result<Vec<String>, CheckFault> {
    let head: DrawHead =
        lines(open(path)?, 0).next().unwrap_or_else(|| Err(CheckFault::Line(1, "the file is empty".to_owned())))?;
    let commitment =
        bytes32(&head.commitment).ok_or_else(|| CheckFault::Line(1, "the commitment is no hash".to_owned()))?;
    let Some(seed) = head.seed else {
        return Ok(vec!["The draw is not over: the seed is not published yet.".to_owned()]);
    };
    let seed = DrawSeed(bytes32(&seed).ok_or_else(|| CheckFault::Line(1, "the seed is no seed".to_owned()))?);
    let ballots = lines::<Ballot>(open(path)?, 1).collect::<Result<Vec<_>, _>>()?;
    let published = DrawBlock { first: head.first, last: head.last };
    check_draw(&seed, &commitment, published, ballots.iter().map(|ballot| (ballot.number, ballot.ballot)))?;
    let mut found = vec![format!("The draw holds: {} ballots.", ballots.len())];
    if !ballots.is_empty() {
        found.push(format!("  numbers {} to {}", published.first, published.last));
    }
    if let Some(receipt) = receipt {
        let mine = ballots.iter().find(|ballot| hex::encode(place_hash(ballot.ballot)) == receipt.place);
        match mine {
            Some(mine) => found.push(format!("  the ballot of the receipt has number {}", mine.number)),
            None if receipt.ballot.is_some() => {
                return Err(CheckFault::Receipt("its ballot is not in the draw".to_owned()));
            }
            None => found.push("  the receipt is of a place that was not drawn".to_owned()),
        }
    }
    Ok(found)
}

/// Recomputes a log's chain of hashes. Answers what was found.
pub fn verify_log(path: &Path, receipt: Option<&ReceiptClaims>) -> Result<Vec<String>, CheckFault> {
    let mut entries = Vec::new();
    for (at, line) in lines::<LogLine>(open(path)?, 0).enumerate() {
        let line = line?;
        let broken = |what: &str| CheckFault::Line(at + 1, what.to_owned());
        let place = line.place.as_deref().map(|text| bytes32(text).ok_or_else(|| broken("place is no hash")));
        let entry = LogEntry {
            index: line.index,
            kind: LogKind::parse(&line.kind).ok_or_else(|| broken("the kind is unknown"))?,
            number: line.number,
            place: place.transpose()?,
            at_ms: line.at_ms,
        };
        entries.push((entry, bytes32(&line.hash).ok_or_else(|| broken("hash is no hash"))?));
    }
    let (index, hash) = check_log(entries.iter().cloned())?;
    let mut found = vec![format!("The log holds: {index} entries, the last hash is {}.", hex::encode(hash))];
    if let Some(receipt) = receipt {
        let admitted = entries.iter().filter(|(entry, _)| entry.kind == LogKind::Admitted);
        let mine =
            admitted.clone().find(|(entry, _)| entry.place.is_some_and(|place| hex::encode(place) == receipt.place));
        found.push(match mine {
            Some((entry, _)) if receipt.number != 0 && entry.number != receipt.number => {
                let (number, other) = (receipt.number, entry.number);
                return Err(CheckFault::Receipt(format!("it says number {number}, the log admitted it as {other}")));
            }
            Some((entry, _)) => {
                let earlier = entries.iter().take_while(|(other, _)| other.index < entry.index);
                let overtaken =
                    earlier.filter(|(other, _)| other.kind == LogKind::Admitted && other.number > entry.number);
                format!(
                    "  the place of the receipt was admitted as number {}; higher numbers admitted before it: {}",
                    entry.number,
                    overtaken.count()
                )
            }
            None => "  the place of the receipt has not been admitted".to_owned(),
        });
    }
    Ok(found)
}

/// Checks a receipt's signature with the keys of `/.well-known/jwks.json` and reads it.
pub fn verify_receipt(receipt: &Path, keys: &Path) -> Result<ReceiptClaims, CheckFault> {
    #[derive(Deserialize)]
    struct Key {
        kid: String,
        x: String,
    }
    #[derive(Deserialize)]
    struct Keys {
        keys: Vec<Key>,
    }
    #[derive(Deserialize)]
    struct Head {
        kid: String,
        typ: String,
    }
    #[derive(Deserialize)]
    struct Audience {
        aud: String,
    }
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|error| CheckFault::File(path.display().to_string(), error))
    };
    let wrong = |what: &str| CheckFault::Receipt(what.to_owned());
    let (receipt, keys) = (read(receipt)?, read(keys)?);
    let (signed, signature) = receipt.trim().rsplit_once('.').ok_or_else(|| wrong("it is no compact JWS"))?;
    let (head, claims) = signed.split_once('.').ok_or_else(|| wrong("it is no compact JWS"))?;
    let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong("it is no base64url"));
    let head: Head = serde_json::from_slice(&decoded(head)?).map_err(|_| wrong("its head cannot be read"))?;
    let keys: Keys = serde_json::from_str(&keys).map_err(|_| wrong("the keys cannot be read"))?;
    let key = keys.keys.iter().find(|key| key.kid == head.kid).ok_or_else(|| wrong("its key is not published"))?;
    let holds = onsale_infrastructure::security::verify_ed25519(&decoded(&key.x)?, signed, &decoded(signature)?);
    if !holds {
        return Err(wrong("the signature is not of this key"));
    }
    // Tickets are signed with the same key.
    let claims = decoded(claims)?;
    let audience: Audience = serde_json::from_slice(&claims).map_err(|_| wrong("its claims cannot be read"))?;
    let of_a_line = [SignedKind::Receipt, SignedKind::Ballot];
    if !of_a_line.iter().any(|kind| head.typ == kind.typ() && audience.aud == kind.audience()) {
        return Err(wrong("it is genuine, but no receipt of a line"));
    }
    serde_json::from_slice(&claims).map_err(|_| wrong("it is no receipt of a line"))
}
