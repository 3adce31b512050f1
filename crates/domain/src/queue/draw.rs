//! The opening draw: who was in the pre-queue when the line opened is ordered by chance that nobody can steer
//! afterwards and everybody can check.
//!
//! Before anyone registers, the SHA-256 of a secret seed is published. Each registration gets a ballot, a random id.
//! At the opening, ballots are ordered by the first 52 bits of SHA-256(seed, ballot); the smallest stands first. Then
//! the seed and the order of the ballots are published.

use std::fmt;

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The secret of a draw.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DrawSeed(pub [u8; 32]);

impl fmt::Debug for DrawSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// What orders ballots: 0 up to 2^52, so that it is exact as a floating-point score too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BallotKey(pub u64);

impl DrawSeed {
    /// What is published before the draw.
    pub fn commitment(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }

    /// The key of a ballot.
    pub fn key(&self, ballot: Uuid) -> BallotKey {
        let digest = Sha256::new().chain_update(self.0).chain_update(ballot.as_bytes()).finalize();
        let first = digest.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        BallotKey(first >> 12)
    }
}

/// What is wrong with a published draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DrawFault {
    /// The seed is not the one that was committed to.
    #[error("the seed does not match the hash that was published before")]
    WrongSeed,
    /// A number does not follow the one before.
    #[error("number {0} does not follow the one before")]
    Unordered(i64),
    /// A ballot stands before one that comes before it, or stands there twice.
    #[error("the ballot with number {0} should stand farther back, or stands there twice")]
    OutOfOrder(i64),
    /// The draw was published with other numbers.
    #[error("the draw should have the numbers {} to {}", .0.first, .0.last)]
    Cut(DrawBlock),
}

/// Numbers of one draw, without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrawBlock {
    /// The first number.
    pub first: i64,
    /// The last number.
    pub last: i64,
}

impl DrawBlock {
    /// How many ballots were drawn.
    pub fn count(self) -> i64 {
        self.last - self.first + 1
    }
}

/// Recomputes a draw, which is the block of numbers that was published with it: `places` are numbers and ballots in the order of
/// the numbers.
pub fn check_draw(
    seed: &DrawSeed,
    commitment: &[u8; 32],
    published: DrawBlock,
    places: impl IntoIterator<Item = (i64, Uuid)>,
) -> Result<(), DrawFault> {
    if seed.commitment() != *commitment {
        return Err(DrawFault::WrongSeed);
    }
    let mut before: Option<(i64, BallotKey, Uuid)> = None;
    let mut count = 0;
    for (number, ballot) in places {
        let key = seed.key(ballot);
        match before {
            None if number != published.first => return Err(DrawFault::Cut(published)),
            Some((last, ..)) if number != last + 1 => return Err(DrawFault::Unordered(number)),
            // Equal keys are in the order of the ballots.
            Some((last, smaller_key, smaller)) if (key, ballot) <= (smaller_key, smaller) => {
                return Err(DrawFault::OutOfOrder(last));
            }
            _ => {}
        }
        (before, count) = (Some((number, key, ballot)), count + 1);
    }
    if count == published.count().max(0) { Ok(()) } else { Err(DrawFault::Cut(published)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: &DrawSeed, count: u128) -> Vec<(i64, Uuid)> {
        let mut ballots: Vec<Uuid> = (0..count).map(|n| Uuid::from_u128(n * 7_919)).collect();
        ballots.sort_by_key(|ballot| seed.key(*ballot));
        (1..).zip(ballots).collect()
    }

    #[test]
    fn an_honest_draw_passes_and_every_trick_is_seen() {
        let seed = DrawSeed([3; 32]);
        let places = drawn(&seed, 1_000);
        let whole = DrawBlock { first: 1, last: 1_000 };
        let check = |places| check_draw(&seed, &seed.commitment(), whole, places);
        assert_eq!(check(places.clone()), Ok(()));
        let other = check_draw(&DrawSeed([4; 32]), &seed.commitment(), whole, places.clone());
        assert_eq!(other, Err(DrawFault::WrongSeed));
        assert_eq!(check(places[1..].to_vec()), Err(DrawFault::Cut(whole)), "without the first");
        assert_eq!(check(places[..999].to_vec()), Err(DrawFault::Cut(whole)), "without the last");
        assert_eq!(check(vec![]), Err(DrawFault::Cut(whole)), "without any");
        let mut doubled = places.clone();
        doubled[10].1 = doubled[9].1;
        assert_eq!(check(doubled), Err(DrawFault::OutOfOrder(10)), "one ballot at two numbers");
        let nobody = DrawBlock { first: 1, last: 0 };
        assert_eq!(check_draw(&seed, &seed.commitment(), nobody, vec![]), Ok(()));
        let mut swapped = places.clone();
        let (a, b) = (swapped[10].1, swapped[500].1);
        (swapped[10].1, swapped[500].1) = (b, a);
        assert_eq!(check(swapped), Err(DrawFault::OutOfOrder(11)));
        let mut cut = places.clone();
        cut.remove(4);
        assert_eq!(check(cut), Err(DrawFault::Unordered(6)), "a hole");
        let mut twice = places;
        twice.insert(4, twice[4]);
        assert_eq!(check(twice), Err(DrawFault::Unordered(5)));
    }

    #[test]
    fn every_place_is_equally_likely() {
        // 2,000 draws of 10 ballots: each ballot is first about 200 times (standard deviation 13.4).
        let mut first = [0_i32; 10];
        for n in 0..2_000_u32 {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            let seed = DrawSeed(bytes);
            let winner = (0..10_u128).min_by_key(|ballot| seed.key(Uuid::from_u128(*ballot))).expect("ten");
            first[usize::try_from(winner).expect("small")] += 1;
        }
        assert!(first.iter().all(|count| (130..=270).contains(count)), "{first:?}");
    }
}
