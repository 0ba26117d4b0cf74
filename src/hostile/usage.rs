//! What the processes of a target use: memory and descriptors, as `/proc` tells them.

use std::io;

use crate::listener::family;

/// What a process, the others of its group and all their descendants use together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory in bytes: each process's share of what it has (Pss), or all that it has (VmRSS) where the kernel does not tell
    /// shares.
    pub memory_bytes: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

impl Usage {
    /// What is used now.
    pub(super) fn of(leader: u32) -> io::Result<Self> {
        let mut sum = Self::default();
        for pid in family(leader) {
            match one(pid) {
                Ok(usage) => {
                    sum.memory_bytes += usage.memory_bytes;
                    sum.descriptors += usage.descriptors;
                }
                // A child that ended meanwhile uses nothing.
                Err(_)
                    if pid != leader
                        && robust_test_harness::processes::entry(pid).is_none_or(|it| it.zombie) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sum)
    }
}

fn one(pid: u32) -> io::Result<Usage> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
    let shared = read("smaps_rollup").ok().and_then(|text| kib(&text, "Pss:"));
    let memory_kib = match shared {
        Some(kib) => kib,
        // A zombie has none.
        None => kib(&read("status")?, "VmRSS:").unwrap_or_default(),
    };
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    Ok(Usage {
        memory_bytes: memory_kib << 10,
        descriptors: descriptors as u64,
    })
}

/// The number in a line such as `Pss:   12 kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_their_whole_name() {
        let text = "Rss:    9 kB\nPss_Anon:   5 kB\nPss:      7 kB\n";
        assert_eq!((kib(text, "Pss:"), kib(text, "VmRSS:")), (Some(7), None));
    }

    #[test]
    fn memory_and_descriptors_of_a_process_and_its_child_are_counted() {
        // The inner shell has five descriptors more than the three of each.
        let script = "sh -c 'exec 5<&0 6<&0 7<&0 8<&0 9<&0; echo up; read _'; true";
        let mut child = std::process::Command::new("sh")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut up = [0; 3];
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut up).unwrap();
        let usage = Usage::of(child.id()).unwrap();
        let alone = one(child.id()).unwrap();
        assert!(usage.descriptors >= alone.descriptors + 8, "{usage:?} {alone:?}");
        assert!((1..50 << 20).contains(&alone.memory_bytes), "{alone:?}");
        assert!(usage.memory_bytes > alone.memory_bytes, "{usage:?} {alone:?}");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(
            Usage::of(child.id()).is_ok_and(|usage| usage == Usage::default()),
            "it has gone"
        );
    }
}
