//! Version numbers of the wire: ordinals of Apache's enum `MQVersion.Version` (`common`, 5.3.3).
//!
//! From 3.0.1 on the ordinals go in pairs, `X_SNAPSHOT` then `X`; from 4.0.0 on every minor version
//! has ten patch numbers, whether released or not. A peer's version is what it says: nothing here
//! trusts it to be one that exists.

/// Below this a REGISTER_BROKER body is a bare `TopicConfigSerializeWrapper`.
pub const V3_0_11: i32 = 37;
/// Offset pushes (220, 221) are refused to clients older than 3.0.7.
pub const V3_0_7_SNAPSHOT: i32 = 28;
/// Relayed calls (307, 309) are refused to clients older than 3.1.8.
pub const V3_1_8_SNAPSHOT: i32 = 62;
/// `maxReconsumeTimes` of send and send-back headers counts from here on.
pub const V3_4_9: i32 = 121;
/// Java consumers with an SQL92 filter want brokers from here on.
pub const V4_1_0_SNAPSHOT: i32 = 232;
/// What the C++ client 2.x says.
pub const V4_6_0: i32 = 333;
/// Up to here signatures leave out the ext key `_UNIQUE_KEY_QUERY`.
pub const V4_9_3: i32 = 399;
/// From here on routes have quoted broker ids.
pub const V4_9_4: i32 = 401;
/// From here on a compressed REGISTER_BROKER body ends with queue mappings.
pub const V5_0_0: i32 = 413;
/// GO_AWAY is sent to clients newer than this.
pub const V5_3_1: i32 = 475;
/// Ours: the release whose wire behaviour we follow. It stands in every frame we send.
pub const V5_3_3: i32 = 479;
/// Apache's name for everything after 5.9.9.
pub const HIGHER_VERSION: i32 = 612;

/// The version we report.
pub const CURRENT: i32 = V5_3_3;

/// Ordinals 0 to 15, before the pairs begin.
const BEFORE_3_0_1: [&str; 16] = [
    "V3_0_0_SNAPSHOT",
    "V3_0_0_ALPHA1",
    "V3_0_0_BETA1",
    "V3_0_0_BETA2",
    "V3_0_0_BETA3",
    "V3_0_0_BETA4",
    "V3_0_0_BETA5",
    "V3_0_0_BETA6_SNAPSHOT",
    "V3_0_0_BETA6",
    "V3_0_0_BETA7_SNAPSHOT",
    "V3_0_0_BETA7",
    "V3_0_0_BETA8_SNAPSHOT",
    "V3_0_0_BETA8",
    "V3_0_0_BETA9_SNAPSHOT",
    "V3_0_0_BETA9",
    "V3_0_0_FINAL",
];

/// Runs of pairs whose patch numbers ascend by one.
struct Run {
    /// Ordinal of the first pair's SNAPSHOT.
    first_ordinal: i32,
    major: i32,
    minor: i32,
    first_patch: i32,
}

/// Newest first, so that the first run that begins at or below an ordinal holds it.
/// 3.3 to 3.9 have no patch 0; 4 and 5 are computed, not listed.
const RUNS_OF_3: [Run; 10] = [
    Run { first_ordinal: 194, major: 3, minor: 9, first_patch: 1 },
    Run { first_ordinal: 176, major: 3, minor: 8, first_patch: 1 },
    Run { first_ordinal: 158, major: 3, minor: 7, first_patch: 1 },
    Run { first_ordinal: 140, major: 3, minor: 6, first_patch: 1 },
    Run { first_ordinal: 122, major: 3, minor: 5, first_patch: 1 },
    Run { first_ordinal: 104, major: 3, minor: 4, first_patch: 1 },
    Run { first_ordinal: 86, major: 3, minor: 3, first_patch: 1 },
    Run { first_ordinal: 66, major: 3, minor: 2, first_patch: 0 },
    Run { first_ordinal: 46, major: 3, minor: 1, first_patch: 0 },
    Run { first_ordinal: 16, major: 3, minor: 0, first_patch: 1 },
];

/// Ordinal of 4.0.0-SNAPSHOT, from where every minor version has exactly ten patch numbers.
const FIRST_OF_4: i32 = 212;

/// Apache's name of an ordinal, such as `V5_3_3`.
///
/// Numbers past the enum's end read `HIGHER_VERSION`, as in `MQVersion.getVersionDesc`. Apache
/// fails on negative numbers; here they read `UNKNOWN`.
pub fn describe(ordinal: i32) -> String {
    if ordinal < 0 {
        return "UNKNOWN".to_owned();
    }
    if ordinal >= HIGHER_VERSION {
        return "HIGHER_VERSION".to_owned();
    }
    let early = usize::try_from(ordinal).ok().and_then(|index| BEFORE_3_0_1.get(index));
    if let Some(name) = early {
        return (*name).to_owned();
    }
    let (major, minor, patch) = numbers(ordinal);
    let snapshot = if ordinal % 2 == 0 { "_SNAPSHOT" } else { "" };
    format!("V{major}_{minor}_{patch}{snapshot}")
}

/// Major, minor and patch number of an ordinal from 16 to 611. Every SNAPSHOT is even.
fn numbers(ordinal: i32) -> (i32, i32, i32) {
    if ordinal >= FIRST_OF_4 {
        let pair = (ordinal - FIRST_OF_4) / 2;
        return (4 + pair / 100, pair / 10 % 10, pair % 10);
    }
    let run = RUNS_OF_3.iter().find(|run| run.first_ordinal <= ordinal).unwrap_or(&RUNS_OF_3[9]);
    (run.major, run.minor, run.first_patch + (ordinal - run.first_ordinal) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ordinal: i32, expect: &str) {
        assert_eq!(describe(ordinal), expect, "ordinal {ordinal}");
    }

    /// Spot values counted in the enum of 5.3.3, at both ends of each run.
    #[test]
    fn names_are_apaches() {
        check(0, "V3_0_0_SNAPSHOT");
        check(15, "V3_0_0_FINAL");
        check(16, "V3_0_1_SNAPSHOT");
        check(V3_0_7_SNAPSHOT, "V3_0_7_SNAPSHOT");
        check(V3_0_11, "V3_0_11");
        check(45, "V3_0_15");
        check(46, "V3_1_0_SNAPSHOT");
        check(V3_1_8_SNAPSHOT, "V3_1_8_SNAPSHOT");
        check(86, "V3_3_1_SNAPSHOT");
        check(V3_4_9, "V3_4_9");
        check(211, "V3_9_9");
        check(213, "V4_0_0");
        check(V4_1_0_SNAPSHOT, "V4_1_0_SNAPSHOT");
        check(317, "V4_5_2");
        check(V4_6_0, "V4_6_0");
        check(V4_9_3, "V4_9_3");
        check(V4_9_4, "V4_9_4");
        check(V5_0_0, "V5_0_0");
        check(V5_3_1, "V5_3_1");
        check(V5_3_3, "V5_3_3");
        check(611, "V5_9_9");
        check(HIGHER_VERSION, "HIGHER_VERSION");
        check(i32::MAX, "HIGHER_VERSION");
        check(-1, "UNKNOWN");
    }
}
