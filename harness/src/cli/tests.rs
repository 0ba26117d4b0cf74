use std::num::NonZeroU32;
use std::os::unix::ffi::OsStringExt as _;
use std::time::Duration;

use super::*;
use crate::registry::Isolation;

const KNOWN: KnownNames<'static> = KnownNames {
    kinds: &["mosquitto", "nanomq"],
    mechanisms: &["namespaces"],
};

fn try_with(args: &[&str], env: &[(&str, &str)]) -> Result<Settings, CliError> {
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    parse(args.iter().map(OsString::from), &env.collect(), KNOWN, || {
        Ok(None)
    })
}

#[track_caller]
fn with(args: &[&str], env: &[(&str, &str)]) -> Settings {
    try_with(args, env).unwrap_or_else(|error| panic!("{args:?}: {error}"))
}

#[track_caller]
fn settings_of(args: &[&str]) -> Settings {
    with(args, &[])
}

/// The text of an error with exit code 2, which is one line.
#[track_caller]
fn error_with(args: &[&str], env: &[(&str, &str)]) -> String {
    let error = try_with(args, env).expect_err("an error");
    assert_eq!(error.exit, Exit::Unusable);
    assert_eq!(error.text.lines().count(), 1, "{error}");
    error.text
}

#[track_caller]
fn error(args: &[&str]) -> String {
    error_with(args, &[])
}

#[test]
fn the_command_is_consistent() {
    command().debug_assert();
}

#[test]
fn without_arguments_everything_has_its_default() {
    let settings = settings_of(&[]);
    assert_eq!(settings.selection, Selection::default());
    assert_eq!((settings.format, settings.color), (Format::Pretty, Color::Auto));
    assert_eq!((settings.timeout, settings.retries), (Duration::from_secs(60), 0));
    assert_eq!((settings.repeat, settings.run_for), (NonZeroU32::MIN, None));
    assert_eq!(
        (settings.list, settings.plan, settings.last_failed),
        (None, false, false)
    );
    assert_eq!(
        (settings.isolation, settings.test_threads, settings.max_fail),
        (None, None, None)
    );
    assert_eq!(
        (settings.seed, settings.shuffle, settings.nextest),
        (None, None, None)
    );
    assert_eq!(settings.require, Require::Nothing);
    assert!(settings.bins.is_empty() && settings.report_from.is_empty());
    assert!(!settings.no_capture && !settings.show_output && !settings.report_time);
}

#[test]
fn libtests_flags_are_taken_as_libtest_takes_them() {
    let settings = settings_of(&[
        "a",
        "--exact",
        "b",
        "--skip",
        "c",
        "--skip=d",
        "e",
        "--include-ignored",
        "--test",
        "--show-output",
        "--logfile",
        "/tmp/log",
        "--test-threads",
        "3",
        "--color=never",
        "--force-run-in-process",
        "--report-time",
        "f",
    ]);
    assert_eq!(settings.selection.filters, ["a", "b", "e", "f"]);
    assert_eq!(settings.selection.skip, ["c", "d"]);
    assert!(settings.selection.exact && settings.show_output && settings.report_time);
    assert_eq!(settings.selection.ignored, Ignored::Include);
    assert_eq!(settings.logfile, Some("/tmp/log".into()));
    assert_eq!(settings.test_threads.unwrap().get(), 3);
    assert_eq!(settings.color, Color::Never);
    assert!(settings_of(&["--report-time=plain"]).report_time);
    assert!(settings_of(&["--report-time=colored"]).report_time);
    assert!(settings_of(&["--no-capture"]).no_capture && settings_of(&["--nocapture"]).no_capture);
    assert_eq!(settings_of(&["--ignored"]).selection.ignored, Ignored::Only);
    assert_eq!(settings_of(&["--fail-fast"]).max_fail.unwrap().get(), 1);
    assert_eq!(
        settings_of(&["--fail-fast", "--max-fail=3"])
            .max_fail
            .unwrap()
            .get(),
        1
    );
    assert!(settings_of(&["--bench"]).selection.benchmarks_only);
    assert_eq!(settings_of(&["--", "--odd"]).selection.filters, ["--odd"]);
}

