//! From a file's bytes to something that can be instantiated, or a sentence that says what the file is.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use serde::Serialize;
use thiserror::Error;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::cache::Cache;
use crate::engine::{EngineError, Runtime};
use crate::guest::{self, State};
use crate::{ContentHash, Kind, Need, WasmRef, lock};

/// The interface that this host speaks.
pub(crate) const INTERFACE: &str = "0.1.0";
const PACKAGE: &str = "flumen:plugin/";

/// What a plugin says of itself, and what can be seen of it without running it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PluginInfo {
    pub name: String,
    pub version: String,
    pub summary: String,
    /// JSON Schema of its configuration.
    pub config_schema: serde_json::Value,
    /// What it cannot do without.
    pub needs: Vec<Need>,
    pub kind: Kind,
    /// Its records and offsets are one transaction of a database.
    pub sql: bool,
}

#[derive(Clone, Debug, Error)]
pub enum ComponentError {
    #[error("{origin} is not a WebAssembly component: {what}")]
    NotComponent { origin: String, what: String },
    #[error("{origin}: {what}")]
    Interface { origin: String, what: String },
    #[error("{origin}: asked what it is, {what}")]
    About { origin: String, what: String },
    #[error(transparent)]
    Engine(#[from] EngineError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum World {
    Filter,
    Transform,
    Source,
    Sink,
}

impl World {
    pub(crate) fn kind(self) -> Kind {
        match self {
            World::Filter | World::Transform => Kind::Transform,
            World::Source => Kind::Source,
            World::Sink => Kind::Sink,
        }
    }

    const ALL: [(&str, World); 4] = [
        ("filter", World::Filter),
        ("transform", World::Transform),
        ("source", World::Source),
        ("sink", World::Sink),
    ];
}

/// Ready to be instantiated as often as one likes.
pub(crate) struct Linked {
    pub runtime: Runtime,
    pub pre: InstancePre<State>,
    pub world: World,
    pub imports_sql: bool,
    pub imports_http: bool,
}

/// And asked what it is.
pub(crate) struct Compiled {
    pub linked: Linked,
    pub info: PluginInfo,
    pub hash: ContentHash,
}

/// All components in use, by content.
pub(crate) struct Components {
    cache: Cache,
    loaded: Mutex<HashMap<ContentHash, Weak<Compiled>>>,
    /// One compilation at a time: it takes all cores as it is.
    compiling: tokio::sync::Mutex<()>,
    /// What is compiled now.
    now: Arc<Mutex<Option<String>>>,
}

impl Components {
    pub(crate) fn new(cache: Cache) -> Components {
        Components {
            cache,
            loaded: Mutex::default(),
            compiling: tokio::sync::Mutex::default(),
            now: Arc::default(),
        }
    }

    /// Compiles, or loads what was compiled before, and asks it what it is.
    pub(crate) async fn get(&self, wasm: &WasmRef) -> Result<Arc<Compiled>, ComponentError> {
        if let Some(known) = self.known(&wasm.hash) {
            return Ok(known);
        }
        let _one = self.compiling.lock().await;
        if let Some(known) = self.known(&wasm.hash) {
            return Ok(known);
        }
        let (cache, wanted, now) = (self.cache.clone(), wasm.clone(), self.now.clone());
        let compiled = tokio::task::spawn_blocking(move || load(&cache, &wanted, &now)).await;
        let compiled = match compiled {
            Ok(compiled) => Arc::new(compiled?),
            Err(panic) => {
                return Err(ComponentError::About {
                    origin: wasm.origin.clone(),
                    what: format!("the host failed: {panic}"),
                });
            }
        };
        let mut loaded = lock(&self.loaded);
        loaded.retain(|_, known| known.strong_count() > 0);
        loaded.insert(wasm.hash, Arc::downgrade(&compiled));
        Ok(compiled)
    }

    pub(crate) fn compiling(&self) -> Option<String> {
        lock(&self.now).clone()
    }

