//! Which record a request goes to: upstream YCSB's request distributions.

use super::hash::fnv64;
use crate::mix::Chance;
use rand::Rng;
use serde::{Deserialize, Serialize};

/// A request distribution with its parameters. Defaults are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Distribution {
    /// A few records, scattered over all, get most requests: the hottest about 3.8 %, however many there are.
    Zipfian,
    /// The records inserted last get most requests.
    Latest,
    /// All records loaded at the start get the same.
    Uniform,
    /// The fraction `ops` of requests goes to the fraction `records` of the records loaded at the start.
    Hotspot { records: f64, ops: f64 },
    /// `percentile` per cent of requests go to the fraction `records` of the records, the newest first.
    Exponential { percentile: f64, records: f64 },
}

impl Distribution {
    /// Upstream's `hotspot`.
    pub const HOTSPOT: Self = Self::Hotspot { records: 0.2, ops: 0.8 };
    /// Upstream's `exponential`.
    pub const EXPONENTIAL: Self = Self::Exponential { percentile: 95.0, records: 0.857_142_857_1 };
}

/// How skewed the zipfian distributions are.
const THETA: f64 = 0.99;
/// The scrambled zipfian distribution draws from so many items, however many records there are, so that what is hot does not
/// depend on their number.
const SCRAMBLED_ITEMS: u64 = 10_000_000_000;
/// The sum of `1 / i^THETA` for `i` from 1 to [`SCRAMBLED_ITEMS`], which upstream has computed once and for all.
const SCRAMBLED_ZETA: f64 = 26.469_028_201_783_02;

/// Chooses records by a [`Distribution`].
#[derive(Debug)]
pub(super) enum Chooser {
    Zipfian { zipfian: Zipfian, keyspace: u64 },
    Latest(Zipfian),
    Uniform { records: u64 },
    Hotspot { hot: u64, records: u64, ops: f64 },
    Exponential { gamma: f64 },
}

impl Chooser {
    /// For `records` loaded at the start and `inserts` more that are expected.
    pub(super) fn new(distribution: Distribution, records: u64, inserts: u64) -> Self {
        match distribution {
            // The key space stays the same while records are added, so that what is hot stays hot; what is not yet
            // inserted is drawn again.
            Distribution::Zipfian => {
                Self::Zipfian { zipfian: Zipfian::scrambled(), keyspace: records + inserts }
            }
            Distribution::Latest => Self::Latest(Zipfian::new(records)),
            Distribution::Uniform => Self::Uniform { records },
            Distribution::Hotspot { records: share, ops } => {
                Self::Hotspot { hot: ((records as f64 * share) as u64).max(1), records, ops }
            }
            Distribution::Exponential { percentile, records: share } => {
                Self::Exponential { gamma: -(1.0 - percentile / 100.0).ln() / (records as f64 * share) }
            }
        }
    }

    /// A record among the first `present`, which are there.
    pub(super) fn pick(&mut self, chance: &mut Chance, present: u64) -> u64 {
        loop {
            if let Some(record) = self.draw(chance, present)
                && record < present
            {
                return record;
            }
        }
    }

    /// A record that may not be there yet, or `None` if the draw fell outside of all.
    fn draw(&mut self, chance: &mut Chance, present: u64) -> Option<u64> {
        match self {
            Self::Zipfian { zipfian, keyspace } => Some(fnv64(zipfian.rank(chance)) % *keyspace),
            Self::Latest(zipfian) => {
                zipfian.grow(present);
                (present - 1).checked_sub(zipfian.rank(chance))
            }
            Self::Uniform { records } => Some(chance.random_range(0..*records)),
            Self::Hotspot { hot, records, ops } => {
                let cold = *hot..*records;
                Some(if cold.is_empty() || chance.random::<f64>() < *ops {
                    chance.random_range(0..*hot)
                } else {
                    chance.random_range(cold)
                })
            }
            Self::Exponential { gamma } => {
                // 1 - u, since a logarithm of 0 would be infinite.
                let age = -(1.0 - chance.random::<f64>()).ln() / *gamma;
                (present - 1).checked_sub(age as u64)
            }
        }
    }
}

