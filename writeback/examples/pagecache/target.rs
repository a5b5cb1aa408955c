//! `FILE`: a file that the user named, which must not be lost.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::common::Fallible;
use crate::common::target::Target;
use crate::input::Input;

/// A named file that is ready to be overwritten.
#[derive(Debug)]
pub(crate) struct Named {
    path: PathBuf,
    file: File,
    /// Made by us, so ours to remove.
    created: bool,
}

impl Named {
    /// Creates the file at `path`, or takes it if it is empty or `force` says so. Changes nothing.
    pub(crate) fn open(path: &Path, force: bool) -> Fallible<Self> {
        let name = path.display();
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let (file, created) = match options.clone().create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // A device or a pipe may do something when it is opened; ask before.
                if fs::metadata(path).is_ok_and(|existing| !existing.is_file()) {
                    return Err(format!("cannot write {name}: not a regular file").into());
                }
                (options.open(path), false)
            }
            opened => (opened, true),
        };
        let file = file.map_err(|error| format!("cannot write {name}: {error}"))?;
        let named = Self { path: path.to_owned(), file, created };
        if named.file.metadata()?.len() > 0 && !force {
            return Err(format!("{name} exists and is not empty; --force overwrites it").into());
        }
        Ok(named)
    }

    /// Whether this is the very file that `input` reads, by whatever name.
    pub(crate) fn is(&self, input: &Input) -> Fallible<bool> {
        is_same((&self.path, &self.file), (input.path(), input.file()))
    }

    /// Empties the file and opens it for those who check it.
    pub(crate) fn prepare(&self, syncers: u16) -> Fallible<Target> {
        let name = self.path.display().to_string();
        let failed = |error: io::Error| format!("cannot write {}: {error}", self.path.display());
        self.file.set_len(0).map_err(failed)?;
        let readers = (0..=syncers).map(|_| File::open(&self.path));
        let readers = readers.collect::<Result<_, _>>().map_err(failed)?;
        let file = self.file.try_clone().map_err(failed)?;
        Ok(Target { name, file, readers })
    }

    /// After trouble: removes the file again, or leaves it empty if it was there before.
    pub(crate) fn discard(&self) {
        // There is a message about the trouble already.
        let _ = if self.created { fs::remove_file(&self.path) } else { self.file.set_len(0) };
    }
}

#[cfg(unix)]
fn is_same(this: (&Path, &File), that: (&Path, &File)) -> Fallible<bool> {
    use std::os::unix::fs::MetadataExt;

    let (this, that) = (this.1.metadata()?, that.1.metadata()?);
    Ok((this.dev(), this.ino()) == (that.dev(), that.ino()))
}

/// But for hard links.
#[cfg(not(unix))]
fn is_same(this: (&Path, &File), that: (&Path, &File)) -> Fallible<bool> {
    Ok(this.0.canonicalize()? == that.0.canonicalize()?)
}
