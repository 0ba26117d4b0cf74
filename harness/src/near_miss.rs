//! "Did you mean": the known word nearest to one that is unknown.

use std::collections::BTreeSet;
use std::fmt;

/// More known words than this are cut off in a message.
const SHOWN_MAX: usize = 20;

/// The known word that `word` is most likely a slip of, if any is near enough: at most a third of its
/// letters differ.
pub(crate) fn near_miss<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = word.to_lowercase();
    let allowed = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| {
            (
                strsim::osa_distance(&folded, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate)
}

/// The end of a message about an unknown word: the near miss and what is known. Begins with `; `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    near: Option<String>,
    known: Vec<String>,
    shown_max: usize,
}

impl Hint {
    /// For an unknown `word`.
    pub fn new<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: BTreeSet<&str> = known.into_iter().collect();
        Self {
            near: near_miss(word, known.iter().copied()).map(str::to_owned),
            known: known.into_iter().map(str::to_owned).collect(),
            shown_max: SHOWN_MAX,
        }
    }

    /// With every known word, where they are not a suite's but the harness's own.
    pub(crate) fn complete<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            shown_max: usize::MAX,
            ..Self::new(word, known)
        }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(near) = &self.near {
            write!(f, "; did you mean `{near}`?")?;
        }
        if self.known.is_empty() {
            return f.write_str("; there are none");
        }
        let there_are = if self.near.is_some() {
            " There are"
        } else {
            "; there are"
        };
        let shown = &self.known[..self.known.len().min(self.shown_max)];
        write!(f, "{there_are}: {}", shown.join(", "))?;
        match self.known.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["mosquitto", "nanomq", "a"];
        assert_eq!(near_miss("mosquito", known), Some("mosquitto"));
        assert_eq!(near_miss("NanoMQ", known), Some("nanomq"));
        assert_eq!(near_miss("kafka", known), None);
        assert_eq!(near_miss("b", known), None);
    }

    #[test]
    fn a_hint_tells_the_known_words_in_order_and_not_thousands_of_them() {
        assert_eq!(
            Hint::new("lef", ["right", "left", "right"]).to_string(),
            "; did you mean `left`? There are: left, right"
        );
        assert_eq!(Hint::new("x", []).to_string(), "; there are none");
        let many: Vec<String> = (100..125).map(|number| number.to_string()).collect();
        let hint = Hint::new("zzz", many.iter().map(String::as_str)).to_string();
        assert!(hint.ends_with("119 and 5 more"), "{hint}");
    }
}
