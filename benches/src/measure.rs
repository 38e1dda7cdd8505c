//! Criterion over the rows of a stage.

use std::time::Duration;

use chat_benches::{Row, Stage, TASKS};
use criterion::{BenchmarkId, Criterion, Throughput};

/// Lets the rows contend, then measures ours and the raw driver on their own.
pub(crate) fn measure(stage: &Stage, rows: &[Row]) {
    stage.contend(rows);
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(10)
        .configure_from_args();
    for row in rows {
        let mut group = criterion.benchmark_group(row.name);
        group.throughput(Throughput::Elements(1));
        for contender in [&row.ours].into_iter().chain(row.raw.first()) {
            for tasks in TASKS {
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
