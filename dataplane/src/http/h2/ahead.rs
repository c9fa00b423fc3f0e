//! Content that has come and waits in an exchange for a slow reader.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

/// Pieces up to this size are copied together: each would otherwise keep a whole read buffer alive.
const COPIED: usize = 4 * 1024;

/// Content in order: whole pieces, then small ones that were put together.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    whole: VecDeque<Bytes>,
    tail: BytesMut,
}

impl Ahead {
    pub(super) fn push(&mut self, data: Bytes) {
        if data.len() <= COPIED {
            self.tail.put_slice(&data);
            return;
        }
        self.seal();
        self.whole.push_back(data);
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        if self.whole.is_empty() {
            self.seal();
        }
        self.whole.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.tail.is_empty()
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.whole.push_back(std::mem::take(&mut self.tail).freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_keeps_its_order_and_small_pieces_become_one() {
        let (small, large) = (Bytes::from_static(b"ab"), Bytes::from(vec![b'x'; COPIED + 1]));
        let mut ahead = Ahead::default();
        for piece in [&small, &small, &large, &small] {
            ahead.push(piece.clone());
        }
        assert_eq!(ahead.pop().as_deref(), Some(&b"abab"[..]));
        assert_eq!(ahead.pop(), Some(large));
        assert_eq!(ahead.pop(), Some(small));
        assert_eq!(ahead.pop(), None);
    }
}
