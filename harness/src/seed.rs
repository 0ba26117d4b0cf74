//! Seeds: one root a run, one for each case, one stream for each use.
//!
//! A draw depends on nothing but the root seed, the case's name and the stream's name, so filtering,
//! order, slots or one more value on an axis change no other draw. The hash is SipHash-1-3 with 128 bits
//! (its reference vectors are fixed), the generator ChaCha8: neither may change between releases.

use std::hash::Hasher;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use siphasher::sip128::{Hasher128, SipHasher13};

/// A 64-bit seed, written in decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Seed(pub u64);

impl Seed {
    /// A seed from the operating system, for a run that was given none.
    pub fn random() -> Self {
        // The only source of randomness that is not derived from a seed.
        Self(rand::random())
    }

    /// The seed that `name` has under this one.
    pub fn derive(self, name: &str) -> Self {
        Self(hash(self.0, 0, name) as u64)
    }

    /// The root seed of the `iteration`-th repetition of a run; the first one (0) is the root itself.
    pub fn iteration(self, iteration: u32) -> Self {
        if iteration == 0 {
            self
        } else {
            Self(hash(self.0, u64::from(iteration), "iteration") as u64)
        }
    }

    /// The random stream called `name`.
    pub fn stream(self, name: &str) -> ChaCha8Rng {
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(&hash(self.0, 1, name).to_le_bytes());
        seed[16..].copy_from_slice(&hash(self.0, 2, name).to_le_bytes());
        ChaCha8Rng::from_seed(seed)
    }
}

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Seed {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A hash of `text` that is the same on every machine and in every release: for shards and slugs.
pub fn stable_hash(text: &str) -> u64 {
    hash(0, 0, text) as u64
}

fn hash(key: u64, domain: u64, text: &str) -> u128 {
    let mut hasher = SipHasher13::new_with_keys(key, domain);
    hasher.write(text.as_bytes());
    hasher.finish128().as_u128()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt as _;

    #[test]
    fn draws_are_the_same_in_every_release() {
        assert_eq!(
            Seed(42).derive("suite::case[broker=a]"),
            Seed(5053133907437168978)
        );
        assert_eq!(Seed(42).stream("plan").random::<u64>(), 12967757252093100561);
    }

    #[test]
    fn names_and_roots_give_independent_seeds() {
        let names = ["a", "b", "a[x=1]", "a[x=2]"];
        let seeds: std::collections::BTreeSet<_> = names
            .iter()
            .flat_map(|name| (0..4).map(|root| Seed(root).derive(name)))
            .collect();
        assert_eq!(seeds.len(), 16);
        assert_eq!(Seed(3).iteration(0), Seed(3));
        assert_ne!(Seed(3).iteration(1), Seed(3).iteration(2));
    }
}
