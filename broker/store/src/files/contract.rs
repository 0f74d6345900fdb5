//! What every file system is held to, as far as it shows without a power cut: the suite that each
//! implementation of [`FileSystem`] passes, those of other crates' tests too.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use crate::files::file_system::{File, FileSystem, Open, Scope};
use crate::files::site::Site;

/// Panics where something is otherwise. `dir` is empty and stays so.
pub fn check(files: &dyn FileSystem, dir: &Path) {
    let (a, b) = (dir.join("a"), dir.join("b"));
    let kind = |result: io::Result<Arc<dyn File>>| result.map(|_| ()).map_err(|error| error.kind());
    assert_eq!(kind(files.open(&a, Open::Write)), Err(io::ErrorKind::NotFound));
    let first = files.open(&a, Open::New).expect("it can");
    assert_eq!(kind(files.open(&a, Open::New)), Err(io::ErrorKind::AlreadyExists));
    first.write_all_at(&mut [IoSlice::new(b"first")], 3).expect("it can");
    assert_eq!(
        files.open(&a, Open::Read).expect("it can").read_upto_at(99, 0).expect("it can"),
        b"\0\0\0first"
    );
    first.sync(Scope::Itself, Site::ActiveRecords).expect("it can");
    files
        .open(&b, Open::OrCreate)
        .expect("it can")
        .write_all_at(&mut [IoSlice::new(b"second")], 0)
        .expect("it can");
    files.rename(&b, &a).expect("it can");
    assert_eq!(first.read_upto_at(99, 3).expect("it can"), b"first", "who has it open reads on");
    assert_eq!(
        files.open(&a, Open::OrCreate).expect("it can").read_upto_at(99, 0).expect("it can"),
        b"second"
    );
    assert_eq!(files.rename(&b, &a).expect_err("it cannot").kind(), io::ErrorKind::NotFound);
    first.set_len(4).expect("it can");
    assert_eq!(first.stat().expect("it can").length, 4);
    assert_eq!(files.open(&a, Open::Emptied).expect("it can").stat().expect("it can").length, 0);
    files.create_dir(&dir.join("folder")).expect("it can");
    files.open(&dir.join("folder/x"), Open::NewPrivate).expect("it can");
    assert!(files.is_dir(&dir.join("folder")) && files.exists(&a) && !files.exists(&b));
    let folder = files.open(dir, Open::Folder).expect("it can");
    folder.sync(Scope::Itself, Site::SegmentNames).expect("it can");
    folder.sync(Scope::FileSystem, Site::Together).expect("it can");
    let mut names = files.list(dir).expect("it can");
    names.sort();
    assert_eq!(names, ["a", "folder"]);
    assert!(files.remove(&dir.join("folder")).is_err(), "it is no file");
    assert!(files.remove_dir(&dir.join("folder")).is_err(), "it is not empty");
    files.remove_all(&dir.join("folder")).expect("it can");
    files.remove(&a).expect("it can");
    assert_eq!(files.remove(&a).expect_err("it cannot").kind(), io::ErrorKind::NotFound);
}
