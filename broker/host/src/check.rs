//! Whether a plugin may run as it is asked for: kind, configuration, needs and grants. Nothing of it runs.
//!
//! Every problem at once, each with the line of the configuration file that would mend it.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use thiserror::Error;

use crate::component::Compiled;
use crate::guest::is_origin;
use crate::{Access, ComponentError, Databases, Kind, PluginInfo, PluginSpec};

/// Something that a person must grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    FilesRead,
    FilesWrite,
    Http,
    Database,
    Sockets,
}

impl Need {
    pub fn name(self) -> &'static str {
        match self {
            Need::FilesRead => "files.read",
            Need::FilesWrite => "files.write",
            Need::Http => "http",
            Need::Database => "database",
            Need::Sockets => "sockets",
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Need {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl FromStr for Need {
    type Err = String;

    fn from_str(text: &str) -> Result<Need, String> {
        let all = [Need::FilesRead, Need::FilesWrite, Need::Http, Need::Database, Need::Sockets];
        all.into_iter()
            .find(|need| need.name() == text)
            .ok_or_else(|| format!("it needs {text:?}, which this broker does not know"))
    }
}

#[derive(Clone, Debug, Error)]
pub enum CheckError {
    #[error(transparent)]
    Component(#[from] ComponentError),
    #[error("{}", .0.join("; "))]
    Problems(Vec<String>),
}

impl CheckError {
    /// A line each.
    pub fn problems(&self) -> Vec<String> {
        match self {
            CheckError::Component(error) => vec![error.to_string()],
            CheckError::Problems(problems) => problems.clone(),
        }
    }
}

pub(crate) fn check(spec: &PluginSpec, compiled: &Compiled, databases: &Databases) -> Result<(), CheckError> {
    let mut problems = Vec::new();
    let (info, linked) = (&compiled.info, &compiled.linked);
    kind(spec, info, &mut problems);
    config(spec, info, &mut problems);
    let imports = [
        (Need::Http, linked.imports_http, "imports wasi:http"),
        (Need::Database, linked.imports_sql, "imports flumen:plugin/sql"),
    ];
    grants(spec, info, &imports, &mut problems);
    granted(spec, databases, &mut problems);
    if problems.is_empty() { Ok(()) } else { Err(CheckError::Problems(problems)) }
}

fn kind(spec: &PluginSpec, info: &PluginInfo, problems: &mut Vec<String>) {
    if info.kind != spec.kind {
        problems.push(format!(
            "plugin {:?} is a {}; it belongs under [{}.{}]",
            info.name,
            info.kind.name(),
            info.kind.table(),
            spec.name
        ));
    }
    let (reads, writes) = match spec.kind {
        Kind::Source => (false, true),
        Kind::Transform => (true, true),
        Kind::Sink => (true, false),
    };
    if reads == spec.inputs.is_empty() {
        let said = if reads { "reads no topic: set from" } else { "reads no topics: remove from" };
        problems.push(format!("a {} {said}", spec.kind.name()));
    }
    if writes == spec.outputs.is_empty() {
        let key = if spec.kind == Kind::Source { "topic" } else { "to" };
        let said = if writes {
            format!("writes to no topic: set {key}")
        } else {
            format!("writes to no topics: remove {key}")
        };
        problems.push(format!("a {} {said}", spec.kind.name()));
    }
    if let Some(topic) = spec.inputs.iter().find(|topic| spec.outputs.contains(topic)) {
        problems.push(format!("it reads from and writes to {topic:?}, and would go round for ever"));
    }
    if spec.tasks == 0 {
        problems.push("tasks is 0; one at least does the work".to_owned());
    }
}

fn config(spec: &PluginSpec, info: &PluginInfo, problems: &mut Vec<String>) {
    // It was a schema when the plugin was asked what it is.
    let Ok(validator) = jsonschema::validator_for(&info.config_schema) else { return };
    for error in validator.iter_errors(&spec.config) {
        let path = error.instance_path().to_string();
        let key: String =
            path.split('/').filter(|part| !part.is_empty()).flat_map(|part| [".", part]).collect();
        problems.push(format!("config{key}: {error}"));
    }
}

/// Each need, declared or imported, against what was granted.
fn grants(spec: &PluginSpec, info: &PluginInfo, imports: &[(Need, bool, &str)], problems: &mut Vec<String>) {
    let declared = info.needs.iter().map(|need| (*need, "needs it"));
    let imported = imports
        .iter()
        .filter(|(need, imported, _)| *imported && !info.needs.contains(need))
        .map(|(need, _, how)| (*need, *how));
    for (need, how) in declared.chain(imported) {
        let (granted, line) = match need {
            Need::FilesRead => (!spec.grants.files.is_empty(), "grant.files = { \"FOLDER\" = \"read\" }"),
            Need::FilesWrite => (
                spec.grants.files.values().any(|folder| folder.access == Access::ReadWrite),
                "grant.files = { \"FOLDER\" = \"write\" }",
            ),
            Need::Http => (!spec.grants.http.is_empty(), "grant.http = [\"https://HOST\"]"),
            Need::Database => (!spec.grants.databases.is_empty(), "grant.databases = [\"NAME\"]"),
            Need::Sockets => {
                problems.push(format!(
                    "plugin {:?} needs sockets, which this broker does not grant yet",
                    info.name
                ));
                continue;
            }
        };
        if !granted {
            problems.push(format!(
                "plugin {:?} {how} ({need}), and it is not granted: add {line} to [{}.{}]",
                info.name,
                spec.kind.table(),
                spec.name
            ));
        }
    }
}

/// What was granted must be something.
fn granted(spec: &PluginSpec, databases: &Databases, problems: &mut Vec<String>) {
    for origin in spec.grants.http.iter().filter(|origin| !is_origin(origin)) {
        problems.push(format!("grant.http: {origin:?} is no origin; write http:// or https://, a host, and a port if it is not the usual one"));
    }
    for name in spec.grants.databases.iter().filter(|name| !databases.0.contains_key(*name)) {
        problems.push(format!("grant.databases: there is no [databases.{name}]"));
    }
}
