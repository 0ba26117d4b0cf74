//! The vDSO: the library that the kernel puts into every process (`vdso(7)`), by which programs read the clock. It is the
//! same in all of them, but for where it is.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::OnceLock;

use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};

use super::NoClock;
use super::shift::{self, ALIGN, Code};

/// So many bytes at the begin of a function are replaced by one write, so that none is seen half-way.
pub(super) const ENTRY: usize = 8;
/// A jump to an address that is so many bytes from its own end: the opcode, and the distance in 4 bytes.
const JUMP: u8 = 0xe9;
const JUMP_LENGTH: usize = 5;

/// What is to be written where, in bytes from the begin of the vDSO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// As every process has it.
    image: Vec<u8>,
    code: Code,
    /// Where the code goes.
    at: usize,
    /// The begins of the functions that are replaced, each with what it gets.
    entries: Vec<(usize, [u8; ENTRY])>,
}

impl Plan {
    /// How to have this machine's vDSO tell other times. It is found out once.
    pub(super) fn of_this_machine() -> Result<&'static Self, NoClock> {
        static PLAN: OnceLock<Result<Plan, NoClock>> = OnceLock::new();
        let make = || {
            let code = shift::code().ok_or(NoClock::Processor)?;
            let maps = fs::read_to_string("/proc/self/smaps").map_err(|error| NoClock::other(&error))?;
            let mapping = mapping(&maps).ok_or(NoClock::NoVdso)?;
            if is_sealed(&maps) {
                return Err(NoClock::Sealed);
            }
            let memory = fs::File::open("/proc/self/mem").map_err(|error| NoClock::other(&error))?;
            let mut image = vec![0; mapping.end - mapping.start];
            memory
                .read_exact_at(&mut image, mapping.start as u64)
                .map_err(|error| NoClock::other(&error))?;
            Self::of(image, code)
        };
        PLAN.get_or_init(make).as_ref().map_err(Clone::clone)
    }

    fn of(image: Vec<u8>, code: Code) -> Result<Self, NoClock> {
        let not_read = |error: object::Error| NoClock::other(&error);
        let library: ElfFile64<'_> = ElfFile64::parse(&*image).map_err(not_read)?;
        let ends = library
            .segments()
            .map(|segment| segment.address() + segment.size());
        let end = ends.max().and_then(|end| usize::try_from(end).ok());
        let at = end.ok_or(NoClock::NoRoom)?.next_multiple_of(ALIGN);
        if at + code.bytes.len() > image.len() {
            return Err(NoClock::NoRoom);
        }
        let answers = [
            ("__vdso_clock_gettime", code.answers.clock_gettime),
            ("__vdso_gettimeofday", code.answers.gettimeofday),
            ("__vdso_time", code.answers.time),
        ];
        let entry = |(name, answer): (&str, usize)| {
            let symbol = library
                .dynamic_symbols()
                .find(|symbol| symbol.name() == Ok(name))
                .ok_or_else(|| NoClock::other(&format!("its vDSO has no {name}")))?;
            let begin = usize::try_from(symbol.address()).unwrap_or(usize::MAX);
            // Cut by nothing, so that one write replaces it.
            let fits = begin.is_multiple_of(ENTRY) && symbol.size() >= ENTRY as u64;
            let before = image.get(begin..).and_then(|rest| rest.first_chunk());
            match before {
                Some(before) if fits => Ok((begin, jump(*before, begin, at + answer))),
                _ => Err(NoClock::other(&format!(
                    "{name} begins at {begin:#x} of its vDSO"
                ))),
            }
        };
        let entries = answers.into_iter().map(entry).collect::<Result<_, _>>()?;
        Ok(Self {
            code,
            at,
            entries,
            image,
        })
    }

    /// The code with this offset, and where it goes.
    pub(super) fn code(&self, offset_nanos: i64) -> (usize, Vec<u8>) {
        let mut bytes = self.code.bytes.to_vec();
        let mut word = |at: usize, value: [u8; 8]| bytes[at..][..8].copy_from_slice(&value);
        word(self.code.offset, offset_nanos.to_ne_bytes());
        word(self.code.behind, (self.count() as u64).to_ne_bytes());
        word(self.code.length, (self.size() as u64).to_ne_bytes());
        (self.at, bytes)
    }

    /// Where the offset is.
    pub(super) fn offset(&self) -> usize {
        self.at + self.code.offset
    }

    /// Where the count is.
    pub(super) fn count(&self) -> usize {
        self.at + self.code.count
    }

    /// The begins of the functions, with what they get.
    pub(super) fn shifted(&self) -> impl Iterator<Item = (usize, [u8; ENTRY])> {
        self.entries.iter().copied()
    }

    /// The begins of the functions, as the kernel made them.
    pub(super) fn plain(&self) -> impl Iterator<Item = (usize, [u8; ENTRY])> {
        self.entries.iter().map(|(begin, _)| {
            let mut bytes = [0; ENTRY];
            bytes.copy_from_slice(&self.image[*begin..][..ENTRY]);
            (*begin, bytes)
        })
    }

    /// Whether a thread that is at this place, in bytes from the begin of the vDSO, would go on in the middle of what is
    /// replaced.
    pub(super) fn is_in_the_way(&self, place: usize) -> bool {
        let begins = self.entries.iter().map(|(begin, _)| *begin);
        begins
            .into_iter()
            .any(|begin| (begin + 1..begin + ENTRY).contains(&place))
    }

    /// Whether what a process has is a vDSO as this one with its functions replaced.
    pub(super) fn is_shifted(&self, image: &[u8]) -> bool {
        let mut plain = image.to_vec();
        let was_replaced = self.shifted().all(|(begin, entry)| {
            plain.get_mut(begin..begin + ENTRY).is_some_and(|bytes| {
                let is_replaced = bytes == entry;
                bytes.copy_from_slice(&self.image[begin..][..ENTRY]);
                is_replaced
            })
        });
        was_replaced && self.is_as(&plain)
    }

    /// Whether what a process has is a vDSO as this one. Where the code goes there may be some.
    pub(super) fn is_as(&self, image: &[u8]) -> bool {
        let end = self.at + self.code.bytes.len();
        image.len() == self.image.len()
            && image[..self.at] == self.image[..self.at]
            && image[end..] == self.image[end..]
    }

    /// Its size in bytes.
    pub(super) fn size(&self) -> usize {
        self.image.len()
    }
}

