//! Filters of system calls (seccomp), from lists of calls.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompFilter, SeccompRule, TargetArch,
    apply_filter,
};

/// Calls by their numbers, each with the conditions under which it matches; without any it always
/// does.
pub(super) type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A call that is denied fails with `EPERM`.
pub(super) fn denied() -> SeccompAction {
    SeccompAction::Errno(libc::EPERM.unsigned_abs())
}

/// Filters the calls of the calling thread and of the threads that it starts, for good; `false`
/// where the kernel has no filters.
pub(super) fn install(
    rules: Rules,
    all_others: SeccompAction,
    matching: SeccompAction,
) -> Result<bool, Error> {
    let arch: Result<TargetArch, BackendError> = std::env::consts::ARCH.try_into();
    let filter = SeccompFilter::new(rules, all_others, matching, arch?)?;
    let program: BpfProgram = filter.try_into()?;
    match apply_filter(&program) {
        // A kernel without filters.
        Err(Error::Prctl(error) | Error::Seccomp(error))
            if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) =>
        {
            Ok(false)
        }
        applied => applied.map(|()| true),
    }
}
