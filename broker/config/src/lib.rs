//! flumen.toml: what can stand in it, what is wrong with it, what a change of it means.
//!
//! ```text
//! file + includes -> tree (values with lines) -> environment over it -> typed tables -> whole checked
//! ```
//!
//! Invariants: every problem is told at once, each with its place. A value is checked once, here, and
//! trusted after. What was read cannot print a secret. The world outside is asked through `World` only.
//!
//! Lacks what needs a plugin's code: kinds, needs and config schemas of plugins are the host's to check.

mod acl;
mod address_limits;
mod broker;
mod check;
mod check_security;
mod check_topics;
mod consumer_group;
mod database;
mod diff;
mod draft;
mod field;
mod grant;
mod include;
mod listener;
mod load;
mod loaded;
mod overrides;
mod place;
mod plugin;
mod problem;
mod protocol;
mod quota;
mod recipe;
pub mod reference;
mod schema;
mod secret;
mod section;
mod security;
mod show;
mod text;
mod topic;
mod tree;
mod user;
mod world;

pub use acl::AclRule;
pub use address_limits::AddressLimits;
pub use broker::Broker;
pub use consumer_group::{GroupAssignors, GroupMigration};
pub use database::{Database, DatabaseUrl};
pub use diff::{Change, Existing};
pub use field::FilePath;
pub use grant::{Access, FileGrants, Folder};
pub use listener::{Address, HttpAddress, Listener};
pub use load::load;
pub use loaded::{Config, Loaded};
pub use place::Place;
pub use plugin::{DatabaseName, ErrorPolicy, FreeTable, Kind, Plugin, PluginRef, Settings};
pub use problem::{Problem, nearest};
pub use protocol::{ClientAuth, Mechanism, Protocol};
pub use quota::{Amount, QuotaRule};
pub use recipe::Recipe;
pub use schema::json_schema;
pub use secret::{Expanded, Secret};
pub use section::Entry;
pub use security::{AuthorizerClass, KeySet, MappingRules, SuperUsers};
pub use text::{Origin, TopicName, TopicNames};
pub use topic::{CleanupPolicy, CompressionType, TimestampType, Topic};
pub use user::User;
pub use world::{Machine, World};
