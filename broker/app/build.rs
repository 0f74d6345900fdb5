//! Carries the shipped plugins inside the binary, compressed, where `plugins/build` has left them.
//!
//! It builds none itself: a checkout that has only rustup and a C compiler still gets a binary, one that
//! says how to come by the plugins when they are asked for.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../..");
    let out = env::var("OUT_DIR").expect("cargo sets it");
    let level = if env::var("PROFILE").as_deref() == Ok("release") { 19 } else { 1 };
    let built = root.join("target/guests/flumen");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", built.display());

    let mut table = String::from("pub(crate) const BUNDLED: &[(&str, &[u8])] = &[\n");
    for name in shipped(&root)? {
        let wasm = built.join(format!("{name}.wasm"));
        if !wasm.exists() {
            continue;
        }
        println!("cargo::rerun-if-changed={}", wasm.display());
        let packed = Path::new(&out).join(format!("{name}.wasm.zst"));
        fs::write(&packed, zstd::encode_all(&fs::read(&wasm)?[..], level)?)?;
        writeln!(table, "    ({name:?}, include_bytes!({:?})),", packed.display().to_string())
            .expect("a string takes it");
    }
    table.push_str("];\n");
    fs::write(Path::new(&out).join("bundled.rs"), table)?;
    fs::write(Path::new(&out).join("sdk.rs"), sdk(&root)?)
}

/// The guest SDK's sources, which `flumen plugin new` puts beside a new plugin: that builds wherever it
/// lies, against the interface that this binary speaks.
fn sdk(root: &Path) -> io::Result<String> {
    let mut table = String::from("pub(super) const SDK: &[(&str, &str)] = &[\n");
    for (folder, name) in [("plugins/sdk/src", "src"), ("wit/flumen-plugin", "wit")] {
        let folder = root.join(folder);
        println!("cargo::rerun-if-changed={}", folder.display());
        let mut files: Vec<_> = fs::read_dir(&folder)?.collect::<io::Result<_>>()?;
        files.sort_by_key(fs::DirEntry::file_name);
        for file in files.iter().filter(|file| file.path().is_file()) {
            let (name, path) = (format!("{name}/{}", file.file_name().to_string_lossy()), file.path());
            writeln!(table, "    ({name:?}, include_str!({:?})),", path.display().to_string())
                .expect("a string takes it");
        }
    }
    table.push_str("];\n");
    Ok(table)
}

/// Every folder of connectors/ and plugins/ is one, but for the SDK.
fn shipped(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for room in ["connectors", "plugins"] {
        for entry in fs::read_dir(root.join(room))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().join("Cargo.toml").exists() && name != "sdk" {
                names.push(name);
            }
        }
    }
    names.sort();
    Ok(names)
}
