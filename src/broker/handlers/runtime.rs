//! How the broker is: 28 GET_BROKER_RUNTIME_INFO, 45 GET_ALL_DELAY_OFFSET, 60 GET_TIMER_CHECK_POINT,
//! 61 GET_TIMER_METRICS.
//! Kind: machine
//!
//! Source: AdminBrokerProcessor.prepareRuntimeInfo, StoreStatsService, DefaultMessageStore.getRuntimeInfo,
//! TimerCheckpoint and TimerMetrics of 5.3.3. What has no like here is 0 where a tool reads it
//! (`ClusterListSubCommand`, `ExportMetricsCommand`), and left out otherwise.

use std::collections::BTreeMap;

use engine::limits::LINE_RECORDS_MAX;
use proto::body::{
    DataVersion, DelayOffsetSerializeWrapper, KVTable, TimerMetric, TimerMetricsSerializeWrapper,
};
use proto::code::response;
use proto::ids::{LogOffset, Position, ShardIndex};
use proto::{names, version};
use runtime::clock::Now;

use super::super::dispatch::{Handled, answer};
use super::super::inquiry::{Part, Question, Runtime, ShardRuntime};
use super::super::limits::{PARKED_REQUESTS_MAX, QUERIES_WAITING_MAX};
use super::super::{Asker, Broker};
use super::Then;
use super::stats::wire;
use crate::net::outbox::Outboxes;
use crate::observe::{RATES_MS, Totals};

/// What is made of how all cores are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::broker) enum Told {
    /// 28.
    RuntimeInfo,
    /// 45.
    DelayOffsets,
    /// 60.
    TimerCheckpoint,
    /// 61.
    TimerMetrics,
}

impl Broker {
    pub(in crate::broker) fn ask_runtime(&mut self, asker: &Asker, told: Told) -> Handled {
        self.ask_all(asker, Question::Runtime, Then::Runtime(told))
    }

    pub(super) fn tell_runtime(
        &self,
        now: Now,
        asker: &Asker,
        told: Told,
        parts: Vec<Part>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let cores = parts.into_iter().filter_map(|part| match part {
            Part::Runtime(runtime) => Some(*runtime),
            _ => None,
        });
        let mut cores: Vec<Runtime> = cores.collect();
        let mut shards: Vec<_> = cores.iter_mut().flat_map(|core| core.shards.drain(..)).collect();
        shards.sort_unstable_by_key(|shard| shard.number);
        let mut body = Vec::new();
        match told {
            Told::RuntimeInfo => {
                let table = self.runtime_table(now, &cores, &shards);
                KVTable { table }.write(&mut body);
            }
            Told::DelayOffsets => delay_offsets(now, &shards).write(&mut body),
            Told::TimerCheckpoint => write_checkpoint(now, &shards, &mut body),
            Told::TimerMetrics => timer_metrics(now, &shards).write(&mut body),
        }
        answer(asker, response::SUCCESS, None, None, &body, outboxes);
        Ok(())
    }

    fn runtime_table(
        &self,
        now: Now,
        cores: &[Runtime],
        shards: &[ShardRuntime],
    ) -> BTreeMap<String, String> {
        let mut table = BTreeMap::new();
        let mut put = |key: &str, value: String| _ = table.insert(key.to_owned(), value);
        put("brokerActive", "true".to_owned());
        put("brokerVersionDesc", version::describe(version::CURRENT));
        put("brokerVersion", version::CURRENT.to_string());
        put("bootTimestamp", self.started.wall_ms.to_string());
        let ran_ms = now.monotonic_ms().saturating_sub(self.started.monotonic_ms());
        put("runtime", running_time(ran_ms / 1000));
        put("startAcceptSendRequestTimeStamp", "0".to_owned());
        counts(cores, &mut put);
        positions(shards, &mut put);
        self.disk_figures(&mut put);
        timers(now, cores, shards, &mut put);
        let waiting: usize = shards.iter().map(|shard| shard.waiting_records).sum();
        let parked: usize = cores.iter().map(|core| core.parked).sum();
        let queues = [
            ("send", waiting, LINE_RECORDS_MAX * shards.len()),
            ("pull", 0, 0),
            ("litePull", 0, 0),
            ("query", parked, (PARKED_REQUESTS_MAX + QUERIES_WAITING_MAX) * cores.len()),
            ("ack", 0, 0),
        ];
        for (name, size, capacity) in queues {
            put(&format!("{name}ThreadPoolQueueSize"), size.to_string());
            put(&format!("{name}ThreadPoolQueueCapacity"), capacity.to_string());
            put(&format!("{name}ThreadPoolQueueHeadWaitTimeMills"), "0".to_owned());
        }
        put("EndTransactionQueueSize", "0".to_owned());
        put("EndTransactionThreadPoolQueueCapacity", "0".to_owned());
        put("pageCacheLockTimeMills", "0".to_owned());
        // Nothing here stands for them, but rocketmq-exporter reads no table without them.
        for key in [
            "dispatchMaxBuffer",
            "getMessageEntireTimeMax",
            "putMessageEntireTimeMax",
            "remainTransientStoreBufferNumbs",
        ] {
            put(key, "0".to_owned());
        }
        put("putMessageDistributeTime", "null".to_owned());
        table
    }

