//! The command line, the environment and `robust.toml`, as one plain [`Settings`].
//!
//! libtest's flags keep libtest's meaning; every flag of our own has a variable `ROBUST_<FLAG>` that counts
//! where the flag is not given, and profiles of `robust.toml` count where neither says anything. Nothing outside
//! this module knows clap, `libtest_mimic` or TOML.

mod arguments;
mod config;
mod environment;
mod profile;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::FromArgMatches as _;
use libtest_mimic::{ColorSetting, FormatSetting};

use crate::exit::Exit;
use crate::near_miss::Hint;
use crate::param::{INSTALLED, is_executable};
use crate::plan::ListFormat;
use crate::require::{KnownNames, Require};
use crate::seed::Seed;
use crate::selection::{Ignored, Selection};
use crate::variant::{Choice, Given};
use arguments::{AllArguments, Bin, command};
pub use config::{Config, ConfigError};
pub use environment::{environment_for_children, process_environment};
pub use settings::{Color, Format, NextestRun, Serve, Settings, Shuffle};

/// Why there are no settings: something is wrong, or help was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct CliError {
    /// [`Exit::Unusable`], or [`Exit::Passed`] for help, which belongs on stdout.
    pub exit: Exit,
    /// One line that names the option or variable, or the help.
    pub text: String,
}

impl CliError {
    fn unusable(text: impl Into<String>) -> Self {
        Self {
            exit: Exit::Unusable,
            text: text.into(),
        }
    }

    fn from_clap(error: &clap::Error) -> Self {
        if error.kind() == clap::error::ErrorKind::DisplayHelp {
            return Self {
                exit: Exit::Passed,
                text: error.to_string(),
            };
        }
        Self::unusable(one_line(&error.to_string()))
    }
}

/// What clap says about an argument, without its usage and on one line.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let told: Vec<&str> = lines
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty() && !line.starts_with("tip: to pass"))
        .map(|line| line.trim_start_matches("error: "))
        .collect();
    told.join("; ").replace(":; ", ": ").replace("; [", " [")
}

/// Settings from the arguments after the program's name, from the environment ([`process_environment`]) and from
/// `robust.toml` ([`Config::find`]), which is asked for only where the others are right. Touches nothing but the
/// files that `--bin` and `[bin]` name.
///
/// # Errors
/// The first thing that is wrong with them, or the help.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: &BTreeMap<String, String>,
    known: KnownNames<'_>,
    config: impl FnOnce() -> Result<Option<Config>, ConfigError>,
) -> Result<Settings, CliError> {
    let mut words = args
        .into_iter()
        .map(|word| {
            word.into_string()
                .map_err(|word| CliError::unusable(format!("the argument {word:?} is not valid UTF-8")))
        })
        .collect::<Result<Vec<String>, CliError>>()?;
    let matches = |words: &[String]| {
        let matches = command().try_get_matches_from(words);
        matches.map_err(|error| CliError::from_clap(&error))
    };
    let mut found = matches(&words)?;
    let from_environment = environment::words(&found, env)?;
    if !from_environment.is_empty() {
        words.splice(0..0, from_environment);
        found = matches(&words)?;
    }
    let config = config().map_err(|error| CliError::unusable(error.to_string()))?;
    let chosen = found.get_one::<String>("profile");
    let defaults = profile::defaults(config.as_ref(), chosen.map(String::as_str), &found, env)?;
    if !defaults.words.is_empty() {
        words.splice(0..0, defaults.words);
        found = matches(&words)?;
    }
    let arguments = AllArguments::from_arg_matches(&found).map_err(|error| CliError::from_clap(&error))?;
    let require = match env.get("ROBUST_REQUIRE").filter(|value| !value.is_empty()) {
        Some(require) => require,
        None => defaults.require.as_deref().unwrap_or_default(),
    };
    let require = Require::parse(require, known).map_err(|error| CliError::unusable(error.to_string()))?;
    let bins = bins(&arguments.choosing.bin, &defaults.bins, config.as_ref(), known)?;
    let served = arguments.running.serve.as_deref();
    let served = served.map(|text| serve(text, known)).transpose()?;
    let of_kinds = OfKinds {
        require,
        bins,
        serve: served,
    };
    settings(arguments, env, config, of_kinds)
}

