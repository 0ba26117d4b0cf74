//! Certificates through the runner: one authority for all processes of a run, which goes with the run.

use std::collections::BTreeSet;
use std::path::Path;

use robust_test_tests::Planted;

const SUITE: &str = env!("CARGO_BIN_EXE_tls");

/// Runs the suite; what its processes trusted, one each.
fn trusted(arguments: &[&str]) -> (robust_test_tests::Finished, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let finished = Planted::new(SUITE)
        .args(arguments)
        .env("TRUSTED", folder.path())
        .run();
    let entries = std::fs::read_dir(folder.path()).unwrap();
    let texts = entries.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
    (finished, texts.collect())
}

#[test]
fn the_processes_of_a_run_trust_one_authority_and_no_other_run_does() {
    let run = || {
        let (finished, texts) = trusted(&["trusts", "--test-threads", "8"]);
        assert_eq!(finished.code(), Some(0), "{}", finished.stdout);
        assert_eq!(texts.len(), 8, "each case has a process");
        let different: BTreeSet<String> = texts.into_iter().collect();
        assert_eq!(different.len(), 1);
        different
    };
    assert!(run().is_disjoint(&run()));
}

#[test]
fn what_is_kept_of_a_case_has_its_own_keys_and_not_the_authoritys() {
    for isolation in ["worker", "none"] {
        let (finished, _) = trusted(&["fails", "--isolation", isolation]);
        assert_eq!(finished.code(), Some(101), "{}", finished.stdout);
        let verdicts = finished.verdicts();
        let (_, verdict) = verdicts.first_key_value().expect("one case");
        assert_eq!(verdict.message, "as planned");
        let mut kept = BTreeSet::new();
        list(verdict.artifacts.as_deref().expect("kept"), "", &mut kept);
        let of = |folder: &str| {
            ["authority.pem", "certificate.pem", "key.pem", "names.txt"]
                .map(|name| format!("{folder}/{name}"))
        };
        let mut expected = BTreeSet::from(["/output.log", "/server.log"].map(str::to_owned));
        for folder in ["/client/tls", "/client/tls-alice", "/server/tls"] {
            expected.extend(of(folder));
        }
        assert_eq!(kept, expected, "{isolation}");
    }
}

fn list(folder: &Path, name: &str, files: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{name}/{}", entry.file_name().display());
        if entry.path().is_dir() {
            list(&entry.path(), &name, files);
        } else {
            files.insert(name);
        }
    }
}