    fn known(&self, hash: &ContentHash) -> Option<Arc<Compiled>> {
        lock(&self.loaded).get(hash)?.upgrade()
    }
}

fn load(
    cache: &Cache,
    wasm: &WasmRef,
    compiling: &Mutex<Option<String>>,
) -> Result<Compiled, ComponentError> {
    let runtime = Runtime::shared()?;
    let component = component(cache, &runtime.engine, wasm, compiling)?;
    let wrong = |what| ComponentError::Interface { origin: wasm.origin.clone(), what };
    let ty = component.component_type();
    let exports: Vec<&str> = ty.exports(&runtime.engine).map(|(name, _)| name).collect();
    let world = world(&exports).map_err(wrong)?;
    let imports = |prefix: &str| ty.imports(&runtime.engine).any(|(name, _)| name.starts_with(prefix));
    let pre = linker(&runtime.engine)
        .and_then(|linker| linker.instantiate_pre(&component))
        .map_err(|error| wrong(format!("it does not fit this broker: {}", chain(&error))))?;
    let (imports_sql, imports_http) = (imports("flumen:plugin/sql"), imports("wasi:http/"));
    let linked = Linked { imports_sql, imports_http, pre, world, runtime };
    let info = guest::about(&linked, &wasm.origin)
        .map_err(|what| ComponentError::About { origin: wasm.origin.clone(), what })?;
    Ok(Compiled { linked, info, hash: wasm.hash })
}

/// One for the process: functions are looked up in it once a component.
fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    static LINKER: OnceLock<Linker<State>> = OnceLock::new();
    if let Some(linker) = LINKER.get() {
        return Ok(linker.clone());
    }
    let made = guest::linker(engine)?;
    Ok(LINKER.get_or_init(|| made).clone())
}

fn component(
    cache: &Cache,
    engine: &Engine,
    wasm: &WasmRef,
    compiling: &Mutex<Option<String>>,
) -> Result<Component, ComponentError> {
    let not = |what| ComponentError::NotComponent { origin: wasm.origin.clone(), what };
    if let Some(what) = looks_wrong(&wasm.bytes) {
        return Err(not(what));
    }
    let name = engine_name(engine);
    if let Some(code) = cache.load(&wasm.hash, &name) {
        // SAFETY: the bytes carry our HMAC: this host has written them, as `serialize` gave them.
        match unsafe { Component::deserialize(engine, &code) } {
            Ok(component) => return Ok(component),
            Err(error) => tracing::debug!(%error, plugin = wasm.origin, "a compiled plugin does not load"),
        }
    }
    *lock(compiling) = Some(wasm.origin.clone());
    let component = Component::new(engine, &wasm.bytes);
    *lock(compiling) = None;
    let component = component.map_err(|error| not(chain(&error)))?;
    match component.serialize() {
        Ok(code) => cache.store(&wasm.hash, &name, &code),
        Err(error) => tracing::debug!(%error, plugin = wasm.origin, "a compiled plugin cannot be kept"),
    }
    Ok(component)
}

/// Version and settings of the engine, as far as compiled code depends on them.
fn engine_name(engine: &Engine) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// What the bytes are, if not a component.
fn looks_wrong(bytes: &[u8]) -> Option<String> {
    match bytes {
        [] => Some("the file is empty".to_owned()),
        [0, b'a', b's', b'm', version_and_layer @ ..] => match version_and_layer {
            [_, _, 1, 0, sections @ ..] => {
                is_cut(sections).then(|| "it is cut short; is it still being written?".to_owned())
            }
            [_, _, 0, 0, ..] => Some(
                "it is a core module; build it for wasm32-wasip2, or make a component of it with `wasm-tools component new`"
                    .to_owned(),
            ),
            [_, _, _, _, ..] => Some("it is WebAssembly of a version that is not known here".to_owned()),
            _ => Some("it is cut short; is it still being written?".to_owned()),
        },
        [b'\x7f', b'E', b'L', b'F', ..] => Some("it is a program for this machine (ELF); build it for wasm32-wasip2".to_owned()),
        other => {
            let head = &other[..other.len().min(24)];
            match std::str::from_utf8(head) {
                Ok(text) => Some(format!("it is text that begins with {text:?}")),
                Err(_) => Some(format!("it begins with the bytes {:02x?}, which is no WebAssembly", &head[..head.len().min(4)])),
            }
        }
    }
}

