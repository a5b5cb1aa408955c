//! The operating system's numbers of errors.

#[cfg(unix)]
pub(crate) use rustix::io::Errno;

#[cfg(windows)]
pub(crate) use windows::Errno;

#[cfg(not(any(unix, windows)))]
compile_error!("writeback is for Unix and Windows: what a file can do it knows of no other system");

#[cfg(windows)]
mod windows {
    use std::io;

    /// One of those that Windows knows, by the name that Unix has for it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Errno(i32);

    impl Errno {
        /// `ERROR_IO_INCOMPLETE`: of what was asked for nothing is there yet.
        #[cfg(test)]
        pub(crate) const AGAIN: Self = Self(996);
        /// `ERROR_FILE_TOO_LARGE`.
        pub(crate) const FBIG: Self = Self(223);
        /// No call is interrupted.
        pub(crate) const INTR: Self = Self(-1);
        /// `ERROR_INVALID_PARAMETER`.
        pub(crate) const INVAL: Self = Self(87);
        /// `ERROR_IO_DEVICE`.
        #[cfg(any(test, feature = "fault"))]
        pub(crate) const IO: Self = Self(1117);
        /// `ERROR_DISK_FULL`.
        pub(crate) const NOSPC: Self = Self(112);
        /// `ERROR_NOT_SUPPORTED`.
        pub(crate) const NOSYS: Self = Self(50);
        /// `ERROR_CALL_NOT_IMPLEMENTED`, which the standard library knows as [`Unsupported`](io::ErrorKind::Unsupported).
        pub(crate) const OPNOTSUPP: Self = Self(120);
        /// `ERROR_ACCESS_DENIED`.
        pub(crate) const PERM: Self = Self(5);
        /// `ERROR_FILE_INVALID`: something has been done to the volume without this process.
        pub(crate) const STALE: Self = Self(1006);

        pub(crate) fn raw_os_error(self) -> i32 {
            self.0
        }

        /// That of a call that failed; `ERROR_IO_DEVICE` where the system gave no number.
        pub(crate) fn of(error: &io::Error) -> Self {
            Self(error.raw_os_error().unwrap_or(1117))
        }
    }

    impl From<Errno> for io::Error {
        fn from(errno: Errno) -> Self {
            io::Error::from_raw_os_error(errno.0)
        }
    }
}
