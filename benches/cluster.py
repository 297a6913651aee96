"""Measures `facemill run` on a real broker and database, and the runner alone. Started by cluster.sh."""

import argparse
import json
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from measure import LIBRARY, MODEL, Bench, free_port, verdict, web_server

TICKS = os.sysconf("SC_CLK_TCK")
PARTITIONS = 12


class Servers:
    """The broker and the database of the stack, whose processor time is read beside facemill's."""

    def __init__(self):
        self.brokers = os.environ["KAFKA_BROKERS"]
        pids = {"broker": "KAFKA_1_PID_FILE", "database": "CASSANDRA_PID_FILE"}
        self.pids = {name: int(Path(os.environ[variable]).read_text()) for name, variable in pids.items()}
        self.settings = {
            "FACEMILL__KAFKA__BROKERS": self.brokers,
            "FACEMILL__CQL__CONTACT_POINTS": json.dumps([os.environ["CQL_CONTACT_POINT"]]),
            "FACEMILL__DETECT__RUNTIME_LIBRARY": LIBRARY,
            "FACEMILL__DETECT__MODEL": MODEL,
        }

    def cpu(self):
        """Seconds of user and system time of each so far."""
        seconds = {}
        for name, pid in self.pids.items():
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            seconds[name] = (int(fields[11]) + int(fields[12])) / TICKS
        return seconds

    def tool(self, name, *words, stdin=None):
        command = [f"scripts/kafka/{name}", "--bootstrap-server", self.brokers, *words]
        subprocess.run(command, stdin=stdin, stdout=subprocess.DEVNULL, check=True)