    fn disk_figures(&self, put: &mut impl FnMut(&str, String)) {
        let Some(disk) = self.disk else { return };
        let ratio = java(disk.used_percent / 100.0);
        put("commitLogDiskRatio", ratio.clone());
        // They lie in the same directory.
        put("consumeQueueDiskRatio", ratio);
        let free = disk.size_bytes as f64 * (100.0 - disk.used_percent) / 100.0;
        let (total, free) = (readable(disk.size_bytes), readable(free as u64));
        put("commitLogDirCapacity", format!("Total : {total}, Free : {free}."));
    }
}

/// What came in and went out.
fn counts(cores: &[Runtime], put: &mut impl FnMut(&str, String)) {
    let sum = |count: &dyn Fn(&Runtime) -> u64| cores.iter().map(count).sum::<u64>();
    let messages = sum(&|core| core.totals.put.messages);
    let bytes = sum(&|core| core.totals.put.bytes);
    // Apache counts from 1, so that it need not divide by 0.
    put("putMessageTimesTotal", messages.max(1).to_string());
    put("putMessageSizeTotal", bytes.to_string());
    put("putMessageAverageSize", java(bytes as f64 / messages.max(1) as f64));
    let mut put_day = |day: &str, of_day: fn(&Runtime) -> Totals| {
        let put_total = sum(&|core| of_day(core).put_by_users);
        put(&format!("msgPutTotal{day}"), put_total.to_string());
        let got_total = sum(&|core| of_day(core).got_by_users);
        put(&format!("msgGetTotal{day}"), got_total.to_string());
    };
    put_day("YesterdayMorning", |core| core.midnights[1]);
    put_day("TodayMorning", |core| core.midnights[0]);
    put_day("TodayNow", |core| core.totals);
    put("putTps", rates(cores, |totals| totals.put.messages));
    put("getFoundTps", rates(cores, |totals| totals.pulls_found));
    put("getMissTps", rates(cores, |totals| totals.pulls_missed));
    put("getTotalTps", rates(cores, |totals| totals.pulls_found + totals.pulls_missed));
    put("getTransferredTps", rates(cores, |totals| totals.got.messages));
}

fn positions(shards: &[ShardRuntime], put: &mut impl FnMut(&str, String)) {
    let position = |shard: &ShardRuntime, offset: u64| {
        let index = ShardIndex(u8::try_from(shard.number).expect("at most 256 shards"));
        let offset = LogOffset::new(offset).expect("the log stays below 2^55");
        Position::new(index, offset).to_i64()
    };
    let first = shards.first().map_or(0, |shard| position(shard, shard.start));
    let last = shards.last().map_or(0, |shard| position(shard, shard.confirmed));
    put("commitLogMinOffset", first.to_string());
    put("commitLogMaxOffset", last.to_string());
    let behind = |to: fn(&ShardRuntime) -> u64| -> u64 {
        shards.iter().map(|shard| shard.appended.saturating_sub(to(shard))).sum()
    };
    put("dispatchBehindBytes", behind(|shard| shard.confirmed).to_string());
    put("remainHowManyDataToFlush", readable(behind(|shard| shard.durable)));
    let oldest = shards.iter().filter_map(|shard| shard.oldest_ms).min();
    let oldest = oldest.map_or("-1".to_owned(), |ms| ms.to_string());
    put("earliestMessageTimeStamp", oldest);
    for (level, (cursor, max)) in levels(shards).filter(|(_, (_, max))| *max > 0) {
        put(&format!("scheduleMessageOffset_{level}"), format!("{cursor},{max}"));
    }
}

fn timers(
    now: Now,
    cores: &[Runtime],
    shards: &[ShardRuntime],
    put: &mut impl FnMut(&str, String),
) {
    let first_ms = shards.iter().filter_map(|shard| shard.timers_from_ms).min();
    let behind_ms = first_ms.map_or(0, |first_ms| now.wall_ms.saturating_sub(first_ms));
    put("timerReadBehind", (behind_ms / 1000).to_string());
    // What is stored waits already: nothing reads it into a wheel.
    put("timerOffsetBehind", "0".to_owned());
    put("timerCongestNum", shards.iter().map(|shard| shard.timers).sum::<u64>().to_string());
    put("timerEnqueueTps", first_rate(cores, |totals| totals.timers_in));
    put("timerDequeueTps", first_rate(cores, |totals| totals.timers_out));
}

