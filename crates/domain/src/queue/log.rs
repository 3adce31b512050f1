//! The published log of a line: what happened to which number, each entry sealed with the hash of all before it.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// SHA-256 over an entry and the hash before it.
pub type LogHash = [u8; 32];

/// What happened to a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    /// A batch of fans joined; this is the last of their numbers.
    Joined,
    /// Its fan was promoted.
    Admitted,
    /// The turn was used for the first time.
    Arrived,
    /// The claim window passed unused; the number is kept.
    Lapsed,
    /// A fan whose turn had lapsed came back to the head.
    Returned,
    /// The time to come back passed too.
    Forfeited,
    /// The turn ran out.
    Expired,
    /// The fan paid; the turn ended.
    Paid,
    /// The fan ended the turn, or left after it had lapsed.
    Left,
    /// The fan left the line before the turn came.
    Departed,
}

impl LogKind {
    /// All kinds.
    pub const ALL: [LogKind; 10] = [
        LogKind::Joined,
        LogKind::Admitted,
        LogKind::Arrived,
        LogKind::Lapsed,
        LogKind::Returned,
        LogKind::Forfeited,
        LogKind::Expired,
        LogKind::Paid,
        LogKind::Left,
        LogKind::Departed,
    ];

    /// How a place ends.
    pub const ENDS: [LogKind; 5] =
        [LogKind::Forfeited, LogKind::Expired, LogKind::Paid, LogKind::Left, LogKind::Departed];

    /// The word in the log and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            LogKind::Joined => "joined",
            LogKind::Admitted => "admitted",
            LogKind::Arrived => "arrived",
            LogKind::Lapsed => "lapsed",
            LogKind::Returned => "returned",
            LogKind::Forfeited => "forfeited",
            LogKind::Expired => "expired",
            LogKind::Paid => "paid",
            LogKind::Left => "left",
            LogKind::Departed => "departed",
        }
    }

    /// The kind of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// 1, 2, 3... without a gap.
    pub index: i64,
    /// What happened.
    pub kind: LogKind,
    /// To which number.
    pub number: i64,
    /// For an admission the hash of the place's id, which the fan's receipt shows; for a batch of joins the hash of the ids of
    /// its places, in the order of their numbers; else none.
    pub place: Option<LogHash>,
    /// When, in milliseconds since 1970: by the database's clock for who joined or left, else by the line's.
    pub at_ms: i64,
}

impl LogEntry {
    /// The hash that seals this entry onto the log that ends with `before` (32 zero bytes for the first).
    ///
    /// SHA-256 over the 32 bytes before, and the text `index|kind|number|place|at_ms` with the place in lower-case hex.
    pub fn seal(&self, before: &LogHash) -> LogHash {
        let place = self.place.map(hex::encode).unwrap_or_default();
        let text = format!("{}|{}|{}|{place}|{}", self.index, self.kind.as_str(), self.number, self.at_ms);
        Sha256::new().chain_update(before).chain_update(text).finalize().into()
    }
}

/// What the log shows of a place: nobody can tell from it whose it is, and its owner can find it.
pub fn place_hash(place: Uuid) -> LogHash {
    Sha256::digest(place.as_bytes()).into()
}

/// What the log shows of a batch of joins.
pub fn batch_hash(places: impl IntoIterator<Item = Uuid>) -> LogHash {
    places.into_iter().fold(Sha256::new(), |hash, place| hash.chain_update(place.as_bytes())).finalize().into()
}

/// The entry at which a log does not hold together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log does not hold together at entry {0}")]
pub struct LogFault(pub i64);

/// Recomputes a log from its start and answers its last hash.
pub fn check_log(entries: impl IntoIterator<Item = (LogEntry, LogHash)>) -> Result<(i64, LogHash), LogFault> {
    let (mut index, mut hash) = (0, [0; 32]);
    for (entry, sealed) in entries {
        if entry.index != index + 1 || entry.seal(&hash) != sealed {
            return Err(LogFault(index + 1));
        }
        (index, hash) = (entry.index, sealed);
    }
    Ok((index, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Vec<(LogEntry, LogHash)> {
        let mut hash = [0; 32];
        (1..=20)
            .map(|index| {
                let kind = LogKind::ALL[usize::try_from(index % 10).expect("small")];
                let place = (kind == LogKind::Admitted).then(|| place_hash(Uuid::from_u128(7)));
                let entry = LogEntry { index, kind, number: index * 3, place, at_ms: 1_790_000_000_000 + index };
                hash = entry.seal(&hash);
                (entry, hash)
            })
            .collect()
    }

    #[test]
    fn an_untouched_log_holds_and_any_change_is_found() {
        assert_eq!(check_log(log()).map(|(index, _)| index), Ok(20));
        for at in 0..20 {
            let mut changed = log();
            changed[at].0.number += 1;
            assert_eq!(check_log(changed), Err(LogFault(i64::try_from(at).expect("small") + 1)));
            let mut cut = log();
            cut.remove(at);
            assert_eq!(check_log(cut).is_err(), at < 19, "only the last entry can be missing unseen");
        }
        assert_eq!(check_log([]), Ok((0, [0; 32])));
    }

    #[test]
    fn words_and_kinds_belong_together() {
        for kind in LogKind::ALL {
            assert_eq!(LogKind::parse(kind.as_str()), Some(kind));
        }
    }
}
