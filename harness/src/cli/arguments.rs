//! The arguments as clap sees them: `libtest_mimic`'s, those of libtest that it lacks, and our own.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Args, Command, CommandFactory as _, Parser, ValueEnum};

use crate::selection::Shard;
use crate::variant::Given;

/// All arguments.
#[derive(Parser, Debug)]
pub(super) struct AllArguments {
    #[command(flatten)]
    pub(super) libtest: libtest_mimic::Arguments,
    #[command(flatten)]
    pub(super) more: MoreOfLibtest,
    #[command(flatten)]
    pub(super) choosing: Choosing,
    #[command(flatten)]
    pub(super) running: Running,
    #[command(flatten)]
    pub(super) reporting: Reporting,
}

/// What libtest takes and `libtest_mimic` does not.
#[derive(Args, Debug)]
pub(super) struct MoreOfLibtest {
    #[arg(long, help = "Run in random order; the order follows from the root seed")]
    pub(super) shuffle: bool,
    #[arg(long, value_name = "SEED", help = "Run in the random order of this seed")]
    pub(super) shuffle_seed: Option<u64>,
    #[arg(
        long,
        value_enum,
        value_name = "plain|colored",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "plain",
        help = "Show the duration of each case"
    )]
    pub(super) report_time: Option<ReportTime>,
    #[arg(
        long,
        help = "Start nothing new after the first bad verdict (as --max-fail 1)"
    )]
    pub(super) fail_fast: bool,
    #[arg(long, hide = true)]
    pub(super) force_run_in_process: bool,
    #[arg(value_name = "FILTER", hide = true, index = 2)]
    pub(super) filters: Vec<String>,
}

/// Both mean the same: durations are not judged.
#[derive(ValueEnum, Debug, Clone, Copy)]
pub(super) enum ReportTime {
    Plain,
    Colored,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Choosing")]
pub(super) struct Choosing {
    #[arg(
        long,
        value_name = "TAG",
        help = "Only scenarios that have one of these tags [default: all] [repeatable]"
    )]
    pub(super) tag: Vec<String>,
    #[arg(
        long,
        value_name = "TAG",
        help = "No scenario that has one of these tags [default: none] [repeatable]"
    )]
    pub(super) skip_tag: Vec<String>,
    #[arg(
        long,
        value_name = "I/N",
        help = "The I-th of N parts of the cases, from 1 on, divided by name [default: all]"
    )]
    pub(super) shard: Option<Shard>,
    #[arg(
        long,
        help = "Only cases whose last verdict in this report folder was bad [default: off]"
    )]
    pub(super) last_failed: bool,
    #[arg(
        long,
        value_name = "D",
        value_parser = duration,
        help = "Only what fits in this time, such as 20m: what failed last, what never ran, what ran longest ago \
                [default: all]"
    )]
    pub(super) budget: Option<Duration>,
    #[arg(
        long,
        value_name = "NAME",
        help = "The profile of robust.toml whose options count above those of `default` [default: default]"
    )]
    pub(super) profile: Option<String>,
    #[arg(
        long,
        value_name = "KIND[@VERSION]=PATH",
        help = "The program of a kind [default: found on PATH] [repeatable]"
    )]
    pub(super) bin: Vec<Bin>,
    #[arg(
        long,
        value_enum,
        value_name = "MODE",
        default_value_t = Variants::Random,
        help = "The variants of kinds: random (one draw a case), default, all (each combination a case), pairwise \
                (each pair of values in a case)"
    )]
    pub(super) variants: Variants,
    #[arg(
        long,
        value_name = "[PARAM.]AXIS=VALUE",
        help = "A variant that kinds have, in all parameters or in one [default: as --variants says] [repeatable]"
    )]
    pub(super) variant: Vec<Given>,
}

/// [`crate::variant::Mode`] on the command line.
#[derive(ValueEnum, Debug, Clone, Copy)]
pub(super) enum Variants {
    Random,
    Default,
    All,
    Pairwise,
}

