#!/usr/bin/env python3
"""Writes the operator's dashboard, helm/facemill/dashboards/facemill.json, from the table below.

dashboard.py            writes the file
dashboard.py --check    exits 1 when the file is not what the table says

In an expression `@` stands for the dashboard's choice of namespace and release, which also matches series without these
labels. Only metrics of the program itself are used, so that every panel works without the recording rules. Where a
series appears only once something has happened, the query yields 0 before: an empty panel is then a fault, which
queries.py --check finds on a real run.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

FILE = Path(__file__).parents[2] / "helm/facemill/dashboards/facemill.json"
CHOICE = 'namespace=~"$namespace",release=~"$release"'
RETRY = 'topic=~".*urls[.]retry[.].*"'
NOT_RETRY = 'topic!~".*urls[.]retry[.].*"'
NO_DEADLINE = "there is no deadline (monitor.deadline)"
NO_TARGET = "no rate is expected (kafka.expected_rate)"


@dataclass
class Query:
    """One expression, the name of its series in the legend, and why it may be empty, if it may."""

    expr: str
    legend: str = ""
    empty_when: str = ""


@dataclass
class Panel:
    """A panel; its description says what good looks like."""

    title: str
    unit: str
    queries: list
    description: str
    kind: str = "timeseries"
    # At which value it turns yellow, and at which red. Below the first it is green.
    limits: tuple = ()
    stacked: bool = False
    options: dict = field(default_factory=dict)


def rate(metric, by, matchers="", window="$__rate_interval"):
    """The sum of a counter's rates."""
    return f"sum by ({by}) (rate({metric}{{@{matchers and ','}{matchers}}}[{window}]))"


def quantile(share, metric, by):
    """A histogram's quantile; nothing for what had no observation, of which it would be NaN."""
    return f"histogram_quantile({share}, {rate(metric + '_bucket', f'{by}, le')}) >= 0"


def or_zero(expr, label):
    """0 under the name "none" while nothing has happened."""
    return f'({expr}) or on () label_replace(vector(0), "{label}", "none", "", "")'


def by_stage(expr, processes="facemill_records_received_total{@}"):
    """A figure of each process, under the stages that it runs. One that runs several is counted under each."""
    stages = f"group by (namespace, release, instance, stage) ({processes})"
    return f"{stages} * on (namespace, release, instance) group_left () max by (namespace, release, instance) ({expr})"


def stat(*args, **more):
    return Panel(*args, kind="stat", **more)


LOOKUP = "facemill_dns_lookup_duration_seconds"
# Processes of the last hour: of one in a crash loop there is nothing for most of the time.
SEEN = "last_over_time(facemill_records_received_total{@}[1h])"
CPU = "rate(process_cpu_seconds_total{@}[$__rate_interval])"
LEFT = f"sum(facemill_lag_records{{@,{NOT_RETRY}}})"
# Each release has a deadline of its own.
DEADLINE = "max by (namespace, release) (facemill_deadline_timestamp_seconds{@})"
NEEDED = (
    f"sum(sum by (namespace, release) (facemill_lag_records{{@,{NOT_RETRY}}})"
    f" / clamp_min({DEADLINE} - time(), 60))"
)
# What a new monitor finds lost at its first look is no increase.
LOST = "facemill_records_lost_total{@}"
LOST = f"({LOST} unless max_over_time({LOST}[$__range] offset $__range)) or increase({LOST}[$__range])"
# Those of a few alerts have no release, and one has no namespace: they concern every choice.
ALERTS = 'ALERTS{namespace=~"$namespace|",release=~"$release|",alertname=~"Facemill.+",alertstate="firing"}'


def done(window):
    outcomes, skipped = "facemill_outcomes_total{@}", "facemill_records_skipped_total{@}"
    return f"(sum(rate({outcomes}[{window}]) or rate({skipped}[{window}])) or vector(0))"

