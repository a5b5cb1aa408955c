//! Medians and ranges.

/// Median and range of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The smallest sample.
    pub min: f64,
    /// The middle sample, the higher of two.
    pub median: f64,
    /// The largest sample.
    pub max: f64,
}

impl Spread {
    /// Summarizes `samples`; none have no spread.
    pub fn of(samples: &[f64]) -> Option<Spread> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        Some(Spread { min, median: sorted[sorted.len() / 2], max })
    }

    /// Summarizes by how many times `theirs` exceed `ours`, compared round by round.
    pub fn of_ratios(theirs: &[f64], ours: &[f64]) -> Option<Spread> {
        let rounds = theirs.iter().zip(ours);
        Spread::of(&rounds.map(|(theirs, ours)| theirs / ours).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_picks_the_middle_and_the_ends() {
        let spread = Spread::of(&[3.0, 1.0, 2.0]);
        assert_eq!(spread, Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn ratios_compare_the_same_round() {
        let spread = Spread::of_ratios(&[10.0, 20.0, 80.0], &[1.0, 2.0, 4.0]);
        assert_eq!(spread, Some(Spread { min: 10.0, median: 10.0, max: 20.0 }));
    }
}