/// The begin of a function that jumps on.
fn jump(mut before: [u8; ENTRY], begin: usize, to: usize) -> [u8; ENTRY] {
    // Both are within the few pages of a vDSO.
    let distance = (to as i64 - (begin + JUMP_LENGTH) as i64) as i32;
    before[0] = JUMP;
    before[1..JUMP_LENGTH].copy_from_slice(&distance.to_le_bytes());
    before
}

/// Where the vDSO is, from the list of a process's mappings (`/proc/PID/maps` or `smaps`).
pub(super) fn mapping(maps: &str) -> Option<Range<usize>> {
    let line = maps.lines().find(|line| line.ends_with("[vdso]"))?;
    let (begin, end) = line.split_once(' ')?.0.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    Some(number(begin)?..number(end)?)
}

/// Whether nobody may change how the vDSO is mapped (`sl`), from `/proc/PID/smaps`.
fn is_sealed(smaps: &str) -> bool {
    let of_vdso = smaps.lines().skip_while(|line| !line.ends_with("[vdso]"));
    let flags = of_vdso.into_iter().find_map(|line| line.strip_prefix("VmFlags:"));
    flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "sl"))
}

/// The error of a process that has another vDSO.
pub(super) fn foreign() -> io::Error {
    io::Error::other(
        "its vDSO is not that of a 64-bit program on this kernel, or somebody else has changed it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_clock::available;
    use crate::tests::is_allowed;

    #[test]
    fn a_jump_goes_where_it_is_told_and_keeps_what_follows() {
        assert_eq!(jump([9; 8], 0x100, 0x1540), [0xe9, 0x3b, 0x14, 0, 0, 9, 9, 9]);
        assert_eq!(jump([9; 8], 0x100, 0x105), [0xe9, 0, 0, 0, 0, 9, 9, 9]);
        assert_eq!(
            jump([9; 8], 0x100, 0x100),
            [0xe9, 0xfb, 0xff, 0xff, 0xff, 9, 9, 9]
        );
    }

    #[test]
    fn the_vdso_and_whether_it_is_sealed_are_read_from_mappings() {
        let smaps = |flags: &str| {
            format!(
                "7f7c0d412000-7f7c0d416000 r--p 00000000 00:00 0    [vvar]\nSize: 16 kB\nVmFlags: rd mr sl \n\
                 7f7c0d418000-7f7c0d41a000 r-xp 00000000 00:00 0    [vdso]\nSize: 8 kB\nVmFlags: {flags}\n\
                 ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\nVmFlags: ex sl \n"
            )
        };
        let open = smaps("rd ex mr mw me de");
        assert_eq!(mapping(&open), Some(0x7f7c_0d41_8000..0x7f7c_0d41_a000));
        assert!(!is_sealed(&open));
        assert!(is_sealed(&smaps("rd ex mr mw me de sl")));
        assert_eq!(mapping("00400000-00500000 r-xp 0 0:0 0 /bin/sh"), None);
    }

    #[test]
    fn what_has_no_vdso_or_no_room_for_the_code_is_refused() {
        if !is_allowed(available()) {
            return;
        }
        let plan = Plan::of_this_machine().unwrap();
        let size = plan.size();
        let mut image = plan.image.clone();
        let (at, code) = plan.code(5);
        image[at..][..code.len()].copy_from_slice(&code);
        assert!(
            plan.is_as(&plan.image) && plan.is_as(&image),
            "as it was left before"
        );
        assert!(!plan.is_shifted(&image));
        for (begin, entry) in plan.shifted() {
            image[begin..][..ENTRY].copy_from_slice(&entry);
            assert!(!plan.is_as(&image));
        }
        assert!(plan.is_shifted(&image) && !plan.is_shifted(&[]));
        let bytes = vec![0; size].leak();
        let too_long = Plan::of(plan.image.clone(), Code { bytes, ..plan.code });
        assert_eq!(too_long, Err(NoClock::NoRoom));
        assert!(matches!(
            Plan::of(vec![0; size], plan.code),
            Err(NoClock::Other(_))
        ));
    }

    #[test]
    fn only_a_thread_in_the_middle_of_what_is_replaced_is_in_the_way() {
        if !is_allowed(available()) {
            return;
        }
        let plan = Plan::of_this_machine().unwrap();
        for (begin, _) in plan.plain() {
            assert!(!plan.is_in_the_way(begin), "it goes on with the jump");
            assert!((1..ENTRY).all(|inside| plan.is_in_the_way(begin + inside)));
            assert!(!plan.is_in_the_way(begin + ENTRY));
        }
    }
}