class ClusterBench:
    def __init__(self, args, servers):
        self.args, self.servers = args, servers
        self.local = Bench(argparse.Namespace(out=args.out, facemill=args.facemill, options="", kernels="", urls=args.urls))

    def prepare(self, name, urls):
        """Topics and tables of its own, with these URLs waiting; returns the settings and the port of /metrics."""
        port = free_port()
        environment = os.environ | self.servers.settings | {
            "FACEMILL__KAFKA__TOPIC_PREFIX": f"{name}.",
            "FACEMILL__KAFKA__GROUP_PREFIX": f"{name}.",
            "FACEMILL__CQL__KEYSPACE": name,
            "FACEMILL__HTTP__LISTEN": f"127.0.0.1:{port}",
            "FACEMILL__FETCH__HOST_CONCURRENCY": "64",
        }
        words = ["schema apply --yes --create-keyspace --replication-factor 1",
                 f"topics apply --yes --partitions {PARTITIONS} --replicas 1"]  # fmt: skip
        for command in words:
            subprocess.run([self.args.facemill, *command.split()], env=environment, stdout=subprocess.DEVNULL, check=True)
        with open(urls) as lines:
            self.servers.tool("kafka-console-producer", "--topic", f"{name}.urls", stdin=lines)
        return environment, port

    def run(self, stages, place, count, metric):
        """Runs these stages until the metric says `count`; microseconds a record, and memory on the way."""
        environment, port = place
        before, started = self.servers.cpu(), time.monotonic()
        command = [self.args.facemill, "run", "--stage", stages, "--allow-network", "127.0.0.0/8"]
        with open(self.local.out / "cluster.log", "w") as log:
            child = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        samples = []
        while (done := counted(port, metric)) < count:
            if child.poll() is not None or time.monotonic() - started > 900:
                sys.exit(f"cluster.py: {done} of {count} after {time.monotonic() - started:.0f} s; see {log.name}")
            samples.append((done, resident_mib(child.pid)))
            time.sleep(0.2)
        took = time.monotonic() - started
        child.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            sys.exit(f"cluster.py: exit code {child.returncode}; see {log.name}")
        each, after = 1e6 / count, self.servers.cpu()
        result = {"facemill": (usage.ru_utime + usage.ru_stime) * each, "url_per_s": count / took, "samples": samples}
        return result | {name: (after[name] - before[name]) * each for name in before}

    def run_once(self, base, number):
        """One run of all three stages; microseconds a URL."""
        count = self.args.urls
        urls = self.local.url_list(base, count)
        place = self.prepare(f"bench{number}", urls)
        run = self.run("fetch,preprocess,detect", place, count, "facemill_outcomes_total")
        return run | {"mib": max(mib for _, mib in run["samples"])}

    def backlog(self, base):
        count = self.args.backlog
        print(f"Memory of each stage before a backlog of {count:,} records: URLs of thumbnails, and what is made of them")
        urls = self.local.out / "backlog.txt"
        names = sorted(path.name for path in (self.local.pictures / "small").glob("*.jpg"))
        urls.write_text("".join(f"{base}/small/{names[n % len(names)]}?{n}\n" for n in range(count)))
        place = self.prepare("backlog", urls)
        for stage, metric in [("fetch", "facemill_records_handed_over_total"),
                              ("preprocess", "facemill_records_handed_over_total"),
                              ("detect", "facemill_outcomes_total")]:  # fmt: skip
            run = self.run(stage, place, count, metric)
            tenths = [[mib for done, mib in run["samples"] if done * 10 // count == tenth] for tenth in range(10)]
            means = [statistics.mean(tenth) for tenth in tenths if tenth]
            shown = " ".join(f"{mean:.0f}" for mean in means)
            print(f"  {stage}: {run['facemill']:.0f} µs of CPU a record, {run['url_per_s']:.0f} records/s; MiB by tenths: {shown}")
            # The first ones fill the lanes and the read-ahead.
            growth = means[-1] / means[len(means) // 2]
            verdict(growth < 1.1, f"{stage} has {max(means):.0f} MiB at most; {growth:.2f} × from the middle to the end, goal flat (1.1)")

    def kafka(self, base):
        print(f"CPU per URL over Kafka and Cassandra: {self.args.urls} URLs, three stages in one process")
        print("round   local   run   ratio   broker  database  URL/s   MiB")
        ratios, before = [], self.local_us(base)
        for number in range(1, self.args.rounds + 1):
            run = self.run_once(base, number)
            after = self.local_us(base)
            local = statistics.mean([before, after])
            before = after
            ratios.append(run["facemill"] / local)
            print(f"{number:<5}{local:8.0f}{run['facemill']:8.0f}{ratios[-1]:7.2f}{run['broker']:9.0f}"
                  f"{run['database']:9.0f}{run['url_per_s']:7.0f}{run['mib']:7.0f}", flush=True)  # fmt: skip
        ratio = statistics.median(ratios)
        verdict(ratio <= 1.6, f"CPU per URL is {ratio:.2f} × that of facemill local ({min(ratios):.2f} to {max(ratios):.2f}); goal 1.60")

    def local_us(self, base):
        run = self.local.local(base)
        return run["user_us"] + run["system_us"]

    def runner(self):
        core = min(os.sched_getaffinity(0))
        print(f"The runner alone, all its threads on core {core}: 1 KB records, a stage that does nothing")
        rates, costs = {}, {}
        for partitions in (1, 12, 96):
            rounds = []
            for number in range(self.args.rounds):
                topic = f"runner{partitions}-{number}-{os.getpid()}"
                words = ["--create", "--topic", topic, "--partitions", str(partitions), "--replication-factor", "1"]
                self.servers.tool("kafka-topics", *words)
                command = [*shlex.split(self.args.runner), self.servers.brokers, topic, str(self.args.records)]
                pin = lambda: os.sched_setaffinity(0, {core})
                run = subprocess.run(command, stdout=subprocess.PIPE, check=True, preexec_fn=pin)
                rounds.append(json.loads(run.stdout))
            rates[partitions] = 1e6 / min(round["clock_us"] for round in rounds)
            costs[partitions] = min(round["cpu_us"] for round in rounds)
            shown = ", ".join(f"{round['cpu_us']:.1f}" for round in rounds)
            print(f"  {partitions:3} partitions: {rates[partitions]:,.0f} records/s, {shown} µs of CPU a record", flush=True)
        slowest = min(rates.values())
        verdict(slowest >= 100_000, f"{slowest:,.0f} records a second on one core; goal 100,000")
        worst = max(costs.values()) / min(costs.values())
        verdict(worst <= 1.2, f"{worst:.2f} × the CPU from the cheapest number of partitions to the dearest; goal flat (1.2)")


def counted(port, metric):
    """The sum of a metric over all its labels; 0 while nobody answers."""
    try:
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    except OSError:
        return 0
    return sum(int(float(count)) for count in re.findall(rf"^{metric}\S* (\S+)$", text, re.M))


def resident_mib(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facemill", required=True, help="the program to measure")
    parser.add_argument("--runner", required=True, help="the command of the runner's benchmark")
    parser.add_argument("--out", required=True, help="folder with pictures/, for everything that is written")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--urls", type=int, default=5000)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--backlog", type=int, default=200_000)
    parser.add_argument("parts", nargs="*", help="kafka, backlog, runner; all if none is named")
    args = parser.parse_args()
    parts = args.parts or ["kafka", "backlog", "runner"]
    if wrong := set(parts) - {"kafka", "backlog", "runner"}:
        parser.error(f"no such part: {', '.join(sorted(wrong))}")
    bench = ClusterBench(args, Servers())
    if "runner" in parts:
        bench.runner()
    with web_server(bench.local.out, bench.local.pictures) as base:
        if "kafka" in parts:
            bench.kafka(base)
        if "backlog" in parts:
            bench.backlog(base)


if __name__ == "__main__":
    main()
