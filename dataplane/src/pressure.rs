//! What the process has left of memory and descriptors, and what is done without while that is little.
//!
//! Somebody looks now and then ([`watch`]); whoever accepts or serves asks for the [`step`], which is one load. Whoever holds
//! content that waits is told when that is too much ([`Held`]).

use std::fs::File;
use std::future::Future;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::{clock, net};

/// How often is looked: memory that fills as fast as one core can fill it takes longer from step to step.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// The same while less than half of everything is in use.
const CALM_INTERVAL: Duration = Duration::from_millis(250);
/// How often a worker gives back what it has freed, and ends what waits, while there is little.
const RELIEF_INTERVAL: Duration = Duration::from_millis(50);
/// Exchanges that a worker ends in that time when there is hardly any left: with a window of 64 KiB each these are 8 MiB, a
/// fifth of what is left of 256 MiB at that step.
const ENDED: usize = 128;
/// Percent of the memory at which each step begins. Envoy's documentation advises 92 for the first and 95 for the last; ours
/// begins earlier, for what is under way still grows.
const MEMORY: [u64; 3] = [75, 80, 85];
/// Bytes that the kernel takes for a connection, which a control group counts: measured at 9,000 of them, without what waits
/// in their buffers.
const DESCRIPTOR: u64 = 4096;
/// Of the descriptors that clients may have. There is no last step: who is there needs none, and who is new is turned away
/// by the reserve.
const DESCRIPTORS: [u64; 3] = [75, 87, u64::MAX];

/// The process's, and so is what it has left.
static MEMORY_STEP: AtomicU8 = AtomicU8::new(Step::Calm as u8);
static DESCRIPTORS_STEP: AtomicU8 = AtomicU8::new(Step::Calm as u8);

thread_local! {
    /// A worker's exchanges that hold content, those that have for longest first.
    static HOLDING: Arc<Notify> = Arc::default();
}

/// What is done without; each step includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Step {
    /// Nothing: there is enough.
    #[default]
    Calm,
    /// Connections of clients end behind the request that they are at.
    Brief,
    /// Requests that say of themselves that they can wait are refused.
    Sparing,
    /// All requests are refused, nobody new is accepted, and exchanges whose content waits end.
    Full,
}

impl Step {
    const ALL: [Step; 4] = [Step::Calm, Step::Brief, Step::Sparing, Step::Full];

    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Step::Calm => "calm",
            Step::Brief => "brief",
            Step::Sparing => "sparing",
            Step::Full => "full",
        }
    }
}

/// What to do without.
pub fn step() -> Step {
    Step::ALL[usize::from(MEMORY_STEP.load(Relaxed).max(DESCRIPTORS_STEP.load(Relaxed)))]
}

/// The number of the step, 0 to 3, by what there is too little of.
pub fn steps() -> [(&'static str, u64); 2] {
    [
        ("descriptors", DESCRIPTORS_STEP.load(Relaxed).into()),
        ("memory", MEMORY_STEP.load(Relaxed).into()),
    ]
}

/// One exchange that may hold content which its reader does not take.
#[derive(Debug, Default)]
pub struct Held(Option<Pin<Box<OwnedNotified>>>);

impl Held {
    /// To be called while content waits: ready when the exchange has to end, for there is hardly any memory left.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_end_at(cx, step)
    }

    fn poll_end_at(&mut self, cx: &mut Context<'_>, step: impl Fn() -> Step) -> Poll<()> {
        loop {
            let holding = self
                .0
                .get_or_insert_with(|| Box::pin(HOLDING.with(Arc::clone).notified_owned()));
            ready!(holding.as_mut().poll(cx));
            self.0 = None;
            // There may be enough again since.
            if step() == Step::Full {
                return Poll::Ready(());
            }
        }
    }
}

/// The process's own; 0: no limit is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Bytes.
    pub memory: u64,
    /// Those that clients may have.
    pub descriptors: u64,
}

/// What is in use of both.
#[derive(Clone, Copy, Debug)]
struct Use {
    memory: u64,
    descriptors: u64,
}

/// How things stand, by resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Steps {
    memory: Step,
    descriptors: Step,
}

impl Limits {
    fn steps(&self, used: Use) -> Steps {
        Steps {
            memory: step_of(used.memory, self.memory, MEMORY),
            descriptors: step_of(used.descriptors, self.descriptors, DESCRIPTORS),
        }
    }

    fn is_half(&self, used: Use) -> bool {
        let is_half = |used: u64, limit: u64| limit > 0 && used >= limit / 2;
        is_half(used.memory, self.memory) || is_half(used.descriptors, self.descriptors)
    }
}

fn step_of(used: u64, limit: u64, begins: [u64; 3]) -> Step {
    let is_beyond = |percent: &&u64| limit > 0 && used.saturating_mul(100) >= limit.saturating_mul(**percent);
    Step::ALL[begins.iter().filter(is_beyond).count()]
}

