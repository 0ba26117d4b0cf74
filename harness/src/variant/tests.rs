//! What is read and said of variants.

use super::*;

#[test]
fn what_is_given_is_read_and_written_alike() {
    for text in [
        "persistence=aof",
        "broker.tls=on",
        "cluster-2.version=7.0",
        "a=b=c",
    ] {
        let given: Given = text.parse().unwrap();
        assert_eq!(given.to_string(), text);
    }
    for wrong in ["", "a", "=a", "a=", ".a=b", "b.=c", "="] {
        assert_eq!(wrong.parse::<Given>(), Err(NotAVariant), "{wrong}");
    }
    let scope = |text: &str| text.parse::<Given>().unwrap().scope("cluster");
    assert_eq!(scope("a=b"), Some(Scope::All));
    assert_eq!(scope("cluster.a=b"), Some(Scope::Param));
    assert_eq!(scope("cluster-12.a=b"), Some(Scope::Node(12)));
    for other in [
        "clusters.a=b",
        "cluster-0.a=b",
        "cluster-.a=b",
        "cluster-x.a=b",
        "clust.a=b",
    ] {
        assert_eq!(scope(other), None, "{other}");
    }
}

#[test]
fn a_line_tells_values_their_sources_and_what_is_forbidden() {
    let assigned = |name: &str, value: &str, source| Assigned {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
    };
    let variants = [
        assigned("broker.persistence", "aof", Source::Random),
        assigned("broker.tls", "on", Source::CommandLine),
    ];
    let forbidden = [Forbidden {
        name: "broker.persistence".to_owned(),
        value: "none".to_owned(),
        because: "issue 9".to_owned(),
    }];
    assert_eq!(
        line(&variants, &forbidden),
        "broker.persistence=aof [random], broker.tls=on [command line]; forbidden: broker.persistence=none (issue 9)"
    );
    assert_eq!(line(&[], &[]), "");
}

#[test]
fn an_unknown_axis_is_told_with_those_there_are() {
    let variants = Variants(vec![("persistence".into(), "aof".into())]);
    assert_eq!(variants.value("persistence"), Ok("aof"));
    assert_eq!(
        variants.value("persistance").unwrap_err().to_string(),
        "there is no variant `persistance`; did you mean `persistence`? There are: persistence"
    );
    assert_eq!(
        Variants::default().value("x").unwrap_err().to_string(),
        "there is no variant `x`; there are none"
    );
}
