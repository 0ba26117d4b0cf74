//! The environment: our variables, libtest's and nextest's.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches};
use tracing_subscriber::filter::Targets;

use super::arguments::{command, own, threads, variable};
use super::{CliError, NextestRun, config};

/// The variables of this process whose names and values are UTF-8.
pub fn process_environment() -> BTreeMap<String, String> {
    let all = std::env::vars_os();
    all.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Of the variables in `env`, those that workers and what they start must not inherit: a suite that a case
/// runs would take over this run's shard, filters and report folder, or take itself for a test of nextest's.
/// The paths of built programs that nextest tells (`NEXTEST_BIN_EXE_..`) stay.
pub fn environment_for_children(env: &BTreeMap<String, String>) -> Vec<String> {
    let own: Vec<String> = own().iter().map(variable).collect();
    let stays = ["NEXTEST_BIN_EXE_", "NEXTEST_LD_", "NEXTEST_DYLD_"];
    let goes = |name: &&String| {
        own.contains(name)
            || *name == "ROBUST_REQUIRE"
            || *name == config::VARIABLE
            || *name == "ROBUST_LOG"
            || name.starts_with("RUST_TEST_")
            || *name == "NEXTEST"
            || (name.starts_with("NEXTEST_") && !stays.iter().any(|prefix| name.starts_with(prefix)))
    };
    env.keys().filter(goes).cloned().collect()
}

/// The arguments that the variables stand for, of options that the command line does not give.
pub(super) fn words(given: &ArgMatches, env: &BTreeMap<String, String>) -> Result<Vec<String>, CliError> {
    let mut words = Vec::new();
    for argument in own() {
        let variable = variable(&argument);
        let value = match env.get(&variable) {
            Some(value) if !value.is_empty() => value,
            _ => continue,
        };
        if given.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine) {
            continue;
        }
        let flag = argument.get_long().unwrap_or_default();
        let before = words.len();
        match argument.get_action() {
            ArgAction::SetTrue => {
                if is_on(&variable, value)? {
                    words.push(format!("--{flag}"));
                }
            }
            ArgAction::Append => {
                let values = value.split(',').map(str::trim).filter(|value| !value.is_empty());
                words.extend(values.map(|value| format!("--{flag}={value}")));
            }
            // It may stand without a value, so it can be turned on and off as those that have none.
            _ if argument
                .get_num_args()
                .is_some_and(|values| values.min_values() == 0)
                && let Ok(on) = is_on(&variable, value) =>
            {
                if on {
                    words.push(format!("--{flag}"));
                }
            }
            _ => words.push(format!("--{flag}={value}")),
        }
        // Each on its own, so that the error names the variable.
        if let Err(error) = command().try_get_matches_from(&words[before..]) {
            let text = CliError::from_clap(&error).text;
            return Err(CliError::unusable(format!("{variable}: {text}")));
        }
    }
    Ok(words)
}

fn is_on(variable: &str, value: &str) -> Result<bool, CliError> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(CliError::unusable(format!(
            "{variable} is `{value}`; it is 1 or true, 0 or false, or empty"
        ))),
    }
}

/// What `tracing` is to tell. `RUST_LOG` is for many programs, and some read more in it than levels and targets: where
/// it has such it does not count here.
pub(super) fn log(env: &BTreeMap<String, String>) -> Result<String, CliError> {
    let get = |name| env.get(name).filter(|value| !value.is_empty());
    if let Some(own) = get("ROBUST_LOG") {
        return match own.parse::<Targets>() {
            Ok(_) => Ok(own.clone()),
            Err(error) => Err(CliError::unusable(format!(
                "ROBUST_LOG is `{own}`: {error}; it is a level (error, warn, info, debug, trace, off) or TARGET=LEVEL, \
                 several separated by commas"
            ))),
        };
    }
    let shared = get("RUST_LOG").filter(|text| text.parse::<Targets>().is_ok());
    Ok(shared.cloned().unwrap_or_default())
}

/// libtest's variables.
pub(super) struct Libtest<'a> {
    threads: Option<&'a str>,
    pub(super) no_capture: bool,
    pub(super) shuffle: bool,
    pub(super) shuffle_seed: Option<u64>,
}

impl<'a> Libtest<'a> {
    pub(super) fn read(env: &'a BTreeMap<String, String>) -> Result<Self, CliError> {
        let is_set = |name| env.get(name).is_some_and(|value| value != "0");
        let shuffle_seed = match env.get("RUST_TEST_SHUFFLE_SEED") {
            Some(text) => Some(text.parse().map_err(|_| {
                CliError::unusable(format!("RUST_TEST_SHUFFLE_SEED is `{text}`, should be a number"))
            })?),
            None => None,
        };
        Ok(Self {
            threads: env.get("RUST_TEST_THREADS").map(String::as_str),
            no_capture: is_set("RUST_TEST_NOCAPTURE"),
            shuffle: is_set("RUST_TEST_SHUFFLE"),
            shuffle_seed,
        })
    }

    /// `RUST_TEST_THREADS`, looked at only where `--test-threads` is not given.
    pub(super) fn threads(&self) -> Result<Option<NonZeroUsize>, CliError> {
        let Some(text) = self.threads else {
            return Ok(None);
        };
        match threads(text) {
            Ok(threads) => Ok(NonZeroUsize::new(threads)),
            Err(_) => Err(CliError::unusable(format!(
                "RUST_TEST_THREADS is `{text}`, should be a positive integer."
            ))),
        }
    }
}

/// The run of nextest that this process is a part of.
pub(super) fn nextest(env: &BTreeMap<String, String>) -> Option<NextestRun> {
    let get = |name| env.get(name).filter(|value| !value.is_empty()).cloned();
    if get("NEXTEST").as_deref() != Some("1") {
        return None;
    }
    Some(NextestRun {
        run_id: get("NEXTEST_RUN_ID")?,
        attempt_id: get("NEXTEST_ATTEMPT_ID"),
    })
}
