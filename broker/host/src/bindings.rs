//! Bindings of `flumen:plugin`: the only place that knows its WIT.
//!
//! The world `host` is the union of all kinds; a component exports one of them, so that each export is
//! looked up by itself (`exports::…::GuestIndices`) and the world's own constructor is not used.

#![allow(missing_docs, unreachable_pub, clippy::all)]

wasmtime::component::bindgen!({
    path: "../../wit/flumen-plugin",
    world: "host",
    imports: {
        "flumen:plugin/sql": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: true },
    with: { "flumen:plugin/sql.connection": crate::sql::Opened },
    require_store_data_send: true,
    additional_derives: [PartialEq],
});
