//! What a start may have to wait for, shown to whoever watches: partitions that are recovered, plugins
//! that are compiled.

use std::pin::pin;
use std::time::Duration;

use flumen_host::Host;
use tokio::sync::watch;

use crate::cli::Out;

const LOOK: Duration = Duration::from_millis(100);

/// Does the work, and shows how many partitions are loaded meanwhile.
pub(super) async fn recovering<T>(
    out: &Out,
    mut told: watch::Receiver<(usize, usize)>,
    work: impl Future<Output = T>,
) -> T {
    let bar = out.progress("loading partitions", 0);
    let mut work = pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            Ok(()) = told.changed() => {
                let (done, of) = *told.borrow_and_update();
                bar.set_length(of as u64);
                bar.set_position(done as u64);
            }
        }
    };
    bar.finish_and_clear();
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
