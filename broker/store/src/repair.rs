//! Carries out what a survey proposes, on a directory that nobody uses.
//!
//! Invariants: no byte of a log is removed or overwritten: files are renamed into `set-aside`, ranges are noted
//! in `.quarantine`, a tail is copied to `.cut` before the file ends there. Each deed is durable before the
//! next. After one that concerns records the next start looks at the log as after a crash.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flumen_types::Offset;

use crate::directory::store::CLEAN;
use crate::error::{FileError, OpenError};
use crate::files::dir_lock::DirLock;
use crate::files::durable_file::{self, sync_dir};
use crate::files::file_system::FileSystem;
use crate::files::open_files::OpenFiles;
use crate::files::site::Site;
use crate::partition::folder;
use crate::recovery::set_aside;
use crate::segment::{Part, Segment};
use crate::survey::{Question, Remedy, SegmentRange, Surveyed, is_data_directory, survey_if};

const ASIDE: &str = "set-aside";

/// A directory that is held for as long as it is repaired.
pub struct Repair {
    files: Arc<dyn FileSystem>,
    dir: PathBuf,
    _held: DirLock,
}

impl Repair {
    /// Refused while a broker uses it.
    pub fn begin(files: Arc<dyn FileSystem>, dir: &Path) -> Result<Repair, OpenError> {
        if !is_data_directory(&*files, dir) {
            let reason = "this is no data directory; name what data.dir or log.dirs says".to_string();
            return Err(OpenError::Malformed { path: dir.to_path_buf(), reason });
        }
        let held = DirLock::take(&*files, dir)?;
        Ok(Repair { files, dir: dir.to_path_buf(), _held: held })
    }

    /// Looks through the directory, which nobody else uses now.
    pub fn survey(&self, question: Question<'_>) -> Result<Surveyed, OpenError> {
        survey_if(false, question)
    }

    /// Does it; durable when this returns. What was kept, if something was.
    pub fn apply(&self, remedy: &Remedy) -> Result<Vec<PathBuf>, FileError> {
        let files = &*self.files;
        match remedy {
            Remedy::Known | Remedy::None => Ok(Vec::new()),
            Remedy::SetAside(paths) => {
                self.distrust()?;
                keep(files, paths)
            }
            Remedy::Quarantine(SegmentRange { segment, range }) => {
                self.distrust()?;
                let segment = open(&self.files, segment)?;
                segment.load_damage()?;
                segment.quarantine(*range)?;
                Ok(vec![segment.path(Part::Quarantine)])
            }
            Remedy::CutTail { segment, at } => {
                self.distrust()?;
                let segment = open(&self.files, segment)?;
                let kept = set_aside::tail(&segment, *at)?;
                segment.cut(*at)?;
                let path = segment.path(Part::Log);
                durable_file::sync(&*segment.file()?, &path, Site::Repaired)?;
                Ok(kept.into_iter().collect())
            }
            Remedy::RebuildIndex { segment } => {
                let segment = open(&self.files, segment)?;
                let kept = keep(files, &[segment.path(Part::Index), segment.path(Part::TimeIndex)])?;
                segment.load_damage()?;
                segment.rebuild_index()?;
                Ok(kept)
            }
            Remedy::Write { path, content } => {
                let kept = keep(files, std::slice::from_ref(path))?;
                durable_file::replace(files, path, content)?;
                Ok(kept)
            }
            Remedy::BeginEmpty { tp, id, at } => {
                self.distrust()?;
                folder::create(files, &self.dir, tp, *id)?;
                let folder = self.dir.join(tp.to_string());
                let log = Part::Log.path(&folder, *at, "");
                durable_file::write(files, &log, &[])?;
                folder::sync(files, &folder)?;
                sync_dir(files, &self.dir, Site::Repaired)?;
                Ok(Vec::new())
            }
        }
    }

    /// What a clean stop wrote is no longer all that is to be said.
    fn distrust(&self) -> Result<(), FileError> {
        let gone = durable_file::remove(&*self.files, &self.dir.join(CLEAN))?;
        if gone { sync_dir(&*self.files, &self.dir, Site::CleanMarkGone) } else { Ok(()) }
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

fn open(files: &Arc<dyn FileSystem>, log: &Path) -> Result<Arc<Segment>, FileError> {
    let size = files.stat(log).map_err(FileError::at("look at", log))?.length;
    let base = log.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
    let not_one = || FileError::at("take as a segment", log)(std::io::ErrorKind::InvalidInput.into());
    let base = Offset(base.ok_or_else(not_one)?);
    Ok(Segment::existing(&parent(log).into(), base, size, &OpenFiles::new(files.clone(), 8)))
}

/// Those of them that are there.
fn keep(files: &dyn FileSystem, paths: &[PathBuf]) -> Result<Vec<PathBuf>, FileError> {
    paths.iter().filter(|path| files.exists(path)).map(|path| aside(files, path)).collect()
}

/// Renames a file into the folder beside it, under a name that is free there.
fn aside(files: &dyn FileSystem, path: &Path) -> Result<PathBuf, FileError> {
    let folder = parent(path).join(ASIDE);
    durable_file::create_dir(files, &folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let names = std::iter::once(name.clone()).chain((1..).map(|n: u64| format!("{name}.{n}")));
    let mut free = names.map(|name| folder.join(name)).filter(|to| !files.exists(to));
    let to = free.next().unwrap_or_else(|| folder.join(&name));
    durable_file::rename(files, path, &to)?;
    sync_dir(files, &folder, Site::Repaired)?;
    sync_dir(files, parent(path), Site::Repaired)?;
    Ok(to)
}
