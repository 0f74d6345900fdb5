//! The way back: leaves a data directory so that Apache Kafka starts on it, as the `log.dirs` of a cluster
//! of one node that is broker and controller.
//!
//! ```text
//! bootstrap.checkpoint             what a controller without a log of its own begins with: our topics
//! flumen-topics.json.handed-over   our catalogue, out of the way: who comes back later adopts anew
//! ```
//!
//! Invariants: only on a directory that no process uses, after a clean stop. A directory whose controller
//! has a log already is left alone, for that log would win. Records are not touched.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flumen_log::cluster_metadata::{Bootstrap, BootstrapTopic};
use uuid::Uuid;

use crate::directory::adopt::KRAFT_LOG;
use crate::directory::catalogue::Catalogue;
use crate::directory::store::Store;
use crate::error::{FileError, OpenError};
use crate::files::durable_file::{self, list, sync_dir};
use crate::files::file_system::FileSystem;
use crate::files::site::Site;
use crate::options::Options;

const BOOTSTRAP: &str = "bootstrap.checkpoint";

/// What was handed over.
#[derive(Clone, Debug)]
pub struct HandedOver {
    pub cluster_id: String,
    pub node_id: i32,
    pub topics: usize,
    pub partitions: usize,
    /// Folders of ours that Kafka would stumble over, put beside the directory.
    pub moved: Vec<PathBuf>,
}

/// Opens the directory, which recovers it if need be, closes it cleanly, and writes what Kafka needs.
pub fn hand_over(options: Options) -> Result<HandedOver, OpenError> {
    let (dir, files) = (options.dir.clone(), options.files.clone());
    let files = &*files;
    let malformed = |reason: &str| OpenError::Malformed { path: dir.clone(), reason: reason.to_string() };
    if !files.is_dir(&dir) {
        return Err(malformed("there is no such directory"));
    }
    if files.is_dir(&dir.join(format!("{KRAFT_LOG}-0"))) {
        return Err(malformed(
            "a controller of Kafka's has its log here, which knows nothing of what was done since; move __cluster_metadata-0 away first",
        ));
    }
    let node_id = options.node_id;
    let store = Store::open(options, std::sync::Arc::new(()))?;
    let directory = directory_id(store.directory_id()).ok_or_else(|| malformed("directory.id is no id"))?;
    let topics = store.topics();
    let highest = store.partitions_now().iter().flat_map(|p| p.producers()).map(|(id, _)| id.0).max();
    let bootstrap = Bootstrap {
        node_id,
        directory,
        next_producer_id: highest.map_or(0, |highest| highest.saturating_add(1)),
        topics: topics
            .iter()
            .map(|topic| BootstrapTopic {
                name: &topic.name,
                id: topic.id,
                partitions: topic.partitions,
                configs: &topic.configs,
            })
            .collect(),
    };
    let batch = bootstrap.batch().map_err(|error| malformed(&error.to_string()))?;
    let cluster_id = store.cluster_id().to_string();
    store.close()?;
    durable_file::replace(files, &dir.join(BOOTSTRAP), &batch)?;
    Catalogue::put_away(files, &dir)?;
    let moved = put_strangers_away(files, &dir)?;
    sync_dir(files, &dir, Site::HandedOver)?;
    let partitions = topics.iter().map(|topic| topic.partitions.max(0) as usize).sum();
    Ok(HandedOver { cluster_id, node_id, topics: topics.len(), partitions, moved })
}

fn directory_id(text: &str) -> Option<Uuid> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    Some(Uuid::from_bytes(bytes.try_into().ok()?))
}

/// Kafka takes every folder for a partition's, and refuses to start over one that is none.
fn put_strangers_away(files: &dyn FileSystem, dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let mut moved = Vec::new();
    for path in list(files, dir)? {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        if !files.is_dir(&path) || crate::partition::folder::parse(&name).is_some() || is_kafkas(&name) {
            continue;
        }
        let own = dir.file_name().map_or_else(|| "data".into(), |own| own.to_string_lossy().into_owned());
        let to = dir.with_file_name(format!("{own}.{name}"));
        files.rename(&path, &to).map_err(FileError::at("rename", &path))?;
        moved.push(to);
    }
    Ok(moved)
}

/// Suffixes that Kafka knows.
fn is_kafkas(name: &str) -> bool {
    name.ends_with("-delete") || name.ends_with("-future")
}