/// What can only be read by who knows the kinds.
struct OfKinds {
    require: Require,
    bins: BTreeMap<String, PathBuf>,
    serve: Option<Serve>,
}

fn settings(
    arguments: AllArguments,
    env: &BTreeMap<String, String>,
    config: Option<Config>,
    of_kinds: OfKinds,
) -> Result<Settings, CliError> {
    let AllArguments {
        libtest,
        more,
        choosing,
        running,
        reporting,
    } = arguments;
    let libtest_variables = environment::Libtest::read(env)?;
    let format = match libtest.format {
        None if libtest.quiet => Format::Terse,
        None | Some(FormatSetting::Pretty) => Format::Pretty,
        Some(FormatSetting::Terse) => Format::Terse,
        Some(FormatSetting::Json) => Format::Json,
    };
    let list = match (libtest.list, format) {
        (false, _) => None,
        (true, Format::Pretty) => Some(ListFormat::Pretty),
        (true, Format::Terse) => Some(ListFormat::Terse),
        (true, Format::Json) => {
            return Err(CliError::unusable(
                "--list has the formats pretty and terse, not json",
            ));
        }
    };
    let ignored = match (libtest.ignored, libtest.include_ignored) {
        (false, false) => Ignored::Skip,
        (true, false) => Ignored::Only,
        (false, true) => Ignored::Include,
        (true, true) => {
            return Err(CliError::unusable(
                "the options --include-ignored and --ignored are mutually exclusive",
            ));
        }
    };
    let shuffle_seed = more.shuffle_seed.or(libtest_variables.shuffle_seed);
    let shuffle = match shuffle_seed {
        Some(seed) => Some(Shuffle::Seed(Seed(seed))),
        None if more.shuffle || libtest_variables.shuffle => Some(Shuffle::Root),
        None => None,
    };
    let max_fail = match (more.fail_fast, running.max_fail) {
        (true, _) => Some(NonZeroUsize::MIN),
        (false, max_fail) => max_fail,
    };
    Ok(Settings {
        selection: Selection {
            filters: libtest.filter.into_iter().chain(more.filters).collect(),
            exact: libtest.exact,
            skip: libtest.skip,
            ignored,
            benchmarks_only: libtest.bench,
            tags: choosing.tag,
            skip_tags: choosing.skip_tag,
            shard: choosing.shard,
            last_failed: None,
        },
        last_failed: choosing.last_failed,
        budget: choosing.budget,
        profile: choosing.profile.filter(|name| name != profile::DEFAULT),
        list,
        plan: reporting.plan,
        faults: reporting.faults,
        explain: reporting.explain,
        report_from: reporting.report_from,
        format,
        color: match libtest.color {
            None | Some(ColorSetting::Auto) => Color::Auto,
            Some(ColorSetting::Always) => Color::Always,
            Some(ColorSetting::Never) => Color::Never,
        },
        show_output: libtest.show_output,
        no_capture: libtest.nocapture || libtest_variables.no_capture,
        report_time: more.report_time.is_some(),
        logfile: libtest.logfile.map(PathBuf::from),
        test_threads: match libtest.test_threads {
            Some(threads) => NonZeroUsize::new(threads),
            None => libtest_variables.threads()?,
        },
        isolation: running.isolation.map(Into::into),
        timeout: running.timeout,
        retries: running.retries,
        max_fail,
        repeat: running.repeat,
        run_for: running.run_for,
        keep_on_failure: running.keep_on_failure,
        serve: of_kinds.serve,
        shuffle,
        seed: running.seed.map(Seed),
        junit: reporting.junit,
        report_dir: reporting.report_dir,
        show_logs: reporting.show_logs,
        keep_logs: reporting.keep_logs,
        log: environment::log(env)?,
        bins: of_kinds.bins,
        external: config.map(|config| config.external).unwrap_or_default(),
        variants: Choice {
            mode: choosing.variants.into(),
            given: variants(choosing.variant)?,
        },
        require: of_kinds.require,
        nextest: environment::nextest(env),
    })
}