#[test]
fn formats_need_no_unstable_flag_and_may_have_it() {
    let format = |args: &[&str]| settings_of(args).format;
    assert_eq!(format(&["--format", "json"]), Format::Json);
    assert_eq!(format(&["-Zunstable-options", "--format=json"]), Format::Json);
    assert_eq!(
        format(&["-Z", "unstable-options", "--format=terse"]),
        Format::Terse
    );
    assert_eq!(format(&["-q"]), Format::Terse);
    assert_eq!(format(&["--quiet", "--format=pretty"]), Format::Pretty);
    // What cargo-nextest sends.
    assert_eq!(
        settings_of(&["--list", "--format", "terse"]).list,
        Some(ListFormat::Terse)
    );
    assert_eq!(settings_of(&["--list"]).list, Some(ListFormat::Pretty));
    let nextest = settings_of(&["--exact", "m::x[a=1]", "--nocapture"]);
    assert_eq!(nextest.selection.filters, ["m::x[a=1]"]);
    assert_eq!(
        error(&["--list", "--format=json"]),
        "--list has the formats pretty and terse, not json"
    );
}

#[test]
fn a_shuffle_follows_its_seed_or_the_root_seed() {
    assert_eq!(settings_of(&["--shuffle"]).shuffle, Some(Shuffle::Root));
    let seeded = Some(Shuffle::Seed(Seed(7)));
    assert_eq!(settings_of(&["--shuffle-seed", "7"]).shuffle, seeded);
    assert_eq!(
        with(&["--shuffle"], &[("RUST_TEST_SHUFFLE_SEED", "7")]).shuffle,
        seeded
    );
    assert_eq!(
        with(&[], &[("RUST_TEST_SHUFFLE", "1")]).shuffle,
        Some(Shuffle::Root)
    );
    assert_eq!(with(&[], &[("RUST_TEST_SHUFFLE", "0")]).shuffle, None);
    assert_eq!(Shuffle::Root.seed(Seed(3)), Seed(3));
    assert_eq!(Shuffle::Seed(Seed(7)).seed(Seed(3)), Seed(7));
}

#[test]
fn our_own_flags() {
    let settings = settings_of(&[
        "--tag=a",
        "--tag",
        "b",
        "--skip-tag=c",
        "--shard",
        "2/5",
        "--last-failed",
        "--seed=42",
        "--isolation=process",
        "--timeout=1m 30s",
        "--retries=2",
        "--max-fail=4",
        "--repeat=5",
        "--for=2h",
        "--junit=out/junit.xml",
        "--report-dir=out",
        "--show-logs",
        "--keep-logs",
        "--plan",
    ]);
    assert_eq!(settings.selection.tags, ["a", "b"]);
    assert_eq!(settings.selection.skip_tags, ["c"]);
    assert_eq!(settings.selection.shard, Some("2/5".parse().unwrap()));
    assert!(settings.last_failed && settings.plan && settings.show_logs && settings.keep_logs);
    assert_eq!(settings.seed, Some(Seed(42)));
    assert_eq!(settings.isolation, Some(Isolation::Process));
    assert_eq!(settings.timeout, Duration::from_secs(90));
    assert_eq!((settings.retries, settings.repeat.get()), (2, 5));
    assert_eq!(settings.max_fail.unwrap().get(), 4);
    assert_eq!(settings.run_for, Some(Duration::from_secs(7200)));
    assert_eq!(settings.junit, Some("out/junit.xml".into()));
    assert_eq!(settings.report_dir, Some("out".into()));
    let files = settings_of(&["--report-from", "a", "b", "--report-from=c"]).report_from;
    assert_eq!(files, ["a", "b", "c"].map(PathBuf::from));
}

