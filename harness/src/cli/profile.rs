//! Profiles of `robust.toml`: options by their long names, as the words of a command line.
//!
//! A profile's entries become the words that would say the same on the command line, as variables do in
//! [`super::environment`]: an option has one parser, and the file is one more place to give it. Where several
//! places give one, the first of these counts, as a whole: command line, variable, the named profile, those it
//! inherits, `default`.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::CliError;
use super::arguments::{Bin, command, own, variable_of};
use super::config::{Config, Wrong, entries, path_from, what};
use crate::near_miss::Hint;
use crate::require::{KnownNames, Require};

/// The profile that applies under every other.
pub(super) const DEFAULT: &str = "default";

/// The key of `ROBUST_REQUIRE`, which is no option.
const REQUIRE: &str = "require";

/// The key of `--bin`, whose paths are not judged before it is known which of them count.
const BIN: &str = "bin";

/// An option of libtest's that profiles may give, and what else answers the same question: other options, and
/// libtest's variable.
struct Shared {
    flag: &'static str,
    others: &'static [&'static str],
    variable: Option<&'static str>,
}

const fn shared(
    flag: &'static str,
    others: &'static [&'static str],
    variable: Option<&'static str>,
) -> Shared {
    Shared {
        flag,
        others,
        variable,
    }
}

const LIBTEST: [Shared; 8] = [
    shared("color", &[], None),
    // A list has formats of its own.
    shared("format", &["quiet", "list"], None),
    shared("include-ignored", &["ignored"], None),
    shared("nocapture", &[], Some("RUST_TEST_NOCAPTURE")),
    shared("report-time", &[], None),
    shared("show-output", &[], None),
    shared("shuffle", &["shuffle_seed"], Some("RUST_TEST_SHUFFLE")),
    shared("test-threads", &[], Some("RUST_TEST_THREADS")),
];

const FOR_ONE_CALL: &str = "it is about one call, so give it on the command line";

/// Options that are no keys, and why.
const NO_KEYS: [(&str, &str); 20] = [
    ("bench", FOR_ONE_CALL),
    ("exact", FOR_ONE_CALL),
    ("explain", FOR_ONE_CALL),
    ("fail-fast", "write `max-fail = 1`"),
    ("force-run-in-process", "it does nothing here"),
    ("help", FOR_ONE_CALL),
    ("ignored", FOR_ONE_CALL),
    (
        "keep-on-failure",
        "it waits for somebody, so give it on the command line",
    ),
    ("faults", FOR_ONE_CALL),
    ("list", FOR_ONE_CALL),
    (
        "logfile",
        "it takes the console's place, so give it on the command line",
    ),
    ("no-capture", "write `nocapture = true`"),
    ("plan", FOR_ONE_CALL),
    ("profile", "a profile builds on another by `inherits`"),
    ("quiet", "write `format = \"terse\"`"),
    ("report-from", FOR_ONE_CALL),
    ("serve", FOR_ONE_CALL),
    (
        "shuffle-seed",
        "write `shuffle = true`, whose order follows from the root seed",
    ),
    ("skip", "filters belong on the command line"),
    ("test", FOR_ONE_CALL),
];

/// One profile.
#[derive(Debug)]
pub(super) struct Profile {
    /// The profile it builds on, and the place in the text that says so.
    inherits: Option<(String, usize)>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// The option's long name, or [`REQUIRE`].
    key: String,
    /// Its place in the text.
    at: usize,
    /// What a command line would say; nothing where the option is off or an empty list. For [`REQUIRE`] the
    /// variable's value.
    words: Vec<String>,
}

impl Entry {
    /// What a command line would say.
    fn arguments(&self) -> &[String] {
        if self.key == REQUIRE { &[] } else { &self.words }
    }
}

