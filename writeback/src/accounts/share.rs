//! How the limit of dirty pages is shared among the mappings of a cache: arithmetic only.
//!
//! The limit of one mapping is a multiple of what is *free*, not a fixed part of the whole:
//! a mapping that owes `d` bytes may dirty one page more while `d < 8 * (max - debt)`. So one mapping takes up
//! to 8/9 of the limit, two take up to 8/17 each, and `k` of them 8/(8k + 1) each; whatever the number,
//! and whoever never pays, some of the limit stays free for a mapping that owes little. Nobody has to be
//! found to be sick for that, and nobody who is has to be found to have recovered. (Switches share
//! the memory of their ports in this way: Choudhury and Hahne, "Dynamic queue length thresholds for
//! shared-memory packet switches", 1998.)
//!
//! Three exceptions. A mapping that is alone in its cache may use the whole limit. When another joins it, that has nothing to share, and if the first never
//! pays it would have to do without for ever: so of what the other mappings owe no more is *counted* than so many could come to if none of them had been alone,
//! all but a `9^k`th of the limit for `k` that owe anything. What all owe then goes beyond the limit, by a ninth of it at the most and not beyond the capacity.
//! And a mapping that owes nothing may dirty its first page although the limit is reached, as long as fewer pages are dirty than the cache
//! has room for: where the limit is few pages, or the mappings are many, nothing may be left of it.

/// A mapping may owe so many times what is free.
const MULTIPLE: u64 = 8;

/// What a mapping may owe of what the others leave.
fn share_of(left: u64) -> u64 {
    left - left / (MULTIPLE + 1)
}

/// What `mappings` owe that have come to the limit one after the other and have each taken all they could: the most that so many may owe together, unless one of them was alone
/// before.
fn taken_by(mappings: u64, limit: u64) -> u64 {
    let mappings = u32::try_from(mappings).unwrap_or(u32::MAX);
    limit - (MULTIPLE + 1).checked_pow(mappings).map_or(0, |parts| limit / parts)
}

/// The limits of a cache, and of each mapping in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shares {
    /// Bytes owed by all from which on the flusher writes.
    pub(crate) background: u64,
    /// Bytes that all may owe.
    pub(crate) max: u64,
    /// Bytes that the cache has room for.
    pub(crate) capacity: u64,
}

/// What a mapping owes, in bytes, beside what all mappings of its cache do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owed {
    /// By all mappings.
    pub(crate) by_all: u64,
    /// By this mapping.
    pub(crate) by_one: u64,
    /// How many others owe anything; may be off by a few.
    pub(crate) others: u64,
    /// The cache has no other mapping.
    pub(crate) alone: bool,
}

impl Shares {
    /// From here on, half way from the background limit to the other, writers are slowed down.
    fn ease(&self) -> u64 {
        self.background.midpoint(self.max)
    }

    /// Up to this debt of all, nobody has to look at what each mapping owes: it is under its limit.
    pub(crate) fn easy(&self) -> u64 {
        self.ease().min(self.max.saturating_sub(1) * MULTIPLE / (MULTIPLE + 1))
    }

    /// What the others owe, as far as this mapping has to do with less for it.
    fn counted(&self, owed: Owed) -> u64 {
        let others = owed.by_all.saturating_sub(owed.by_one);
        let most = self.max.saturating_add(self.max / (MULTIPLE + 1)).min(self.capacity);
        if owed.by_all < most { others.min(taken_by(owed.others.max(1), self.max)) } else { others }
    }

    /// Whether the mapping may dirty a page more.
    pub(crate) fn admits(&self, owed: Owed) -> bool {
        if owed.alone {
            return owed.by_all < self.max;
        }
        let free = self.max.saturating_sub(self.counted(owed)).saturating_sub(owed.by_one);
        let first_beyond = owed.by_one == 0 && owed.by_all < self.capacity;
        owed.by_one < free.saturating_mul(MULTIPLE) || first_beyond
    }

    /// What the mapping may owe while the others owe what they do.
    pub(crate) fn limit(&self, owed: Owed) -> u64 {
        let left = self.max.saturating_sub(self.counted(owed));
        let limit = if owed.alone { left } else { share_of(left) };
        limit.max(1)
    }