/// Each delay level, those of the second shard behind those of the first, as their queues are.
fn levels(shards: &[ShardRuntime]) -> impl Iterator<Item = (i32, (u64, u64))> {
    (1..).zip(shards.iter().flat_map(|shard| shard.levels.iter().copied()))
}

fn version_of(now: Now) -> DataVersion {
    DataVersion { timestamp: wire(now.wall_ms), ..DataVersion::default() }
}

fn delay_offsets(now: Now, shards: &[ShardRuntime]) -> DelayOffsetSerializeWrapper {
    let offsets = levels(shards).map(|(level, (cursor, _))| (level, wire(cursor)));
    DelayOffsetSerializeWrapper { data_version: version_of(now), offset_table: offsets.collect() }
}

/// `TimerCheckpoint.encode`: until when messages fired, where a log of timers was flushed to (there is
/// none), how many came here and at the master, and a version.
fn write_checkpoint(now: Now, shards: &[ShardRuntime], body: &mut Vec<u8>) {
    let first_ms = shards.iter().filter_map(|shard| shard.timers_from_ms).min();
    let fired_ms = first_ms.map_or(now.wall_ms, |first_ms| first_ms.min(now.wall_ms));
    let count = wire(shards.iter().map(|shard| shard.timers_end).sum());
    let DataVersion { state_version, timestamp, counter } = version_of(now);
    for number in [wire(fired_ms), 0, count, count, state_version, timestamp, counter] {
        body.extend_from_slice(&number.to_be_bytes());
    }
}

fn timer_metrics(now: Now, shards: &[ShardRuntime]) -> TimerMetricsSerializeWrapper {
    let count = wire(shards.iter().map(|shard| shard.timers).sum());
    let metric = TimerMetric { count, time_stamp: wire(now.wall_ms) };
    TimerMetricsSerializeWrapper {
        data_version: version_of(now),
        // Which topics they are for only their records say.
        timing_count: BTreeMap::from([(names::WHEEL_TIMER_TOPIC.to_owned(), metric)]),
    }
}

/// Over the last ten seconds, minute and ten minutes, of all cores.
fn rates(cores: &[Runtime], count: impl Fn(&Totals) -> u64) -> String {
    let texts = (0..RATES_MS.len()).map(|index| java(rate(cores, index, &count)));
    texts.collect::<Vec<_>>().join(" ")
}

fn first_rate(cores: &[Runtime], count: impl Fn(&Totals) -> u64) -> String {
    java(rate(cores, 0, &count))
}

fn rate(cores: &[Runtime], index: usize, count: &impl Fn(&Totals) -> u64) -> f64 {
    let rates = cores.iter().filter_map(|core| {
        let growth = core.growth[index];
        let grown = count(&core.totals).saturating_sub(count(&growth.from));
        (growth.took_ms > 0).then(|| grown as f64 * 1000.0 / growth.took_ms as f64)
    });
    // Not the sum, which is -0.0 of nothing.
    rates.fold(0.0, |sum, rate| sum + rate)
}

/// As `String.valueOf(double)` writes what is neither huge nor tiny.
fn java(value: f64) -> String {
    format!("{value:?}")
}

/// `StoreStatsService.getFormatRuntime`.
fn running_time(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    format!(
        "[ {} days, {} hours, {} minutes, {} seconds ]",
        hours / 24,
        hours % 24,
        minutes % 60,
        seconds % 60
    )
}

/// `MixAll.humanReadableByteCount` without SI.
fn readable(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10) as usize;
    format!("{:.1} {}", bytes as f64 / (1_u64 << (10 * power)) as f64, UNITS[power - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_times_read_as_in_java() {
        let texts = [0, 1023, 1024, 1536, 5 << 20, (1 << 30) + (1 << 29)].map(readable);
        assert_eq!(texts, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 MiB", "1.5 GiB"]);
        assert_eq!(running_time(90_061), "[ 1 days, 1 hours, 1 minutes, 1 seconds ]");
        assert_eq!([java(0.0), java(12.0), java(0.25)], ["0.0", "12.0", "0.25"]);
    }

    #[test]
    fn rates_of_cores_add_up() {
        let core = |put: u64| {
            let mut core = Runtime::default();
            core.totals.put.messages = put;
            core.growth[0].took_ms = 10_000;
            core
        };
        let text = rates(&[core(100), core(50)], |totals| totals.put.messages);
        assert_eq!(text, "15.0 0.0 0.0", "nothing is told over no time");
    }
}
