//! argon2id, off the async threads, a bounded number at a time, in memory that is used again.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::{
        self, Error,
        phc::{Output, ParamsString, PasswordHash, Salt},
    },
};
use onsale_application::accounts::{HashError, PasswordHasher};
use onsale_domain::account::Password;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// The costliest stored hash that is verified: KiB of memory, passes, lanes. Ours have 19,456, 2 and 1.
const MOST: (u32, u32, u32) = (64 * 1024, 8, 4);

/// The memory of one hash at a time. It grows to what the costliest stored hash needs, and is never given back.
type Memory = Vec<Block>;

/// Hashes with the parameters that OWASP recommends for argon2id (19 MiB, 2 passes, 1 lane), the crate's default.
pub struct Argon2Hasher {
    at_once: Semaphore,
    under_way: AtomicUsize,
    most_under_way: usize,
    /// As many as hashes run at once, each made when it is first needed.
    memories: Arc<Mutex<Vec<Memory>>>,
    /// Compared with when there is no account, so that both cases take as long.
    decoy: Arc<str>,
}

impl Argon2Hasher {
    /// `at_once` hashes run at the same time, `waiting` more may wait; who comes then is told to come back.
    pub fn new(at_once: usize, waiting: usize) -> Result<Self, HashError> {
        let mut memory = Memory::new();
        let decoy = hash_with(&mut memory, b"a password that nobody has").map_err(failed)?;
        Ok(Self {
            at_once: Semaphore::new(at_once),
            under_way: AtomicUsize::new(0),
            most_under_way: at_once + waiting,
            memories: Arc::new(Mutex::new(vec![memory])),
            decoy: decoy.into(),
        })
    }

    async fn bounded<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        struct Counted<'a>(&'a AtomicUsize);
        impl Drop for Counted<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::AcqRel);
            }
        }
        let counted = Counted(&self.under_way);
        if self.under_way.fetch_add(1, Ordering::AcqRel) >= self.most_under_way {
            return Err(HashError::Busy);
        }
        let permit = self.at_once.acquire().await.map_err(|error| HashError::Failed(error.into()))?;
        let memories = Arc::clone(&self.memories);
        let in_memory = move || {
            let whole = || memories.lock();
            let mut memory = whole().pop().unwrap_or_default();
            let done = work(&mut memory);
            whole().push(memory);
            done
        };
        let done = tokio::task::spawn_blocking(in_memory).await.map_err(|error| HashError::Failed(error.into()))?;
        drop(permit);
        drop(counted);
        done
    }
}

fn failed(error: Error) -> HashError {
    HashError::Failed(error.to_string().into())
}

fn room(memory: &mut Memory, blocks: usize) -> &mut [Block] {
    if memory.len() < blocks {
        memory.resize(blocks, Block::new());
    }
    memory.as_mut_slice()
}

/// Hashes a password, as a PHC string.
fn hash_with(memory: &mut Memory, password: &[u8]) -> Result<String, Error> {
    let argon2 = Argon2::default();
    let salt = Salt::new(&password_hash::try_generate_salt()?)?;
    let mut out = [0_u8; Params::DEFAULT_OUTPUT_LEN];
    let blocks = room(memory, argon2.params().block_count());
    argon2.hash_password_into_with_memory(password, &salt, &mut out, blocks)?;
    let hash = PasswordHash {
        algorithm: Algorithm::default().ident(),
        version: Some(Version::default().into()),
        params: ParamsString::try_from(argon2.params())?,
        salt: Some(salt),
        hash: Some(Output::new(&out)?),
    };
    Ok(hash.to_string())
}

/// Whether a password is the one of a PHC string, in a time that does not depend on where they differ.
fn verify_with(memory: &mut Memory, password: &[u8], stored: &str) -> Result<bool, Error> {
    let stored = PasswordHash::new(stored)?;
    let (Some(salt), Some(expected)) = (&stored.salt, &stored.hash) else { return Err(Error::EncodingInvalid) };
    let algorithm = Algorithm::try_from(stored.algorithm.as_str())?;
    let version = stored.version.map(Version::try_from).transpose()?.unwrap_or_default();
    let params = Params::try_from(&stored)?;
    if params.m_cost() > MOST.0 || params.t_cost() > MOST.1 || params.p_cost() > MOST.2 {
        return Err(Error::ParamsInvalid);
    }
    let mut out = [0_u8; Output::MAX_LENGTH];
    let out = out.get_mut(..expected.len()).ok_or(Error::OutputSize)?;
    let blocks = room(memory, params.block_count());
    Argon2::new(algorithm, version, params).hash_password_into_with_memory(password, salt, out, blocks)?;
    Ok(Output::new(out)? == *expected)
}

impl PasswordHasher for Argon2Hasher {
    async fn hash(&self, password: &Password) -> Result<String, HashError> {
        let password = password.clone();
        self.bounded(move |memory| hash_with(memory, password.reveal().as_bytes()).map_err(failed)).await
    }

    async fn verify(&self, password: &Password, stored: Option<String>) -> Result<bool, HashError> {
        let (password, decoy) = (password.clone(), Arc::clone(&self.decoy));
        self.bounded(move |memory| {
            let known = stored.is_some();
            let stored = stored.filter(|text| text.starts_with("$argon2")).unwrap_or_else(|| decoy.to_string());
            let matches = verify_with(memory, password.reveal().as_bytes(), &stored).map_err(failed)?;
            Ok(matches && known)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_used_before_changes_no_hash() {
        let mut memory = Memory::new();
        let first = hash_with(&mut memory, b"correct horse").expect("a hash");
        let second = hash_with(&mut memory, b"another one").expect("a hash");
        assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
        for _ in 0..2 {
            assert!(verify_with(&mut memory, b"correct horse", &first).expect("verified"));
            assert!(!verify_with(&mut memory, b"correct horse", &second).expect("verified"));
            assert!(verify_with(&mut Memory::new(), b"another one", &second).expect("verified"));
        }
        let dear = first.replace("m=19456", "m=1048576");
        assert!(verify_with(&mut memory, b"correct horse", &dear).is_err(), "a stored hash does not decide the cost");
    }

    #[tokio::test]
    async fn many_hashes_need_no_more_memory_than_run_at_once() {
        let hasher = Arc::new(Argon2Hasher::new(2, 1_000).expect("a hasher"));
        let mut set = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let hasher = Arc::clone(&hasher);
            set.spawn(
                async move { hasher.verify(&Password::parse("wrong password").expect("a password"), None).await },
            );
        }
        while let Some(done) = set.join_next().await {
            assert!(!done.expect("ended").expect("verified"));
        }
        let memories = hasher.memories.lock();
        assert!(memories.len() <= 2 && memories.iter().all(|memory| memory.len() == 19_456));
    }
}
