//! The two versions of the kernel's interface: which file limits, and which ones count.

/// The versions of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

impl Version {
    /// What to write into which files for a limit, in this order. The kernel is not to put anonymous memory aside, where there
    /// is swap, and has to kill whom it can give nothing more.
    pub(super) fn limit(self, bytes: u64) -> [(&'static str, String); 3] {
        match self {
            // Of `memory.memsw.limit_in_bytes`, which not every kernel has, it does not count what it hit.
            Self::One => [
                ("memory.swappiness", "0".to_owned()),
                ("memory.oom_control", "0".to_owned()),
                ("memory.limit_in_bytes", bytes.to_string()),
            ],
            Self::Two => [
                ("memory.swap.max", "0".to_owned()),
                ("memory.oom.group", "0".to_owned()),
                ("memory.max", bytes.to_string()),
            ],
        }
    }

    /// Files that not every kernel has: without swap, or before 4.19.
    pub(super) fn is_optional(file: &str) -> bool {
        matches!(file, "memory.swap.max" | "memory.oom.group" | "memory.swappiness")
    }

    pub(super) fn no_limit(self) -> (&'static str, &'static str) {
        match self {
            Self::One => ("memory.limit_in_bytes", "-1"),
            Self::Two => ("memory.max", "max"),
        }
    }

    /// The file with what the group has now, in bytes.
    pub(super) fn usage(self) -> &'static str {
        match self {
            Self::One => "memory.usage_in_bytes",
            Self::Two => "memory.current",
        }
    }

    /// What a group has hit, of the contents of its files.
    pub(super) fn hits(self, read: impl Fn(&str) -> Option<String>) -> Option<MemoryHits> {
        let (limited, told) = match self {
            Self::One => (
                read("memory.failcnt")?.trim().parse().ok()?,
                read("memory.oom_control")?,
            ),
            Self::Two => {
                let told = read("memory.events")?;
                (value(&told, "max")?, told)
            }
        };
        Some(MemoryHits {
            limited,
            // Not before Linux 4.13.
            killed: value(&told, "oom_kill").unwrap_or(0),
        })
    }
}

/// The number after a word in a file with one of both a line.
fn value(text: &str, word: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == word)?.1.trim().parse().ok()
}

/// What the kernel counted in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryHits {
    /// So often its processes would have had more than the limit, and something was reclaimed before they went on.
    pub(crate) limited: u64,
    /// So many were killed, because there was nothing to reclaim.
    pub(crate) killed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_hit_is_read_from_the_files_of_both_versions() {
        let read = |files: &'static [(&str, &str)]| {
            move |name: &str| {
                let file = files.iter().find(|(file, _)| *file == name);
                file.map(|(_, text)| (*text).to_owned())
            }
        };
        let one: &[_] = &[
            ("memory.failcnt", "12\n"),
            (
                "memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            ),
        ];
        let hits = |limited, killed| Some(MemoryHits { limited, killed });
        assert_eq!(Version::One.hits(read(one)), hits(12, 2));
        let old: &[_] = &[("memory.failcnt", "1\n"), ("memory.oom_control", "under_oom 0\n")];
        assert_eq!(Version::One.hits(read(old)), hits(1, 0));
        let two: &[_] = &[(
            "memory.events",
            "low 0\nhigh 7\nmax 34\noom 3\noom_kill 1\noom_group_kill 0\n",
        )];
        assert_eq!(Version::Two.hits(read(two)), hits(34, 1));
        assert_eq!(Version::Two.hits(read(one)), None);
    }

    #[test]
    fn a_limit_is_written_last_into_the_files_of_its_version() {
        let names = |version: Version| version.limit(4096).map(|(file, _)| file);
        assert_eq!(
            names(Version::One),
            ["memory.swappiness", "memory.oom_control", "memory.limit_in_bytes"]
        );
        assert_eq!(
            names(Version::Two),
            ["memory.swap.max", "memory.oom.group", "memory.max"]
        );
        for version in [Version::One, Version::Two] {
            let [.., (file, text)] = version.limit(4096);
            assert_eq!((text.as_str(), file), ("4096", version.no_limit().0));
            assert!(!Version::is_optional(file));
        }
    }
}