#[test]
fn a_variable_counts_where_its_flag_is_not_given() {
    let env = [
        ("ROBUST_TAG", "a, b"),
        ("ROBUST_SHARD", "1/2"),
        ("ROBUST_TIMEOUT", "5s"),
        ("ROBUST_SEED", "9"),
        ("ROBUST_FOR", "1s"),
        ("ROBUST_PLAN", "1"),
        ("ROBUST_SHOW_LOGS", "false"),
        ("ROBUST_LAST_FAILED", "true"),
        ("ROBUST_REPORT_FROM", "x,y"),
        ("ROBUST_REPEAT", ""),
        ("ROBUST_UNRELATED", "z"),
    ];
    let settings = with(&["filter", "--timeout=7s", "--tag=c"], &env);
    assert_eq!(
        settings.selection.filters,
        ["filter"],
        "no variable swallows the filter"
    );
    assert_eq!(settings.report_from, ["x", "y"].map(PathBuf::from));
    assert_eq!(settings.selection.tags, ["c"], "the flag decides");
    assert_eq!(settings.timeout, Duration::from_secs(7));
    assert_eq!(with(&[], &env).selection.tags, ["a", "b"]);
    assert_eq!(with(&[], &env).timeout, Duration::from_secs(5));
    assert_eq!(settings.seed, Some(Seed(9)));
    assert_eq!(settings.run_for, Some(Duration::from_secs(1)));
    assert!(settings.plan && settings.last_failed && !settings.show_logs);
}

#[test]
fn the_own_variable_for_levels_counts_before_the_shared_one() {
    let log = |env: &[(&str, &str)]| with(&[], env).log;
    assert_eq!(log(&[]), "");
    assert_eq!(log(&[("RUST_LOG", "warn")]), "warn");
    assert_eq!(
        log(&[("RUST_LOG", "warn"), ("ROBUST_LOG", "a::b=debug,info")]),
        "a::b=debug,info"
    );
    assert_eq!(log(&[("RUST_LOG", "warn"), ("ROBUST_LOG", "")]), "warn");
    // Of a program that reads more in it.
    assert_eq!(log(&[("RUST_LOG", "a[span{field=1}]=loud")]), "");
    let error = error_with(&[], &[("ROBUST_LOG", "a=loud")]);
    assert!(error.starts_with("ROBUST_LOG is `a=loud`: "), "{error}");
    assert!(error.contains("error, warn, info, debug, trace, off"), "{error}");
}

#[test]
fn a_wrong_variable_is_named() {
    assert_eq!(
        error_with(&[], &[("ROBUST_SHARD", "3/2")]),
        "ROBUST_SHARD: invalid value '3/2' for '--shard <I/N>': a shard is I/N with 1 <= I <= N, such as 2/5"
    );
    assert_eq!(
        error_with(&[], &[("ROBUST_PLAN", "yes")]),
        "ROBUST_PLAN is `yes`; it is 1 or true, 0 or false, or empty"
    );
    assert_eq!(
        error_with(&[], &[("RUST_TEST_THREADS", "0")]),
        "RUST_TEST_THREADS is `0`, should be a positive integer."
    );
    assert!(error_with(&[], &[("RUST_TEST_SHUFFLE_SEED", "x")]).starts_with("RUST_TEST_SHUFFLE_SEED is `x`"));
    assert!(error_with(&[], &[("ROBUST_REQUIRE", "mosquito")]).contains("did you mean `mosquitto`?"));
}

#[test]
fn libtests_variables_count() {
    assert_eq!(
        with(&[], &[("RUST_TEST_THREADS", "4")])
            .test_threads
            .unwrap()
            .get(),
        4
    );
    let both = with(&["--test-threads=2"], &[("RUST_TEST_THREADS", "0")]);
    assert_eq!(both.test_threads.unwrap().get(), 2);
    assert!(with(&[], &[("RUST_TEST_NOCAPTURE", "1")]).no_capture);
    assert!(!with(&[], &[("RUST_TEST_NOCAPTURE", "0")]).no_capture);
    assert!(!with(&[], &[("RUST_TEST_TIME_UNIT", "nonsense")]).report_time);
}

