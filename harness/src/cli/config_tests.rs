use super::*;
use crate::cli::{Exit, Settings};
use crate::require::Require;
use std::ffi::OsString;
use std::time::Duration;

const KNOWN: KnownNames<'static> = KnownNames {
    kinds: &["mosquitto", "nanomq"],
    mechanisms: &[],
};

fn try_with(text: &str, args: &[&str], env: &[(&str, &str)]) -> Result<Settings, String> {
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config = || Config::parse("/suite/robust.toml".into(), text.to_owned(), KNOWN).map(Some);
    crate::cli::parse(args.iter().map(OsString::from), &env.collect(), KNOWN, config).map_err(|error| {
        assert_eq!(error.exit, Exit::Unusable);
        assert_eq!(error.text.lines().count(), 1, "{error}");
        error.text
    })
}

#[track_caller]
fn with(text: &str, args: &[&str], env: &[(&str, &str)]) -> Settings {
    try_with(text, args, env).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn error(text: &str) -> String {
    try_with(text, &[], &[]).expect_err("an error")
}

const CHAIN: &str = r#"
[profile.default]
timeout = "30s"
retries = 1
tag = ["fast"]
seed = 0x1_0
show-logs = true
require = ["nanomq"]
[profile.ci]
inherits = "slow"
retries = 2
show-logs = false
require = "all"
[profile.slow]
timeout = "2m"
tag = ["slow", "net"]
"#;

#[test]
fn the_command_line_counts_before_variables_those_before_the_profile_and_that_before_default() {
    let timeout = |args: &[&str], env: &[(&str, &str)]| with(CHAIN, args, env).timeout.as_secs();
    assert_eq!(timeout(&[], &[]), 30);
    assert_eq!(timeout(&["--profile=slow"], &[]), 120);
    assert_eq!(timeout(&["--profile", "ci"], &[]), 120, "inherited");
    assert_eq!(timeout(&[], &[("ROBUST_PROFILE", "ci")]), 120);
    let variable = [("ROBUST_TIMEOUT", "5s"), ("ROBUST_PROFILE", "ci")];
    assert_eq!(timeout(&[], &variable), 5);
    assert_eq!(timeout(&["--timeout=7s"], &variable), 7);
    assert_eq!(timeout(&["--profile=default"], &variable), 5);
    assert_eq!(with(CHAIN, &["--profile=default"], &[]).profile, None);

    let ci = with(CHAIN, &["--profile=ci"], &[]);
    assert_eq!((ci.retries, ci.show_logs), (2, false), "off counts as well as on");
    assert_eq!(
        ci.seed.map(|seed| seed.0),
        Some(16),
        "default is under every profile"
    );
    assert_eq!(ci.profile.as_deref(), Some("ci"));
    assert_eq!(ci.selection.tags, ["slow", "net"], "a list counts as a whole");
    assert_eq!(
        with(CHAIN, &["--profile=ci", "--tag=x"], &[]).selection.tags,
        ["x"]
    );
    let variable = [("ROBUST_SHOW_LOGS", "0"), ("ROBUST_TAG", "")];
    let settings = with(CHAIN, &[], &variable);
    assert_eq!((settings.show_logs, settings.retries), (false, 1));
    assert_eq!(settings.selection.tags, ["fast"], "an empty variable is unset");
}

#[test]
fn what_is_required_has_a_key() {
    let require = |args: &[&str], env: &[(&str, &str)]| with(CHAIN, args, env).require;
    assert_eq!(require(&["--profile=ci"], &[]), Require::All);
    assert!(require(&[], &[]).covers("nanomq") && !require(&[], &[]).covers("mosquitto"));
    let variable = [("ROBUST_REQUIRE", "mosquitto")];
    assert!(!require(&["--profile=ci"], &variable).covers("nanomq"));
    assert_eq!(
        require(&["--profile=ci"], &[("ROBUST_REQUIRE", "")]),
        Require::All
    );
    assert_eq!(
        error("[profile.x]\nrequire = ['mosquito']\n"),
        "/suite/robust.toml:2: profile.x: `require`: `mosquito` is neither a kind nor a mechanism; \
         did you mean `mosquitto`? There are: all, mosquitto, nanomq"
    );
}

#[test]
fn libtests_options_are_defaults_that_the_other_ways_to_say_them_replace() {
    let text = "[profile.default]\nnocapture = true\nformat = 'json'\ncolor = 'never'\ntest-threads = 3\n\
                shuffle = true\ninclude-ignored = true\nshow-output = true\nreport-time = 'plain'\n";
    let settings = with(text, &[], &[]);
    assert!(settings.no_capture && settings.show_output && settings.report_time);
    assert_eq!(settings.format, crate::cli::Format::Json);
    assert_eq!(settings.color, crate::cli::Color::Never);
    assert_eq!(settings.test_threads.unwrap().get(), 3);
    assert_eq!(settings.shuffle, Some(crate::cli::Shuffle::Root));
    assert_eq!(settings.selection.ignored, crate::selection::Ignored::Include);
    let env = [
        ("RUST_TEST_NOCAPTURE", "0"),
        ("RUST_TEST_THREADS", "2"),
        ("RUST_TEST_SHUFFLE", "0"),
    ];
    let settings = with(text, &["-q", "--ignored"], &env);
    assert!(!settings.no_capture);
    assert_eq!(settings.format, crate::cli::Format::Terse);
    assert_eq!(settings.test_threads.unwrap().get(), 2);
    assert_eq!(settings.shuffle, None);
    assert_eq!(settings.selection.ignored, crate::selection::Ignored::Only);
    assert!(with(text, &["--list"], &[]).list.is_some(), "which has no JSON");
}

#[test]
fn paths_are_relative_to_the_files_folder() {
    let text = "[profile.default]\nreport-dir = 'out'\njunit = '/abs/j.xml'\n";
    let settings = with(text, &[], &[]);
    assert_eq!(settings.report_dir, Some("/suite/out".into()));
    assert_eq!(settings.junit, Some("/abs/j.xml".into()));
    assert_eq!(with(text, &["--report-dir=x"], &[]).report_dir, Some("x".into()));
    assert_eq!(
        error("[bin]\nnanomq = 'broker'\n"),
        "/suite/robust.toml:2: bin.nanomq: there is no file /suite/broker (for `nanomq`)"
    );
    let error = error("\n[profile.default]\nbin = ['nanomq=../sh']\n");
    assert_eq!(
        error,
        "/suite/robust.toml:3: bin.nanomq: there is no file /suite/../sh (for `nanomq`)"
    );
}

#[test]
fn programs_are_those_of_the_table_but_where_an_option_gives_another() {
    let text = "[bin]\nmosquitto = '/bin/sh'\n'mosquitto@1.6' = '/bin/cat'\nnanomq = '/nonexistent'\n";
    let bins = with(text, &["--bin=nanomq=/bin/sh", "--bin=mosquitto=/bin/ls"], &[]).bins;
    let told: Vec<_> = bins
        .iter()
        .map(|(kind, path)| (kind.as_str(), path.to_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("mosquitto", "/bin/ls"),
            ("mosquitto@1.6", "/bin/cat"),
            ("nanomq", "/bin/sh")
        ]
    );
    assert!(error(text).starts_with("/suite/robust.toml:4: bin.nanomq: there is no file"));
}

#[test]
fn a_profile_has_programs_of_its_own() {
    let text = "[profile.old]\nbin = ['nanomq=/bin/cat']\n[bin]\nmosquitto = '/bin/sh'\nnanomq = '/bin/sh'\n";
    let bins = |args: &[&str], env: &[(&str, &str)]| {
        let bins = with(text, args, env).bins;
        ["mosquitto", "nanomq"].map(|kind| bins[kind].to_str().unwrap().to_owned())
    };
    assert_eq!(bins(&[], &[]), ["/bin/sh", "/bin/sh"]);
    assert_eq!(bins(&["--profile=old"], &[]), ["/bin/sh", "/bin/cat"]);
    let variable = [("ROBUST_BIN", "nanomq=/bin/ls")];
    assert_eq!(bins(&["--profile=old"], &variable), ["/bin/sh", "/bin/ls"]);
    assert_eq!(
        error("[profile.default]\nbin = ['nanomq=/bin/cat', 'nanomq=/bin/sh']\n"),
        "/suite/robust.toml:2: bin.nanomq: it is given twice"
    );
}

#[test]
fn external_servers_have_the_addresses_of_their_ports() {
    let text = "[external.mosquitto]\nmqtt = '127.0.0.1:1883'\ntls = '[::1]:8883'\n";
    let external = with(text, &[], &[]).external;
    assert_eq!(external["mosquitto"]["mqtt"], "127.0.0.1:1883".parse().unwrap());
    assert_eq!(external["mosquitto"]["tls"], "[::1]:8883".parse().unwrap());
    assert_eq!(external.len(), 1);
}

#[test]
fn an_error_names_the_line_the_key_and_what_is_allowed() {
    for (text, expected) in [
        (
            "[profil.ci]",
            "1: unknown key `profil`; did you mean `profile`? There are: bin, external, profile (options",
        ),
        (
            "timeout = '3s'",
            "1: unknown key `timeout`; there are: bin, external, profile (options belong in a profile",
        ),
        (
            "[profile.ci]\n\nretrys = 1",
            "3: profile.ci: unknown key `retrys`; did you mean `retries`? There are: bin, bud",
        ),
        (
            "[profile.ci]\nplan = true",
            "2: profile.ci: `plan` is no key of a profile: it is about one call",
        ),
        (
            "[profile.ci]\nprofile = 'x'",
            "2: profile.ci: `profile` is no key of a profile: a profile builds on another",
        ),
        (
            "[profile.ci]\nretries = '1'",
            "2: profile.ci: `retries` is a whole number, and not a string",
        ),
        (
            "[profile.ci]\nretries = 1.5",
            "2: profile.ci: `retries` is a whole number, and not a number with a fraction",
        ),
        (
            "[profile.ci]\ntimeout = 30",
            "2: profile.ci: `timeout` is a string, and not a whole number",
        ),
        (
            "[profile.ci]\ntag = 'a'",
            "2: profile.ci: `tag` is a list of strings, such as [\"a\", \"b\"], and not a string",
        ),
        (
            "[profile.ci]\ntag = [1]",
            "2: profile.ci: `tag` is a list of strings, such as [\"a\", \"b\"], and not a whole number in it",
        ),
        (
            "[profile.ci]\nshow-logs = 1",
            "2: profile.ci: `show-logs` is true or false, and not a whole number",
        ),
        ("[profile.ci]\nmax-fail = 3\nmax-fail = 4", "3: duplicate key"),
        (
            "[profile.ci]\nretries = 1\nmax-fail = 0",
            "3: profile.ci: `max-fail`: invalid value '0' for '--max-fail <N>'",
        ),
        (
            "[profile.ci]\ntimeout = '3'",
            "2: profile.ci: `timeout`: invalid value '3' for '--timeout <D>': time unit needed",
        ),
        (
            "[profile]\nci = 3",
            "2: `profile.ci` is a table, `[profile.ci]`, and not a whole number",
        ),
        ("bin = 'x'", "1: `bin` is a table, `[bin]`, and not a string"),
        (
            "[bin]\nmosquito = '/bin/sh'",
            "2: bin.mosquito: no kind is called `mosquito`; did you mean `mosquitto`?",
        ),
        (
            "[bin]\nnanomq = 1",
            "2: bin.nanomq is the path of a program, as a string, and not a whole number",
        ),
        ("[bin]\nnanomq = ''", "2: bin.nanomq is empty"),
        (
            "[bin]\n'nanomq@' = '/bin/sh'",
            "2: bin.nanomq@: the key is KIND or \"KIND@VERSION\"",
        ),
        (
            "[external.nanom]\na = '1.2.3.4:5'",
            "1: external.nanom: no kind is called `nanom`; did you mean `nanomq`?",
        ),
        (
            "[external.nanomq]\nmqtt = 'localhost:1'",
            "2: external.nanomq.mqtt is an address with a port",
        ),
        ("[external.nanomq]\nmqtt = 1883", "and not a whole number"),
        ("[external.nanomq]", "1: external.nanomq has no port"),
        (
            "[profile.a]\ninherits = 'b'",
            "2: profile.a: `inherits`: no profile is called `b`",
        ),
        (
            "[profile.a]\ninherits = ['b']",
            "2: profile.a: `inherits` is a profile's name, as a string, and not a list",
        ),
        (
            "[profile.a]\ninherits = 'a'",
            "2: profile.a: `inherits`: it comes back to itself: a -> a",
        ),
        (
            "[profile.x]\ninherits = 'b'\n[profile.b]\ninherits = 'c'\n[profile.c]\ninherits = 'b'",
            "4: profile.b: `inherits`: it comes back to itself: b -> c -> b",
        ),
        (
            "[profile.default]\ninherits = 'a'",
            "2: profile.default: `inherits`: `default` is under every profile",
        ),
        ("[profile.a\n", "1: "),
    ] {
        let text = error(text);
        let rest = text
            .strip_prefix("/suite/robust.toml:")
            .unwrap_or_else(|| panic!("{text}"));
        assert!(rest.contains(expected), "{text}\nhas not\n{expected}");
        assert!(
            expected.starts_with("and") || rest.starts_with(expected),
            "{text}"
        );
    }
    let all = error("[profile.ci]\nx = 1");
    for key in [
        "color",
        "inherits",
        "require",
        "test-threads",
        "timeout",
        "budget",
    ] {
        assert!(all.contains(&format!(" {key}")), "{key} is not in {all}");
    }
    assert!(!all.contains("more"), "every key is told: {all}");
}

#[test]
fn a_profile_that_is_not_there_is_an_error() {
    assert_eq!(
        try_with("[profile.ci]\n", &["--profile=cy"], &[]).unwrap_err(),
        "--profile: no profile is called `cy` in /suite/robust.toml; did you mean `ci`? There are: ci, default"
    );
    assert!(
        with("[profile.ci]\n", &["--profile=default"], &[])
            .profile
            .is_none()
    );
    let known = |args: &[&str]| {
        crate::cli::parse(args.iter().map(OsString::from), &BTreeMap::new(), KNOWN, || {
            Ok(None)
        })
    };
    assert!(
        known(&["--profile=ci"])
            .unwrap_err()
            .text
            .contains("there is no robust.toml")
    );
    assert!(known(&["--profile=default"]).is_ok());
}

#[test]
fn help_needs_no_file_that_can_be_read() {
    let config = || panic!("it is not asked for");
    let help = crate::cli::parse([OsString::from("--help")], &BTreeMap::new(), KNOWN, config).unwrap_err();
    assert_eq!(help.exit, Exit::Passed);
    assert!(
        help.text.contains("[profile.default]") && help.text.contains("ROBUST_CONFIG"),
        "{help}"
    );
}

#[test]
fn a_budget_is_a_time() {
    let budget = |args: &[&str]| with("[profile.ci]\nbudget = '20m'\n", args, &[]).budget;
    assert_eq!(budget(&[]), None);
    assert_eq!(budget(&["--profile=ci"]), Some(Duration::from_secs(1200)));
    assert_eq!(
        budget(&["--profile=ci", "--budget=3s"]),
        Some(Duration::from_secs(3))
    );
}

/// A workspace with a package in it, in a folder that has a `robust.toml` of its own.
fn workspace() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let workspace = home.path().join("workspace");
    let package = workspace.join("crates/suite");
    std::fs::create_dir_all(&package).unwrap();
    std::fs::write(
        workspace.join("Cargo.toml"),
        "[workspace]\nmembers = ['crates/*']\n",
    )
    .unwrap();
    std::fs::write(package.join("Cargo.toml"), "[package]\nname = 'suite'\n").unwrap();
    std::fs::write(home.path().join(FILE), "[profile.outside]\n").unwrap();
    (home, workspace, package)
}

