//! Time, the only module that asks the operating system for it. Under `tokio::time::pause` it stands still, so tests and
//! simulations own it.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use tokio::time::{Instant, Sleep};

/// Monotonic time.
#[allow(clippy::disallowed_methods, reason = "this is the module that may")]
pub fn now() -> Instant {
    Instant::now()
}

/// Monotonic time in milliseconds, for what is shared in atomics. It begins a while before its first use, since a clock
/// that a test has stopped may be behind.
pub fn millis() -> u64 {
    const BEFORE: Duration = Duration::from_secs(60);
    #[allow(clippy::disallowed_methods, reason = "this is the module that may")]
    static START: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    let since = (now() + BEFORE).into_std().saturating_duration_since(*START);
    since.as_millis() as u64
}

/// Wall-clock time in nanoseconds since the epoch, as OTLP wants it.
pub fn unix_nanos() -> u64 {
    #[allow(clippy::disallowed_methods, reason = "this is the module that may")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}

/// A timer that fires after `duration`.
#[allow(clippy::disallowed_methods, reason = "this is the module that may")]
pub fn sleep(duration: Duration) -> Sleep {
    tokio::time::sleep(duration)
}

/// A timer that fires at `at`.
pub fn sleep_until(at: Instant) -> Sleep {
    tokio::time::sleep_until(at)
}
