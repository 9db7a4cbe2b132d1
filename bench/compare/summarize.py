#!/usr/bin/env python3
"""Turns reports of ringmq-bench into raw lines, and raw lines into a table.

    summarize.py line RAW.csv REPORT.json PAUSES ROUND SCENARIO SYSTEM REPEAT    appends one line
    summarize.py watch PARENT SERVER    prints the seconds for which a child of PARENT, SERVER or itself stood still
    summarize.py table RAW.csv    prints Markdown
    summarize.py test             checks itself
"""

import csv
import json
import pathlib
import statistics
import sys
import time

# Heading, column of a raw line, factor from the column's unit to the heading's, decimals.
FIGURES = [
    ("messages/s", "messages_per_second", 1, 0),
    ("p50, ms", "p50_us", 1e-3, 3),
    ("p99, ms", "p99_us", 1e-3, 3),
    ("CPU s a million", "cpu_seconds_per_million", 1, 3),
    ("resident, MiB", "resident_bytes", 2**-20, 0),
    ("… anonymous, MiB", "anonymous_bytes", 2**-20, 0),
]
SYSTEMS = ["ringmq", "apache"]

# How often processes are looked at, and from when on the look itself came too late.
LOOK_SECONDS = 0.2
LATE_SECONDS = 1.0

# From this share of a core on the load generator may have been what was measured.
BUSY_FROM = 0.9

# Columns that are 0 in a clean run.
NOTABLE = {
    "paused_seconds": "s for which processes were stopped or starved while measured: **these figures say nothing**.",
    "refused": "requests refused, which count as nothing.",
    "unanswered": "messages never answered, which count as nothing.",
    "differences": "**differences from what was produced**; a send that is refused leaves one.",
}


def anonymous_bytes(pid):
    """Memory of a process that is no file's page; ringmq-bench reports all of it together."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/{pid}/status has no RssAnon")


def raw_line(report, anonymous):
    """What of a report is worth a line: all that the table needs, and what explains an odd one."""
    results = report["results"]
    client, server = results["client"], results["server"]
    sent, received = results.get("send"), results.get("receive")
    side = sent or received
    if side["messages"] == 0:
        raise ValueError("no message within the measured window")
    latency = sent["acknowledgement"]["uncorrected"] if sent else received["pull"]
    return {
        "messages": side["messages"],
        "wall_seconds": round(results["wall_seconds"], 6),
        "messages_per_second": round(side["messages_per_second"], 1),
        **{f"{name}_us": round(latency[f"{name}_us"], 1) for name in ["p50", "p99", "p99_9", "max"]},
        "cpu_user_seconds": round(server["user_seconds"], 2),
        "cpu_system_seconds": round(server["system_seconds"], 2),
        "cpu_seconds_per_million": round(server["cpu_seconds_per_million"], 4),
        "resident_bytes": server["resident_bytes"],
        "resident_peak_bytes": server["resident_peak_bytes"],
        "anonymous_bytes": anonymous,
        "client_cpu_seconds": round(client["cpu_seconds"], 3),
        "client_busiest_share": round(client.get("busiest_share", 0), 3),
        "refused": sum(refusal["count"] for refusal in side["refused"]),
        "unanswered": sent["unanswered"] if sent else 0,
        "differences": results["check"]["differences"] if received else 0,
    }


def is_stopped(pid):
    """Whether somebody sent it SIGSTOP, say to measure something else undisturbed."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def watch(parent, server):
    """A stopped server looks like a slow one, in figures that nobody would doubt."""
    children = pathlib.Path(f"/proc/{parent}/task/{parent}/children")
    last = time.monotonic()
    while True:
        time.sleep(LOOK_SECONDS)
        now = time.monotonic()
        if now - last > LATE_SECONDS or any(map(is_stopped, [server, *children.read_text().split()])):
            print(f"{now - last:.1f}", flush=True)
        last = now