/// The options of the parser that are keys, by key.
fn keys(parser: &Command) -> BTreeMap<String, Arg> {
    let own = own();
    let is_own = |flag| own.iter().any(|argument| argument.get_long() == Some(flag));
    let is_shared = |flag| LIBTEST.iter().any(|shared| shared.flag == flag);
    let is_none = |flag| NO_KEYS.iter().any(|(no_key, _)| *no_key == flag);
    let keys = parser.get_arguments().filter_map(|argument| {
        let flag = argument.get_long()?;
        let is_key = (is_own(flag) || is_shared(flag)) && !is_none(flag);
        is_key.then(|| (flag.to_owned(), argument.clone()))
    });
    keys.collect()
}

/// Reads profiles, one after another.
pub(super) struct ProfileReader<'a> {
    keys: BTreeMap<String, Arg>,
    folder: &'a Path,
    known: KnownNames<'a>,
}

impl<'a> ProfileReader<'a> {
    /// `folder` is what paths are relative to.
    pub(super) fn new(folder: &'a Path, known: KnownNames<'a>) -> Self {
        Self {
            keys: keys(&command()),
            folder,
            known,
        }
    }

    /// The profile called `name`.
    ///
    /// # Errors
    /// For the first entry that is wrong.
    pub(super) fn read(&self, name: &str, table: &DeTable<'_>) -> Result<Profile, Wrong> {
        let mut profile = Profile {
            inherits: None,
            entries: Vec::new(),
        };
        let wrong = |at, problem: String| Wrong {
            at,
            problem: format!("profile.{name}: {problem}"),
        };
        for (key, at, value) in entries(table) {
            if key == "inherits" {
                let not_a_name = || {
                    let what = what(value);
                    wrong(
                        at,
                        format!("`inherits` is a profile's name, as a string, and not {what}"),
                    )
                };
                let parent = value.get_ref().as_str().ok_or_else(not_a_name)?;
                profile.inherits = Some((parent.to_owned(), at));
                continue;
            }
            profile.entries.push(Entry {
                key: key.to_owned(),
                at,
                words: self.words(key, value).map_err(|problem| wrong(at, problem))?,
            });
        }
        // All at once; each on its own only to find out which is wrong, since parsers cost more than cases do.
        if Self::check(profile.entries.iter().flat_map(Entry::arguments)).is_err() {
            for entry in &profile.entries {
                Self::check(entry.arguments().iter())
                    .map_err(|error| wrong(entry.at, format!("`{}`: {}", entry.key, error.text)))?;
            }
        }
        Ok(profile)
    }

    fn check<'w>(words: impl Iterator<Item = &'w String>) -> Result<(), CliError> {
        let matches = command().try_get_matches_from(words);
        matches.map(drop).map_err(|error| CliError::from_clap(&error))
    }

    fn words(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, String> {
        if key == REQUIRE {
            let names = match value.get_ref() {
                DeValue::String(names) => names.clone().into_owned(),
                _ => strings(key, value)?.join(","),
            };
            Require::parse(&names, self.known)
                .map_err(|error| error.to_string().replacen("ROBUST_REQUIRE", "`require`", 1))?;
            return Ok(vec![names]);
        }
        let Some(argument) = self.keys.get(key) else {
            return Err(self.unknown(key));
        };
        words(key, argument, value, self.folder)
    }

    fn unknown(&self, key: &str) -> String {
        if let Some((_, why)) = NO_KEYS.iter().find(|(no_key, _)| *no_key == key) {
            return format!("`{key}` is no key of a profile: {why}");
        }
        let keys = self.keys.keys().map(String::as_str);
        let hint = Hint::complete(key, keys.chain(["inherits", REQUIRE]));
        format!("unknown key `{key}`{hint}")
    }
}

