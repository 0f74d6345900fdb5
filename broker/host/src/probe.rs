//! One guest and no pump, for benches: what a call costs by itself.

use std::sync::Arc;

use bytes::Bytes;
use flumen_types::Offset;

use crate::cache::Cache;
use crate::chunk::Chunk;
use crate::component::Components;
use crate::guest::{Instance, Recipe};
use crate::route::Outputs;
use crate::status::{Board, Reporter};
use crate::{CheckError, Kind, PluginSpec, WasmRef};

/// A filter or transform with one output of one partition.
pub struct Probe {
    instance: Instance,
    topic: Arc<str>,
}

impl Probe {
    pub async fn new(wasm: WasmRef, config: serde_json::Value) -> Result<Probe, CheckError> {
        let components = Components::new(Cache::new(std::env::temp_dir().join("flumen-probe")));
        let compiled = components.get(&wasm).await?;
        let mut spec = PluginSpec::new("probe", Kind::Transform, wasm);
        spec.config = config;
        let recipe = Recipe {
            compiled,
            spec: Arc::new(spec),
            name: "probe".into(),
            reporter: Reporter { generation: 0, task: 0 },
            databases: Default::default(),
            board: Arc::new(Board::default()),
        };
        let mut instance = Instance::new(Arc::new(recipe));
        instance.start().await.map_err(|error| CheckError::Problems(vec![error.to_string()]))?;
        instance.set_outputs(Outputs::new([("out".into(), 1)]));
        Ok(Probe { instance, topic: "in".into() })
    }

    /// Records that came out of one call.
    pub async fn call(&mut self, records: Bytes, count: u32) -> Result<u32, String> {
        let chunk = Chunk {
            topic: self.topic.clone(),
            partition: 0,
            base_offset: 0,
            base_timestamp: 0,
            append_timestamp: None,
            count,
            records,
            next: Offset(i64::from(count)),
        };
        let done = self.instance.process(&chunk).await.map_err(|error| error.to_string())?;
        Ok(done.routed.iter().map(|routed| routed.packed.count).sum())
    }

    /// Bytes of memory that the guest has.
    pub fn memory_used(&self) -> usize {
        self.instance.memory_used()
    }
}
