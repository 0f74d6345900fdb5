//! README's first command: makes a data set, runs the pipelines over it, shows what came out.
//!
//! Everything happens in a folder of its own (`out/demo`), made afresh each time. The ports in the
//! example's file are replaced by free ones, so that a broker that runs already is left alone.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use flumen_harness::{http::Service, port, sqlite};

const CONFIG: &str = include_str!("../../../docs/examples/demo/flumen.toml");
const CITIES: [&str; 8] = ["Basel", "Zurich", "Geneva", "Bern", "Lugano", "Chur", "Sion", "Thun"];

/// Makes orders as CSV and runs them through Flumen into SQLite and an HTTP service.
#[derive(Parser)]
struct Args {
    /// How many orders to make.
    #[arg(long, default_value_t = 200_000)]
    rows: u64,
    /// The folder to work in; what is in it is deleted first.
    #[arg(long, default_value = "out/demo")]
    dir: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let service = Service::start();
    prepare(&args, &service)?;

    println!("{} orders in {}", args.rows, args.dir.join("inbox/orders.csv").display());
    let started = Instant::now();
    let flumen = std::env::current_exe()?.with_file_name("flumen");
    let status = Command::new(&flumen)
        .args(["run", "--until-done"])
        .current_dir(&args.dir)
        .status()
        .with_context(|| {
            format!("{} does not start; build it with `cargo build --release -p flumen`", flumen.display())
        })?;
    let seconds = started.elapsed().as_secs_f64();
    ensure!(status.success(), "flumen run --until-done ended with {status}");
    show(&args, &service, seconds)
}

fn prepare(args: &Args, service: &Service) -> Result<()> {
    if args.dir.exists() {
        fs::remove_dir_all(&args.dir).with_context(|| format!("clearing {}", args.dir.display()))?;
    }
    fs::create_dir_all(args.dir.join("inbox"))?;
    write_orders(&args.dir.join("inbox/orders.csv"), args.rows)?;
    let config = CONFIG
        .replace("127.0.0.1:9092", &format!("127.0.0.1:{}", port::free()))
        .replace("127.0.0.1:8090", &format!("127.0.0.1:{}", port::free()))
        .replace("127.0.0.1:8099", &service.address().to_string());
    fs::write(args.dir.join("flumen.toml"), config)?;
    Ok(())
}

/// The same orders every time: a linear congruential generator stands in for chance.
fn write_orders(path: &Path, rows: u64) -> Result<()> {
    let mut out = BufWriter::new(fs::File::create(path)?);
    writeln!(out, "order_id,customer,city,quantity,amount,note")?;
    let mut state = 20_261_121_u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for id in 1..=rows {
        let (customer, city, quantity, cents) =
            (next(5_000), CITIES[next(8) as usize], next(20) + 1, next(50_000));
        let (whole, part) = (cents / 100, cents % 100);
        writeln!(
            out,
            "{id},customer-{customer},{city},{quantity},{whole}.{part:02},\"gift, \"\"wrapped\"\"\""
        )?;
    }
    out.flush()?;
    Ok(())
}

fn show(args: &Args, service: &Service, seconds: f64) -> Result<()> {
    let database = args.dir.join("warehouse.db");
    let query = "select city, count(*), round(sum(amount), 2), count(distinct order_id) from orders group by city order by 2 desc";
    let rows = sqlite::rows(&database, query).map_err(anyhow::Error::msg)?;
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["city", "orders over 100", "amount", "distinct ids"]);
    for row in rows {
        table.add_row(row);
    }
    println!("\n{}: {query}\n{table}", database.display());

    let stored = sqlite::number(&database, "select count(*) from orders").map_err(anyhow::Error::msg)?;
    let distinct = sqlite::number(&database, "select count(distinct order_id) from orders")
        .map_err(anyhow::Error::msg)?;
    let posted = service.accepted().len() as i64;
    println!(
        "\n{} orders read, {stored} over 100 stored in SQLite, {posted} posted to the HTTP service",
        args.rows
    );
    println!("{seconds:.2} s in all, {:.0} orders a second", args.rows as f64 / seconds);
    ensure!(stored == distinct, "{} orders were stored twice", stored - distinct);
    ensure!(stored == posted, "SQLite has {stored} orders, the HTTP service was sent {posted}");
    Ok(())
}
