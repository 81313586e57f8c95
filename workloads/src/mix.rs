//! A choice among a few things, each with a weight.

use rand::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;

/// The generator of all chance in this crate: small, fast, and the same on every platform.
pub(crate) type Chance = Xoshiro256PlusPlus;

/// Things with cumulated weights.
#[derive(Debug)]
pub(crate) struct Mix<T> {
    choices: Vec<(f64, T)>,
    total: f64,
}

impl<T: Copy> Mix<T> {
    /// Weights need not add up to one.
    ///
    /// # Panics
    /// If no weight is positive: options are checked when they are read.
    pub(crate) fn new(weights: &[(f64, T)]) -> Self {
        let mut total = 0.0;
        let mut choices = Vec::with_capacity(weights.len());
        for &(weight, choice) in weights.iter().filter(|(weight, _)| *weight > 0.0) {
            total += weight;
            choices.push((total, choice));
        }
        assert!(total > 0.0, "a mix of nothing");
        Self { choices, total }
    }

    pub(crate) fn pick(&self, chance: &mut Chance) -> T {
        let point = chance.random::<f64>() * self.total;
        let found = self.choices.iter().find(|(upto, _)| point < *upto);
        // Rounding may put the point at the very end.
        found.unwrap_or(&self.choices[self.choices.len() - 1]).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn choices_come_in_proportion_and_weight_zero_never() {
        let mix = Mix::new(&[(1.0, 'a'), (0.0, 'b'), (3.0, 'c')]);
        let mut chance = Chance::seed_from_u64(7);
        let picks: Vec<char> = (0..40_000).map(|_| mix.pick(&mut chance)).collect();
        let share = |c| picks.iter().filter(|&&p| p == c).count() as f64 / picks.len() as f64;
        assert!((share('a') - 0.25).abs() < 0.01, "{}", share('a'));
        assert!((share('c') - 0.75).abs() < 0.01, "{}", share('c'));
        assert_eq!(picks.iter().filter(|&&p| p == 'b').count(), 0);
    }
}
