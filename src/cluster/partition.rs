//! Partitions: which nodes of a cluster, or hosts of a net, do not hear which others. Knows numbers alone.

use std::collections::BTreeSet;
use std::fmt;

/// Which nodes do not hear which others, by their numbers. The names are Jepsen's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Partition {
    /// One node and all others do not hear one another.
    Isolate(usize),
    /// These nodes and all others do not hear one another. With a [`Pick::Minority`](crate::fault::Pick) of the cluster
    /// ([`Nodes::numbers`](crate::fault::Nodes::numbers)), a minority and a majority.
    Split(Vec<usize>),
    /// Nodes of different groups do not hear one another; those of no group hear all and are heard by all.
    Groups(Vec<Vec<usize>>),
    /// The nodes in two groups by number, the first one the smaller where they are not equal.
    Halves,
    /// Each node hears its two neighbours alone, by number: of five nodes every one sees a majority, and no two see the same
    /// one. Of three and fewer all are neighbours.
    Ring,
    /// What the first says, the second does not hear; the other way all is well.
    OneWay {
        /// They are not heard.
        from: Vec<usize>,
        /// They do not hear.
        to: Vec<usize>,
    },
}

impl Partition {
    /// Who does not hear whom, among the nodes with these numbers: from, to.
    pub(crate) fn cuts(&self, numbers: &[usize]) -> BTreeSet<(usize, usize)> {
        let (half, _) = numbers.split_at(numbers.len() / 2);
        let place = |number: usize| numbers.iter().position(|other| *other == number);
        let group =
            |groups: &[Vec<usize>], number: usize| groups.iter().position(|group| group.contains(&number));
        let is_cut = |from: usize, to: usize| match self {
            Self::Isolate(one) => (from == *one) != (to == *one),
            Self::Split(side) => side.contains(&from) != side.contains(&to),
            Self::Groups(groups) => match (group(groups, from), group(groups, to)) {
                (Some(from), Some(to)) => from != to,
                _ => false,
            },
            Self::Halves => half.contains(&from) != half.contains(&to),
            Self::Ring => match (place(from), place(to)) {
                (Some(from), Some(to)) => {
                    !matches!(from.abs_diff(to), 0 | 1) && from.abs_diff(to) + 1 != numbers.len()
                }
                _ => false,
            },
            Self::OneWay {
                from: silent,
                to: deaf,
            } => from != to && silent.contains(&from) && deaf.contains(&to),
        };
        let pairs = numbers
            .iter()
            .flat_map(|from| numbers.iter().map(|to| (*from, *to)));
        pairs.filter(|(from, to)| is_cut(*from, *to)).collect()
    }

    /// Those of these nodes that are not in the largest group of which everybody hears and is heard, by way of others.
    pub(crate) fn cut_off(&self, numbers: &[usize]) -> BTreeSet<usize> {
        let cuts = self.cuts(numbers);
        let mut left: BTreeSet<usize> = numbers.iter().copied().collect();
        let mut largest = BTreeSet::new();
        while let Some(first) = left.pop_first() {
            let (mut group, mut work) = (BTreeSet::from([first]), vec![first]);
            while let Some(one) = work.pop() {
                let near = |other: &usize| !cuts.contains(&(one, *other)) && !cuts.contains(&(*other, one));
                let more: Vec<usize> = left.iter().copied().filter(near).collect();
                for other in more {
                    left.remove(&other);
                    group.insert(other);
                    work.push(other);
                }
            }
            if group.len() > largest.len() {
                largest = group;
            }
        }
        numbers
            .iter()
            .copied()
            .filter(|number| !largest.contains(number))
            .collect()
    }

    /// The numbers that it names.
    pub(crate) fn named(&self) -> Vec<usize> {
        match self {
            Self::Isolate(one) => vec![*one],
            Self::Split(side) => side.clone(),
            Self::Groups(groups) => groups.concat(),
            Self::OneWay { from, to } => [&from[..], to].concat(),
            Self::Halves | Self::Ring => Vec::new(),
        }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Isolate(one) => write!(f, "node {one} isolated"),
            Self::Split(side) => write!(f, "{side:?} apart from the others"),
            Self::Groups(groups) => write!(f, "groups {groups:?}"),
            Self::Halves => f.write_str("halves"),
            Self::Ring => f.write_str("ring"),
            Self::OneWay { from, to } => write!(f, "{to:?} do not hear {from:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(partition: &Partition, nodes: usize) -> Vec<(usize, usize)> {
        let numbers: Vec<usize> = (1..=nodes).collect();
        partition.cuts(&numbers).into_iter().collect()
    }

    #[test]
    fn who_is_cut_off_is_not_in_the_largest_group() {
        let cut_off = |partition: Partition, nodes: usize| -> Vec<usize> {
            let numbers: Vec<usize> = (1..=nodes).collect();
            partition.cut_off(&numbers).into_iter().collect()
        };
        assert_eq!(cut_off(Partition::Isolate(2), 3), [2]);
        assert_eq!(cut_off(Partition::Split(vec![1, 4]), 5), [1, 4]);
        assert_eq!(cut_off(Partition::Halves, 5), [1, 2]);
        assert_eq!(cut_off(Partition::Halves, 4), [3, 4]);
        assert!(cut_off(Partition::Ring, 5).is_empty());
        let one_way = Partition::OneWay {
            from: vec![3],
            to: vec![1, 2],
        };
        assert_eq!(cut_off(one_way, 3), [3]);
        assert!(cut_off(Partition::Groups(vec![vec![1], vec![2]]), 3).is_empty());
    }

    #[test]
    fn each_partition_cuts_what_its_name_says() {
        assert_eq!(cuts(&Partition::Isolate(2), 3), [(1, 2), (2, 1), (2, 3), (3, 2)]);
        let split = Partition::Split(vec![3, 1]);
        assert_eq!(cuts(&split, 3), [(1, 2), (2, 1), (2, 3), (3, 2)]);
        assert_eq!(cuts(&Partition::Split(vec![1, 2, 3]), 3), []);
        let groups = Partition::Groups(vec![vec![1], vec![3]]);
        assert_eq!(cuts(&groups, 4), [(1, 3), (3, 1)]);
        assert_eq!(cuts(&Partition::Halves, 3), [(1, 2), (1, 3), (2, 1), (3, 1)]);
        assert_eq!(cuts(&Partition::Halves, 4).len(), 8);
        let one_way = Partition::OneWay {
            from: vec![1],
            to: vec![1, 2, 3],
        };
        assert_eq!(cuts(&one_way, 3), [(1, 2), (1, 3)]);
        assert_eq!(cuts(&Partition::Ring, 3), []);
        let ring = cuts(&Partition::Ring, 5);
        for node in 1..=5 {
            let unheard: Vec<usize> = ring
                .iter()
                .filter(|(_, to)| *to == node)
                .map(|(from, _)| *from)
                .collect();
            let neighbours = [(node + 3) % 5 + 1, node % 5 + 1];
            assert_eq!(unheard.len(), 2, "{node}: {unheard:?}");
            assert!(
                neighbours.iter().all(|near| !unheard.contains(near)),
                "{node}: {unheard:?}"
            );
        }
    }
}
