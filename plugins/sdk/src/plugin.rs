//! What every plugin is: a type made from its configuration, that can describe itself without being made.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::bindings::lifecycle::exports::flumen::plugin::lifecycle as wit;
use crate::{Error, Result};

/// The base of every kind. Name, version and summary come from the plugin's Cargo.toml.
pub trait Plugin: Sized + 'static {
    /// Derive `Deserialize` and `JsonSchema`, and put `#[serde(deny_unknown_fields)]` on it: the schema is
    /// what a typing error in the file is found by, before the plugin runs.
    type Config: DeserializeOwned + JsonSchema;

    /// What the plugin cannot do without; it is refused where nothing of the kind was granted.
    const NEEDS: &'static [Need] = &[];

    /// Configure and warm up. Another instance may still be at work: take over nothing yet. `flumen check`
    /// calls it as well, with nothing of what was granted: an [`Error::Fatal`] says that the configuration
    /// is wrong, an [`Error::Retry`] only that the world is not as it should be.
    fn new(config: Self::Config, setup: &Setup) -> Result<Self>;
}

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

/// The place that the configuration file gives to this instance.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Name of this use of the plugin.
    pub name: String,
    /// This instance, of so many.
    pub task: u32,
    pub tasks: u32,
    /// Topics read from, and written to; an output's index is its place here.
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    /// A source is to end when it has read what exists now.
    pub finish: bool,
}

impl Setup {
    /// Index of the output topic of that name.
    pub fn output(&self, topic: &str) -> Result<u32> {
        match self.outputs.iter().position(|output| output == topic) {
            Some(index) => Ok(index as u32),
            None => Err(Error::fatal(format_args!(
                "there is no output {topic:?}; this plugin writes to {}",
                self.outputs.join(", ")
            ))),
        }
    }
}

/// JSON Schema of a plugin's configuration, as `about` gives it.
pub fn config_schema<P: Plugin>() -> String {
    let schema = schemars::schema_for!(P::Config);
    serde_json::to_string(&schema).unwrap_or_else(|error| panic!("the config's schema is no JSON: {error}"))
}

#[doc(hidden)]
pub fn about<P: Plugin>(name: &str, version: &str, summary: &str) -> wit::PluginInfo {
    wit::PluginInfo {
        name: name.to_owned(),
        version: version.to_owned(),
        summary: summary.to_owned(),
        config_schema: config_schema::<P>(),
        needs: P::NEEDS.iter().map(|need| need.name().to_owned()).collect(),
    }
}

#[doc(hidden)]
pub fn init<P: Plugin>(setup: wit::Setup) -> Result<P> {
    let wit::Setup { config, name, task, tasks, inputs, outputs, finish } = setup;
    let config = parse_config::<P>(&config)?;
    let made = P::new(config, &Setup { name, task, tasks, inputs, outputs, finish });
    made.map_err(|error| match error {
        Error::Reject(reason) => Error::Fatal(reason),
        other => other,
    })
}

pub(crate) fn parse_config<P: Plugin>(config: &str) -> Result<P::Config> {
    serde_json::from_str(config).map_err(|error| Error::fatal(format_args!("config: {error}")))
}