#[test]
fn a_wrong_argument_is_one_line_that_names_the_option() {
    assert_eq!(
        error(&["--test-threads", "0"]),
        "invalid value '0' for '--test-threads <N>': argument for --test-threads must not be 0"
    );
    assert!(error(&["--test-threads=x"]).contains("must be a number > 0 (error: invalid digit"));
    assert_eq!(
        error(&["--shrad", "1/2"]),
        "unexpected argument '--shrad' found; tip: a similar argument exists: '--shard'"
    );
    assert_eq!(
        error(&["--ignored", "--include-ignored"]),
        "the options --include-ignored and --ignored are mutually exclusive"
    );
    let timeout = error(&["--timeout=30"]);
    assert!(timeout.contains("'--timeout <D>': time unit needed"), "{timeout}");
    assert!(error(&["--for=0s"]).contains("'--for <D>': it must be longer than nothing"));
    let isolation = error(&["--isolation=thread"]);
    assert!(
        isolation.contains("invalid value 'thread' for '--isolation") && isolation.contains("process"),
        "{isolation}"
    );
    for (args, named) in [
        (&["--seed=-1"][..], "--seed"),
        (&["--seed"], "--seed"),
        (&["--repeat=0"], "--repeat"),
        (&["--max-fail=0"], "--max-fail"),
        (&["--retries=x"], "--retries"),
        (&["--format=xml"], "--format"),
        (&["--report-time=x"], "--report-time"),
        (&["--seed=1", "--seed=2"], "--seed"),
        (&["--ensure-time"], "--ensure-time"),
        (&["--plan=1"], "--plan"),
    ] {
        let text = error(args);
        assert!(text.contains(named), "{args:?}: {text}");
    }
}

#[test]
fn an_argument_that_is_not_utf_8_is_an_error() {
    let args = [OsString::from_vec(b"--junit=\xff".to_vec())];
    let error = parse(args, &BTreeMap::new(), KNOWN, || Ok(None)).unwrap_err();
    assert_eq!(error.exit, Exit::Unusable);
    assert!(error.text.contains("is not valid UTF-8"), "{error}");
}

#[test]
fn a_program_of_a_kind_must_be_an_executable_file() {
    let bins = |values: &[&str]| {
        let args: Vec<String> = values.iter().map(|value| format!("--bin={value}")).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        try_with(&args, &[])
            .map(|settings| settings.bins)
            .map_err(|error| error.text)
    };
    let found = bins(&["mosquitto=/bin/sh", "mosquitto@2.0=/bin/sh", "nanomq=/bin/cat"]).unwrap();
    let keys: Vec<_> = found.keys().collect();
    assert_eq!(keys, ["mosquitto", "mosquitto@2.0", "nanomq"]);
    assert_eq!(
        bins(&["mosquito=/bin/sh"]).unwrap_err(),
        "--bin: no kind is called `mosquito`; did you mean `mosquitto`? There are: mosquitto, nanomq"
    );
    assert!(
        bins(&["nanomq=/nonexistent/x"])
            .unwrap_err()
            .contains("no file /nonexistent/x")
    );
    assert!(
        bins(&["nanomq=/etc/passwd"])
            .unwrap_err()
            .contains("not an executable file")
    );
    assert!(
        bins(&["nanomq=/bin"])
            .unwrap_err()
            .contains("not an executable file")
    );
    assert!(
        bins(&["nanomq=/bin/sh", "nanomq=/bin/cat"])
            .unwrap_err()
            .contains("given twice")
    );
    for wrong in ["nanomq", "=/bin/sh", "nanomq=", "nanomq@=/bin/sh"] {
        assert!(
            bins(&[wrong]).unwrap_err().contains("KIND[@VERSION]=PATH"),
            "{wrong}"
        );
    }
    let relative = bins(&["nanomq=/bin/../bin/sh"]).unwrap();
    assert!(relative["nanomq"].is_absolute());
}

#[test]
fn help_tells_every_flag_its_default_and_its_variable() {
    let help = try_with(&["--help"], &[]).unwrap_err();
    assert_eq!(help.exit, Exit::Passed);
    for argument in arguments::own() {
        let flag = format!("--{}", argument.get_long().unwrap());
        let mut lines = help.text.lines();
        // A value that may be left out stands there in brackets.
        let is_of_flag = |line: &&str| {
            let word = line.split_whitespace().next();
            word.is_some_and(|word| word.split("[=").next() == Some(&flag))
        };
        let line = lines.find(is_of_flag).unwrap_or_else(|| panic!("{flag}"));
        let variable = arguments::variable(&argument);
        assert!(line.contains(&format!("[env: {variable}]")), "{line}");
        assert!(line.contains("[default: "), "{line}");
    }
    for text in ["--no-capture", "ROBUST_REQUIRE", "--shuffle-seed", "101"] {
        assert!(help.text.contains(text), "{text}");
    }
    assert!(!help.text.contains("No-op"));
    assert_eq!(try_with(&["-h"], &[]).unwrap_err(), help);
}

