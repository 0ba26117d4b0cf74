//! What stands in a certificate, good or bad. Reads no clock and no file.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use time::{Duration, OffsetDateTime};

use super::authority::Authority;
use super::{Flaw, TlsError};

/// A clock of another machine may be behind.
const VALID_BEFORE: Duration = Duration::days(1);
const VALID_AFTER: Duration = Duration::days(30);
/// An authority outlives what it signs, also in a run of weeks.
const AUTHORITY_VALID_AFTER: Duration = Duration::days(365);
/// RFC 5280, `ub-common-name`.
const COMMON_NAME_MAX: usize = 64;
const NOBODY: &str = "elsewhere.invalid";

/// Whom a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    /// The common name.
    name: String,
    role: Role,
    /// Host names and addresses that were asked for, beside those of every node.
    extra: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Node,
    Client,
}

/// A certificate and its key, in PEM.
pub(super) struct Issued {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Subject {
    /// A node: it is reached at the loopback addresses, as `localhost` and by its name, and is a client of its peers.
    pub(crate) fn node<N: Into<String>>(name: &str, extra: impl IntoIterator<Item = N>) -> Self {
        Self {
            name: name.to_owned(),
            role: Role::Node,
            extra: extra.into_iter().map(Into::into).collect(),
        }
    }

    /// A client or user.
    pub(crate) fn client(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            role: Role::Client,
            extra: BTreeSet::new(),
        }
    }

    pub(super) fn extra(&self) -> &BTreeSet<String> {
        &self.extra
    }

    /// Takes over the names that a certificate has. Returns whether it lacks any that was asked for.
    pub(super) fn add_names(&mut self, has: BTreeSet<String>) -> bool {
        let lacks = !self.extra.is_subset(&has);
        self.extra.extend(has);
        lacks
    }

    pub(super) fn check(&self) -> Result<(), TlsError> {
        let wrong = |name: &str, why| TlsError::Name {
            holder: self.name.clone(),
            name: name.to_owned(),
            why,
        };
        let length = self.name.chars().count();
        if length == 0 || length > COMMON_NAME_MAX || self.name.chars().any(char::is_control) {
            let why = "a common name has 1 to 64 characters, and no control characters";
            return Err(wrong(&self.name, why));
        }
        match self.extra.iter().find(|name| alternative(name).is_none()) {
            Some(name) => Err(wrong(
                name,
                "it is no IP address, and no host name of labels of 1 to 63 letters, digits, `-` and `_`",
            )),
            None => Ok(()),
        }
    }

    /// Every host name and address.
    fn alternatives(&self) -> Vec<SanType> {
        // A name that no host can have is the common name alone.
        let mut all: Vec<SanType> = alternative(&self.name).into_iter().collect();
        if self.role == Role::Node {
            all.extend(alternative("localhost"));
            all.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
            all.push(SanType::IpAddress(Ipv6Addr::LOCALHOST.into()));
        }
        all.extend(self.extra.iter().filter_map(|name| alternative(name)));
        let mut known = Vec::with_capacity(all.len());
        for one in all {
            if !known.contains(&one) {
                known.push(one);
            }
        }
        known
    }

    fn usages(&self) -> Vec<ExtendedKeyUsagePurpose> {
        match self.role {
            Role::Node => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
            Role::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        }
    }
}

/// A host name or address as certificates hold it.
fn alternative(name: &str) -> Option<SanType> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Some(SanType::IpAddress(address));
    }
    let labels = name.strip_prefix("*.").unwrap_or(name).split('.');
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let is_host = name.len() <= 253 && labels.into_iter().all(is_label);
    is_host
        .then(|| name.try_into().ok().map(SanType::DnsName))
        .flatten()
}

/// What stands in an authority's certificate.
pub(super) fn of_authority(name: &str, now_ms: u64) -> CertificateParams {
    let mut certificate = CertificateParams::default();
    certificate.distinguished_name = common_name(name);
    certificate.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    certificate.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = moment(now_ms);
    certificate.not_before = now - VALID_BEFORE;
    certificate.not_after = now + AUTHORITY_VALID_AFTER;
    certificate
}

/// What stands in the certificate of `subject`, but for its key and who signs it.
fn of(subject: &Subject, flaw: Option<Flaw>, now_ms: u64) -> CertificateParams {
    let mut certificate = CertificateParams::default();
    (certificate.distinguished_name, certificate.subject_alt_names) = match flaw {
        Some(Flaw::WrongName) => (common_name(NOBODY), alternative(NOBODY).into_iter().collect()),
        _ => (common_name(&subject.name), subject.alternatives()),
    };
    let now = moment(now_ms);
    let day = Duration::days(1);
    (certificate.not_before, certificate.not_after) = match flaw {
        Some(Flaw::Expired) => (now - VALID_AFTER, now - day),
        Some(Flaw::NotYetValid) => (now + day, now + VALID_AFTER),
        _ => (now - VALID_BEFORE, now + VALID_AFTER),
    };
    certificate.is_ca = IsCa::ExplicitNoCa;
    certificate.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    certificate.extended_key_usages = subject.usages();
    certificate.use_authority_key_identifier_extension = true;
    certificate
}

