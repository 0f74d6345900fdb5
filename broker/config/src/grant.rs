//! What a plugin may reach outside itself. Nothing, unless the file says so.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::field::{At, Ctx, Field, choice};
use crate::tree::{self, Value};

choice! {
    /// What a plugin may do in a folder.
    Access {
        /// List and read
        Read = "read",
        /// Read, write, make and delete
        Write = "write",
    }
    expected "\"read\" or \"write\""
}

/// One folder (or file) on this machine, under the name that the plugin knows it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    pub path: PathBuf,
    pub access: Access,
}

/// Folders by the names that plugins use in their paths: as written, relative to the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileGrants(pub BTreeMap<String, Folder>);

impl Serialize for FileGrants {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, folder)| (name, folder.access)))
    }
}

impl JsonSchema for FileGrants {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FileGrants".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let access = generator.subschema_for::<Access>();
        json_schema!({
            "description": "Folders, relative to this file, and what may be done in them",
            "type": "object",
            "additionalProperties": access
        })
    }
}

impl Field for FileGrants {
    const TYPE: &'static str = "table of folders";
    const EXPECTED: &'static str = "expected folders such as { \"inbox\" = \"read\", \"out\" = \"write\" }";

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<FileGrants> {
        let Value::Table(table) = &at.node.value else {
            ctx.wrong::<Self>(at);
            return None;
        };
        let before = ctx.problems.len();
        let mut folders = BTreeMap::new();
        for (name, node) in table {
            if name.is_empty() {
                ctx.problem(
                    node,
                    format!("{} names a folder \"\"", at.path),
                    "the file's own folder is \".\"",
                );
                continue;
            }
            let path = tree::join(at.path, name);
            if let Some(access) = Access::read(At { path: &path, node }, ctx) {
                folders.insert(name.clone(), Folder { path: ctx.resolve(node, name), access });
            }
        }
        (ctx.problems.len() == before).then_some(FileGrants(folders))
    }
}
