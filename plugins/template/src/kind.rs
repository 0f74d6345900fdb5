//! The kinds of plugins that can be begun.

use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Filter,
    Transform,
    Source,
    Sink,
    SqlSink,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no kind {0:?}: expected filter, transform, source, sink or sql-sink")]
pub struct UnknownKind(String);

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::Filter, Kind::Transform, Kind::Source, Kind::Sink, Kind::SqlSink];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Filter => "filter",
            Kind::Transform => "transform",
            Kind::Source => "source",
            Kind::Sink => "sink",
            Kind::SqlSink => "sql-sink",
        }
    }

    pub(crate) fn source(self) -> &'static str {
        match self {
            Kind::Filter => include_str!("../files/src/filter.rs.in"),
            Kind::Transform => include_str!("../files/src/transform.rs.in"),
            Kind::Source => include_str!("../files/src/source.rs.in"),
            Kind::Sink => include_str!("../files/src/sink.rs.in"),
            Kind::SqlSink => include_str!("../files/src/sql-sink.rs.in"),
        }
    }

    /// How a flumen.toml uses it.
    pub(crate) fn usage(self) -> &'static str {
        match self {
            Kind::Filter => {
                "[transforms.{{name}}]\nplugin = \"{{name}}/target/wasm32-wasip2/release/{{crate}}.wasm\"\nfrom = \"orders\"\nto = \"kept-orders\"\nconfig = { min_bytes = 1 }"
            }
            Kind::Transform => {
                "[transforms.{{name}}]\nplugin = \"{{name}}/target/wasm32-wasip2/release/{{crate}}.wasm\"\nfrom = \"orders\"\nto = \"loud-orders\"\nconfig = { suffix = \"!\" }"
            }
            Kind::Source => {
                "[sources.{{name}}]\nplugin = \"{{name}}/target/wasm32-wasip2/release/{{crate}}.wasm\"\ntopic = \"numbers\"\nconfig = { count = 1000 }"
            }
            Kind::Sink => {
                "[sinks.{{name}}]\nplugin = \"{{name}}/target/wasm32-wasip2/release/{{crate}}.wasm\"\nfrom = [\"orders\"]\nconfig = { prefix = \"got\" }"
            }
            Kind::SqlSink => {
                "[sinks.{{name}}]\nplugin = \"{{name}}/target/wasm32-wasip2/release/{{crate}}.wasm\"\nfrom = [\"orders\"]\nconfig = { database = \"warehouse\", table = \"orders\" }\ngrant.databases = [\"warehouse\"]"
            }
        }
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| UnknownKind(name.to_owned()))
    }
}