ROWS = [
    ("Job", [
        stat("URLs left", "short", [Query(LEFT)],
             "URLs without an outcome, in urls, images and frames. Falls to 0. Those that wait for a later "
             "try stand beside."),
        stat("Wait for a later try", "short", [Query(f"sum(facemill_lag_records{{@,{RETRY}}}) or vector(0)")],
             "URLs in the retry topics. A few in a hundred of the job are usual; they come out after 1, "
             "10, 60 minutes."),
        stat("Share of urls fetched", "percentunit", [Query(
            '1 - sum(facemill_lag_records{@,stage="fetch",topic=~".*urls"}) / clamp_min('
            'sum(facemill_log_end{@,topic=~".*urls"}) - sum(facemill_log_start{@,topic=~".*urls"}), 1)')],
             "How much of what the topic urls holds fetch has settled. Grows to 100 %."),
        stat("URLs done a second", "reqps", [Query(done("$__rate_interval"))],
             "URLs that came to their outcome or had one already. At least what is needed."),
        stat("Needed a second", "reqps", [Query(NEEDED, empty_when=NO_DEADLINE)],
             "URLs left, divided by the time until the deadline, of each release by its own. Less than what is done; "
             "empty without a deadline."),
        stat("Until the deadline", "s", [Query(f"min({DEADLINE}) - time()", empty_when=NO_DEADLINE)],
             "Longer than the time left at this rate. Of several releases the first deadline; empty without one.",
             limits=(86400, 0)),
        stat("Time left at this rate", "s", [Query(f"{LEFT} / ({done('30m')} > 0)")],
             "URLs left, divided by the rate of the last 30 minutes. Shorter than the time until the deadline; empty "
             "while nothing is done."),
        stat("Faces found", "short", [Query("sum(increase(facemill_faces_total{@}[$__range]))")],
             "In the time that is shown. Grows with the pictures."),
        stat("Dead letters", "short",
             [Query('sum(facemill_log_end{@,topic=~".*dlq"}) - sum(facemill_log_start{@,topic=~".*dlq"})')],
             "Records that only a person can help. 0, or known ones.", limits=(1, 1000)),
        stat("Lost to retention", "short", [Query(f"sum({LOST}) or vector(0)")],
             "Records that Kafka deleted unread, in the time that is shown. 0.", limits=(1, 1)),
        stat("Not ready", "short",
             [Query("count(count by (namespace, instance) (facemill_waiting{@} == 1)) or vector(0)")],
             "Processes that wait for something. 0; for a moment more while pods start.", limits=(1, 5)),
        stat("Alerts", "short", [Query(f"count({ALERTS}) or vector(0)")],
             "Alerts that fire, where the rules are loaded. 0; docs/runbook.md has a section for each.", limits=(1, 5)),
    ]),
    ("Progress", [
        Panel("URLs done a second and the target", "reqps", [
            Query(done("$__rate_interval"), "done"),
            Query(NEEDED, "needed until the deadline", NO_DEADLINE),
            Query("sum(max by (namespace, release) (facemill_expected_rate{@}))", "expected", NO_TARGET)],
              "What is done lies above what is needed and what was expected."),
        Panel("Records settled by stage", "reqps", [
            Query(rate("facemill_records_settled_total", "stage"), "{{stage}}")],
              "preprocess and detect follow fetch, less what failed before. The slowest of those that have "
              "lag sets the pace."),
        Panel("Bytes read and handed over", "Bps", [
            Query(rate("facemill_received_bytes_total", "stage"), "{{stage}} read"),
            Query(rate("facemill_handed_over_bytes_total", "stage"), "{{stage}} handed over")],
              "At 3,307 URL/s of 100 KB fetch hands over 330 MB/s. Within what network and brokers were sized for."),
    ]),
    ("Lag", [
        Panel("Records that wait", "short", [Query("sum by (stage, topic) (facemill_lag_records{@})", "{{topic}}")],
              "urls falls steadily. images and frames stay low, or rise and fall with the replicas. Retry "
              "topics wait."),
        Panel("Age of the oldest record", "s", [
            Query('max by (stage, topic) (facemill_lag_age_seconds{@,topic!~".*urls"})', "{{topic}}")],
              "Seconds to a few minutes for images and frames. In retry topics counted from when it is "
              "due: near 0. urls is "
              "left out: a job's URLs are as old as the job.", limits=(1800, 3600)),
        Panel("Retention used by what is unread", "percentunit", [
            Query("max by (stage, topic) (facemill_retention_used_ratio{@})", "{{topic}}")],
              "Below a half. At 100 % Kafka deletes what nobody has read. At a half of images fetch holds back.",
              limits=(0.65, 0.85)),
        Panel("Partitions with the oldest records", "s", [
            Query('topk(10, max by (topic, partition) (facemill_lag_age_seconds{@,topic!~".*urls"}))',
                  "{{topic}} {{partition}}")],
              "All much alike. One that stands out alone is stalled, or its key or its broker is slow.",
              kind="bargauge"),
        Panel("Members of the groups", "short", [
            Query("sum by (stage, topic) (facemill_group_members{@})", "{{stage}} {{topic}}")],
              "As many as processes of the stage. More than partitions are idle."),
        Panel("fetch held back", "percentunit", [
            Query('avg(avg_over_time(facemill_held_back{@,stage="fetch"}[$__rate_interval]))', "fetch")],
              "0. Above it, preprocess is slower than fetch, and fetch waits so that no picture is deleted unread."),
    ]),
    ("Outcomes", [
        Panel("Outcomes by reason", "reqps", [Query(
            or_zero(rate("facemill_outcomes_total", "status, reason"), "status"), "{{status}} {{reason}}")],
              "detected is by far the largest. docs/outcomes.md says what the reasons mean.", stacked=True),
        Panel("Share of first tries that fail, by reason", "percentunit", [Query(or_zero(
            "sum by (stage, reason) ("
            f'rate(facemill_outcomes_total{{@,status="failed",{NOT_RETRY}}}[$__rate_interval])'
            f" or rate(facemill_records_postponed_total{{@,{NOT_RETRY}}}[$__rate_interval]))"
            " / on (stage) group_left () ("
            f"sum by (stage) (rate(facemill_outcomes_total{{@,{NOT_RETRY}}}[$__rate_interval])"
            f" or rate(facemill_records_postponed_total{{@,{NOT_RETRY}}}[$__rate_interval])"
            f" or rate(facemill_records_handed_over_total{{@,{NOT_RETRY}}}[$__rate_interval])"
            # Those have the same labels as what is published.
            f" or label_replace(rate(facemill_records_fused_total{{@,{NOT_RETRY}}}[$__rate_interval]),"
            ' "to", "memory", "", "")) > 0)', "stage"),
            "{{stage}} {{reason}}")],
              "Steady, whatever the level: it is the list's. A step says that something changed here or there."),
        Panel("Faces in a picture", "short", [Query(
            "sum(rate(facemill_faces_total{@}[$__rate_interval])) "
            '/ (sum(rate(facemill_outcomes_total{@,status="detected"}[$__rate_interval])) > 0) or vector(0)', "faces")],
              "Steady. A fall to near 0 means a wrong model, wrong settings or another list."),
        Panel("Made again at once, by reason", "reqps", [
            Query(or_zero(rate("facemill_retries_total", "stage, reason"), "stage"), "{{stage}} {{reason}}")],
              "A small part of what is done. Much of it costs time that other URLs could have."),
        Panel("Put off to a retry topic, by reason", "reqps", [
            Query(or_zero(rate("facemill_records_postponed_total", "reason"), "reason"), "{{reason}}")],
              "A few in a hundred. host_busy: a site has more URLs than it takes at once. host_down: it "
              "does not answer."),
        Panel("Dead letters and skipped", "reqps", [
            Query(rate("facemill_dead_letters_total", "stage, class"), "dead letter: {{stage}} {{class}}"),
            Query(rate("facemill_records_skipped_total", "stage"), "skipped: {{stage}}")],
              "Dead letters: 0. Skipped: 0, but after a restart for seconds, and in a replay nearly everything."),
    ]),
    ("Latency", [
        Panel("One attempt", "s", [
            Query(quantile(0.5, "facemill_attempt_duration_seconds", "stage"), "{{stage}} half"),
            Query(quantile(0.99, "facemill_attempt_duration_seconds", "stage"), "{{stage}} 99 %")],
              "fetch: as the servers are, up to 20 s. preprocess and detect: milliseconds, and flat."),
        Panel("A record, from the begin of its work until it is done", "s", [
            Query(quantile(0.5, "facemill_record_duration_seconds", "stage"), "{{stage}} half"),
            Query(quantile(0.99, "facemill_record_duration_seconds", "stage"), "{{stage}} 99 %")],
              "Little more than one attempt. Much more: attempts are made again, or it waits for Kafka or the database."),
        Panel("Pictures: decoding and detection", "s", [
            Query(quantile(0.5, "facemill_decode_duration_seconds", "namespace"), "decode half"),
            Query(quantile(0.99, "facemill_decode_duration_seconds", "namespace"), "decode 99 %"),
            Query(quantile(0.5, "facemill_inference_duration_seconds", "namespace"), "detect half"),
            Query(quantile(0.99, "facemill_inference_duration_seconds", "namespace"), "detect 99 %")],
              "Flat. A rise of both on the same nodes means too little CPU; of decoding alone, larger pictures."),
    ]),
    ("Saturation", [
        Panel("Fullest lane", "percentunit", [
            Query("max by (stage, bound) (facemill_lane_fill_ratio{@})", "{{stage}} {{bound}}")],
              "A lane at 100 % pauses its partition, which is how memory is bounded: usual under load. By "
              "age it should "
              "never be: something does not end.", limits=(0.9, 1)),
        Panel("Records under way", "short", [
            Query("sum by (stage) (facemill_lane_running{@})", "{{stage}} begun"),
            Query("sum by (stage) (facemill_lane_records{@})", "{{stage}} in lanes")],
              "Begun: near its bound (concurrency, threads) when there is work. In lanes: more, up to their bounds."),
        Panel("Bytes in lanes", "bytes", [Query("sum by (stage) (facemill_lane_size_bytes{@})", "{{stage}}")],
              "Below runner.all_lanes_bytes for each process."),
        Panel("Oldest record in a lane", "s", [Query("max by (stage) (facemill_lane_age_seconds{@})", "{{stage}}")],
              "Seconds; for fetch up to a minute or two. More: a record does not end, and with it its partition.",
              limits=(300, 600)),
        Panel("Pauses by cause", "reqps", [Query(rate("facemill_pauses_total", "stage, cause"), "{{stage}} {{cause}}")],
              "Pauses by records or bytes are usual under load. By age: see the oldest record in a lane."),
        Panel("Paused partitions", "short", [
            Query("sum by (stage, topic) (facemill_paused_partitions{@})", "{{topic}}")],
              "In retry topics most, because they wait. Elsewhere some of them for moments."),
        Panel("CPU, in cores", "short", [
            Query(f"sum by (stage) ({by_stage(CPU)})", "{{stage}} all"),
            Query(f"max by (stage) ({by_stage(CPU)})", "{{stage}} busiest process")],
              "The stage that sets the pace uses what it was given; the others less. Decoders are part of it."),
        Panel("Memory", "bytes", [
            Query(f"sum by (stage) ({by_stage('process_resident_memory_bytes{@}')})", "{{stage}} all"),
            Query(f"max by (stage) ({by_stage('process_resident_memory_bytes{@}')})", "{{stage}} largest process")],
              "Flat, whatever the lag is. The largest process stays below its limit."),
        Panel("Open files, of the limit", "percentunit", [
            Query(f"max by (stage) ({by_stage('process_open_fds{@} / process_max_fds{@}')})", "{{stage}}")],
              "Far below 80 %. For fetch it follows fetch.concurrency.", limits=(0.8, 0.95)),
    ]),
    ("The internet", [
        Panel("Sites by state", "short", [Query("sum by (state) (facemill_fetch_hosts{@})", "{{state}}")],
              "Most are working. Many that rest at once: look at our own network first."),
        Panel("URLs that wait for their turn with a site", "short", [
            Query("sum(facemill_fetch_waiting_urls{@})", "URLs")],
              "Small beside the records under way. Else the list has long runs of one site: shuffle it."),
        Panel("Names looked up", "reqps", [Query(rate("facemill_dns_lookups_total", "result"), "{{result}}")],
              "known is the largest by far, failed is near 0."),
        Panel("A look-up", "s", [
            Query(or_zero(quantile(0.5, LOOKUP, "result"), "result"), "{{result}} half"),
            Query(or_zero(quantile(0.99, LOOKUP, "result"), "result"), "{{result}} 99 %")],
              "Milliseconds for half of them. The 99 % are servers far away, up to fetch.dns_timeout."),
        Panel("Decoders replaced, by cause", "reqps", [
            Query(rate("facemill_decoders_replaced_total", "cause"), "{{cause}}")],
              "Hostile pictures end some. Less than one in a thousand pictures."),
    ]),
    ("Kafka", [
        Panel("Requests to the brokers, 99 %", "s", [
            Query('max by (client) (facemill_kafka_request_latency_seconds{@,quantile="0.99"})', "{{client}}, slowest"),
            Query('quantile by (client) (0.5, facemill_kafka_request_latency_seconds{@,quantile="0.99"})',
                  "{{client}}, median")],
              "Producer: tens of milliseconds. Consumer: up to half a second, which is how long a broker "
              "waits for data.",
              limits=(1, 5)),
        Panel("Time in the client's queue, 99 %", "s", [
            Query('max by (client) (facemill_kafka_queue_latency_seconds{@,quantile="0.99"})', "{{client}}")],
              "Milliseconds. More: the brokers take less than is produced."),
        Panel("Bytes in the client's queue", "bytes", [
            Query("max by (client) (facemill_kafka_queue_size_bytes{@})", "{{client}}, largest")],
              "Producer: well below queue.buffering.max.kbytes (64 MiB); at it, the stage waits."),
        Panel("Messages in the client's queue", "short", [
            Query("max by (client) (facemill_kafka_queue_messages{@})", "{{client}}, largest")],
              "Consumer: some are read ahead. Producer: few."),
        Panel("Brokers reached", "short", [
            Query("max by (client) (facemill_kafka_brokers_up{@})", "{{client}}, most"),
            Query("min by (client) (facemill_kafka_brokers_up{@})", "{{client}}, fewest")],
              "The most is the number of brokers. A client connects only to those that it needs."),
        Panel("Rebalances in 10 minutes, a member", "short", [
            Query("avg by (stage, topic) (increase(facemill_kafka_rebalances_total{@}[10m]))", "{{topic}}")],
              "0, but while replicas come and go.", limits=(3, 10)),
        Panel("Commits", "reqps", [
            Query(rate("facemill_kafka_commits_total", "stage"), "{{stage}}"),
            Query(rate("facemill_kafka_commit_errors_total", "stage"), "{{stage}} errors")],
              "Up to one a second for each process that has work. Errors: some while a group rebalances."),
        Panel("Oldest position that is not committed", "s", [
            Query("max by (stage, topic) (facemill_kafka_commit_age_seconds{@})", "{{topic}}")],
              "A second or two.", limits=(60, 300)),
    ]),
    ("Database", [
        Panel("Requests", "reqps", [
            Query(rate("facemill_cql_request_duration_seconds_count", "operation"), "{{operation}}")],
              "read: one for each URL that fetch takes in, from retry topics too. write: one for each outcome, the row "
              "and its place in the job together. join: one for each URL that was skipped."),
        Panel("A request", "s", [
            Query(quantile(0.5, "facemill_cql_request_duration_seconds", "operation"), "{{operation}} half"),
            Query(quantile(0.99, "facemill_cql_request_duration_seconds", "operation"), "{{operation}} 99 %")],
              "Half of them within a few milliseconds, 99 % within 100.", limits=(0.5, 5)),
        Panel("Errors", "reqps", [
            Query(rate("facemill_cql_errors_total", "operation, error"), "{{operation}} {{error}}")],
              "0. overloaded: more nodes or fewer replicas. timeout: look at disks and compactions."),
    ]),
    ("Processes", [
        Panel("What processes wait for", "short", [
            Query(or_zero("sum by (what) (facemill_waiting{@})", "what"), "{{what}}")],
              "Nothing. Nothing is lost while they wait."),
        Panel("Starts within the last hour", "short", [
            Query(f"sum by (stage) ({by_stage('changes(process_start_time_seconds{@}[1h])', SEEN)})", "{{stage}}")],
              "0. New pods do not count, only processes that start again in place.", limits=(1, 3)),
        Panel("Processes by version", "short", [
            Query("count by (version) (facemill_build_info{@})", "{{version}}")],
              "One version, or two while they are replaced."),
        Panel("Age of what the monitor says", "s", [
            Query("time() - min(max by (namespace, release) (facemill_monitor_last_success_timestamp_seconds{@}))",
                  "last success")],
              "About monitor.interval (15 s). Everything about lag is as old.", limits=(60, 300)),
        Panel("Errors of the monitor", "reqps", [Query("sum(rate(facemill_monitor_errors_total{@}[$__rate_interval]))",
                                                        "errors")], "0."),
        Panel("Lines of log that were left out", "reqps", [
            Query(or_zero(rate("facemill_log_events_dropped_total", "level"), "level"), "{{level}}")],
              "0. More: something fails so often that the log's rate limit keeps it short."),
    ]),
]


