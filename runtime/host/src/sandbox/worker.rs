//! Restricts the threads that run guests to the system calls and files that a session needs.
//!
//! Uses two kernel features, both for the calling thread and the threads that it starts. Landlock
//! restricts the files that can be opened. A system-call filter (seccomp) denies programs, sockets,
//! new machine code and access to other processes.
//!
//! This is defense in depth against native code that a guest runs through a bug in Wasmtime. It is
//! not a boundary: the thread shares its memory and file descriptors with unconfined threads.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Once;

/// The files that a confined thread can open.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileAccess<'a> {
    /// Everything below this folder, read-only.
    pub sessions: Option<BorrowedFd<'a>>,
    /// Files in these folders, with all operations that scratch files need.
    pub scratch: &'a [&'a Path],
}

/// The restrictions that apply to a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// Whether Landlock is active.
    pub files: bool,
    /// Whether the system-call filter is active.
    pub calls: bool,
}

/// Confines the calling thread before it runs a guest. If the kernel does not support it, the guest
/// runs anyway, and the first such thread of the process logs a message.
pub fn confine_if_possible(reach: FileAccess<'_>) {
    static SAID: Once = Once::new();
    match confine_thread(reach) {
        Ok(Confinement {
            files: true,
            calls: true,
        }) => {}
        Ok(Confinement { files, calls }) => SAID.call_once(|| {
            tracing::debug!(
                landlock = files,
                seccomp = calls,
                "the kernel does not support all restrictions for threads that run guests"
            );
        }),
        Err(error) => SAID.call_once(|| {
            tracing::debug!(%error, "cannot restrict threads that run guests");
        }),
    }
}

/// Permanently confines the calling thread as far as the kernel supports it.
///
/// # Errors
/// A restriction that the kernel supports could not be applied. The other one can be active.
pub fn confine_thread(reach: FileAccess<'_>) -> io::Result<Confinement> {
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
    use super::{Confinement, FileAccess};

    pub(super) fn confine_thread(reach: FileAccess<'_>) -> io::Result<Confinement> {
        let files = confine_files(reach).map_err(io::Error::other);
        // If one restriction fails, still apply the other.
        let calls = denied_calls()
            .map_err(seccompiler::Error::from)
            .and_then(|calls| install(calls, SeccompAction::Allow, denied()))
            .map_err(io::Error::other);
        Ok(Confinement {
            files: files?,
            calls: calls?,
        })
    }

    /// Applies Landlock, with all features that the kernel supports.
    fn confine_files(reach: FileAccess<'_>) -> Result<bool, RulesetError> {
        // No rule allows a port. The language model provider connects on threads of its own.
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
        // A missing folder contains no files to open.
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

    /// A deny list instead of an allow list: a worker also queries the database and writes logs,
    /// and the system calls for that depend on the version of the C library.
    fn denied_calls() -> Result<Rules, seccompiler::BackendError> {
        let mut rules: Rules = DENIED.iter().map(|call| (*call, Vec::new())).collect();
        // The kernel only reads the lower 32 bits of these arguments.
        let when = |argument, operator, value| {
            let condition =
                SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
            SeccompRule::new(vec![condition])
        };
        let own = u64::from(std::process::id());
        for call in [libc::SYS_kill, libc::SYS_tgkill] {
            rules.insert(call, vec![when(0, SeccompCmpOp::Ne, own)?]);
        }
        // Components are compiled and loaded before the workers start.
        let executable = u64::from(libc::PROT_EXEC.unsigned_abs());
        for call in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
            let operator = SeccompCmpOp::MaskedEq(executable);
            rules.insert(call, vec![when(2, operator, executable)?]);
        }
        // TIOCSTI injects terminal input as if the user typed it.
        let fake_input = when(1, SeccompCmpOp::Eq, libc::TIOCSTI)?;
        rules.insert(libc::SYS_ioctl, vec![fake_input]);
        #[cfg(target_arch = "x86_64")]
        {
            // The same calls by their x32 numbers, if the kernel supports them.
            let other: Vec<_> = rules
                .iter()
                .map(|(call, rules)| (call | X32, rules.clone()))
                .chain((512..=547).map(|call| (call | X32, Vec::new())))
                .collect();
            rules.extend(other);
        }
        Ok(rules)
    }

    /// The bit that marks calls of the x32 ABI.
    #[cfg(target_arch = "x86_64")]
    const X32: i64 = 0x4000_0000;

    /// The number is the same on every architecture. The `libc` crate defines it only for some.
    const SYS_FCHMODAT2: i64 = 452;

    const DENIED: &[i64] = &[
        // Starting programs.
        libc::SYS_execve,
        libc::SYS_execveat,
        // Sockets, except for `socketpair`, which the WASI runtime uses for signals on the first
        // thread that needs it. Also io_uring, whose operations bypass the filter.
        libc::SYS_socket,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        // Accessing other processes.
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
        // Interfaces with a history of kernel bugs.
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_personality,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_keyctl,
        // Changing roots, mounts and namespaces.
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
        // Administering the machine.
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
        // Changing modes and owners of files, which Landlock does not control.
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
        // Changing users.
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

/// These restrictions do not exist or are not tested on this platform.
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
mod imp {
    use std::io;

    use super::{Confinement, FileAccess};

    pub(super) fn confine_thread(_: FileAccess<'_>) -> io::Result<Confinement> {
        Ok(Confinement {
            files: false,
            calls: false,
        })
    }
}
