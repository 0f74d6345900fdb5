//! File, transform, SQLite: the whole path by `flumen run --until-done`.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Result, ensure};
use flumen_harness::{Flumen, sqlite};

use crate::Args;
use crate::figures::{Figure, Table};

const PIPELINE: &str = r#"
[databases.out]
url = "sqlite:out.db"

[sources.orders-csv]
plugin = "file-source"
topic = "orders"
config = { paths = ["inbox/*.csv"], format = "csv", types = { order_id = "int", amount = "float" } }
grant.files = { "inbox" = "read" }

[transforms.big-orders]
plugin = "json-filter"
from = "orders"
to = "big-orders"
config = { where = "amount >= 0.0" }

[sinks.orders-db]
plugin = "db-sink"
from = ["big-orders"]
config = { database = "out", table = "orders", mode = "insert" }
grant.databases = ["out"]
"#;

pub(crate) fn table(args: &Args) -> Result<()> {
    let rows = args.rows;
    let columns = ["rows", "rows/s"];
    let mut table = Table::new(
        "File, transform, SQLite by `flumen run --until-done`",
        "All in, compile included.",
        &columns,
    );
    let mut csv = String::from("order_id,customer,amount\n");
    for id in 0..rows {
        writeln!(csv, "{id},customer-{},{}.25", id % 5000, id % 500)?;
    }
    let mut speeds = Figure::default();
    for _ in 0..args.runs {
        let flumen = Flumen::prepare(PIPELINE);
        std::fs::create_dir_all(flumen.path("inbox"))?;
        std::fs::write(flumen.path("inbox/orders.csv"), &csv)?;
        let started = Instant::now();
        flumen.cli(&["run", "--until-done", "--json"]);
        speeds.push(rows as f64 / started.elapsed().as_secs_f64());
        let stored = sqlite::number(&flumen.path("out.db"), "select count(*) from orders")
            .map_err(anyhow::Error::msg)?;
        ensure!(stored as usize == rows, "{stored} of {rows} rows arrived");
    }
    table.row(&[rows.to_string(), speeds.show()]);
    table.write(args.out())
}
