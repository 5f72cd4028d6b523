//! System calls that a process has no use for, and that whoever takes it over would have. What is refused is listed, not
//! what is allowed: which calls wasmtime, tokio and libc, or the program of somebody else, make changes from version to
//! version, and a call that is missing from a list of allowed ones ends a service that did nothing wrong. The lists
//! name what reaches other processes, the kernel itself, or the machine as a whole.

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Filters that are put on one after the other.
pub type Filters = Vec<BpfProgram>;

/// Other processes, file systems, the kernel and its clocks, and the calls that have been the way to most of its faults.
const NEVER: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_msgctl,
    libc::SYS_msgget,
    libc::SYS_msgrcv,
    libc::SYS_msgsnd,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_semctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_shmget,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// Whose file it is, what may be done with it, and its times and attributes, by a path: Landlock is not asked. Who has a
/// file open has been asked, and may do all that by its descriptor.
const BY_PATH: &[libc::c_long] = &[
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fchownat,
    libc::SYS_lremovexattr,
    libc::SYS_lsetxattr,
    libc::SYS_removexattr,
    libc::SYS_setxattr,
    SETXATTRAT,
    REMOVEXATTRAT,
    FILE_SETATTR,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
];

/// Those of Linux 6.13 to 6.17, which libc has no names for: the same numbers everywhere.
const SETXATTRAT: libc::c_long = 463;
const REMOVEXATTRAT: libc::c_long = 466;
const OPEN_TREE_ATTR: libc::c_long = 467;
const FILE_SETATTR: libc::c_long = 469;

/// Calls of the other ABI that an x86 kernel may have beside its own begin here. Many have other numbers there.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// For the processes of a strict job. They make no socket: that is what keeps them from the unix sockets that lie in the
/// file system (D-Bus, a container engine's), which neither a private network does, nor Landlock of the ABI that is used.
///
/// # Errors
/// When this processor is none for which there are filters.
pub fn strict() -> Result<Filters, seccompiler::Error> {
    let mut refused = plain(NEVER);
    // The connection itself is of the host's network: to disconnect it and have it connect or listen elsewhere would
    // be a way out.
    refused.extend(plain(&[
        libc::SYS_socket,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
    ]));
    for (call, flags) in [
        (libc::SYS_sendto, 3),
        (libc::SYS_sendmsg, 2),
        (libc::SYS_sendmmsg, 3),
    ] {
        let fast_open = rule([has(flags, libc::MSG_FASTOPEN)?])?;
        refused.extend(each(call, &[fast_open]));
    }
    // One end of a pair of datagram sockets sends to any that lies in the file system. 15: without its flags.
    let datagrams = [libc::SOCK_DGRAM, libc::SOCK_RAW]
        .map(|kind| rule([is(1, SeccompCmpOp::MaskedEq(15), number(kind))?]));
    let [datagram, raw] = datagrams;
    refused.extend(each(libc::SYS_socketpair, &[datagram?, raw?]));
    refused.extend(plain(BY_PATH));
    // By a descriptor there is no path.
    let path = rule([is(1, SeccompCmpOp::Ne, 0)?])?;
    refused.extend(each(libc::SYS_utimensat, &[path]));
    // Its session and its group are how it is ended.
    refused.extend(plain(&[libc::SYS_setsid, libc::SYS_setpgid]));
    refused.extend(others()?);
    refused.extend(everywhere()?);
    let mut filters = vec![filter(refused, libc::EPERM)?, no_clone3()?];
    filters.extend(no_x32());
    Ok(filters)
}

/// Puts it on this thread, and all that it starts: the host executes nothing, beside what no process of its kind does.
///
/// # Errors
/// When the kernel has no filters, or this processor none of ours.
pub fn confine_host() -> Result<(), seccompiler::Error> {
    let mut refused = plain(NEVER);
    refused.extend(plain(&[libc::SYS_execve, libc::SYS_execveat]));
    refused.extend(others()?);
    refused.extend(everywhere()?);
    seccompiler::apply_filter(&filter(refused, libc::EPERM)?)?;
    seccompiler::apply_filter(&no_clone3()?)?;
    no_x32()
        .iter()
        .try_for_each(|filter| seccompiler::apply_filter(filter))
}

