//! `ROBUST_REQUIRE`: what must be available, so that a machine that lacks it fails instead of skipping.

use std::collections::BTreeSet;

use crate::near_miss::Hint;

/// The words that `ROBUST_REQUIRE` and `--bin` may use.
#[derive(Debug, Clone, Copy, Default)]
pub struct KnownNames<'a> {
    /// The names of all registered kinds.
    pub kinds: &'a [&'a str],
    /// The names of mechanisms of the machine that scenarios may skip for, such as network namespaces.
    pub mechanisms: &'a [&'a str],
}

/// What must be available.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Require {
    /// Nothing: what is not available is skipped.
    #[default]
    Nothing,
    /// Everything.
    All,
    /// These kinds and mechanisms.
    Names(BTreeSet<String>),
}

/// `ROBUST_REQUIRE` names something that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ROBUST_REQUIRE: `{name}` is neither a kind nor a mechanism{hint}")]
pub struct UnknownRequired {
    /// The unknown name.
    pub name: String,
    /// The near miss and the known names.
    pub hint: Hint,
}

impl Require {
    /// From the value of `ROBUST_REQUIRE`: `all`, or names separated by commas; empty for nothing.
    ///
    /// # Errors
    /// For the first name that is not known.
    pub fn parse(text: &str, known: KnownNames<'_>) -> Result<Self, UnknownRequired> {
        let mut names = BTreeSet::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let words = || known.kinds.iter().chain(known.mechanisms).copied();
            if name != "all" && !words().any(|word| word == name) {
                return Err(UnknownRequired {
                    name: name.to_owned(),
                    hint: Hint::new(name, words().chain(["all"])),
                });
            }
            names.insert(name.to_owned());
        }
        Ok(match names {
            names if names.contains("all") => Self::All,
            names if names.is_empty() => Self::Nothing,
            names => Self::Names(names),
        })
    }

    /// Whether the kind or mechanism called `name` must be available. A label with a version
    /// (`mosquitto@2.0`) is covered by its kind, one of a mix (`redis+valkey`) by each of its kinds.
    pub fn covers(&self, name: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Names(names) => {
                let kind = name.split_once('@').map_or(name, |(kind, _)| kind);
                names.contains(name)
                    || names.contains(kind)
                    || name.split('+').any(|kind| names.contains(kind))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: KnownNames<'static> = KnownNames {
        kinds: &["mosquitto", "nanomq"],
        mechanisms: &["namespaces"],
    };

    #[test]
    fn all_or_names_are_required() {
        let parse = |text| Require::parse(text, KNOWN).unwrap();
        assert_eq!(parse(" , "), Require::Nothing);
        assert_eq!(parse("mosquitto,all"), Require::All);
        let names = parse("mosquitto, namespaces");
        assert!(names.covers("mosquitto") && names.covers("mosquitto@2.0") && names.covers("namespaces"));
        assert!(!names.covers("nanomq"));
        assert!(parse("all").covers("anything"));
        assert!(!Require::Nothing.covers("mosquitto"));
    }

    #[test]
    fn an_unknown_name_is_an_error_with_the_near_miss() {
        let error = Require::parse("mosquito", KNOWN).unwrap_err();
        assert_eq!(
            error.to_string(),
            "ROBUST_REQUIRE: `mosquito` is neither a kind nor a mechanism; did you mean `mosquitto`? \
             There are: all, mosquitto, namespaces, nanomq"
        );
    }
}
