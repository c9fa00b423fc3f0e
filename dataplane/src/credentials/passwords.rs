//! Passwords are slow to check on purpose: a thread of its own does it, and what it has found good is known for the next
//! time, by a digest that nobody outside the process can make.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use aws_lc_rs::hmac;
use tokio::sync::oneshot;

/// Checks that wait at most; with the usual cost of 20 ms each they are done within two seconds.
const MAX_WAITING: usize = 64;
/// Passwords that are known to be good: 64 KiB.
const SETS: usize = 1024;
const WAYS: usize = 4;
/// Bytes that one check may take, and its passes: far above what is recommended (OWASP: 19 MiB, 2 passes).
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_PASSES: u32 = 16;
const MAX_LANES: u32 = 16;

/// Checks passwords, for all workers.
pub struct Passwords {
    /// Random, so that digests of another process or of the past say nothing.
    secret: hmac::Key,
    known: Box<[[AtomicU64; 2]]>,
    /// The place in a set that is given away next.
    next: AtomicUsize,
    queue: OnceLock<SyncSender<Check>>,
}

/// One that the thread is to do.
struct Check {
    hash: Arc<str>,
    password: Box<[u8]>,
    mark: Mark,
    passwords: Arc<Passwords>,
    done: oneshot::Sender<bool>,
}

/// A password beside the hash that it was held against, as a digest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mark([u64; 2]);

/// More wait than may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords")
    }
}

impl Default for Passwords {
    fn default() -> Self {
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut secret).expect("the system has random bytes: TLS needs them, too");
        Passwords {
            secret: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            known: (0..SETS * WAYS).map(|_| Default::default()).collect(),
            next: AtomicUsize::new(0),
            queue: OnceLock::new(),
        }
    }
}

impl Passwords {
    /// True when this password is known to be that of the hash.
    pub fn is_known(&self, hash: &str, password: &[u8]) -> bool {
        self.has(self.mark(hash, password))
    }

    /// Has it checked; the answer comes from the thread.
    pub fn check(self: &Arc<Self>, hash: &Arc<str>, password: &[u8]) -> Result<oneshot::Receiver<bool>, Busy> {
        let (done, answer) = oneshot::channel();
        let check = Check {
            mark: self.mark(hash, password),
            hash: Arc::clone(hash),
            password: password.into(),
            passwords: Arc::clone(self),
            done,
        };
        match self.queue().try_send(check) {
            Ok(()) => Ok(answer),
            Err(_) => Err(Busy),
        }
    }

    fn queue(&self) -> &SyncSender<Check> {
        self.queue.get_or_init(|| {
            let (queue, checks) = sync_channel(MAX_WAITING);
            // Without a thread the queue has no end that takes, and every check is refused.
            let _unstarted = std::thread::Builder::new()
                .name("passwords".to_owned())
                .spawn(move || work(&checks));
            queue
        })
    }

    fn mark(&self, hash: &str, password: &[u8]) -> Mark {
        let mut context = hmac::Context::with_key(&self.secret);
        context.update(&(hash.len() as u64).to_le_bytes());
        context.update(hash.as_bytes());
        context.update(password);
        let tag = context.sign();
        let half = |at: usize| tag.as_ref()[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
        Mark([half(0), half(8)])
    }

    fn set(&self, mark: Mark) -> &[[AtomicU64; 2]] {
        let first = (mark.0[0] as usize % SETS) * WAYS;
        &self.known[first..first + WAYS]
    }

    fn has(&self, mark: Mark) -> bool {
        let is = |[one, other]: &[AtomicU64; 2]| one.load(Relaxed) == mark.0[0] && other.load(Relaxed) == mark.0[1];
        self.set(mark).iter().any(is)
    }

    fn remember(&self, mark: Mark) {
        let [one, other] = &self.set(mark)[self.next.fetch_add(1, Relaxed) % WAYS];
        // Halves of two marks are none of a third that anybody could find.
        one.store(mark.0[0], Relaxed);
        other.store(mark.0[1], Relaxed);
    }
}

/// One after the other, as long as anybody can ask.
fn work(checks: &Receiver<Check>) {
    for Check { hash, password, mark, passwords, done } in checks {
        // Others may have asked the same meanwhile, and who asked may have gone.
        let is_good = passwords.has(mark) || !done.is_closed() && is_of(&hash, &password);
        if is_good {
            passwords.remember(mark);
        }
        let _gone = done.send(is_good);
    }
}

fn is_of(hash: &str, password: &[u8]) -> bool {
    let verified = PasswordHash::new(hash).map(|hash| Argon2::default().verify_password(password, &hash));
    matches!(verified, Ok(Ok(())))
}

/// Fails unless the hash is one of Argon2 that is not too costly to check.
pub fn check(hash: &str) -> Result<(), String> {
    let unusable = |error: &dyn fmt::Display| format!("its password hash is not usable: {error}");
    let parsed = PasswordHash::new(hash).map_err(|error| unusable(&error))?;
    argon2::Algorithm::try_from(parsed.algorithm).map_err(|error| unusable(&error))?;
    let params = argon2::Params::try_from(&parsed).map_err(|error| unusable(&error))?;
    let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
    if parsed.hash.is_none() || parsed.salt.is_none() {
        return Err(unusable(&"it has no salt or no hash"));
    }
    if memory > MAX_MEMORY_KIB || passes > MAX_PASSES || lanes > MAX_LANES {
        return Err(unusable(&format_args!(
            "m={memory},t={passes},p={lanes}; at most m={MAX_MEMORY_KIB},t={MAX_PASSES},p={MAX_LANES}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::samples::hash_of;

    #[tokio::test]
    async fn a_good_password_is_checked_once_and_known_from_then_on() {
        let passwords = Arc::<Passwords>::default();
        let hash: Arc<str> = hash_of("open sesame").into();
        assert!(!passwords.is_known(&hash, b"open sesame"));
        assert!(passwords.check(&hash, b"open sesame").unwrap().await.unwrap());
        assert!(passwords.is_known(&hash, b"open sesame"));
        assert!(!passwords.check(&hash, b"open barley").unwrap().await.unwrap());
        assert!(!passwords.is_known(&hash, b"open barley"), "a wrong one is never known");
        let changed: Arc<str> = hash_of("another").into();
        assert!(
            !passwords.is_known(&changed, b"open sesame"),
            "a changed one is checked anew"
        );
    }

    #[test]
    fn what_is_known_is_bounded() {
        let passwords = Arc::<Passwords>::default();
        for n in 0..SETS as u32 * WAYS as u32 * 2 {
            passwords.remember(passwords.mark("hash", &n.to_le_bytes()));
        }
        assert_eq!(passwords.known.len(), SETS * WAYS);
        let known = (0..SETS as u32 * WAYS as u32 * 2).filter(|n| passwords.is_known("hash", &n.to_le_bytes()));
        let known = known.count();
        assert!((1..=SETS * WAYS).contains(&known), "{known}");
    }

    #[test]
    fn a_hash_must_be_argon2s_and_not_too_costly() {
        assert_eq!(check(&hash_of("x")), Ok(()));
        for hash in [
            "",
            "plain",
            "$2b$12$abcdefghijklmnopqrstuv",
            "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ",
            "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ",
            "$argon2id$v=19$m=64,t=2000,p=1$c29tZXNhbHRzb21lc2FsdA$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ",
        ] {
            assert!(check(hash).is_err(), "{hash}");
        }
    }
}