/// What `--serve` names: a kind, whose name may itself end in `x3`, or a kind and a number of nodes.
fn serve(text: &str, known: KnownNames<'_>) -> Result<Serve, CliError> {
    let is_kind = |name: &str| known.kinds.contains(&name);
    let of_one = || Serve {
        kind: text.to_owned(),
        nodes: None,
    };
    if is_kind(text) {
        return Ok(of_one());
    }
    let cluster = text.rsplit_once('x').and_then(|(kind, nodes)| {
        let nodes = nodes.parse().ok()?;
        is_kind(kind).then(|| Serve {
            kind: kind.to_owned(),
            nodes: Some(nodes),
        })
    });
    cluster.ok_or_else(|| {
        let hint = Hint::new(text, known.kinds.iter().copied());
        CliError::unusable(format!(
            "--serve: `{text}` is no kind, nor a kind and a number of nodes such as `KINDx3`{hint}"
        ))
    })
}

/// The programs that replace those of kinds, by `KIND[@VERSION]`: those of `--bin` or of the profiles, and of `[bin]`
/// what these do not give; the paths absolute.
fn bins(
    given: &[Bin],
    of_profiles: &[(usize, Bin)],
    config: Option<&Config>,
    known: KnownNames<'_>,
) -> Result<BTreeMap<String, PathBuf>, CliError> {
    let mut found = BTreeMap::new();
    for bin in given {
        let wrong = |problem: String| CliError::unusable(format!("--bin: {problem}"));
        let path = program(bin, known).map_err(wrong)?;
        if found.insert(bin.key(), path).is_some() {
            return Err(wrong(format!("`{}` is given twice", bin.key())));
        }
    }
    let Some(config) = config else {
        return Ok(found);
    };
    let wrong = |at, key: &str, problem| {
        CliError::unusable(config.wrong(at, format!("bin.{key}: {problem}")).to_string())
    };
    for (at, bin) in of_profiles {
        let key = bin.key();
        let path = program(bin, known).map_err(|problem| wrong(*at, &key, problem))?;
        if found.insert(key.clone(), path).is_some() {
            return Err(wrong(*at, &key, "it is given twice".to_owned()));
        }
    }
    for (at, bin) in &config.bins {
        if let Entry::Vacant(place) = found.entry(bin.key()) {
            let path = program(bin, known).map_err(|problem| wrong(*at, place.key(), problem))?;
            place.insert(path);
        }
    }
    Ok(found)
}

/// The absolute path of the program, or what is wrong with it.
fn program(Bin { kind, version, path }: &Bin, known: KnownNames<'_>) -> Result<PathBuf, String> {
    if !known.kinds.contains(&kind.as_str()) {
        let hint = Hint::new(kind, known.kinds.iter().copied());
        return Err(format!("no kind is called `{kind}`{hint}"));
    }
    let shown = path.display();
    if !path.exists() {
        return Err(format!("there is no file {shown} (for `{kind}`)"));
    }
    if !is_executable(path) {
        return Err(format!("{shown} (for `{kind}`) is not an executable file"));
    }
    if let Some(version) = version {
        check_version(version).map_err(|why| format!("{why} (for `{kind}`)"))?;
    }
    // Cases run in folders of their own.
    std::path::absolute(path).map_err(|error| format!("{shown}: {error}"))
}

/// Versions are values of an axis of variants.
fn check_version(version: &str) -> Result<(), String> {
    if version == INSTALLED {
        return Err("the version `installed` is what --bin KIND=PATH replaces".to_owned());
    }
    match crate::variant::unusable(version, false) {
        Some(why) => Err(format!("the version {version:?} {why}")),
        None => Ok(()),
    }
}

/// What `--variant` gives, none of it twice.
fn variants(given: Vec<Given>) -> Result<Vec<Given>, CliError> {
    let mut all: Vec<Given> = Vec::new();
    for given in given {
        let same = |other: &&Given| other.param == given.param && other.axis == given.axis;
        match all.iter().find(same) {
            Some(other) if other.value == given.value => {}
            Some(other) => {
                return Err(CliError::unusable(format!(
                    "--variant: {other} and {given} contradict each other"
                )));
            }
            None => all.push(given),
        }
    }
    Ok(all)
}
