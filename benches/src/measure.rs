//! Criterion over the rows of a stage.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};

use crate::contest::Row;
use crate::stage::Stage;

/// Lets the rows contend, then measures ours and the raw driver on their own.
pub fn measure(stage: &Stage, rows: &[Row]) {
    stage.contend(rows);
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
                    bencher.iter_custom(|times| stage.time(contender, tasks, times));
                });
            }
        }
        group.finish();
    }
    criterion.final_summary();
}
