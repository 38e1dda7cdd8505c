//! Criterion over the rows of a stage.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};

use crate::contest::Row;
use crate::ring::Ring;

/// Lets the rows contend, then measures ours and the raw driver on their own.
pub fn measure(stage: &impl AsRef<Ring>, rows: &[Row]) {
    let ring = stage.as_ref();
    ring.contend(rows);
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(10)
        .configure_from_args();
    for row in rows {
        let mut group = criterion.benchmark_group(row.name.as_str());
        group.throughput(Throughput::Elements(row.elements));
        for contender in [&row.ours].into_iter().chain(row.raw.first()) {
            for &tasks in row.tasks {
                let id = BenchmarkId::new(contender.name, tasks);
                group.bench_function(id, |bencher| {
                    bencher.iter_custom(|times| ring.time(contender, tasks, times));
                });
            }
        }
        group.finish();
    }
    criterion.final_summary();
}
