//! argon2id, off the async threads, a bounded number at a time.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use onsale_application::accounts::{HashError, PasswordHasher};
use onsale_domain::account::Password;
use tokio::sync::Semaphore;

/// Hashes with the parameters that OWASP recommends for argon2id (19 MiB, 2 passes, 1 lane), the crate's default.
pub struct Argon2Hasher {
    at_once: Semaphore,
    under_way: AtomicUsize,
    most_under_way: usize,
    /// Compared with when there is no account, so that both cases take as long.
    decoy: Arc<str>,
}

impl Argon2Hasher {
    /// `at_once` hashes run at the same time, `waiting` more may wait; who comes then is told to come back.
    pub fn new(at_once: usize, waiting: usize) -> Result<Self, HashError> {
        Ok(Self {
            at_once: Semaphore::new(at_once),
            under_way: AtomicUsize::new(0),
            most_under_way: at_once + waiting,
            decoy: hash("a password that nobody has")?.into(),
        })
    }

    async fn bounded<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, HashError> + Send + 'static,
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
        let done = tokio::task::spawn_blocking(work).await.map_err(|error| HashError::Failed(error.into()))?;
        drop(permit);
        drop(counted);
        done
    }
}

fn hash(password: &str) -> Result<String, HashError> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| HashError::Failed(error.to_string().into()))
}

impl PasswordHasher for Argon2Hasher {
    async fn hash(&self, password: &Password) -> Result<String, HashError> {
        let password = password.clone();
        self.bounded(move || hash(password.reveal())).await
    }

    async fn verify(&self, password: &Password, stored: Option<String>) -> Result<bool, HashError> {
        let (password, decoy) = (password.clone(), Arc::clone(&self.decoy));
        self.bounded(move || {
            let known = stored.is_some();
            let stored = stored.filter(|text| text.starts_with("$argon2")).unwrap_or_else(|| decoy.to_string());
            let parsed = PasswordHash::new(&stored).map_err(|error| HashError::Failed(error.to_string().into()))?;
            let matches = Argon2::default().verify_password(password.reveal().as_bytes(), &parsed).is_ok();
            Ok(matches && known)
        })
        .await
    }
}