fn profiles(package: &Path, env: &[(&str, &str)]) -> Result<Vec<String>, String> {
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    match Config::find(package, &env.collect(), KNOWN) {
        Ok(config) => Ok(config.map_or_else(Vec::new, |config| config.profiles.into_keys().collect())),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn the_nearest_file_up_to_the_workspace_counts() {
    let (_home, workspace, package) = workspace();
    let none: [&str; 0] = [];
    assert_eq!(
        profiles(&package, &[]).unwrap(),
        none,
        "none from outside the workspace"
    );
    std::fs::write(workspace.join(FILE), "[profile.of_workspace]\n").unwrap();
    assert_eq!(profiles(&package, &[]).unwrap(), ["of_workspace"]);
    std::fs::write(workspace.join("crates").join(FILE), "[profile.between]\n").unwrap();
    assert_eq!(profiles(&package, &[]).unwrap(), ["between"]);
    std::fs::write(package.join(FILE), "[profile.own]\n").unwrap();
    assert_eq!(profiles(&package, &[]).unwrap(), ["own"]);
    // Without a workspace only the package's own folder counts.
    std::fs::remove_file(workspace.join("Cargo.toml")).unwrap();
    assert_eq!(profiles(&package, &[]).unwrap(), ["own"]);
    std::fs::remove_file(package.join(FILE)).unwrap();
    assert_eq!(profiles(&package, &[]).unwrap(), none);
    // A package that is a workspace.
    std::fs::write(package.join("Cargo.toml"), "[package]\n[workspace]\n").unwrap();
    assert_eq!(profiles(&package, &[]).unwrap(), none);
}

#[test]
fn a_variable_names_another_file_which_must_be_there() {
    let (home, _, package) = workspace();
    std::fs::write(package.join(FILE), "[profile.own]\n").unwrap();
    let outside = home.path().join(FILE);
    let outside = outside.to_str().unwrap();
    assert_eq!(profiles(&package, &[(VARIABLE, outside)]).unwrap(), ["outside"]);
    assert_eq!(
        profiles(&package, &[(VARIABLE, "")]).unwrap(),
        ["own"],
        "empty is unset"
    );
    let missing = profiles(&package, &[(VARIABLE, "/nonexistent/x.toml")]).unwrap_err();
    assert!(
        missing.starts_with("cannot read /nonexistent/x.toml: No such file"),
        "{missing}"
    );
    assert!(missing.ends_with("(ROBUST_CONFIG names it)"), "{missing}");
    std::fs::remove_file(package.join(FILE)).unwrap();
    std::fs::create_dir(package.join(FILE)).unwrap();
    assert!(profiles(&package, &[]).unwrap_err().contains("Is a directory"));
}