/// What a command line would say for this value.
fn words(
    key: &str,
    argument: &Arg,
    value: &Spanned<DeValue<'_>>,
    folder: &Path,
) -> Result<Vec<String>, String> {
    let expected = |form: &str| format!("`{key}` is {form}, and not {}", what(value));
    match argument.get_action() {
        ArgAction::SetTrue => match value.get_ref().as_bool() {
            Some(true) => Ok(vec![format!("--{key}")]),
            Some(false) => Ok(Vec::new()),
            None => Err(expected("true or false")),
        },
        ArgAction::Append => {
            let values = strings(key, value)?;
            let values = values.into_iter().map(|value| match value.split_once('=') {
                Some((kind, path)) if key == BIN && !path.is_empty() => {
                    format!("--{key}={kind}={}", path_from(folder, path))
                }
                _ => format!("--{key}={value}"),
            });
            Ok(values.collect())
        }
        _ if is_number(argument) => match value.get_ref() {
            DeValue::Integer(number) => {
                let decimal = i128::from_str_radix(number.as_str(), number.radix());
                let decimal =
                    decimal.map_or_else(|_| number.as_str().to_owned(), |number| number.to_string());
                Ok(vec![format!("--{key}={decimal}")])
            }
            _ => Err(expected("a whole number")),
        },
        _ => match value.get_ref().as_str() {
            Some(path) if is_of::<PathBuf>(argument) && !path.is_empty() => {
                Ok(vec![format!("--{key}={}", path_from(folder, path))])
            }
            Some(text) => Ok(vec![format!("--{key}={text}")]),
            None => Err(expected("a string")),
        },
    }
}

fn is_of<T: 'static>(argument: &Arg) -> bool {
    argument.get_value_parser().type_id() == std::any::TypeId::of::<T>()
}

fn is_number(argument: &Arg) -> bool {
    is_of::<u32>(argument)
        || is_of::<u64>(argument)
        || is_of::<usize>(argument)
        || is_of::<NonZeroU32>(argument)
        || is_of::<NonZeroUsize>(argument)
}

/// The strings of a list.
fn strings(key: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, String> {
    let expected = |value| {
        format!(
            "`{key}` is a list of strings, such as [\"a\", \"b\"], and not {}",
            what(value)
        )
    };
    let list = value.get_ref().as_array().ok_or_else(|| expected(value))?;
    list.iter()
        .map(|entry| match entry.get_ref().as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(format!("{} in it", expected(entry))),
        })
        .collect()
}

/// Checks that every profile inherits what there is, and none itself.
///
/// # Errors
/// For the first one, by name.
pub(super) fn check_parents(profiles: &BTreeMap<String, Profile>) -> Result<(), Wrong> {
    let parent = |name: &str| profiles.get(name)?.inherits.as_ref();
    for name in profiles.keys() {
        let Some((first, at)) = parent(name) else {
            continue;
        };
        let wrong = |problem: String| Wrong {
            at: *at,
            problem: format!("profile.{name}: `inherits`: {problem}"),
        };
        if name == DEFAULT {
            return Err(wrong(
                "`default` is under every profile, so it builds on none".to_owned(),
            ));
        }
        if first != DEFAULT && !profiles.contains_key(first) {
            let hint = Hint::new(first, profiles.keys().map(String::as_str).chain([DEFAULT]));
            return Err(wrong(format!("no profile is called `{first}`{hint}")));
        }
        let mut chain = vec![name.as_str(), first];
        // A loop that does not come back to this one is told of those that are in it.
        while chain.len() <= profiles.len() + 1 && chain.last() != Some(&name.as_str()) {
            let Some((next, _)) = chain.last().and_then(|last| parent(last)) else {
                break;
            };
            chain.push(next);
        }
        if chain.last() == Some(&name.as_str()) {
            return Err(wrong(format!("it comes back to itself: {}", chain.join(" -> "))));
        }
    }
    Ok(())
}

/// What the profiles say where nobody else does.
#[derive(Debug, Default)]
pub(super) struct Defaults {
    /// Of a command line.
    pub(super) words: Vec<String>,
    /// As `ROBUST_REQUIRE`.
    pub(super) require: Option<String>,
    /// As `--bin`, each with the place in the text that gives it.
    pub(super) bins: Vec<(usize, Bin)>,
}