type Rules = Vec<(libc::c_long, Vec<SeccompRule>)>;

/// Refused with whatever arguments.
fn plain(calls: &[libc::c_long]) -> Rules {
    calls.iter().flat_map(|call| each(*call, &[])).collect()
}

/// Refused where one of these holds, or in any case.
fn each(call: libc::c_long, rules: &[SeccompRule]) -> Rules {
    vec![(call, rules.to_vec())]
}

/// Limits, priority and processors of others: it is enough to be the same user.
fn others() -> Result<Rules, seccompiler::Error> {
    let another = |argument| is(argument, SeccompCmpOp::Ne, 0);
    let limit = rule([another(0)?, is(2, SeccompCmpOp::Ne, 0)?])?;
    let mut refused = each(libc::SYS_prlimit64, &[limit]);
    for call in [
        libc::SYS_sched_setaffinity,
        libc::SYS_sched_setattr,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setscheduler,
        libc::SYS_migrate_pages,
        libc::SYS_move_pages,
    ] {
        refused.extend(each(call, &[rule([another(0)?])?]));
    }
    // The first says whether it is a process, a group or a user.
    for (call, process) in [(libc::SYS_setpriority, 0), (libc::SYS_ioprio_set, 1)] {
        let many = rule([is(0, SeccompCmpOp::Ne, process)?])?;
        refused.extend(each(call, &[many, rule([another(1)?])?]));
    }
    Ok(refused)
}

/// A clone that has a new user namespace, in which it would be root; and what it is to type at its terminal.
fn everywhere() -> Result<Rules, seccompiler::Error> {
    let new_user = rule([has(0, libc::CLONE_NEWUSER)?])?;
    let mut refused = each(libc::SYS_clone, &[new_user]);
    for what in [libc::TIOCSTI, libc::TIOCLINUX] {
        // The kernel looks at so many bits of it.
        let (width, equal) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
        let typed = SeccompCondition::new(1, width, equal, what)?;
        refused.extend(each(libc::SYS_ioctl, &[rule([typed])?]));
    }
    Ok(refused)
}

/// The flags of clone3 are in memory, where no filter looks. Told that there is no such call, libc makes the older one.
fn no_clone3() -> Result<BpfProgram, seccompiler::Error> {
    filter(plain(&[libc::SYS_clone3]), libc::ENOSYS)
}

/// Tells who makes calls of the other ABI that there are none.
#[cfg(target_arch = "x86_64")]
fn no_x32() -> Filters {
    let step = |code: u32, jt, jf, k| seccompiler::sock_filter {
        code: u16::try_from(code).unwrap_or(0),
        jt,
        jf,
        k,
    };
    vec![vec![
        // The number of the call, which is the first of what a filter is told.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32),
        step(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(),
        ),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]]
}

#[cfg(not(target_arch = "x86_64"))]
fn no_x32() -> Filters {
    Vec::new()
}

/// A call of which all of that is true.
fn rule<const N: usize>(all: [SeccompCondition; N]) -> Result<SeccompRule, seccompiler::Error> {
    Ok(SeccompRule::new(all.into())?)
}

/// An argument that has this flag among its flags.
fn has(argument: u8, flag: libc::c_int) -> Result<SeccompCondition, seccompiler::Error> {
    let flag = number(flag);
    is(argument, SeccompCmpOp::MaskedEq(flag), flag)
}

/// An argument, all of whose bits count.
fn is(argument: u8, how: SeccompCmpOp, value: u64) -> Result<SeccompCondition, seccompiler::Error> {
    Ok(SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Qword,
        how,
        value,
    )?)
}

fn number(of: libc::c_int) -> u64 {
    u64::from(of.unsigned_abs())
}

/// Refuses those with an error, and ends who makes calls of another architecture.
fn filter(refused: Rules, errno: libc::c_int) -> Result<BpfProgram, seccompiler::Error> {
    let filter = SeccompFilter::new(
        refused.into_iter().collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(errno.unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?;
    Ok(filter.try_into()?)
}
