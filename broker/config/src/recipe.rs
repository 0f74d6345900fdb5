//! What `flumen init` writes: the examples of docs/examples, so that they are one text, and run.

/// A folder's worth of files to start from.
#[derive(Debug)]
pub struct Recipe {
    pub name: &'static str,
    pub summary: &'static str,
    /// Path below the folder, and text; flumen.toml first.
    pub files: &'static [(&'static str, &'static str)],
}

macro_rules! files {
    ($recipe:literal: $($path:literal),+) => {
        &[$(($path, include_str!(concat!("../../../docs/examples/", $recipe, "/", $path)))),+]
    };
}

impl Recipe {
    pub const ALL: &[Recipe] = &[
        Recipe {
            name: "csv-to-sqlite",
            summary: "CSV files into a table of an SQLite database",
            files: files!("csv-to-sqlite": "flumen.toml", "inbox/orders.csv"),
        },
        Recipe {
            name: "csv-to-postgres",
            summary: "CSV files into a table of a PostgreSQL database, by key",
            files: files!("csv-to-postgres": "flumen.toml", "inbox/customers.csv"),
        },
        Recipe {
            name: "topic-to-http",
            summary: "a topic's records as POST requests to an HTTP service",
            files: files!("topic-to-http": "flumen.toml", "events.jsonl"),
        },
        Recipe {
            name: "transform",
            summary: "filter and change records between topics",
            files: files!("transform": "flumen.toml", "readings.jsonl"),
        },
        Recipe {
            name: "broker-only",
            summary: "a broker for Kafka clients, without plugins",
            files: files!("broker-only": "flumen.toml"),
        },
    ];

    pub fn find(name: &str) -> Option<&'static Recipe> {
        Recipe::ALL.iter().find(|recipe| recipe.name == name)
    }
}
