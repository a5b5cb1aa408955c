//! Files on Windows, which are opened so that others may read them only, and where there is one call for each buffer.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::sync::mpsc::channel;

use writeback::store::{FlushKind, ReadRun, Store};
use writeback::{FileStore, Mapping};

const PAGE: usize = 4096;

#[test]
fn a_file_has_one_store_and_a_folder_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let store = FileStore::create(&path).unwrap();
    let refused = |options: writeback::store::FileOptions| options.open(&path).unwrap_err().kind();
    assert_eq!(refused(FileStore::options()), ErrorKind::ResourceBusy);
    assert_eq!(refused(FileStore::options().lock(false)), ErrorKind::ResourceBusy);
    assert_eq!(std::fs::read(&path).unwrap(), b"", "others may read it");
    drop(store);
    let unlocked = FileStore::options().lock(false);
    drop((unlocked.open(&path).unwrap(), unlocked.open(&path).unwrap()));
    assert_eq!(refused(FileStore::options().direct(true)), ErrorKind::Unsupported);
    FileStore::open(&path).unwrap();
    assert!(FileStore::open(folder.path()).is_err());
}

#[test]
fn a_file_that_is_given_has_one_store_and_is_open_for_what_a_store_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, b"abc").unwrap();
    let open = |options: &mut OpenOptions| options.open(&path).unwrap();
    let both = open(OpenOptions::new().read(true).write(true));
    let store = FileStore::from_file(both.try_clone().unwrap()).unwrap();
    let refused = |file: File| FileStore::from_file(file).map(drop).map_err(|error| error.kind());
    assert_eq!(refused(both.try_clone().unwrap()), Err(ErrorKind::ResourceBusy));
    drop((store, both));
    // Nor one that is open for appending, which Wine lets set the length, and Windows does not.
    for options in [OpenOptions::new().read(true), OpenOptions::new().write(true)] {
        assert_eq!(refused(open(options)), Err(ErrorKind::InvalidInput), "{options:?}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"abc");
}

#[test]
fn runs_of_several_pages_are_written_and_read_as_far_as_the_file_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let bytes: Vec<u8> = (0..=250).cycle().take(5 * PAGE + 100).collect();
    let mapping = Mapping::open(FileStore::create(&path).unwrap()).unwrap();
    mapping.handle().write_at(&bytes, 0).unwrap();
    mapping.handle().sync_all().unwrap();
    mapping.close().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);

    let store = FileStore::open(&path).unwrap();
    for (offset, pages, expected) in
        [(0, 3, &bytes[..3 * PAGE]), (4 * PAGE, 3, &bytes[4 * PAGE..]), (9 * PAGE, 1, &[])]
    {
        let (tell, told) = channel();
        let ended = move |bytes, error: Option<_>| tell.send((bytes, error.is_none())).unwrap();
        store.read(ReadRun::new(offset as u64, PAGE, pages, ended));
        assert_eq!(told.recv().unwrap(), (expected.to_vec(), true), "{offset}");
    }
    store.sync(FlushKind::All).unwrap();
    store.set_len(10).unwrap();
    assert_eq!((store.len().unwrap(), store.limits().len_max), (10, i64::MAX as u64));
    // The system takes the last of these for the end of the file.
    for offset in [1 << 63, u64::MAX - 2] {
        assert!(store.write_at(offset, b"abc").is_err());
    }
    assert_eq!(store.len().unwrap(), 10);
}