/// Ranks by Zipf's law: rank `r` (from 0) in proportion to `1 / (r + 1)^THETA`. The method is that of Gray et al., "Quickly
/// generating billion-record synthetic databases" (SIGMOD 1994), as upstream has it.
#[derive(Debug)]
pub(super) struct Zipfian {
    items: u64,
    zeta: f64,
    eta: f64,
}

impl Zipfian {
    fn new(items: u64) -> Self {
        Self::with_zeta(items, zeta(0, items, 0.0))
    }

    /// Ranks over [`SCRAMBLED_ITEMS`].
    fn scrambled() -> Self {
        // Upstream's bounds are inclusive, hence one item more; the sum ignores it.
        Self::with_zeta(SCRAMBLED_ITEMS + 1, SCRAMBLED_ZETA)
    }

    fn with_zeta(items: u64, zeta_items: f64) -> Self {
        let zeta_2 = zeta(0, 2, 0.0);
        let eta = (1.0 - (2.0 / items as f64).powf(1.0 - THETA)) / (1.0 - zeta_2 / zeta_items);
        Self { items, zeta: zeta_items, eta }
    }

    /// Adds ranks up to `items`. (Upstream keeps the number of items at the start in `eta`, which skews the tail as
    /// records are added; here it follows.)
    fn grow(&mut self, items: u64) {
        if items > self.items {
            *self = Self::with_zeta(items, zeta(self.items, items, self.zeta));
        }
    }

    fn rank(&self, chance: &mut Chance) -> u64 {
        let u = chance.random::<f64>();
        let uz = u * self.zeta;
        if uz < 1.0 {
            return 0;
        }
        if uz < 1.0 + 0.5_f64.powf(THETA) {
            return 1;
        }
        (self.items as f64 * (self.eta * u - self.eta + 1.0).powf(1.0 / (1.0 - THETA))) as u64
    }
}