def append_line(raw, report_path, pauses_path, run_round, scenario, system, repeat):
    report = json.loads(pathlib.Path(report_path).read_text())
    line = {"round": run_round, "scenario": scenario, "system": system, "repeat": repeat}
    line |= raw_line(report, anonymous_bytes(report["results"]["server"]["pid"]))
    line["paused_seconds"] = round(sum(map(float, pathlib.Path(pauses_path).read_text().split())), 1)
    if line["paused_seconds"]:
        print(f"compare: processes stood still for {line['paused_seconds']} s while measured", file=sys.stderr)
    is_new = not pathlib.Path(raw).exists()
    with open(raw, "a", newline="") as file:
        writer = csv.DictWriter(file, line, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(line)


def number(value, decimals):
    return f"{value:,.{decimals}f}"


def row(scenario, figure, lines):
    heading, column, factor, decimals = figure
    cells, medians = [], []
    for system in SYSTEMS:
        values = [float(line[column]) * factor for line in lines if line["system"] == system]
        three = [min(values), statistics.median(values), max(values)]
        medians.append(three[1])
        cells.append(" / ".join(number(value, decimals) for value in three))
    ratio = f"{medians[0] / medians[1]:.3g}" if medians[1] else "–"
    return f"| {scenario} | {heading} | {cells[0]} | {cells[1]} | {ratio} |"


def table(lines):
    """One row for each scenario and figure, and a sentence for each that was not clean."""
    out = [
        "| scenario | figure | RingMQ | Apache RocketMQ | ratio of medians, RingMQ : Apache |",
        "|---|---|---|---|---|",
    ]
    notes = []
    for scenario in dict.fromkeys(line["scenario"] for line in lines):
        here = [line for line in lines if line["scenario"] == scenario]
        counts = [sum(line["system"] == system for line in here) for system in SYSTEMS]
        if 0 in counts:
            raise ValueError(f"{scenario} has runs of one system only")
        out += [row(scenario, figure, here) for figure in FIGURES]
        notes.append(f"{scenario}: runs of RingMQ {counts[0]}, of Apache RocketMQ {counts[1]}.")
        for system in SYSTEMS:
            busiest = max(float(line.get("client_busiest_share") or 0) for line in here if line["system"] == system)
            if busiest >= BUSY_FROM:
                notes.append(f"{scenario}, {system}: the generator used up to {busiest:.0%} of a core: a lower bound.")
            for column, meaning in NOTABLE.items():
                total = sum(float(line[column]) for line in here if line["system"] == system)
                if total:
                    notes.append(f"{scenario}, {system}: {total:g} {meaning}")
    return "\n".join([*out, "", *(f"- {note}" for note in notes)])


def test():
    def report(**side):
        return {"results": {
            "wall_seconds": 2.0,
            "client": {"cpu_seconds": 0.5},
            "server": {"pid": 1, "user_seconds": 1.0, "system_seconds": 0.5, "cpu_seconds_per_million": 3.0,
                       "resident_bytes": 2**20, "resident_peak_bytes": 2**21},
            **side,
        }}

    times = {"p50_us": 10.0, "p99_us": 20.0, "p99_9_us": 30.0, "max_us": 40.0}
    side = {"messages": 100, "messages_per_second": 50.0, "refused": [{"count": 2}, {"count": 3}]}
    sent = raw_line(report(send={**side, "unanswered": 1, "acknowledgement": {"uncorrected": times}}), 7)
    assert (sent["messages"], sent["p99_us"], sent["refused"], sent["unanswered"]) == (100, 20.0, 5, 1), sent
    pulled = raw_line(report(receive={**side, "pull": times}, check={"differences": 4}), 7)
    assert (pulled["p50_us"], pulled["anonymous_bytes"], pulled["differences"]) == (10.0, 7, 4), pulled
    try:
        raw_line(report(send={**side, "messages": 0}), 7)
    except ValueError:
        pass
    else:
        raise AssertionError("a run without messages has figures")

    def line(system, rate):
        return {**pulled, "scenario": "pull", "system": system, "messages_per_second": rate,
                "refused": 0, "differences": 0, "paused_seconds": "0"}

    text = table([line("ringmq", 40), line("apache", 1), line("ringmq", 20), line("ringmq", 6000), line("apache", 3)])
    assert "| pull | messages/s | 20 / 40 / 6,000 | 1 / 2 / 3 | 20 |" in text, text
    assert "| pull | p50, ms | 0.010 / 0.010 / 0.010 | 0.010 / 0.010 / 0.010 | 1 |" in text, text
    assert "- pull: runs of RingMQ 3, of Apache RocketMQ 2." in text, text
    assert "refused" not in text, text
    assert "lower bound" not in text, text
    busy = table([line("ringmq", 1), {**line("apache", 1), "client_busiest_share": "0.98"}])
    assert "pull, apache: the generator used up to 98% of a core" in busy, busy
    assert "pull, apache: 4 requests refused" in table([line("ringmq", 1), {**line("apache", 1), "refused": "4"}])
    assert "pull, apache: 1.5 s" in table([line("ringmq", 1), {**line("apache", 1), "paused_seconds": "1.5"}])
    try:
        table([line("ringmq", 1)])
    except ValueError:
        pass
    else:
        raise AssertionError("half a comparison passed for one")


def main(command="", *arguments):
    if command == "line" and len(arguments) == 7:
        append_line(*arguments)
    elif command == "watch" and len(arguments) == 2:
        watch(*arguments)
    elif command == "table" and len(arguments) == 1:
        with open(arguments[0], newline="") as file:
            print(table(list(csv.DictReader(file))))
    elif command == "test" and not arguments:
        test()
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
