//! Clients that went beyond what one HTTP/2 connection may do: their connections were closed, and are counted here.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! excesses {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)+) => {
        /// What a client had too much of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Excess { $($(#[$doc])* $variant,)+ }

        impl Excess {
            /// Every one, in the order of the enum.
            pub const ALL: &'static [Excess] = &[$(Excess::$variant,)+];

            /// Its name in metrics and records.
            pub fn name(self) -> &'static str { match self { $(Excess::$variant => $name,)+ } }
        }
    };
}

excesses! {
    /// Requests that it took back before they were answered.
    Resets = "resets";
    /// Streams that we had to reset for what it did there.
    ProvokedResets = "provoked-resets";
    /// Streams beyond those that may be open at once.
    Streams = "streams";
    /// Pieces of header blocks.
    Continuation = "continuation";
    /// PING.
    Ping = "ping";
    /// SETTINGS.
    Settings = "settings";
    /// PRIORITY.
    Priority = "priority";
    /// WINDOW_UPDATE.
    WindowUpdate = "window-update";
    /// WINDOW_UPDATE by a few bytes.
    SmallWindowUpdate = "small-window-update";
    /// GOAWAY.
    GoAway = "goaway";
    /// Frames of a type that we do not know.
    Unknown = "unknown";
    /// DATA with no or next to no content.
    SmallData = "small-data";
    /// HEADERS without a field.
    EmptyHeaders = "empty-headers";
    /// Bytes of fields that a small header block stands for.
    HeaderList = "header-list";
    /// It broke the protocol.
    Protocol = "protocol";
    /// PINGs of ours that it left unanswered: it does not read, or is gone.
    Unanswered = "unanswered";
}

/// Connections closed, by what there was too much of.
#[derive(Debug, Default)]
pub struct ExcessCounts([AtomicU64; Excess::ALL.len()]);

impl ExcessCounts {
    /// One more was closed.
    pub fn count(&self, excess: Excess) {
        self.0[excess as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// All, those of which there was none too.
    pub(super) fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        Excess::ALL.iter().map(|excess| excess.name()).zip(counts)
    }
}