impl From<Variants> for crate::variant::Mode {
    fn from(variants: Variants) -> Self {
        match variants {
            Variants::Random => Self::Random,
            Variants::Default => Self::Default,
            Variants::All => Self::All,
            Variants::Pairwise => Self::Pairwise,
        }
    }
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Running")]
pub(super) struct Running {
    #[arg(
        long,
        value_name = "N",
        help = "The root seed of all random draws [default: random, printed]"
    )]
    pub(super) seed: Option<u64>,
    #[arg(
        long,
        value_enum,
        value_name = "WHERE",
        help = "Where cases run: worker (pooled processes), process (one each), none (the runner) \
                [default: worker]"
    )]
    pub(super) isolation: Option<Isolation>,
    #[arg(
        long,
        value_name = "D",
        value_parser = duration,
        default_value = "60s",
        help = "The deadline of scenarios that state none, such as 90s or 2m"
    )]
    pub(super) timeout: Duration,
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        help = "How often a bad case of a scenario that does not say is tried again"
    )]
    pub(super) retries: u32,
    #[arg(
        long,
        value_name = "N",
        help = "Start nothing new after N bad verdicts [default: no limit]"
    )]
    pub(super) max_fail: Option<NonZeroUsize>,
    #[arg(
        long,
        value_name = "N",
        default_value_t = NonZeroU32::MIN,
        help = "Run everything N times, each time with other seeds"
    )]
    pub(super) repeat: NonZeroU32,
    #[arg(
        long = "for",
        id = "for",
        value_name = "D",
        value_parser = duration,
        help = "Run everything again and again for this long, each time with other seeds [default: once]"
    )]
    pub(super) run_for: Option<Duration>,
    #[arg(
        long,
        value_name = "D",
        value_parser = duration,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1h",
        help = "Leave the servers of the first case that fails up until Ctrl-C, at most for D (1h where it is not given), \
                and start nothing new after it [default: off]"
    )]
    pub(super) keep_on_failure: Option<Duration>,
    #[arg(
        long,
        value_name = "KIND[xN]",
        help = "Run nothing, start a server of this kind, or a cluster of N nodes, and leave it up until Ctrl-C \
                [default: off]"
    )]
    pub(super) serve: Option<String>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Reporting")]
pub(super) struct Reporting {
    #[arg(
        long,
        value_name = "PATH",
        help = "Write JUnit XML here too [default: the report folder's junit.xml alone]"
    )]
    pub(super) junit: Option<PathBuf>,
    #[arg(
        long,
        value_name = "DIR",
        help = "The report folder [default: <target>/robust/<package>/<suite>]"
    )]
    pub(super) report_dir: Option<PathBuf>,
    #[arg(
        long,
        value_name = "FILE",
        num_args = 1..,
        help = "Run nothing, make the reports from these events.jsonl [default: off]"
    )]
    pub(super) report_from: Vec<PathBuf>,
    #[arg(
        long,
        help = "Print the logs of the nodes of failed cases, up to 64 KiB each and 1 MiB in all [default: off]"
    )]
    pub(super) show_logs: bool,
    #[arg(
        long,
        help = "Keep the logs and files of passed cases too, as those of failed ones [default: off]"
    )]
    pub(super) keep_logs: bool,
    #[arg(
        long,
        help = "Run nothing, print what would run and why the rest would not [default: off]"
    )]
    pub(super) plan: bool,
    #[arg(
        long,
        help = "Run nothing, print every fault with what it works by, and whether this machine has that [default: off]"
    )]
    pub(super) faults: bool,
    #[arg(
        long,
        help = "Run failed cases again, one variant flipped at a time, and say which matters; 10 of them at most \
                [default: off]"
    )]
    pub(super) explain: bool,
}

/// [`crate::registry::Isolation`] on the command line.
#[derive(ValueEnum, Debug, Clone, Copy)]
pub(super) enum Isolation {
    Worker,
    Process,
    None,
}

impl From<Isolation> for crate::registry::Isolation {
    fn from(isolation: Isolation) -> Self {
        match isolation {
            Isolation::Worker => Self::Worker,
            Isolation::Process => Self::Process,
            Isolation::None => Self::None,
        }
    }
}

/// `KIND[@VERSION]=PATH`.
#[derive(Debug, Clone)]
pub(super) struct Bin {
    pub(super) kind: String,
    pub(super) version: Option<String>,
    pub(super) path: PathBuf,
}

impl Bin {
    /// `KIND` or `KIND@VERSION`.
    pub(super) fn key(&self) -> String {
        match &self.version {
            Some(version) => format!("{}@{version}", self.kind),
            None => self.kind.clone(),
        }
    }
}

impl FromStr for Bin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "it has the form KIND[@VERSION]=PATH";
        let (name, path) = text.split_once('=').ok_or(FORM)?;
        let (kind, version) = match name.split_once('@') {
            Some((kind, version)) => (kind, Some(version)),
            None => (name, None),
        };
        if kind.is_empty() || path.is_empty() || version.is_some_and(str::is_empty) {
            return Err(FORM);
        }
        Ok(Self {
            kind: kind.to_owned(),
            version: version.map(str::to_owned),
            path: path.into(),
        })
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("it must be longer than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// As libtest says it.
pub(super) fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("argument for --test-threads must not be 0".to_owned()),
        Ok(threads) => Ok(threads),
        Err(error) => Err(format!(
            "argument for --test-threads must be a number > 0 (error: {error})"
        )),
    }
}

/// Our own arguments, which have variables.
pub(super) fn own() -> Vec<clap::Arg> {
    let command = Choosing::augment_args(Command::new(""));
    let command = Reporting::augment_args(Running::augment_args(command));
    command.get_arguments().cloned().collect()
}

/// The variable of one of our own arguments.
pub(super) fn variable(argument: &clap::Arg) -> String {
    variable_of(argument.get_long().unwrap_or_default())
}