/// What the profile called `name` and `default` say, of what neither the command line nor a variable does;
/// `given` are those two.
///
/// # Errors
/// When there is no such profile.
pub(super) fn defaults(
    config: Option<&Config>,
    name: Option<&str>,
    given: &ArgMatches,
    env: &BTreeMap<String, String>,
) -> Result<Defaults, CliError> {
    let no_profiles = BTreeMap::new();
    let profiles = config.map_or(&no_profiles, |config| &config.profiles);
    let mut chain = Vec::new();
    let mut next = name;
    while let Some(name) = next.filter(|name| *name != DEFAULT) {
        let Some(profile) = profiles.get(name) else {
            return Err(CliError::unusable(match config {
                Some(config) => format!(
                    "--profile: no profile is called `{name}` in {}{}",
                    config.path().display(),
                    Hint::new(name, profiles.keys().map(String::as_str).chain([DEFAULT]))
                ),
                None => format!(
                    "--profile: no profile is called `{name}`: there is no robust.toml in the package's folder or \
                     above it up to the workspace's (ROBUST_CONFIG=PATH names one elsewhere)"
                ),
            }));
        };
        chain.push(profile);
        next = profile.inherits.as_ref().map(|(parent, _)| parent.as_str());
    }
    chain.extend(profiles.get(DEFAULT));

    let mut defaults = Defaults::default();
    let mut settled = BTreeSet::new();
    for entry in chain.into_iter().flat_map(|profile| &profile.entries) {
        if !settled.insert(entry.key.as_str()) || is_given(&entry.key, given, env) {
            continue;
        }
        match entry.key.as_str() {
            REQUIRE => defaults.require = entry.words.first().cloned(),
            BIN => {
                let values = entry
                    .words
                    .iter()
                    .filter_map(|word| word.split_once('=')?.1.parse().ok());
                defaults.bins.extend(values.map(|bin| (entry.at, bin)));
            }
            _ => defaults.words.extend_from_slice(&entry.words),
        }
    }
    Ok(defaults)
}

/// Whether the command line or a variable says anything of what this key is about.
fn is_given(key: &str, given: &ArgMatches, env: &BTreeMap<String, String>) -> bool {
    let has_value = |variable: &str| env.get(variable).is_some_and(|value| !value.is_empty());
    // An option that there is not, as `require`, is an error to ask for.
    let on_command_line = |id: &str| {
        let source = given
            .try_contains_id(id)
            .is_ok()
            .then(|| given.value_source(id))
            .flatten();
        source == Some(ValueSource::CommandLine)
    };
    let given = on_command_line(&key.replace('-', "_"));
    match LIBTEST.iter().find(|shared| shared.flag == key) {
        Some(shared) => {
            given
                || shared.others.iter().any(|other| on_command_line(other))
                || shared.variable.is_some_and(has_value)
        }
        None => given || has_value(&variable_of(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_a_key_or_has_a_reason_not_to_be() {
        let command = command();
        let keys = keys(&command);
        let is_known =
            |flag: &str| keys.contains_key(flag) || NO_KEYS.iter().any(|(no_key, _)| *no_key == flag);
        let mut flags: BTreeSet<&str> = command.get_arguments().filter_map(Arg::get_long).collect();
        for flag in &flags {
            assert!(is_known(flag), "{flag}");
        }
        // What is asked by its key.
        for argument in command
            .get_arguments()
            .filter(|argument| argument.get_long().is_some())
        {
            let id = argument.get_long().unwrap_or_default().replace('-', "_");
            assert!(
                argument.get_id() == id.as_str()
                    || NO_KEYS
                        .iter()
                        .any(|(no_key, _)| Some(*no_key) == argument.get_long()),
                "{id}"
            );
        }
        // Neither table names what is no option.
        flags.extend(["help", "no-capture"]);
        for flag in keys
            .keys()
            .map(String::as_str)
            .chain(NO_KEYS.map(|(flag, _)| flag))
        {
            assert!(flags.contains(flag), "{flag}");
        }
        for shared in &LIBTEST {
            let flag = shared.flag.replace('-', "_");
            for id in shared.others.iter().chain([&&*flag]) {
                assert!(
                    command.get_arguments().any(|argument| argument.get_id() == id),
                    "{id}"
                );
            }
        }
    }
}
