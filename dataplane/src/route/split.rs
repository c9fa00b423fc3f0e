//! The pick of one destination of a route by weight.

use crate::snapshot::model::Destination;

/// The index of the destination that `random`, a uniform number, falls on. `total_weight` is the sum of the weights.
pub fn pick(destinations: &[Destination], total_weight: u32, random: u64) -> usize {
    if destinations.len() < 2 {
        return 0;
    }
    // Multiply-shift maps 64 random bits to 0..total without a division; the bias is below 2^-32.
    let mut point = ((u128::from(random) * u128::from(total_weight)) >> 64) as u32;
    for (index, destination) in destinations.iter().enumerate() {
        if point < destination.weight {
            return index;
        }
        point -= destination.weight;
    }
    // `total_weight` was larger than the sum of the weights; the snapshot's check rules that out.
    destinations.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    fn destinations(weights: &[u32]) -> (Vec<Destination>, u32) {
        let destinations = weights
            .iter()
            .map(|&weight| Destination { weight, ..Destination::of("c") })
            .collect();
        (destinations, weights.iter().sum())
    }

    #[test]
    fn one_destination_takes_everything() {
        let (one, total) = destinations(&[7]);
        assert_eq!(pick(&one, total, 0), 0);
        assert_eq!(pick(&one, total, u64::MAX), 0);
    }

    #[test]
    fn the_ends_of_the_random_range_are_the_first_and_the_last_destination() {
        let (three, total) = destinations(&[1, 1, u32::MAX - 2]);
        assert_eq!(pick(&three, total, 0), 0);
        assert_eq!(pick(&three, total, u64::MAX), 2);
    }

    #[test]
    fn shares_follow_the_weights() {
        random::seed(42);
        let (three, total) = destinations(&[95, 4, 1]);
        let mut counts = [0u32; 3];
        for _ in 0..100_000 {
            counts[pick(&three, total, random::u64())] += 1;
        }
        // Five standard deviations of a binomial share over 100 000 picks.
        for (count, expected, deviation) in [(counts[0], 95_000, 69), (counts[1], 4_000, 62), (counts[2], 1_000, 32)] {
            assert!(count.abs_diff(expected) < 5 * deviation, "{counts:?}");
        }
    }

    #[test]
    fn a_destination_that_goes_leaves_the_others_in_proportion() {
        random::seed(43);
        let share = |weights: &[u32], index: usize| {
            let (destinations, total) = destinations(weights);
            let picks = (0..100_000).filter(|_| pick(&destinations, total, random::u64()) == index);
            picks.count() as f64 / 100_000.0
        };
        // 60, 30 and 10 without the last are two to one; five standard deviations of a share are 0.008.
        for (index, before, after) in [(0, 0.6, 2.0 / 3.0), (1, 0.3, 1.0 / 3.0)] {
            assert!((share(&[60, 30, 10], index) - before).abs() < 0.008);
            assert!((share(&[60, 30], index) - after).abs() < 0.008);
        }
        // Few numbers fall on another one.
        let ((three, all), (two, rest)) = (destinations(&[60, 30, 10]), destinations(&[60, 30]));
        let moved = (0..100_000).map(|_| random::u64());
        let moved = moved.filter(|&number| pick(&three, all, number) != pick(&two, rest, number));
        // Its own tenth, and what the first grows by.
        assert!((moved.count() as f64 / 100_000.0 - (0.1 + 2.0 / 3.0 - 0.6)).abs() < 0.008);
    }
}