/// Makes a key and a certificate for it.
pub(super) fn issue(
    authority: &Authority,
    subject: &Subject,
    flaw: Option<Flaw>,
    now_ms: u64,
) -> Result<Issued, TlsError> {
    let make = || {
        let key = KeyPair::generate()?;
        let certificate = of(subject, flaw, now_ms);
        let certificate = match flaw {
            Some(Flaw::SelfSigned) => certificate.self_signed(&key)?,
            Some(Flaw::OtherAuthority) => {
                let name = "an authority that nobody knows";
                let other = rcgen::Issuer::new(of_authority(name, now_ms), KeyPair::generate()?);
                certificate.signed_by(&key, &other)?
            }
            _ => certificate.signed_by(&key, authority.issuer())?,
        };
        Ok(Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    };
    make().map_err(|source: rcgen::Error| TlsError::Make {
        holder: subject.name.clone(),
        source: source.into(),
    })
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// A clock that no certificate can tell is one that is wrong by millennia: the epoch is as good.
fn moment(unix_ms: u64) -> OffsetDateTime {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or_default();
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    #[test]
    fn a_node_has_the_names_it_is_reached_by_each_once() {
        let subject = Subject::node(
            "broker",
            ["db.example", "*.db.example", "10.0.0.1", "localhost", "::1"],
        );
        subject.check().unwrap();
        let names: Vec<String> = subject.alternatives().iter().map(shown).collect();
        assert_eq!(
            names,
            [
                "broker",
                "localhost",
                "127.0.0.1",
                "::1",
                "*.db.example",
                "10.0.0.1",
                "db.example"
            ]
        );
        let client = Subject::client("publisher-2").alternatives();
        assert_eq!(client.iter().map(shown).collect::<Vec<_>>(), ["publisher-2"]);
        assert_eq!(
            Subject::client("Zoë Q").alternatives(),
            [],
            "it has a common name alone"
        );
    }

    fn shown(name: &SanType) -> String {
        match name {
            SanType::DnsName(name) => name.as_str().to_owned(),
            SanType::IpAddress(address) => address.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_name_that_no_certificate_can_hold_is_told() {
        for name in [
            "",
            "a..b",
            ".a",
            "a b",
            "größe",
            "*",
            "a.*.b",
            "http://a",
            "1.2.3.4:5",
        ] {
            let error = Subject::node("broker", [name]).check().unwrap_err().to_string();
            let begin =
                format!("the certificate of `broker` cannot hold the name {name:?}: it is no IP address");
            assert!(error.starts_with(&begin), "{error}");
        }
        let long_label = "x".repeat(64);
        Subject::node("broker", [&*long_label]).check().unwrap_err();
        for name in ["", "a\0b", "x\ny", &"ü".repeat(65)] {
            let error = Subject::client(name).check().unwrap_err().to_string();
            assert!(error.contains("a common name has 1 to 64 characters"), "{error}");
        }
        Subject::client(&"ü".repeat(64)).check().unwrap();
    }

    #[test]
    fn names_that_are_there_are_kept_and_others_are_lacking() {
        let mut subject = Subject::node("broker", ["a"]);
        assert!(!subject.add_names(["a", "b"].map(str::to_owned).into()));
        assert!(subject.extra.contains("b"));
        assert!(subject.add_names(["b"].map(str::to_owned).into()));
    }

    #[test]
    fn a_flaw_is_all_that_is_wrong() {
        let subject = Subject::node("broker", ["db.example"]);
        let (good, day) = (of(&subject, None, NOW_MS), Duration::days(1));
        let now = moment(NOW_MS);
        assert_eq!((good.not_before, good.not_after), (now - day, now + 30 * day));

        let expired = of(&subject, Some(Flaw::Expired), NOW_MS);
        assert!(expired.not_before < expired.not_after && expired.not_after < now);
        let early = of(&subject, Some(Flaw::NotYetValid), NOW_MS);
        assert!(early.not_before > now && early.not_before < early.not_after);
        for mut bad in [expired, early] {
            (bad.not_before, bad.not_after) = (good.not_before, good.not_after);
            assert_eq!(bad, good);
        }
        let mut wrong = of(&subject, Some(Flaw::WrongName), NOW_MS);
        assert_eq!(
            wrong.subject_alt_names.iter().map(shown).collect::<Vec<_>>(),
            [NOBODY]
        );
        wrong.subject_alt_names = good.subject_alt_names.clone();
        wrong.distinguished_name = good.distinguished_name.clone();
        assert_eq!(wrong, good);
        for signer in [Flaw::OtherAuthority, Flaw::SelfSigned] {
            assert_eq!(of(&subject, Some(signer), NOW_MS), good);
        }
    }

    #[test]
    fn a_clock_out_of_all_range_is_no_panic() {
        for unix_ms in [0, u64::MAX] {
            assert_eq!(moment(unix_ms), OffsetDateTime::UNIX_EPOCH);
            of(&Subject::client("c"), Some(Flaw::Expired), unix_ms);
        }
    }
}
