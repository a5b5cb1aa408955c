//! Where in the log the changes of a page are.

/// Positions of a set of changes, as far as anybody asks: those not in any image yet, or of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Positions {
    /// `u64::MAX`: there are none.
    pub(crate) oldest: u64,
    /// Position 0 is durable in every log, so none and 0 are the same.
    pub(crate) newest: u64,
}

impl Positions {
    pub(crate) const NONE: Self = Self { oldest: u64::MAX, newest: 0 };

    /// How far the log has to be durable before an image with these changes is submitted.
    pub(crate) fn newest(self) -> Option<u64> {
        (self.newest > 0).then_some(self.newest)
    }

    /// Of an image that has the newest change, and perhaps not the oldest.
    pub(crate) fn newest_only(self) -> Self {
        Self { oldest: u64::MAX, ..self }
    }

    pub(crate) fn oldest(self) -> Option<u64> {
        (self.oldest < u64::MAX).then_some(self.oldest)
    }
}
