//! System-call filters (seccomp), built from lists of calls.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompFilter, SeccompRule, TargetArch,
    apply_filter,
};

/// System call numbers with the conditions under which a rule matches. Without conditions, it
/// always matches.
pub(super) type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A denied call fails with `EPERM`.
pub(super) fn denied() -> SeccompAction {
    SeccompAction::Errno(libc::EPERM.unsigned_abs())
}

/// Permanently filters the system calls of the calling thread and of threads that it starts.
/// Returns `false` if the kernel does not support filters.
pub(super) fn install(
    rules: Rules,
    all_others: SeccompAction,
    matching: SeccompAction,
) -> Result<bool, Error> {
    let arch: Result<TargetArch, BackendError> = std::env::consts::ARCH.try_into();
    let filter = SeccompFilter::new(rules, all_others, matching, arch?)?;
    let program: BpfProgram = filter.try_into()?;
    match apply_filter(&program) {
        // The kernel does not support filters.
        Err(Error::Prctl(error) | Error::Seccomp(error))
            if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) =>
        {
            Ok(false)
        }
        applied => applied.map(|()| true),
    }
}
