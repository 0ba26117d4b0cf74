//! The command line of a bench.

/// How cargo compiles the suites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// What `cargo test` uses.
    Dev,
    /// What `cargo test --release` uses.
    Release,
}

impl Profile {
    /// Cargo's name for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Release => "release",
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Sizes that only show that the bench works.
    pub(crate) quick: bool,
    /// The profiles to measure, in this order.
    pub(crate) profiles: Vec<Profile>,
    /// How often each side runs.
    pub(crate) rounds: usize,
}

impl Options {
    /// Reads `[--quick] [--profile dev|release] [--rounds N]`. Without cargo's own `--bench`, which
    /// `cargo test --benches` does not give, it is quick as well.
    pub(crate) fn from_args(profiles: &[Profile], rounds: usize) -> Self {
        let mut options = Self {
            quick: true,
            profiles: profiles.to_vec(),
            rounds,
        };
        let mut asked_quick = std::env::var_os("ROBUST_BENCH_QUICK").is_some_and(|value| !value.is_empty());
        let mut asked_rounds = None;
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => options.quick = false,
                "--quick" => asked_quick = true,
                "--profile" => match arguments.next().as_deref() {
                    Some("dev") => options.profiles = vec![Profile::Dev],
                    Some("release") => options.profiles = vec![Profile::Release],
                    other => usage(&format!("--profile {other:?}: dev or release")),
                },
                "--rounds" => match arguments.next().and_then(|number| number.parse().ok()) {
                    Some(number) if number > 0 => asked_rounds = Some(number),
                    _ => usage("--rounds: a number above 0"),
                },
                other => usage(&format!("unknown argument {other}")),
            }
        }
        options.quick |= asked_quick;
        if options.quick {
            options.rounds = 1;
        }
        options.rounds = asked_rounds.unwrap_or(options.rounds);
        options
    }

    /// `full`, or `quick` where sizes are to be small.
    pub(crate) fn size(&self, full: u64, quick: u64) -> u64 {
        if self.quick { quick } else { full }
    }
}

fn usage(problem: &str) -> ! {
    eprintln!("{problem}\nusage: cargo bench --bench NAME -- [--quick] [--profile dev|release] [--rounds N]");
    std::process::exit(2)
}
