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
    libc::SYS_msgget,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_semget,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
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

/// Calls of the other ABI that an x86 kernel may have beside its own have this bit.
#[cfg(target_arch = "x86_64")]
const X32: libc::c_long = 0x4000_0000;

/// For the processes of a strict job. They make no socket: that is what keeps them from the unix sockets that lie in the
/// file system (D-Bus, a container engine's), which neither a private network nor Landlock does before its ABI 9.
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
        let fast_open = masked(flags, libc::MSG_FASTOPEN.unsigned_abs())?;
        refused.extend(each(call, &[fast_open]));
    }
    refused.extend(new_users()?);
    Ok(vec![filter(refused, libc::EPERM)?, no_clone3()?])
}

/// Puts it on this thread, and all that it starts: the host executes nothing, beside what no process of its kind does.
///
/// # Errors
/// When the kernel has no filters, or this processor none of ours.
pub fn confine_host() -> Result<(), seccompiler::Error> {
    let mut refused = plain(NEVER);
    refused.extend(plain(&[libc::SYS_execve, libc::SYS_execveat]));
    refused.extend(new_users()?);
    seccompiler::apply_filter(&filter(refused, libc::EPERM)?)?;
    seccompiler::apply_filter(&no_clone3()?)
}

type Rules = Vec<(libc::c_long, Vec<SeccompRule>)>;

/// Refused with whatever arguments.
fn plain(calls: &[libc::c_long]) -> Rules {
    calls.iter().flat_map(|call| each(*call, &[])).collect()
}

/// A call by all its numbers.
fn each(call: libc::c_long, rules: &[SeccompRule]) -> Rules {
    vec![
        (call, rules.to_vec()),
        #[cfg(target_arch = "x86_64")]
        (call | X32, rules.to_vec()),
    ]
}

/// A clone that has a new user namespace, in which it would be root.
fn new_users() -> Result<Rules, seccompiler::Error> {
    let flag = libc::CLONE_NEWUSER.unsigned_abs();
    Ok(each(libc::SYS_clone, &[masked(0, flag)?]))
}

/// The flags of clone3 are in memory, where no filter looks. Told that there is no such call, libc makes the older one.
fn no_clone3() -> Result<BpfProgram, seccompiler::Error> {
    filter(plain(&[libc::SYS_clone3]), libc::ENOSYS)
}

/// A call that has this flag among its flags.
fn masked(argument: u8, flag: u32) -> Result<SeccompRule, seccompiler::Error> {
    let flag = u64::from(flag);
    let set = SeccompCmpOp::MaskedEq(flag);
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, set, flag)?;
    Ok(SeccompRule::new(vec![condition])?)
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
