//! What could be read of a file before it is checked as a whole.

use std::collections::BTreeMap;

use crate::acl::AclRule;
use crate::broker::Broker;
use crate::database::Database;
use crate::plugin::Plugin;
use crate::quota::QuotaRule;
use crate::topic::Topic;
use crate::user::User;

/// Tables with problems are left out.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) broker: Option<Broker>,
    pub(crate) topics: BTreeMap<String, Topic>,
    pub(crate) databases: BTreeMap<String, Database>,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) acls: Vec<AclRule>,
    /// Each with its number in the file.
    pub(crate) quotas: Vec<(usize, QuotaRule)>,
    pub(crate) sources: BTreeMap<String, Plugin>,
    pub(crate) transforms: BTreeMap<String, Plugin>,
    pub(crate) sinks: BTreeMap<String, Plugin>,
}
