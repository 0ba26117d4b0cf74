//! Executes a program that cannot do one thing, as in a container whose seccomp profile forbids it.
//!
//! `without WHAT PROGRAM [ARGUMENT..]`, with `mount`, `unshare`, `ptrace`, `prlimit` (of other processes or by number) or
//! `sock-diag`: the system says EPERM to it, of that program and all that it starts.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let what = arguments.next().expect("what to go without");
    let program = arguments.next().expect("a program");
    let condition = |argument, operator, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
            .expect("an argument's number")
    };
    let (call, conditions) = match what.to_str() {
        Some("mount") => (libc::SYS_mount, vec![]),
        Some("unshare") => (libc::SYS_unshare, vec![]),
        Some("ptrace") => (libc::SYS_ptrace, vec![]),
        Some("prlimit") => (libc::SYS_prlimit64, vec![condition(0, SeccompCmpOp::Ne, 0)]),
        Some("sock-diag") => {
            let number = |value: libc::c_int| u64::from(value.unsigned_abs());
            let family = condition(0, SeccompCmpOp::Eq, number(libc::AF_NETLINK));
            let protocol = condition(2, SeccompCmpOp::Eq, number(libc::NETLINK_SOCK_DIAG));
            (libc::SYS_socket, vec![family, protocol])
        }
        _ => panic!("{} cannot be forbidden", what.display()),
    };
    // One without a rule is forbidden whatever its arguments are.
    let rules = match conditions.is_empty() {
        true => vec![],
        false => vec![SeccompRule::new(conditions).expect("a rule")],
    };
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let processor = std::env::consts::ARCH
        .try_into()
        .expect("a processor that it knows");
    let filter = SeccompFilter::new(
        BTreeMap::from([(call, rules)]),
        SeccompAction::Allow,
        refuse,
        processor,
    );
    let filter: BpfProgram = filter.expect("a filter").try_into().expect("its program");
    seccompiler::apply_filter(&filter).expect("the filter is taken");
    let error = Command::new(&program).args(arguments).exec();
    panic!("{}: {error}", program.display());
}
