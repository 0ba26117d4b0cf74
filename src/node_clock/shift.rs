//! The code that answers in the place of the vDSO: it asks the kernel for the time and moves it by an offset.
//!
//! It is copied into another process, behind the end of that one's vDSO, so it depends on nothing but where its own words
//! are. The functions are those of `vdso(7)`: each may change what the C calling convention leaves to it.
//!
//! The words are where the process itself may not write. The first reading makes that writable, the vDSO as a whole, since
//! the kernel does not split it; a count that is not 0 tells that it is.

/// The functions of the vDSO that tell the time of day, and where in [`code`] each is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answers {
    pub(super) clock_gettime: usize,
    pub(super) gettimeofday: usize,
    pub(super) time: usize,
}

/// A copy of the code, and where in it things are, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) bytes: &'static [u8],
    pub(super) answers: Answers,
    /// The nanoseconds that are added, an `i64`.
    pub(super) offset: usize,
    /// How many readings were moved, a `u64`.
    pub(super) count: usize,
    /// How far behind the begin of the vDSO the count is, a `u64`.
    pub(super) behind: usize,
    /// How long the vDSO is, a `u64`.
    pub(super) length: usize,
}

/// Where it begins has to be a multiple of this many bytes, for its words.
pub(super) const ALIGN: usize = 64;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    // What refers to the code below. It is only copied, never run here.
    #![allow(unsafe_code)]

    use super::{Answers, Code};

    core::arch::global_asm!(
        ".pushsection .rodata.robust_test_shift, \"a\", @progbits",
        ".balign 64",
        ".globl robust_test_shift_begin",
        "robust_test_shift_begin:",
        // int clock_gettime(clockid_t edi, struct timespec *rsi)
        "20:",
        "mov eax, 228",
        "syscall",
        "test eax, eax",
        "jnz 29f",
        // CLOCK_REALTIME, CLOCK_REALTIME_COARSE, CLOCK_TAI: the clocks that somebody sets.
        "test edi, edi",
        "jz 21f",
        "cmp edi, 5",
        "je 21f",
        "cmp edi, 11",
        "jne 29f",
        "21:",
        "imul rax, qword ptr [rsi], 1000000000",
        "add rax, qword ptr [rsi + 8]",
        "call 60f",
        "mov qword ptr [rsi], rax",
        "mov qword ptr [rsi + 8], rdx",
        "call 70f",
        "xor eax, eax",
        "29:",
        "ret",
        // int gettimeofday(struct timeval *rdi, struct timezone *rsi)
        ".balign 16",
        "30:",
        "mov eax, 96",
        "syscall",
        "test eax, eax",
        "jnz 39f",
        "test rdi, rdi",
        "jz 39f",
        "imul rax, qword ptr [rdi], 1000000",
        "add rax, qword ptr [rdi + 8]",
        "imul rax, rax, 1000",
        "call 60f",
        "mov qword ptr [rdi], rax",
        "mov eax, edx",
        "xor edx, edx",
        "mov ecx, 1000",
        "div ecx",
        "mov qword ptr [rdi + 8], rax",
        "call 70f",
        "xor eax, eax",
        "39:",
        "ret",
        // time_t time(time_t *rdi)
        ".balign 16",
        "40:",
        "mov r8, rdi",
        "sub rsp, 24",
        "xor edi, edi",
        "mov rsi, rsp",
        "call 20b",
        "mov rax, qword ptr [rsp]",
        "add rsp, 24",
        "test r8, r8",
        "jz 49f",
        "mov qword ptr [r8], rax",
        "49:",
        "ret",
        // Nanoseconds since 1970 in rax, moved, as seconds in rax and nanoseconds in rdx. There is nothing before 1970.
        ".balign 16",
        "60:",
        "add rax, qword ptr [rip + 80f]",
        "jns 61f",
        "xor eax, eax",
        "61:",
        "xor edx, edx",
        "mov ecx, 1000000000",
        "div rcx",
        "ret",
        // Counts what was moved. Keeps r8.
        ".balign 16",
        "70:",
        "cmp qword ptr [rip + 80f], 0",
        "je 72f",
        "cmp qword ptr [rip + 81f], 0",
        "jne 71f",
        "lea rdi, [rip + 81f]",
        "sub rdi, qword ptr [rip + 82f]",
        "mov rsi, qword ptr [rip + 83f]",
        "mov edx, 7",
        "mov eax, 10",
        "syscall",
        "test eax, eax",
        "jnz 72f",
        "71:",
        "lock inc qword ptr [rip + 81f]",
        "72:",
        "ret",
        ".balign 64",
        ".globl robust_test_shift_words",
        "robust_test_shift_words:",
        "80: .quad 0",
        "81: .quad 0",
        "82: .quad 0",
        "83: .quad 0",
        ".globl robust_test_shift_end",
        "robust_test_shift_end:",
        // Where the answers begin, as distances.
        ".balign 8",
        ".globl robust_test_shift_answers",
        "robust_test_shift_answers:",
        ".quad 20b - robust_test_shift_begin",
        ".quad 30b - robust_test_shift_begin",
        ".quad 40b - robust_test_shift_begin",
        ".popsection",
    );

    unsafe extern "C" {
        static robust_test_shift_begin: u8;
        static robust_test_shift_words: u8;
        static robust_test_shift_end: u8;
        static robust_test_shift_answers: [usize; 3];
    }

    pub(in super::super) fn code() -> Option<Code> {
        let begin = &raw const robust_test_shift_begin;
        let words = (&raw const robust_test_shift_words).addr() - begin.addr();
        let length = (&raw const robust_test_shift_end).addr() - begin.addr();
        // SAFETY: the symbols are in one section, in this order, and nothing changes it.
        let bytes = unsafe { std::slice::from_raw_parts(begin, length) };
        // SAFETY: three words, as they are written above.
        let [clock_gettime, gettimeofday, time] = unsafe { robust_test_shift_answers };
        Some(Code {
            bytes,
            answers: Answers {
                clock_gettime,
                gettimeofday,
                time,
            },
            offset: words,
            count: words + 8,
            behind: words + 16,
            length: words + 24,
        })
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::code;

/// The code for this processor, where there is one.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn code() -> Option<Code> {
    None
}
