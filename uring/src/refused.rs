//! Why there is no ring.

use std::fmt;
use std::io;

/// Why the kernel gives no ring. As an [`io::Error`] its kind is in the last column.
///
/// | | because of | kind |
/// |---|---|---|
/// | [`Elsewhere`](Self::Elsewhere) | the system is not Linux | `Unsupported` |
/// | [`Missing`](Self::Missing) | `ENOSYS`: a kernel without it, or a filter of system calls that says so | `Unsupported` |
/// | [`Forbidden`](Self::Forbidden) | `EPERM`, `EACCES`: the sysctl `kernel.io_uring_disabled`, or a filter of system calls, as container runtimes have | `PermissionDenied` |
/// | [`NoMemory`](Self::NoMemory) | `ENOMEM`: `RLIMIT_MEMLOCK`, or the memory of a control group | `OutOfMemory` |
/// | [`Old`](Self::Old) | a kernel that lacks what is named, as those from 5.1 to 5.12 do | `Unsupported` |
/// | [`Failed`](Self::Failed) | anything else, as too many open files | what the system says |
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refused {
    /// The system is not Linux.
    Elsewhere,
    /// The kernel has no `io_uring`.
    Missing,
    /// The process may not use it.
    Forbidden,
    /// There is no memory for a ring.
    NoMemory,
    /// The kernel's lacks this.
    Old(&'static str),
    /// The system's number of the error.
    Failed(i32),
}

impl Refused {
    /// Why there is no plain ring, of a number of entries that can be.
    pub(crate) fn of_setup(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EINVAL) => Self::Old("a size for the queue of ends (IORING_SETUP_CQSIZE)"),
            _ => Self::of(error),
        }
    }

    pub(crate) fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOSYS) => Self::Missing,
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden,
            Some(libc::ENOMEM) => Self::NoMemory,
            number => Self::Failed(number.unwrap_or(0)),
        }
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Elsewhere | Self::Missing | Self::Old(_) => io::ErrorKind::Unsupported,
            Self::Forbidden => io::ErrorKind::PermissionDenied,
            Self::NoMemory => io::ErrorKind::OutOfMemory,
            Self::Failed(number) => io::Error::from_raw_os_error(*number).kind(),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elsewhere => f.write_str("io_uring is Linux's"),
            Self::Missing => f.write_str("the kernel has no io_uring, or a filter of system calls (seccomp) hides it"),
            Self::Forbidden => f.write_str(
                "io_uring is forbidden here: by the sysctl kernel.io_uring_disabled, or by a filter of system calls (seccomp), \
                 as container runtimes have",
            ),
            Self::NoMemory => f.write_str(
                "there is no memory for a ring: RLIMIT_MEMLOCK (ulimit -l) or the memory of the control group is too low",
            ),
            Self::Old(what) => write!(f, "the kernel's io_uring lacks {what}: Linux 5.13 has it"),
            Self::Failed(number) => {
                write!(f, "the kernel gives no ring: {}", io::Error::from_raw_os_error(*number))
            }
        }
    }
}

impl std::error::Error for Refused {}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        io::Error::new(refused.kind(), refused)
    }
}

#[cfg(all(test, not(uring_loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_names_what_has_to_be_changed() {
        for (errno, kind, word) in [
            (libc::ENOSYS, io::ErrorKind::Unsupported, "seccomp"),
            (libc::EPERM, io::ErrorKind::PermissionDenied, "kernel.io_uring_disabled"),
            (libc::EACCES, io::ErrorKind::PermissionDenied, "kernel.io_uring_disabled"),
            (libc::ENOMEM, io::ErrorKind::OutOfMemory, "RLIMIT_MEMLOCK"),
            (libc::EMFILE, io::Error::from_raw_os_error(libc::EMFILE).kind(), "open files"),
        ] {
            let refused = Refused::of(&io::Error::from_raw_os_error(errno));
            let error = io::Error::from(refused.clone());
            assert!(error.kind() == kind && error.to_string().contains(word), "{error}");
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Refused>());
            assert_eq!(inner, Some(&refused));
        }
        // Linux 5.1 to 5.4.
        let plain = io::Error::from_raw_os_error(libc::EINVAL);
        let kind = io::Error::from(Refused::of_setup(&plain)).kind();
        assert_eq!(kind, io::ErrorKind::Unsupported);
        assert_eq!(
            Refused::of_setup(&io::Error::from_raw_os_error(libc::ENOSYS)),
            Refused::Missing
        );
        let old = io::Error::from(Refused::Old("fsync"));
        assert!(old.kind() == io::ErrorKind::Unsupported && old.to_string().contains("fsync"));
    }
}