def panel_json(panel, number, position):
    source = {"type": "prometheus", "uid": "${datasource}"}
    is_series = panel.kind == "timeseries"
    colours = ["green", "yellow", "red"]
    limits = panel.limits
    if list(limits) != sorted(limits):  # the less the worse
        colours.reverse()
        limits = tuple(reversed(limits))
    steps = [{"color": colour, "value": value} for colour, value in zip(colours, (None, *limits))]
    custom = {"fillOpacity": 10, "showPoints": "never"}
    if panel.stacked:
        custom |= {"fillOpacity": 60, "stacking": {"group": "A", "mode": "normal"}}
    if limits:
        custom["thresholdsStyle"] = {"mode": "dashed"}
    defaults = {"unit": panel.unit, "min": 0} if is_series else {"unit": panel.unit}
    defaults |= {
        "custom": custom if is_series else {},
        "color": {"mode": "palette-classic" if is_series else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": steps if limits else steps[:1]},
    }
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    options = {
        "timeseries": {
            "legend": {"calcs": ["lastNotNull"], "displayMode": "table", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "stat": {"colorMode": "value", "graphMode": "area", "reduceOptions": reduce, "textMode": "value"},
        "bargauge": {"displayMode": "basic", "orientation": "horizontal", "reduceOptions": reduce},
    }[panel.kind]
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": source,
            "editorMode": "code",
            "expr": query.expr.replace("@", CHOICE),
            "legendFormat": query.legend or "__auto",
            "instant": panel.kind == "bargauge",
            "range": panel.kind != "bargauge",
        }
        for index, query in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": source,
        "gridPos": position,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options | panel.options,
        "targets": targets,
    }


def panels_json():
    number, y, panels = 0, 0, []
    for title, row in ROWS:
        number += 1
        place = {"x": 0, "y": y, "w": 24, "h": 1}
        panels.append({"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []})
        y += 1
        width, height = (4, 4) if row[0].kind == "stat" else (8, 8)
        for index, panel in enumerate(row):
            number += 1
            x, line = index * width % 24, index * width // 24
            panels.append(panel_json(panel, number, {"x": x, "y": y + line * height, "w": width, "h": height}))
        y += -(-len(row) * width // 24) * height
    return panels


def variable(label, query, title):
    return {
        "name": label,
        "label": title,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": query, "refId": label},
        "definition": query,
        # Matches series that have no such label as well.
        "allValue": ".*",
        "includeAll": True,
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
        "refresh": 2,
        "sort": 1,
        "options": [],
    }


def dashboard_json():
    return {
        "uid": "facemill",
        "title": "facemill",
        "description": "How far, how fast, what failed and why. Written by scripts/kube/dashboard.py.",
        "tags": ["facemill", "kafka"],
        # Grafana 12; older ones from 10 on read it too.
        "schemaVersion": 41,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "fiscalYearStartMonth": 0,
        "links": [],
        "annotations": {"list": []},
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "label": "Prometheus",
                    "type": "datasource",
                    "query": "prometheus",
                    "current": {},
                    "options": [],
                    "refresh": 1,
                },
                variable("namespace", "label_values(facemill_build_info, namespace)", "Namespace"),
                variable(
                    "release", 'label_values(facemill_build_info{namespace=~"$namespace"}, release)', "Release"
                ),
            ]
        },
        "panels": panels_json(),
    }


def empty_when():
    """(title of the panel, letter of the query) → why it may be empty."""
    found = {}
    for _, row in ROWS:
        for panel in row:
            for index, query in enumerate(panel.queries):
                if query.empty_when:
                    found[panel.title, chr(ord("A") + index)] = query.empty_when
    return found


def main():
    titles = [panel.title for _, row in ROWS for panel in row]
    if len(titles) != len(set(titles)):
        sys.exit("dashboard: two panels have the same title")
    text = json.dumps(dashboard_json(), indent=2, ensure_ascii=False) + "\n"
    if sys.argv[1:] == ["--check"]:
        if not FILE.exists() or FILE.read_text() != text:
            sys.exit(f"{FILE} is not what scripts/kube/dashboard.py writes: run it")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        FILE.write_text(text)


if __name__ == "__main__":
    main()