#[test]
fn a_run_of_nextest_is_recognised() {
    let env = [
        ("NEXTEST", "1"),
        ("NEXTEST_RUN_ID", "r-1"),
        ("NEXTEST_ATTEMPT_ID", "a"),
    ];
    let run = with(&[], &env).nextest.unwrap();
    assert_eq!(
        (run.run_id.as_str(), run.attempt_id.as_deref()),
        ("r-1", Some("a"))
    );
    assert_eq!(with(&[], &env[..1]).nextest, None);
    assert_eq!(with(&[], &env[1..]).nextest, None);
}

#[test]
fn children_inherit_no_settings_of_this_run() {
    let names = [
        "HOME",
        "NEXTEST",
        "NEXTEST_BIN_EXE_broker",
        "NEXTEST_RUN_ID",
        "PATH",
        "ROBUST_CONFIG",
        "ROBUST_OTHER",
        "ROBUST_LOG",
        "ROBUST_REPORT_DIR",
        "ROBUST_REQUIRE",
        "ROBUST_SHARD",
        "RUST_LOG",
        "RUST_TEST_THREADS",
    ];
    let env = names.iter().map(|name| ((*name).to_owned(), "x".to_owned()));
    assert_eq!(
        environment_for_children(&env.collect()),
        [
            "NEXTEST",
            "NEXTEST_RUN_ID",
            "ROBUST_CONFIG",
            "ROBUST_LOG",
            "ROBUST_REPORT_DIR",
            "ROBUST_REQUIRE",
            "ROBUST_SHARD",
            "RUST_TEST_THREADS"
        ]
    );
}

#[test]
fn what_failed_is_kept_for_an_hour_or_as_long_as_is_said() {
    fn kept(args: &[&str], env: &[(&str, &str)]) -> Option<u64> {
        with(args, env).keep_on_failure.map(|time| time.as_secs())
    }
    let variable = "ROBUST_KEEP_ON_FAILURE";
    assert_eq!(kept(&[], &[(variable, "")]), None);
    assert_eq!(kept(&["--keep-on-failure"], &[]), Some(3600));
    assert_eq!(
        kept(&["--keep-on-failure=5m", "a_filter"], &[(variable, "0")]),
        Some(300)
    );
    // What follows is no value of it.
    let settings = with(&["--keep-on-failure", "5m"], &[]);
    assert_eq!(settings.selection.filters, ["5m"]);
    for (value, time) in [
        ("1", Some(3600)),
        ("true", Some(3600)),
        ("0", None),
        ("2s", Some(2)),
    ] {
        assert_eq!(kept(&[], &[(variable, value)]), time, "{value}");
    }
    assert!(error_with(&[], &[(variable, "soon")]).contains(variable));
    assert!(error(&["--keep-on-failure=0s"]).contains("longer than nothing"));
}

#[test]
fn a_server_or_a_cluster_is_served() {
    let served = |text| with(&[&format!("--serve={text}")], &[]).serve.unwrap();
    let of = |kind: &str, nodes| Serve {
        kind: kind.to_owned(),
        nodes: NonZeroUsize::new(nodes),
    };
    assert_eq!(served("mosquitto"), of("mosquitto", 0));
    assert_eq!(served("nanomqx3"), of("nanomq", 3));
    for wrong in ["mosquittox0", "mosquittox", "x3", "nanomqx-1"] {
        let text = error(&["--serve", wrong]);
        assert!(text.contains(&format!("--serve: `{wrong}`")), "{text}");
    }
    assert!(error(&["--serve", "nanomk"]).contains("did you mean `nanomq`?"));
}
