//! The names of a suite's scenarios, each at most once.

use std::collections::BTreeMap;

use crate::index::{Index, hash};
use crate::registry::Scenario;

/// See the module.
pub(super) struct ScenarioNames {
    all: Vec<(String, &'static Scenario)>,
    index: Index,
}

impl ScenarioNames {
    /// For at most `count` names.
    pub(super) fn with_room_for(count: usize) -> Self {
        let mut index = Index::default();
        index.reserve(count);
        Self {
            all: Vec::with_capacity(count),
            index,
        }
    }

    /// Adds a name. Where there is one like it already, says of which scenario instead.
    pub(super) fn add(&mut self, name: &str, scenario: &'static Scenario) -> Option<&'static Scenario> {
        let is = |at: u32| self.all[at as usize].0.as_bytes() == name.as_bytes();
        match self.index.find(hash(name), is) {
            Ok(at) => Some(self.all[at as usize].1),
            Err(hash) => {
                let at = u32::try_from(self.all.len()).expect("fewer than 2^32 scenarios");
                self.index.insert(hash, at);
                self.all.push((name.to_owned(), scenario));
                None
            }
        }
    }

    pub(super) fn sorted(&self) -> BTreeMap<&str, &'static Scenario> {
        let all = self.all.iter();
        all.map(|(name, scenario)| (name.as_str(), *scenario)).collect()
    }
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
