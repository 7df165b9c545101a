//! Confining the threads that run guests: what no session needs, they can't do.
//!
//! Two restrictions of the kernel, both of the calling thread and the threads that it starts, and of
//! no other one: Landlock says which files can be opened, and a system-call filter (seccomp) denies
//! programs, sockets, new machine code and what reaches into other processes.
//!
//! This is a hurdle for native code that a bug in wasmtime let a guest run, and no boundary: the
//! thread shares its memory and its open descriptors with threads that are not confined.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Once;

/// What a confined thread can open.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reach<'a> {
    /// Everything below this folder, for reading.
    pub sessions: Option<BorrowedFd<'a>>,
    /// Files in these folders, for all that is done with scratch files.
    pub scratch: &'a [&'a Path],
}

/// Which restrictions hold for a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confined {
    /// Landlock.
    pub files: bool,
    /// The system-call filter.
    pub calls: bool,
}

/// Confines the calling thread before it runs a guest. This is a precaution: where the kernel can't
/// do it, the guest runs all the same, and the first thread of the process logs that.
pub fn confine_if_possible(reach: Reach<'_>) {
    static SAID: Once = Once::new();
    match confine_thread(reach) {
        Ok(Confined {
            files: true,
            calls: true,
        }) => {}
        Ok(Confined { files, calls }) => SAID.call_once(|| {
            tracing::debug!(
                landlock = files,
                seccomp = calls,
                "the kernel lacks some of the confinement for threads that run guests"
            );
        }),
        Err(error) => SAID.call_once(|| {
            tracing::debug!(%error, "threads that run guests can't be confined");
        }),
    }
}

