//! Index arithmetic and the encoding of edges, on any indices and on those near the borders of nodes.

mod properties;

use proptest::prelude::*;

use properties::{LEVELS, check_edges, check_indices, sync};

/// Indices where a shift or a comparison may be off by one, and any.
fn index() -> impl Strategy<Value = u64> {
    let near = |base: u64, nudge: u64| base.wrapping_add(nudge).wrapping_sub(2);
    prop_oneof![
        1 => 0..70_u64,
        4 => (0..64_u32, 0..5_u64).prop_map(move |(power, nudge)| near(1 << power, nudge)),
        2 => (0..64_u32, any::<u64>()).prop_map(|(power, low)| 1 << power | low >> (63 - power)),
        1 => (0..70_u64).prop_map(|down| u64::MAX - down),
        1 => any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn indices_are_cut_as_wide_integers_say(a in index(), b in index(), c in index()) {
        check_indices(a, b, c);
    }

    #[test]
    fn neighbouring_indices_are_cut_as_wide_integers_say(a in index(), up in 0..130_u64, more in 0..130_u64) {
        check_indices(a, a.wrapping_add(up), a.wrapping_add(up).wrapping_add(more));
    }

    #[test]
    fn edges_give_back_what_they_were_made_of(
        place in any::<usize>(), level in 0..LEVELS, skip in any::<bool>(), bits in any::<u8>(),
    ) {
        check_edges(place, level, skip, bits);
    }
}
