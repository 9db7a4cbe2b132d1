//! What an SQL92 expression costs per message: `cargo bench -p engine --bench filter`.
//!
//! Prints the least and the median of many short batches, in nanoseconds for one evaluation, and what the
//! median makes in millions a second on one core. The properties are those of a message of the Java client
//! with five of its user's, as the broker stores it.

use std::hint::black_box;
use std::time::Instant;

use engine::filter::SqlFilter;

/// Evaluations between two looks at the clock: some 100 µs, far shorter than a time slice.
const BATCH: usize = 1000;

const PROPERTIES: &str = "color\x01red\x02UNIQ_KEY\x01AC1100021F4C2A139A550000000A0000\x02price\x0149\x02\
    WAIT\x01true\x02TAGS\x01TagA\x02region\x01eu-west-1\x02quantity\x017\x02KEYS\x01order-4711\x02\
    vip\x01true\x02MSG_REGION\x01DefaultRegion\x02TRACE_ON\x01true\x02CLUSTER\x01DefaultCluster\x02";

const EXPRESSIONS: &[(&str, &str)] = &[
    ("one term, integer", "price > 40"),
    (
        "three terms, integers and strings",
        "price > 40 AND color = 'red' AND quantity BETWEEN 5 AND 9",
    ),
    ("three terms, the first decides", "price > 50 AND color = 'red' AND quantity BETWEEN 5 AND 9"),
    (
        "three terms, lists and nulls",
        "region IN ('us-east-1', 'eu-west-1') AND missing IS NULL AND vip = TRUE",
    ),
    (
        "three terms, parts of strings",
        "region STARTSWITH 'eu-' AND KEYS CONTAINS '47' AND TAGS NOT ENDSWITH 'B'",
    ),
    ("three terms, floats", "price < 40.5 OR quantity < 3.5 OR price > 48.5"),
    ("ten terms", "a=1 OR b=2 OR c=3 OR d=4 OR e=5 OR f=6 OR g=7 OR h=8 OR i=9 OR color='red'"),
];

fn main() {
    // Without `--bench` this runs as a test, to see that it runs.
    let is_measuring = std::env::args().any(|argument| argument == "--bench");
    let batches = if is_measuring { 2000 } else { 1 };
    println!("{:<40}{:>10}{:>10}{:>14}", "ns for one evaluation", "least", "median", "million/s");
    for (name, text) in EXPRESSIONS {
        let filter = SqlFilter::compile(text).expect("an expression");
        let mut times: Vec<f64> = (0..batches).map(|_| batch(&filter)).collect();
        times.sort_by(f64::total_cmp);
        let (least, median) = (times[0], times[times.len() / 2]);
        println!("{name:<40}{least:>10.1}{median:>10.1}{:>14.1}", 1000.0 / median);
    }
}

fn batch(filter: &SqlFilter) -> f64 {
    let start = Instant::now();
    for _ in 0..BATCH {
        black_box(filter.matches(black_box(PROPERTIES.as_bytes())));
    }
    start.elapsed().as_nanos() as f64 / BATCH as f64
}