    /// From here on the mapping's writers pause: as far from its limit as [`ease`](Self::ease) is from that of all.
    pub(crate) fn ease_of_one(&self, owed: Owed) -> u64 {
        let part = u128::from(self.limit(owed)) * u128::from(self.ease()) / u128::from(self.max);
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    /// Whether a flusher is to write the mapping: there is too much debt in all, and this mapping has no less
    /// of it than the `owing` mappings have on average, or half of what it may have.
    pub(crate) fn is_over_background(&self, owed: Owed, owing: u64) -> bool {
        owed.by_all > self.background
            && (owed.by_one.saturating_mul(owing) >= owed.by_all
                || owed.by_one >= self.limit(owed).div_ceil(2))
    }

    /// How fast the mapping's writers may go, as a multiple of what its store takes: twice that where they
    /// begin to pause, the same half way to the limit, nothing at the limit.
    pub(crate) fn speed(&self, owed: Owed) -> f64 {
        let [owes, ease, limit] =
            [owed.by_one, self.ease_of_one(owed), self.limit(owed)].map(|pages| {
                #[expect(clippy::cast_precision_loss, reason = "a share")]
                let pages = pages as f64;
                pages
            });
        let middle = f64::midpoint(ease, limit);
        let off = (middle - owes) / (limit - middle).max(0.5);
        (1.0 + off.powi(3)).clamp(0.0, 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARES: Shares = Shares { background: 30, max: 90, capacity: 100 };

    fn owed(by_one: u64, others: u64) -> Owed {
        beside(9, by_one, others)
    }

    /// What so many others owe.
    fn beside(mappings: u64, by_one: u64, others: u64) -> Owed {
        Owed { by_all: by_one + others, by_one, others: mappings, alone: false }
    }

    /// What a mapping comes to that dirties all it may, beside so many others that owe `others`.
    fn greedy(shares: Shares, mappings: u64, others: u64) -> u64 {
        let admits = |owes: u64| shares.admits(beside(mappings, owes, others));
        (0..).find(|owes| !admits(*owes)).expect("there is a limit")
    }

    #[test]
    fn a_mapping_that_is_alone_has_the_whole_limit() {
        let alone = |by_all| Owed { by_all, by_one: by_all, others: 0, alone: true };
        assert!(SHARES.admits(alone(89)) && !SHARES.admits(alone(90)));
        assert_eq!((SHARES.limit(alone(50)), SHARES.ease_of_one(alone(50))), (90, 60));
    }

    #[test]
    fn whoever_takes_all_it_can_leaves_the_others_something() {
        for max in 9..200 {
            let shares = Shares { background: max / 2, max, capacity: max + 10 };
            let mut others = 0;
            for neighbours in 0..10 {
                let takes = greedy(shares, neighbours, others);
                assert!(takes >= 1, "{neighbours} greedy neighbours leave nothing of {max}");
                others += takes;
            }
            assert!(others <= max + 10, "{others} of {max}");
        }
        assert_eq!((greedy(SHARES, 0, 0), greedy(SHARES, 1, 80)), (80, 9));
    }

    #[test]
    fn who_joins_a_mapping_that_had_the_whole_limit_shares_it_all_the_same() {
        let greedy = |mappings, others| greedy(SHARES, mappings, others);
        assert_eq!((greedy(1, 80), greedy(1, 90)), (9, 9), "as if it had shared");
        assert_eq!((greedy(2, 99), greedy(3, 100)), (1, 0), "up to a ninth more than the limit");
        let narrow = Shares { capacity: 95, ..SHARES };
        assert!(narrow.admits(beside(1, 4, 90)) && !narrow.admits(beside(1, 5, 90)));
        // The one that was alone has no more than its share, and has to pay first.
        assert!(!SHARES.admits(beside(0, 90, 0)) && !SHARES.admits(beside(1, 80, 1)));
    }

    #[test]
    fn a_mapping_that_owes_nothing_has_its_first_page() {
        let shares = Shares { background: 0, max: 2, capacity: 5 };
        assert!(shares.admits(owed(0, 2)) && !shares.admits(owed(1, 2)));
        assert!(shares.admits(owed(0, 4)) && !shares.admits(owed(0, 5)), "but not without end");
    }

    #[test]
    fn nobody_is_over_its_limit_while_all_are_easy() {
        for (background, max) in [(0, 1), (0, 2), (5, 10), (10, 10), (30, 90), (90, 90)] {
            let shares = Shares { background, max, capacity: max };
            for by_all in 0..=shares.easy() {
                for alone in [false, true] {
                    let owed = Owed { by_all, by_one: by_all, others: 0, alone };
                    assert!(shares.admits(owed), "{shares:?} {owed:?}");
                }
            }
        }
    }

    #[test]
    fn a_limit_is_where_admission_ends() {
        for others in 0..90 {
            let (limit, takes) = (SHARES.limit(owed(0, others)), greedy(SHARES, 9, others));
            assert!(limit.abs_diff(takes) <= 1, "others {others}: limit {limit}, taken {takes}");
        }
    }

    #[test]
    fn the_flusher_leaves_alone_who_owes_little() {
        let over = |by_one, others, owing| SHARES.is_over_background(owed(by_one, others), owing);
        assert!(!over(30, 0, 1) && over(31, 0, 1), "not before the limit of all");
        assert!(over(70, 2, 2) && !over(2, 70, 2), "one owes nearly all");
        assert!(over(9, 70, 2), "half of what the other leaves");
        assert!(over(1, 39, 40), "all owe the same");
    }

    #[test]
    fn writers_are_slowed_down_more_the_nearer_they_come() {
        let speed = |by_one| SHARES.speed(Owed { by_all: by_one, by_one, others: 0, alone: true });
        assert!((speed(60) - 2.0).abs() < 1e-9 && (speed(75) - 1.0).abs() < 1e-9);
        assert!(speed(90) < 1e-9 && speed(80) < speed(70));
    }
}
