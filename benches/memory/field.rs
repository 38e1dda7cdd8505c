//! Where ports in memory are measured.

use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use chat_benches::{Act, TASKS, acting, time};
use chat_core::memory::Memory;
use criterion::{BenchmarkId, Criterion, Throughput};
use tokio::runtime::{Builder, Runtime};

/// How many users, rooms, conversations and values there are, where it is not said otherwise.
pub(crate) const MANY: usize = 10_000;
pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);

/// How often an operation is done while what it allocates is counted.
const COUNTED: usize = 256;

/// Two threads for tasks, and one for counting.
pub(crate) struct Field {
    criterion: Criterion,
    threads: Runtime,
    alone: Runtime,
    wanted: Option<String>,
    counts: Vec<(String, AllocationInfo)>,
}

impl Field {
    pub(crate) fn new() -> Self {
        let criterion = Criterion::default()
            .warm_up_time(Duration::from_millis(100))
            .measurement_time(Duration::from_millis(300))
            .sample_size(10)
            .configure_from_args();
        let threads = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let alone = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
        Self { criterion, threads, alone, wanted, counts: Vec::new() }
    }

    /// Does something before.
    pub(crate) fn prepare<T>(&self, work: impl Future<Output = T>) -> T {
        self.alone.block_on(work)
    }

    /// Measures one operation, which does so many things; each time on a backend of its own, for some of them grow.
    pub(crate) fn row(&mut self, name: &str, elements: u64, make: impl Fn(&Self, Memory) -> Act) {
        if self.wanted.as_ref().is_some_and(|wanted| !name.contains(wanted.as_str())) {
            return;
        }
        let counts = self.counted(&make(self, Memory::default()));
        self.counts.push((name.to_owned(), counts));
        for tasks in TASKS {
            let act = make(self, Memory::default());
            let mut group = self.criterion.benchmark_group(name);
            group.throughput(Throughput::Elements(elements));
            group.bench_function(BenchmarkId::from_parameter(tasks), |bencher| {
                bencher.iter_custom(|times| time(&self.threads, &act, *tasks, times));
            });
            group.finish();
        }
    }

    fn counted(&self, act: &Act) -> AllocationInfo {
        let some = |act: &Act, first: usize| {
            self.alone.block_on(async {
                for nth in first..first + COUNTED {
                    act(0, nth).await;
                }
            });
        };
        some(act, 0);
        measure(|| some(act, COUNTED))
    }

    /// Tells what was allocated.
    pub(crate) fn end(self) {
        self.criterion.final_summary();
        let nothing = self.counted(&acting(|_, _| async {}));
        println!("\nallocations of one operation, and their bytes");
        for (name, counts) in &self.counts {
            let each = |counted: u64, own: u64| counted.saturating_sub(own) as f64 / COUNTED as f64;
            let times = each(counts.count_total, nothing.count_total);
            let bytes = each(counts.bytes_total, nothing.bytes_total);
            println!("  {name:<44} {times:>9.1} {bytes:>11.0} B");
        }
    }
}
