//! What the arguments, the environment and `robust.toml` come to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use crate::plan::ListFormat;
use crate::registry::Isolation;
use crate::require::Require;
use crate::seed::Seed;
use crate::selection::Selection;
use crate::variant::Choice;

/// Everything the command line, the environment and `robust.toml` say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which cases. Its `last_failed` is `None`: whoever knows the report folder reads the names.
    pub selection: Selection,
    /// `--last-failed`.
    pub last_failed: bool,
    /// `--budget`: how long the run may take, so that only what fits is chosen.
    pub budget: Option<Duration>,
    /// `--profile`, where it names another one than the default.
    pub profile: Option<String>,
    /// `--list`: print the names and run nothing.
    pub list: Option<ListFormat>,
    /// `--plan`: print what would run and run nothing.
    pub plan: bool,
    /// `--faults`: print the kinds of faults and run nothing.
    pub faults: bool,
    /// `--explain`: run failed cases again with other variants.
    pub explain: bool,
    /// `--report-from`: make the reports from these event files and run nothing. Empty: run.
    pub report_from: Vec<PathBuf>,
    /// The console's format.
    pub format: Format,
    /// Whether the console is coloured.
    pub color: Color,
    /// Print the output of passed cases too.
    pub show_output: bool,
    /// Let cases print at once.
    pub no_capture: bool,
    /// Print each case's duration.
    pub report_time: bool,
    /// Write the verdicts here too, one a line.
    pub logfile: Option<PathBuf>,
    /// The fixed number of slots; `None`: as many as the machine takes.
    pub test_threads: Option<NonZeroUsize>,
    /// Where cases run whose scenario does not say; `None`: in workers.
    pub isolation: Option<Isolation>,
    /// The deadline of scenarios that state none.
    pub timeout: Duration,
    /// The retries of scenarios that state none.
    pub retries: u32,
    /// After how many bad verdicts nothing new starts (`--fail-fast`: 1).
    pub max_fail: Option<NonZeroUsize>,
    /// How often the plan runs.
    pub repeat: NonZeroU32,
    /// How long the plan is run again and again.
    pub run_for: Option<Duration>,
    /// `--keep-on-failure`: how long what the first bad case started is left up at most.
    pub keep_on_failure: Option<Duration>,
    /// `--serve`: run nothing and leave this up.
    pub serve: Option<Serve>,
    /// Whether the order is random, and from which seed.
    pub shuffle: Option<Shuffle>,
    /// The root seed; `None`: a random one.
    pub seed: Option<Seed>,
    /// Where to write JUnit XML beside the report folder's.
    pub junit: Option<PathBuf>,
    /// The report folder; `None`: below cargo's target folder.
    pub report_dir: Option<PathBuf>,
    /// Print the logs of failed cases in full.
    pub show_logs: bool,
    /// Keep the files of cases that passed too.
    pub keep_logs: bool,
    /// `ROBUST_LOG`, else `RUST_LOG` where that can be read: what of `tracing` goes to cases' outputs. Empty: `info`.
    pub log: String,
    /// The programs that replace those of kinds, by `KIND` or `KIND@VERSION`: absolute paths.
    pub bins: BTreeMap<String, PathBuf>,
    /// `[external.KIND]` of `robust.toml`, as in [`crate::param::Environment::external`].
    pub external: BTreeMap<String, BTreeMap<String, SocketAddr>>,
    /// `--variants` and `--variant`.
    pub variants: Choice,
    /// `ROBUST_REQUIRE`.
    pub require: Require,
    /// The run of cargo-nextest that this process is a part of.
    pub nextest: Option<NextestRun>,
}

/// The console's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A line a case.
    Pretty,
    /// A character a case.
    Terse,
    /// A JSON object a line, as libtest's.
    Json,
}

/// Whether the console is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// When it is a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Where the order of a shuffled run comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shuffle {
    /// `--shuffle`: the root seed.
    Root,
    /// `--shuffle-seed`.
    Seed(Seed),
}

impl Shuffle {
    /// The seed for [`crate::plan::Plan::shuffle`], given the root seed.
    pub fn seed(self, root: Seed) -> Seed {
        match self {
            Self::Root => root,
            Self::Seed(seed) => seed,
        }
    }
}

/// The run of cargo-nextest that started this process for one of its tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextestRun {
    /// `NEXTEST_RUN_ID`: the same for all processes of the run.
    pub run_id: String,
    /// `NEXTEST_ATTEMPT_ID`, where nextest is new enough to tell it: another one for each attempt of each
    /// test.
    pub attempt_id: Option<String>,
}

/// `--serve KIND[xN]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serve {
    /// The kind of server.
    pub kind: String,
    /// How many nodes of a cluster; `None`: one server.
    pub nodes: Option<NonZeroUsize>,
}
