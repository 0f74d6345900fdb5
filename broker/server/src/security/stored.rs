//! `flumen-security.json`: the rules, the users' keys and the quotas that came through the API.
//!
//! ```text
//! { "version": 1,
//!   "acls":  [ { "resource", "pattern", "name", "principal", "host", "operation", "permission" } ],
//!   "users": { name: { "SCRAM-SHA-256": "salt=...,stored_key=...,server_key=...,iterations=..." } },
//!   "quotas": [ { "entity": { "user": name, "client-id": null }, "quotas": { "producer_byte_rate": 1048576 } } ] }
//! ```
//!
//! In a quota's entity null is the default. A file of before quotas has none.
//!
//! Invariants: replaced as a whole, durable before a change is acknowledged, and readable by nobody but
//! the broker's own user. No password is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use flumen_auth::quota::{Entity, Name, key_of};
use flumen_auth::{Acl, Operation, Pattern, Permission, ResourceType, ScramCredential, ScramHash};
use flumen_store::{FileError, OsFiles, durable_file};
use serde::{Deserialize, Serialize};
use thiserror::Error;

const NAME: &str = "flumen-security.json";
const VERSION: u32 = 1;

/// One user's keys, by mechanism.
pub(crate) type Credentials = BTreeMap<ScramHash, ScramCredential>;

/// One entity's quotas, by Kafka's names.
pub(crate) type QuotaValues = BTreeMap<String, f64>;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stored {
    pub(crate) quotas: BTreeMap<Entity, QuotaValues>,
    pub(crate) acls: BTreeSet<Acl>,
    pub(crate) users: BTreeMap<String, Credentials>,
}

/// Why the file cannot be used.
#[derive(Debug, Error)]
pub enum StoredError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path} cannot be understood: {why}")]
    Content { path: PathBuf, why: String },
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    acls: Vec<AclLine>,
    users: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    quotas: Vec<QuotaLine>,
}

#[derive(Serialize, Deserialize)]
struct QuotaLine {
    entity: BTreeMap<String, Option<String>>,
    quotas: QuotaValues,
}

impl QuotaLine {
    fn of((entity, quotas): (&Entity, &QuotaValues)) -> QuotaLine {
        let part = |(kind, name): (&str, &Name)| (kind.to_string(), name.named().map(str::to_string));
        QuotaLine { entity: entity.parts().into_iter().map(part).collect(), quotas: quotas.clone() }
    }

    fn read(self) -> Option<(Entity, QuotaValues)> {
        let part = |kind: &str| self.entity.get(kind).map(|name| Name::new(name.as_deref()));
        let entity = Entity::new(part(Entity::USER), part(Entity::CLIENT_ID), part(Entity::IP))?;
        let known = |name: &String| key_of(&entity, name).is_some();
        (self.entity.len() == entity.parts().len() && self.quotas.keys().all(known))
            .then_some((entity, self.quotas))
    }
}

#[derive(Serialize, Deserialize)]
struct AclLine {
    resource: String,
    pattern: String,
    name: String,
    principal: String,
    host: String,
    operation: String,
    permission: String,
}

