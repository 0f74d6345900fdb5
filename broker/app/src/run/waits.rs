//! What a start may have to wait for, shown to whoever watches: partitions that are recovered, plugins
//! that are compiled.

use std::pin::pin;
use std::time::{Duration, Instant};

use flumen_host::Host;
use flumen_server::Progress;

use crate::cli::Out;

const LOOK: Duration = Duration::from_millis(100);

/// Does the work, and shows how much is loaded meanwhile, and what is left.
pub(super) async fn recovering<T>(out: &Out, progress: &Progress, work: impl Future<Output = T>) -> T {
    let partitions = out.progress("loading partitions", 0);
    let mut read = None;
    let mut look = tokio::time::interval(LOOK);
    let mut work = pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = look.tick() => {
                let now = progress.at(Instant::now());
                partitions.set_length(now.partitions);
                partitions.set_position(now.partitions_done);
                if now.bytes > 0 {
                    let bar = read.get_or_insert_with(|| out.progress_bytes("reading again after a crash", 0));
                    bar.set_length(now.bytes);
                    bar.set_position(now.bytes_done);
                }
            }
        }
    };
    partitions.finish_and_clear();
    drop(read.inspect(|bar: &indicatif::ProgressBar| bar.finish_and_clear()));
    done
}

/// Does the work, and shows what is compiled meanwhile.
pub(super) async fn compiling<T>(out: &Out, host: &Host, work: impl Future<Output = T>) -> T {
    let (mut look, mut shown) = (tokio::time::interval(LOOK), None);
    let mut work = pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = look.tick() => match host.compiling() {
                Some(origin) => {
                    let what = format!("compiling {origin}");
                    shown.get_or_insert_with(|| out.waiting(&what)).set_message(what.clone());
                }
                None => drop(shown.take().inspect(|bar| bar.finish_and_clear())),
            }
        }
    };
    drop(shown.inspect(|bar| bar.finish_and_clear()));
    done
}