/// The variable of one of our own options, by its long name.
pub(super) fn variable_of(flag: &str) -> String {
    format!("ROBUST_{}", flag.to_uppercase().replace('-', "_"))
}

/// The parser. Takes the arguments without the program's name.
pub(super) fn command() -> Command {
    // Made once: a copy costs a tenth, and each variable and each profile is looked at by one of its own.
    static MADE: OnceLock<Command> = OnceLock::new();
    let make = || {
        let mut command = make_command();
        command.build();
        command
    };
    MADE.get_or_init(make).clone()
}

fn make_command() -> Command {
    let mut command = AllArguments::command()
        .no_binary_name(true)
        .disable_version_flag(true)
        .about(None::<&str>)
        .help_template("Usage: [OPTIONS] [FILTER]..\n\n{all-args}{after-help}")
        .after_help(AFTER_HELP)
        // One help, the same for -h and --help.
        .mut_args(|argument| {
            let takes_value = argument.get_action().takes_values();
            argument
                .long_help(Resettable::Reset)
                .hide_possible_values(takes_value)
        })
        .mut_arg("filter", |argument| {
            argument.index(1).value_name("FILTER").help(
                "Run cases whose name (`module::scenario[axis=label,..]`) holds one of the filters; several \
                 may be given",
            )
        })
        .mut_arg("include_ignored", |argument| {
            argument.help("Run ignored cases too")
        })
        .mut_arg("ignored", |argument| argument.help("Run ignored cases alone"))
        .mut_arg("list", |argument| argument.help("List the cases and run nothing"))
        .mut_arg("exact", |argument| {
            argument.help("Filters are whole names of cases or, for all of its cases, of a scenario")
        })
        .mut_arg("nocapture", |argument| {
            argument
                .visible_alias("no-capture")
                .help("Let cases print at once instead of capturing their output")
        })
        .mut_arg("show_output", |argument| {
            argument.help("Print the output of passed cases too")
        })
        .mut_arg("unstable_flags", |argument| {
            argument.help("Accepted: formats need no flag here")
        })
        .mut_arg("skip", |argument| {
            argument.help("Leave out cases whose name holds FILTER; may be given several times")
        })
        .mut_arg("color", |argument| {
            argument.help("Colour the output [default: auto, when it goes to a terminal]")
        })
        .mut_arg("format", |argument| {
            argument.help("A line a case, a character a case, or libtest's JSON [default: pretty]")
        })
        .mut_arg("logfile", |argument| {
            argument.help("Write the verdicts here too, one a line")
        })
        .mut_arg("unstable_flags", |argument| {
            argument.value_name("unstable-options")
        })
        .mut_arg("test", |argument| argument.help("Accepted: cases are tests"))
        .mut_arg("bench", |argument| {
            argument.help("Run benchmarks alone: no case is one")
        })
        // As in libtest, `--format` decides.
        .mut_arg("quiet", |argument| {
            argument
                .conflicts_with(Resettable::Reset)
                .help("A character a case; short for --format terse")
        })
        .mut_arg("test_threads", |argument| {
            argument
                .value_name("N")
                .value_parser(threads)
                .help("Run this many cases at once [default: as many as the machine takes]")
        });
    for argument in own() {
        let variable = variable(&argument);
        command = command.mut_arg(argument.get_id().as_str(), |argument| {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            argument.help(format!("{help} [env: {variable}]"))
        });
    }
    command
}

const AFTER_HELP: &str = "\
Environment:
  An option's variable counts where the option is not given; empty is unset. Options without a value take 1 or 0,
  repeatable ones several values separated by commas.
  ROBUST_REQUIRE=all|NAME,..  Kinds and mechanisms that must be available: errors instead of skips
  ROBUST_CONFIG=PATH  The robust.toml of this run
  ROBUST_LOG=LEVEL|TARGET=LEVEL,..  What `tracing` tells goes to a case's output: error, warn, info, debug, trace or
                              off, for all or by module [default: RUST_LOG's, else info]
  RUST_TEST_THREADS, RUST_TEST_NOCAPTURE, RUST_TEST_SHUFFLE, RUST_TEST_SHUFFLE_SEED  As for libtest

robust.toml, in the package's folder or above it up to the workspace's:
  Options by their long names, for where neither the command line nor a variable gives them:
    [profile.default]   Always counts, under the profile of --profile
    [profile.ci]        Counts with --profile ci; `inherits = \"NAME\"` builds on another
    timeout = \"2m\"      A string, a number, true or false, or a list; `require = \"all\"` is ROBUST_REQUIRE
  [bin]                 KIND or \"KIND@VERSION\" = PATH, as --bin
  [external.KIND]       PORT = \"ADDRESS:PORT\" of a server that already runs
  Paths are relative to the file's folder.

Exit codes:
  0    passed
  101  a case failed or errored, or nothing ran where something should
  2    the arguments or the set-up are unusable";