/// Whether a section says that it is longer than what there is. `id u8 | length LEB128 | …`
fn is_cut(mut sections: &[u8]) -> bool {
    while let [_, rest @ ..] = sections {
        let Some(end) = rest.iter().take(5).position(|byte| byte & 0x80 == 0) else { return true };
        let length = rest[..=end].iter().rev().fold(0_usize, |n, byte| n << 7 | usize::from(byte & 0x7f));
        let Some(next) = rest[end + 1..].get(length..) else { return true };
        sections = next;
    }
    false
}

/// The kind, by what is exported.
fn world(exports: &[&str]) -> Result<World, String> {
    let ours: Vec<(&str, &str)> = exports
        .iter()
        .filter_map(|name| name.strip_prefix(PACKAGE))
        .map(|name| name.split_once('@').unwrap_or((name, "no version")))
        .collect();
    let Some((_, version)) = ours.first() else {
        let found = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
        return Err(format!(
            "it is no plugin: it exports {found}; a plugin exports {PACKAGE}lifecycle@{INTERFACE} and one of filter, transform, source, sink"
        ));
    };
    if !is_compatible(version) {
        return Err(format!("it is built for flumen:plugin {version}; this broker speaks {INTERFACE}"));
    }
    if !ours.iter().any(|(name, _)| *name == "lifecycle") {
        return Err(format!("it does not export {PACKAGE}lifecycle@{INTERFACE}"));
    }
    let kinds: Vec<&(&str, World)> =
        World::ALL.iter().filter(|(kind, _)| ours.iter().any(|(name, _)| name == kind)).collect();
    match kinds[..] {
        [(_, world)] => Ok(*world),
        [] => {
            Err("it exports none of filter, transform, source, sink; one is what makes its kind".to_owned())
        }
        _ => {
            let names: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
            Err(format!("it exports {}; one of them makes its kind", names.join(" and ")))
        }
    }
}

/// Within 0.1.x, any.
fn is_compatible(version: &str) -> bool {
    let series = |version: &str| {
        let mut parts = version.split('.');
        Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
    };
    series(version).is_some() && series(version) == series(INTERFACE)
}

/// An error and its causes on one line, without the guest's backtrace.
fn chain(error: &wasmtime::Error) -> String {
    let said: Vec<String> = error.chain().map(|cause| cause.to_string()).collect();
    said.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_what_is_exported() {
        let lifecycle = "flumen:plugin/lifecycle@0.1.0";
        assert_eq!(world(&[lifecycle, "flumen:plugin/filter@0.1.0"]), Ok(World::Filter));
        assert_eq!(world(&["flumen:plugin/sink@0.1.7", "flumen:plugin/lifecycle@0.1.7"]), Ok(World::Sink));
        for (exports, said) in [
            (&["wasi:cli/run@0.2.0"][..], "it exports wasi:cli/run@0.2.0"),
            (&[], "it exports nothing"),
            (&["flumen:plugin/filter@0.2.0"], "built for flumen:plugin 0.2.0; this broker speaks 0.1.0"),
            (&["flumen:plugin/filter@0.1.0"], "does not export flumen:plugin/lifecycle"),
            (&[lifecycle], "none of filter"),
            (&[lifecycle, "flumen:plugin/filter@0.1.0", "flumen:plugin/sink@0.1.0"], "filter and sink"),
        ] {
            let error = world(exports).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn what_is_no_component_is_named() {
        for (bytes, said) in [
            (&b""[..], "empty"),
            (b"\0as", "text"),
            (b"\0asm\x0d\0", "cut short"),
            (b"\0asm\x0d\0\x01\0\x01\x80\x02abc", "cut short"),
            (b"\0asm\x01\0\0\0rest", "core module"),
            (b"<!DOCTYPE html>", "text that begins with \"<!DOCTYPE html>\""),
            (b"\x7fELF....", "program for this machine"),
            (b"\xff\xfe\xfd\xfc", "no WebAssembly"),
        ] {
            let what = looks_wrong(bytes).unwrap();
            assert!(what.contains(said), "{bytes:?}: {what}");
        }
        assert_eq!(looks_wrong(b"\0asm\x0d\0\x01\0"), None);
    }
}
