//! The files of a new plugin: what `flumen plugin new` writes.
//!
//! Pure: gives paths and contents, writes nothing. The folder builds with plain
//! `cargo build --target wasm32-wasip2` and passes its own `cargo test`, with nothing but Rust and
//! crates.io, because it carries the SDK's source and the WIT.

mod kind;
mod sdk;

pub use kind::{Kind, UnknownKind};

/// A file to be written: path below the new folder, with `/`, and content.
pub type File = (String, String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot be a plugin's name: lower-case letters, digits and dashes, a letter first, at most 64")]
pub struct BadName(String);

/// All files of a plugin of that kind and name, to be written into a folder of that name.
pub fn files(kind: Kind, name: &str) -> Result<Vec<File>, BadName> {
    let fits = name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !name.ends_with('-')
        && !name.contains("--");
    // Names that Cargo, or Rust, would not take for a package with a library.
    let taken = [
        "test",
        "core",
        "std",
        "alloc",
        "proc-macro",
        "flumen-sdk",
        "serde",
        "schemars",
        "self",
        "crate",
        "super",
    ];
    if !fits || taken.contains(&name) || KEYWORDS.contains(&name) {
        return Err(BadName(name.to_owned()));
    }
    let fill = |text: &str| {
        text.replace("{{use}}", kind.usage())
            .replace("{{name}}", name)
            .replace("{{crate}}", &name.replace('-', "_"))
            .replace("{{Type}}", &type_name(name))
            .replace("{{kind}}", kind.name())
    };
    let mut files = vec![
        ("Cargo.toml".to_owned(), fill(include_str!("../files/Cargo.toml.in"))),
        ("README.md".to_owned(), fill(include_str!("../files/README.md.in"))),
        (".gitignore".to_owned(), "/target\n".to_owned()),
        (".cargo/config.toml".to_owned(), include_str!("../files/config.toml.in").to_owned()),
        ("src/lib.rs".to_owned(), fill(kind.source())),
    ];
    files.extend(
        sdk::FILES.iter().map(|(path, content)| (format!("flumen-sdk/{path}"), (*content).to_owned())),
    );
    Ok(files)
}

const KEYWORDS: [&str; 12] =
    ["as", "async", "break", "const", "dyn", "enum", "fn", "if", "impl", "in", "loop", "match"];

/// `big-orders` is `BigOrders`.
fn type_name(name: &str) -> String {
    let upper = |part: &str| {
        let mut chars = part.chars();
        chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect::<String>()
    };
    name.split('-').map(upper).collect()
}
