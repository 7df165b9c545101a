//! Confines the process that compiles. Afterwards, it can only compute and write to files that are
//! already open.
//!
//! Installs a system-call filter (seccomp) that allows only the calls needed for computing. All
//! other calls fail with `EPERM`: the process cannot open files or sockets, start programs or
//! affect other processes. The filter applies to this thread and all threads that it starts. If the
//! kernel or the architecture does not support filters, the child continues with its other limits.

/// Confines the calling thread permanently.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub(super) fn to_computing() -> Result<(), String> {
    use seccompiler::SeccompAction;

    use super::filter::{denied, install};

    let rules = COMPUTING.iter().map(|call| (*call, Vec::new())).collect();
    install(rules, denied(), SeccompAction::Allow)
        .map(|_| ())
        .map_err(|error| format!("cannot confine the compiler: {error}"))
}

/// Seccomp is not available or not tested on this platform.
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
pub(super) fn to_computing() -> Result<(), String> {
    Ok(())
}

/// System calls for allocators, threads, clocks, panics and process exit.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
const COMPUTING: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_prlimit64,
    libc::SYS_sysinfo,
    libc::SYS_prctl,
];

#[cfg(all(
    test,
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod tests {
    use std::fs::{self, File};
    use std::io::Write as _;
    use std::net::{TcpListener, UdpSocket};
    use std::process::Command;
    use std::thread;

    use super::to_computing;

    #[test]
    fn a_confined_thread_computes_and_writes_and_reaches_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("open");
        let mut open = File::create(&path).unwrap();
        let confined = thread::spawn(move || {
            to_computing().unwrap();
            // Threads inherit the filter and can still allocate.
            let sum = thread::spawn(|| vec![1_u64; 1 << 20].iter().sum::<u64>());
            assert_eq!(sum.join().unwrap(), 1 << 20);
            open.write_all(b"written").unwrap();
            [
                File::open("/etc/passwd").is_err(),
                File::create("/tmp/confined").is_err(),
                fs::read_dir("/").is_err(),
                fs::remove_file("/tmp/confined").is_err(),
                TcpListener::bind("127.0.0.1:0").is_err(),
                UdpSocket::bind("127.0.0.1:0").is_err(),
                Command::new("/bin/true").spawn().is_err(),
            ]
        });
        assert_eq!(confined.join().unwrap(), [true; 7]);
        assert_eq!(fs::read(&path).unwrap(), b"written");
    }
}