/// Looks for ever, and tells of each resource's step when it is another one.
pub async fn watch(limits: Limits, tell: impl Fn(&'static str, Step)) {
    let mut told = Steps::default();
    loop {
        // Without a descriptor to look with, all that clients may have are in use.
        let used = look().unwrap_or(Use { memory: 0, descriptors: limits.descriptors });
        let now = limits.steps(used);
        MEMORY_STEP.store(now.memory as u8, Relaxed);
        DESCRIPTORS_STEP.store(now.descriptors as u8, Relaxed);
        if now.memory != told.memory {
            tell("memory", now.memory);
        }
        if now.descriptors != told.descriptors {
            tell("descriptors", now.descriptors);
        }
        told = now;
        let is_half = limits.is_half(used);
        clock::sleep(if is_half { LOOK_INTERVAL } else { CALM_INTERVAL }).await;
    }
}

/// Gives back to the system what this thread has freed, for ever, while there is little: the allocator keeps it for the next
/// request, and from outside it looks as if it were in use. Where that is not enough, exchanges of this thread end.
pub async fn relieve() {
    loop {
        let step = step();
        if step >= Step::Brief {
            net::purge();
        }
        if step == Step::Full {
            end_some();
        }
        clock::sleep(if step >= Step::Brief {
            RELIEF_INTERVAL
        } else {
            CALM_INTERVAL
        })
        .await;
    }
}

fn end_some() {
    HOLDING.with(|holding| (0..ENDED).for_each(|_| holding.notify_one()));
}

/// The kernel gives the lowest descriptor that is free: those below it are in use.
fn look() -> io::Result<Use> {
    let mut file = File::open("/proc/self/status")?;
    // All of it is about 1.5 KiB.
    let mut text = String::with_capacity(4096);
    file.read_to_string(&mut text)?;
    let descriptors = u64::try_from(file.as_raw_fd()).unwrap_or(0);
    let memory = anonymous(&text).unwrap_or(0) + descriptors * DESCRIPTOR;
    Ok(Use { memory, descriptors })
}

/// proc_pid_status(5): "RssAnon:     41856 kB". What is mapped from files is left out: the kernel takes it back when it has
/// to.
fn anonymous(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { memory: 1000, descriptors: 200 };

    #[test]
    fn each_step_begins_at_its_share_of_memory() {
        for (memory, step) in [
            (0, Step::Calm),
            (749, Step::Calm),
            (750, Step::Brief),
            (800, Step::Sparing),
            (849, Step::Sparing),
            (850, Step::Full),
            (5000, Step::Full),
        ] {
            let steps = LIMITS.steps(Use { memory, descriptors: 3 });
            assert_eq!(steps, Steps { memory: step, descriptors: Step::Calm }, "{memory}");
        }
    }

    #[test]
    fn few_descriptors_refuse_no_request_that_cannot_wait() {
        for (descriptors, step) in [
            (149, Step::Calm),
            (150, Step::Brief),
            (174, Step::Sparing),
            (100_000, Step::Sparing),
        ] {
            let steps = LIMITS.steps(Use { memory: 10, descriptors });
            assert_eq!(steps, Steps { memory: Step::Calm, descriptors: step }, "{descriptors}");
        }
    }

    #[test]
    fn without_a_limit_nothing_is_done_without() {
        let most = Use { memory: u64::MAX, descriptors: u64::MAX };
        assert_eq!(Limits::default().steps(most), Steps::default());
        assert!(!Limits::default().is_half(most));
    }

    #[test]
    fn the_process_sees_itself() {
        let before = look().unwrap();
        let held: Vec<_> = (0..100).map(|_| File::open("/proc/self/status").unwrap()).collect();
        let filled = vec![1_u8; 64 << 20];
        let now = look().unwrap();
        assert!(now.descriptors >= 100);
        assert!(now.memory >= 64 << 20, "{} of {now:?}, {before:?}", filled.len());
        drop((held, filled));
    }

    #[tokio::test]
    async fn content_that_waits_ends_only_when_there_is_hardly_any_memory_left_and_the_oldest_first() {
        let mut held: Vec<_> = (0..ENDED + 1).map(|_| Held::default()).collect();
        let mut ended = |step| {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let is_ended = |held: &mut Held| held.poll_end_at(&mut cx, || step).is_ready();
            held.iter_mut().map(is_ended).filter(|is_ended| *is_ended).count()
        };
        assert_eq!(ended(Step::Full), 0);
        end_some();
        assert_eq!(ended(Step::Sparing), 0);
        end_some();
        assert_eq!(ended(Step::Full), ENDED);
        end_some();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(held[ENDED - 1].poll_end_at(&mut cx, || Step::Full).is_ready());
    }

    #[test]
    fn anonymous_memory_is_read_from_its_line() {
        let status = "Name:\tx\nVmRSS:\t   51856 kB\nRssAnon:\t   41856 kB\nRssFile:\t10000 kB\n";
        assert_eq!(anonymous(status), Some(41856 << 10));
        assert_eq!(anonymous("Name:\tx\n"), None);
    }
}