/// Confines the calling thread for good, as far as the kernel can.
///
/// # Errors
/// When a restriction that the kernel has could not be made; the other one may hold.
pub fn confine_thread(reach: Reach<'_>) -> io::Result<Confined> {
    imp::confine_thread(reach)
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod imp {
    use std::io;

    use landlock::{
        ABI, Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset,
        RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus,
    };
    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule,
    };

    use super::super::filter::{Rules, denied, install};
    use super::{Confined, Reach};

    pub(super) fn confine_thread(reach: Reach<'_>) -> io::Result<Confined> {
        let files = confine_files(reach).map_err(io::Error::other);
        // Where one of them can't be made, the other one is worth having all the same.
        let calls = denied_calls()
            .map_err(seccompiler::Error::from)
            .and_then(|calls| install(calls, SeccompAction::Allow, denied()))
            .map_err(io::Error::other);
        Ok(Confined {
            files: files?,
            calls: calls?,
        })
    }

    /// By Landlock, with as much of it as the kernel has.
    fn confine_files(reach: Reach<'_>) -> Result<bool, RulesetError> {
        // No rule allows any port: what connects for a guest does so on a thread of its own.
        let mut ruleset = Ruleset::default()
            .handle_access(AccessFs::from_all(ABI::V5))?
            .handle_access(AccessNet::from_all(ABI::V4))?
            .create()?;
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        if let Some(folder) = reach.sessions {
            ruleset = ruleset.add_rule(PathBeneath::new(folder, read))?;
        }
        let scratch: BitFlags<AccessFs> = read
            | AccessFs::WriteFile
            | AccessFs::MakeReg
            | AccessFs::RemoveFile
            | AccessFs::Truncate;
        // A folder that is not there holds nothing to open.
        for folder in reach
            .scratch
            .iter()
            .filter_map(|path| PathFd::new(path).ok())
        {
            ruleset = ruleset.add_rule(PathBeneath::new(folder, scratch))?;
        }
        let status = ruleset.restrict_self()?;
        Ok(status.ruleset != RulesetStatus::NotEnforced)
    }

    /// A list of what is denied, not of what is allowed: a worker also asks the database and writes
    /// logs, by calls that change with the versions of the C library.
    fn denied_calls() -> Result<Rules, seccompiler::BackendError> {
        let mut rules: Rules = DENIED.iter().map(|call| (*call, Vec::new())).collect();
        // The kernel takes no more than the lower half of any of these arguments.
        let when = |argument, operator, value| {
            let condition =
                SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
            SeccompRule::new(vec![condition])
        };
        let own = u64::from(std::process::id());
        for call in [libc::SYS_kill, libc::SYS_tgkill] {
            rules.insert(call, vec![when(0, SeccompCmpOp::Ne, own)?]);
        }
        // Code is compiled and loaded before the workers start.
        let executable = u64::from(libc::PROT_EXEC.unsigned_abs());
        for call in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
            let operator = SeccompCmpOp::MaskedEq(executable);
            rules.insert(call, vec![when(2, operator, executable)?]);
        }
        // Types into the terminal, as if the user did.
        let fake_input = when(1, SeccompCmpOp::Eq, libc::TIOCSTI)?;
        rules.insert(libc::SYS_ioctl, vec![fake_input]);
        #[cfg(target_arch = "x86_64")]
        {
            // The same calls by their other numbers, where the kernel has them.
            let other: Vec<_> = rules
                .iter()
                .map(|(call, rules)| (call | X32, rules.clone()))
                .chain((512..=547).map(|call| (call | X32, Vec::new())))
                .collect();
            rules.extend(other);
        }
        Ok(rules)
    }

    /// The bit of calls by the x32 interface.
    #[cfg(target_arch = "x86_64")]
    const X32: i64 = 0x4000_0000;

    /// The same number on every architecture; the C library's crate has it for some.
    const SYS_FCHMODAT2: i64 = 452;

    const DENIED: &[i64] = &[
        // Programs.
        libc::SYS_execve,
        libc::SYS_execveat,
        // Sockets that reach anything, which a pair does not: the runtime of WASI makes one for its
        // signals on the first thread that needs it. And the ring, whose calls no filter sees.
        libc::SYS_socket,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        // Other processes.
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_process_madvise,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_send_signal,
        libc::SYS_tkill,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_kcmp,
        libc::SYS_shmat,
        // Interfaces with a long record of kernel bugs.
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_personality,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_keyctl,
        // Other roots, mounts and namespaces.
        libc::SYS_chroot,
        libc::SYS_pivot_root,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fspick,
        libc::SYS_mount_setattr,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_name_to_handle_at,
        libc::SYS_open_by_handle_at,
        // The machine.
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_kexec_load,
        libc::SYS_kexec_file_load,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_acct,
        libc::SYS_quotactl,
        libc::SYS_clock_settime,
        libc::SYS_settimeofday,
        libc::SYS_sethostname,
        libc::SYS_setdomainname,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_iopl,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_ioperm,
        // Modes and owners of files, which Landlock does not look at.
        #[cfg(target_arch = "x86_64")]
        libc::SYS_chmod,
        libc::SYS_fchmod,
        libc::SYS_fchmodat,
        SYS_FCHMODAT2,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_chown,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_lchown,
        libc::SYS_fchown,
        libc::SYS_fchownat,
        libc::SYS_setxattr,
        libc::SYS_lsetxattr,
        libc::SYS_fsetxattr,
        // Other users.
        libc::SYS_setuid,
        libc::SYS_setgid,
        libc::SYS_setreuid,
        libc::SYS_setregid,
        libc::SYS_setresuid,
        libc::SYS_setresgid,
        libc::SYS_setgroups,
        libc::SYS_setfsuid,
        libc::SYS_setfsgid,
        libc::SYS_capset,
    ];
}

/// No such restrictions are known here, or they are untested.
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
mod imp {
    use std::io;

    use super::{Confined, Reach};

    pub(super) fn confine_thread(_: Reach<'_>) -> io::Result<Confined> {
        Ok(Confined {
            files: false,
            calls: false,
        })
    }
}