/// Adds `1 / i^THETA` for `i` from `done + 1` to `items` to the sum up to `done`.
fn zeta(done: u64, items: u64, sum: f64) -> f64 {
    (done + 1..=items).fold(sum, |sum, i| sum + 1.0 / (i as f64).powf(THETA))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    const DRAWS: usize = 200_000;

    /// How many of [`DRAWS`] requests each record got.
    fn counts(distribution: Distribution, records: u64) -> Vec<usize> {
        let mut chooser = Chooser::new(distribution, records, 0);
        let mut chance = Chance::seed_from_u64(42);
        let mut counts = vec![0; records as usize];
        for _ in 0..DRAWS {
            counts[chooser.pick(&mut chance, records) as usize] += 1;
        }
        counts
    }

    fn share(count: usize) -> f64 {
        count as f64 / DRAWS as f64
    }

    #[test]
    fn the_hottest_zipfian_record_gets_four_percent_at_any_size() {
        // Rank 0 alone has 1 / zeta = 3.78 %; scrambling adds what falls on the same record by chance: 1 / records.
        for records in [100, 1_000, 10_000, 100_000] {
            let counts = counts(Distribution::Zipfian, records);
            let hottest =
                counts.iter().enumerate().max_by_key(|&(_, count)| count).expect("there are records");
            let expected = 1.0 / SCRAMBLED_ZETA + 0.8 / records as f64;
            let bound = if records == 100 { 0.025 } else { 0.002 };
            assert!((share(*hottest.1) - expected).abs() < bound, "{records}: {}", share(*hottest.1));
            if records > 100 {
                assert_eq!(hottest.0 as u64, fnv64(0) % records, "the hottest record is where rank 0 falls");
                let second = counts[(fnv64(1) % records) as usize];
                assert!(
                    (share(second) - 0.5_f64.powf(THETA) / SCRAMBLED_ZETA).abs() < 0.003,
                    "{}",
                    share(second)
                );
            }
        }
    }

    #[test]
    fn upstreams_zeta_is_what_the_integral_says() {
        // Euler and Maclaurin from the sum of the first million on; the terms left out are below 1e-13.
        let f = |x: f64| x.powf(1.0 - THETA) / (1.0 - THETA);
        let (n, m) = (SCRAMBLED_ITEMS as f64, 1e6);
        let approximation = zeta(0, 1_000_000, 0.0) + f(n) - f(m) + (n.powf(-THETA) - m.powf(-THETA)) / 2.0;
        assert!((approximation - SCRAMBLED_ZETA).abs() < 1e-6, "{approximation}");
    }

    #[test]
    fn zipfian_ranks_follow_the_law() {
        let zipfian = Zipfian::new(1_000);
        let mut chance = Chance::seed_from_u64(1);
        let mut counts = vec![0_usize; 1_000];
        for _ in 0..DRAWS {
            counts[zipfian.rank(&mut chance) as usize] += 1;
        }
        // The method is exact for the two first ranks and approximates the rest.
        for (from, to, bound) in
            [(0, 1, 0.003), (1, 2, 0.003), (2, 10, 0.02), (10, 100, 0.02), (100, 1_000, 0.02)]
        {
            let law = (zeta(0, to, 0.0) - zeta(0, from, 0.0)) / zipfian.zeta;
            let found = share(counts[from as usize..to as usize].iter().sum());
            assert!((found - law).abs() < bound, "ranks {from} to {to}: {found}, by the law {law}");
        }
    }

    #[test]
    fn growing_is_the_same_as_starting_large() {
        let mut grown = Zipfian::new(10);
        grown.grow(500);
        grown.grow(2_000);
        let fresh = Zipfian::new(2_000);
        assert!((grown.zeta - fresh.zeta).abs() < 1e-9);
        assert!((grown.eta - fresh.eta).abs() < 1e-9);
    }

    #[test]
    fn latest_favours_the_newest_as_records_are_added() {
        let mut chooser = Chooser::new(Distribution::Latest, 100, 0);
        let mut chance = Chance::seed_from_u64(3);
        for present in [100, 1_000] {
            let mut newest = 0;
            let mut oldest_half = 0;
            for _ in 0..DRAWS {
                let record = chooser.pick(&mut chance, present);
                newest += usize::from(record == present - 1);
                oldest_half += usize::from(record < present / 2);
            }
            let expected = 1.0 / zeta(0, present, 0.0);
            assert!((share(newest) - expected).abs() < 0.005, "{present}: {}", share(newest));
            assert!(share(oldest_half) < 0.2, "{present}: {}", share(oldest_half));
        }
    }

    #[test]
    fn uniform_is_even() {
        let counts = counts(Distribution::Uniform, 100);
        assert!(counts.iter().all(|&c| (share(c) - 0.01).abs() < 0.002), "{counts:?}");
    }

    #[test]
    fn hotspot_gives_a_fifth_of_the_records_four_fifths_of_the_requests() {
        let counts = counts(Distribution::HOTSPOT, 100);
        let hot = share(counts[..20].iter().sum());
        assert!((hot - 0.8).abs() < 0.01, "{hot}");
        assert!(counts[..20].iter().all(|&c| (share(c) - 0.04).abs() < 0.004), "{counts:?}");
        assert!(counts[20..].iter().all(|&c| (share(c) - 0.0025).abs() < 0.001), "{counts:?}");
    }

    #[test]
    fn a_hotspot_of_everything_has_no_cold_records() {
        let counts = counts(Distribution::Hotspot { records: 1.0, ops: 0.5 }, 10);
        assert_eq!(counts.iter().sum::<usize>(), DRAWS);
    }

    #[test]
    fn exponential_gives_its_share_of_records_its_percentile_of_requests() {
        let counts = counts(Distribution::Exponential { percentile: 95.0, records: 0.2 }, 1_000);
        let newest_fifth = share(counts[800..].iter().sum());
        assert!((newest_fifth - 0.95).abs() < 0.01, "{newest_fifth}");
        assert!(counts[999] > counts[900] && counts[900] > counts[800]);
    }

    #[test]
    fn what_is_not_there_yet_is_never_chosen() {
        for distribution in
            [Distribution::Zipfian, Distribution::Latest, Distribution::HOTSPOT, Distribution::EXPONENTIAL]
        {
            let mut chooser = Chooser::new(distribution, 50, 1_000);
            let mut chance = Chance::seed_from_u64(9);
            assert!((0..2_000).all(|_| chooser.pick(&mut chance, 50) < 50), "{distribution:?}");
        }
    }
}
