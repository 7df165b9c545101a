//! The number of files and connections that a server can have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Each of the 512 connections can be an upload, which has open its file, the folder of the file, and
/// the folders that were created for it.
const DESCRIPTORS: u64 = 8192;

/// Raises the limit of this process, which is 1024 by default, as far as the system allows. With a
/// lower limit, many slow uploads could make other requests fail.
pub(super) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit
        .maximum
        .map_or(DESCRIPTORS, |max| max.min(DESCRIPTORS));
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("cannot raise the limit of open files to {wanted}: {error}");
    }
}
