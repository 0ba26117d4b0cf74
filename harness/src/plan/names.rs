//! The names of a suite's scenarios, each at most once.
//!
//! Every run looks at all of them before it starts anything, and a suite may have thousands: a table of places
//! by hash is several times faster here than a map, above all in builds without optimisation.

use std::collections::BTreeMap;

use crate::registry::Scenario;

/// See the module.
pub(super) struct ScenarioNames {
    all: Vec<(String, &'static Scenario)>,
    /// Places in `all`, each at its name's hash or the next free one after it; a power of two many, of which
    /// at most half are taken.
    places: Vec<Option<u32>>,
}

impl ScenarioNames {
    /// For at most `count` names.
    pub(super) fn with_room_for(count: usize) -> Self {
        Self {
            all: Vec::with_capacity(count),
            places: vec![None; (count * 2).next_power_of_two()],
        }
    }

    /// Adds a name. Where there is one like it already, says of which scenario instead.
    pub(super) fn add(&mut self, name: &str, scenario: &'static Scenario) -> Option<&'static Scenario> {
        let last = self.places.len() - 1;
        let mut index = hash(name) as usize & last;
        while let Some(place) = self.places[index] {
            let (known, first) = &self.all[place as usize];
            if known.as_bytes() == name.as_bytes() {
                return Some(first);
            }
            index = (index + 1) & last;
        }
        self.places[index] = u32::try_from(self.all.len()).ok();
        self.all.push((name.to_owned(), scenario));
        None
    }

    pub(super) fn sorted(&self) -> BTreeMap<&str, &'static Scenario> {
        let all = self.all.iter();
        all.map(|(name, scenario)| (name.as_str(), *scenario)).collect()
    }
}

/// Eight bytes at a time, the last eight once more; every one of them may tell two names apart.
fn hash(name: &str) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut rest = name.as_bytes();
    let mut hash = rest.len() as u64;
    let mut add = |word: u64| hash = (hash.rotate_left(5) ^ word).wrapping_mul(ODD);
    if let Some(end) = rest.last_chunk() {
        add(u64::from_le_bytes(*end));
        while let Some((word, more)) = rest.split_first_chunk() {
            add(u64::from_le_bytes(*word));
            rest = more;
        }
    } else {
        for byte in rest {
            add(u64::from(*byte));
        }
    }
    // The upper bits are those that every byte has reached.
    hash >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::test_support::{options, scenario};

    #[test]
    fn a_name_is_added_once_and_names_the_first_scenario_after_that() {
        let texts: Vec<String> = (0..3000)
            .map(|number| "x".repeat(number % 40) + &number.to_string())
            .collect();
        let mut names = ScenarioNames::with_room_for(texts.len());
        let (first, second) = (
            scenario("x", Vec::new(), options()),
            scenario("x", Vec::new(), options()),
        );
        for text in &texts {
            assert!(names.add(text, first).is_none(), "{text}");
        }
        for text in &texts {
            assert!(std::ptr::eq(names.add(text, second).unwrap(), first), "{text}");
        }
        assert_eq!(names.sorted().len(), texts.len());
    }

    #[test]
    fn every_byte_counts() {
        for length in 1..40 {
            let plain = "a".repeat(length);
            for at in 0..length {
                let mut other = plain.clone();
                other.replace_range(at..=at, "b");
                assert_ne!(hash(&plain), hash(&other), "{other}");
            }
        }
    }
}