impl Stored {
    pub(crate) fn load(dir: &Path) -> Result<Stored, StoredError> {
        let path = dir.join(NAME);
        let Some(content) = durable_file::read(&OsFiles, &path)? else { return Ok(Stored::default()) };
        let wrong = |why: String| StoredError::Content { path: path.clone(), why };
        let document: Document =
            serde_json::from_slice(&content).map_err(|error| wrong(error.to_string()))?;
        if document.version != VERSION {
            return Err(wrong(format!("version {} is not known", document.version)));
        }
        let acl = |line: AclLine| {
            let name = line.name.clone();
            line.read().ok_or_else(|| wrong(format!("a rule for \"{name}\" is not one")))
        };
        let user = |(name, keys): (String, BTreeMap<String, String>)| {
            let keys = keys.into_iter().map(|(mechanism, text)| credential(&mechanism, &text));
            let keys = keys.collect::<Option<Credentials>>();
            keys.map(|keys| (name.clone(), keys))
                .ok_or_else(|| wrong(format!("the keys of \"{name}\" are none")))
        };
        let quota = |line: QuotaLine| {
            let entity = format!("{:?}", line.entity);
            line.read().ok_or_else(|| wrong(format!("the quotas of {entity} are none")))
        };
        Ok(Stored {
            acls: document.acls.into_iter().map(acl).collect::<Result<_, _>>()?,
            users: document.users.into_iter().map(user).collect::<Result<_, _>>()?,
            quotas: document.quotas.into_iter().map(quota).collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn save(&self, dir: &Path) -> Result<(), FileError> {
        let keys = |keys: &Credentials| {
            keys.iter().map(|(hash, keys)| (hash.mechanism().to_string(), keys.to_text())).collect()
        };
        let document = Document {
            version: VERSION,
            acls: self.acls.iter().map(AclLine::of).collect(),
            users: self.users.iter().map(|(name, all)| (name.clone(), keys(all))).collect(),
            quotas: self.quotas.iter().map(QuotaLine::of).collect(),
        };
        let content = serde_json::to_vec_pretty(&document).expect("texts and numbers are JSON");
        durable_file::replace_private(&OsFiles, &dir.join(NAME), &content)
    }
}

fn credential(mechanism: &str, text: &str) -> Option<(ScramHash, ScramCredential)> {
    let hash = ScramHash::ALL.into_iter().find(|hash| hash.mechanism() == mechanism)?;
    Some((hash, ScramCredential::parse(hash, text).ok()?))
}

impl AclLine {
    fn of(acl: &Acl) -> AclLine {
        AclLine {
            resource: acl.resource.name().into(),
            pattern: acl.pattern.name().into(),
            name: acl.name.clone(),
            principal: acl.principal.clone(),
            host: acl.host.clone(),
            operation: acl.operation.name().into(),
            permission: acl.permission.name().into(),
        }
    }

    fn read(self) -> Option<Acl> {
        Some(Acl {
            resource: ResourceType::from_name(&self.resource)?,
            pattern: Pattern::from_name(&self.pattern)?,
            name: self.name,
            principal: self.principal,
            host: self.host,
            operation: Operation::from_name(&self.operation)?,
            permission: Permission::from_name(&self.permission)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_has_no_password() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Stored::load(dir.path()).unwrap(), Stored::default());
        let keys = |hash| {
            let iterations = NonZeroU32::new(4096).unwrap();
            (hash, ScramCredential::of_password(hash, "hunter2", b"salt", iterations))
        };
        let acl = Acl {
            resource: ResourceType::TransactionalId,
            pattern: Pattern::Prefixed,
            name: "t".into(),
            principal: "User:a".into(),
            host: "*".into(),
            operation: Operation::DescribeConfigs,
            permission: Permission::Deny,
        };
        let entity = Entity::UserClient(Name::Default, Name::Named("c".into()));
        let stored = Stored {
            acls: [acl].into(),
            users: [("a".to_string(), ScramHash::ALL.map(keys).into())].into(),
            quotas: [(entity, [("producer_byte_rate".to_string(), 5.0)].into())].into(),
        };
        stored.save(dir.path()).unwrap();
        assert_eq!(Stored::load(dir.path()).unwrap(), stored);
        let content = std::fs::read_to_string(dir.path().join(NAME)).unwrap();
        assert!(content.contains("TransactionalId") && !content.contains("hunter2"), "{content}");
    }

    #[test]
    fn a_file_that_makes_no_sense_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        std::fs::write(&path, r#"{"version":1,"acls":[],"users":{"a":{"SCRAM-SHA-256":"x"}}}"#).unwrap();
        let error = Stored::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains(NAME) && error.contains("\"a\""), "{error}");
    }
}
