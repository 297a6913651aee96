"""Runs facemill and the yardstick by turns and prints what they cost. Started by run.sh."""

import argparse
import json
import os
import shlex
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

LIBRARY = "assets/downloads/libonnxruntime.so"
MODEL = "assets/downloads/face_detection_yunet_2023mar.onnx"
MIB = 2**20

NGINX = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000;
    default_type image/jpeg;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def web_server(out, pictures):
    """nginx with its own prefix and port; yields its address."""
    folder = out / "nginx"
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    conf = folder / "nginx.conf"
    conf.write_text(NGINX.format(folder=folder, port=port, root=pictures))
    server = subprocess.Popen(["nginx", "-p", folder, "-c", conf])
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        else:
            sys.exit("measure.py: nginx does not listen; its message is above")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


class Bench:
    def __init__(self, args):
        self.args = args
        self.out = Path(args.out).resolve()
        self.pictures = self.out / "pictures"
        self.names = sorted(path.name for path in self.pictures.glob("*.jpg"))

    def url_list(self, base, count):
        path = self.out / "urls.txt"
        names = self.names
        path.write_text("".join(f"{base}/{names[n % len(names)]}?{n}\n" for n in range(count)))
        return path

    def start(self, urls, output, program=None):
        """facemill local over a list, with a fresh database."""
        db = self.out / "bench.db"
        for file in self.out.glob("bench.db*"):
            file.unlink(missing_ok=True)
        command = [
            program or self.args.facemill, "local", urls, "--db", db, "--output", output, "--allow-network", "127.0.0.0/8",
            "--set", "fetch.host_concurrency=64", "--set", f"detect.runtime_library={LIBRARY}",
            "--set", f"detect.model={MODEL}", *shlex.split(self.args.options),
        ]  # fmt: skip
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE), db

    def finish(self, child, db, count, end="detected"):
        """Waits; returns what the system says of the child's use of it. `end` is how all pictures have to end."""
        message = child.stderr.read().decode()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        with closing(sqlite3.connect(db)) as connection:
            ended = connection.execute("SELECT count(*) FROM results WHERE coalesce(reason, status) = ?", [end]).fetchone()[0]
        if child.returncode != 0 or ended != count:
            sys.exit(f"measure.py: {ended} of {count} pictures ended as {end}, exit code {child.returncode}\n{message}")
        return usage

    def kernels(self):
        command = [*shlex.split(self.args.kernels), self.pictures, LIBRARY, MODEL]
        answer = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        return json.loads(answer)

    def local(self, base, end="detected", program=None):
        urls = self.url_list(base, self.args.urls)
        started = time.monotonic()
        child, db = self.start(urls, "none", program)
        usage = self.finish(child, db, self.args.urls, end)
        took = time.monotonic() - started
        each = 1e6 / self.args.urls
        return {
            "user_us": usage.ru_utime * each,
            "system_us": usage.ru_stime * each,
            "url_per_s": self.args.urls / took,
            "cores": (usage.ru_utime + usage.ru_stime) / took,
        }

    def cpu(self, base):
        sizes = [(self.pictures / name).stat().st_size for name in self.names]
        print(f"CPU per URL: {self.args.urls} URLs, {len(sizes)} pictures, mean {statistics.mean(sizes) / 1000:.1f} KB")
        print("            yardstick (1 thread)                   facemill local")
        print("round    decode  resize  detect     sum        user  system     sum   URL/s  cores   ratio")
        # A run lies between two yardsticks, so that a machine that gets slower or faster is noticed.
        yardsticks, runs, ratios = [self.kernels()], [], []
        for number in range(1, self.args.rounds + 1):
            run = self.local(base)
            yardsticks.append(self.kernels())
            around = [sum(yardstick.values()) for yardstick in yardsticks[-2:]]
            ratios.append((run["user_us"] + run["system_us"]) / statistics.mean(around))
            runs.append(run)
            self.print_round(number, yardsticks[-1], run, ratios[-1])
        median = lambda rows: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        ratio = statistics.median(ratios)
        self.print_round("median", median(yardsticks), median(runs), ratio)
        verdict(ratio <= 1.5, f"CPU per URL is {ratio:.2f} × the yardstick ({min(ratios):.2f} to {max(ratios):.2f}); goal 1.50")
        if self.args.baseline:
            self.compare(base, "detected", 1.01)

    def corrupt(self, base):
        # Half of the pictures are JPEGs that are refused by their header: the least work that a decoder can have.
        names = self.names
        for kind, some in [("of all formats", names), ("JPEGs alone", [names[n] for n in range(len(names)) if n % 8 < 4])]:
            self.names = some
            print(f"Only corrupt pictures, {kind}: {self.args.urls} URLs")
            if self.args.baseline:
                self.compare(base, "corrupt_image", 1.3)
            else:
                run = self.local(base, "corrupt_image")
                print(f"{run['user_us'] + run['system_us']:.0f} µs of CPU per URL\n")
        self.names = names

    def compare(self, base, end, goal):
        """CPU per URL of this program and of the baseline, by turns."""

        def cpu(program):
            run = self.local(base, end, program)
            return run["user_us"] + run["system_us"]

        ratios = []
        for number in range(1, self.args.rounds + 1):
            # Each goes first every other time.
            order = [self.args.baseline, self.args.facemill][:: 1 if number % 2 else -1]
            took = {program: cpu(program) for program in order}
            ratios.append(took[self.args.facemill] / took[self.args.baseline])
            print(f"{number:<7}{took[self.args.facemill]:8.0f} µs, baseline {took[self.args.baseline]:8.0f} µs {ratios[-1]:8.3f}", flush=True)
        ratio = statistics.median(ratios)
        verdict(ratio <= goal, f"CPU per URL is {ratio:.3f} × the baseline's ({min(ratios):.3f} to {max(ratios):.3f}); goal {goal}")

    @staticmethod
    def print_round(name, yardstick, run, ratio):
        kernels = "".join(f"{yardstick[key]:8.0f}" for key in ("decode_us", "resize_us", "detect_us"))
        both = run["user_us"] + run["system_us"]
        print(
            f"{name:<7}{kernels}{sum(yardstick.values()):8.0f} µs  {run['user_us']:8.0f}{run['system_us']:8.0f}"
            f"{both:8.0f} µs {run['url_per_s']:6.0f}{run['cores']:7.2f}{ratio:8.2f}",
            flush=True,
        )

    def memory(self, base):
        count = self.args.memory_urls
        print(f"Memory: {count} URLs")
        child, db = self.start(self.url_list(base, count), "jsonl")
        samples = []
        for number, _ in enumerate(child.stdout, 1):
            if number % 20 == 0:
                samples.append((number, resident(child.pid)))
                if number % max(count // 10, 1) == 0:
                    print(f"  {number:6} URLs: {samples[-1][1] / MIB:6.1f} MiB resident", flush=True)
        usage = self.finish(child, db, count)
        steady = [(number, size) for number, size in samples if number >= 1000]
        most = max(size for _, size in steady) / MIB
        tenth = max(len(steady) // 10, 1)
        mean = lambda part: statistics.mean(size for _, size in part) / MIB
        first, last = mean(steady[:tenth]), mean(steady[-tenth:])
        print(f"  mean of the first tenth {first:.1f}, of the last {last:.1f}, the end {steady[-1][1] / MIB:.1f} MiB; "
              f"the peak of the largest process {usage.ru_maxrss / 1024:.1f} MiB")
        verdict(most < 400, f"at most {most:.1f} MiB resident from URL 1,000 to {count:,}; goal under 400")
        verdict(last < first * 1.1, f"{last / first - 1:+.1%} from the first tenth to the last; goal flat (under +10 %)")

    def startup(self):
        took = []
        for _ in range(self.args.rounds + 2):
            with socket.create_server(("127.0.0.1", 0)) as server:
                server.settimeout(20)
                urls = self.url_list(f"http://127.0.0.1:{server.getsockname()[1]}", 1)
                started = time.monotonic()
                child, _ = self.start(urls, "none")
                connection, _ = server.accept()
                took.append(time.monotonic() - started)
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                connection.close()
                child.communicate()
        middle = statistics.median(took)
        verdict(middle < 0.5, f"start to first connection {middle:.3f} s ({min(took):.3f} to {max(took):.3f}); goal 0.5")


def resident(pid):
    """Of the process and of its decoders, in bytes. What they share counts more than once."""
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in [pid, *children(pid)])
    return pages * os.sysconf("SC_PAGE_SIZE")


def children(pid):
    for stat in Path("/proc").glob("[0-9]*/stat"):
        # A process may end while it is looked at. After the name, which may have any character: state, parent.
        with suppress(OSError):
            if stat.read_text().rpartition(")")[2].split()[1] == str(pid):
                yield stat.parent.name


def verdict(holds, line):
    print(f"{'PASS' if holds else 'MISS'}  {line}\n", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facemill", required=True, help="the program to measure")
    parser.add_argument("--kernels", required=True, help="the command of the yardstick")
    parser.add_argument("--out", required=True, help="folder with pictures/, for everything that is written")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--urls", type=int, default=2000)
    parser.add_argument("--memory-urls", type=int, default=20000)
    parser.add_argument("--baseline", default="", help="another build of facemill, for cpu and corrupt")
    parser.add_argument("--options", default="", help="more options for facemill local")
    parser.add_argument("parts", nargs="*", help="cpu, memory, startup, corrupt; all if none is named")
    args = parser.parse_args()
    wrong = set(args.parts) - {"cpu", "memory", "startup", "corrupt"}
    if wrong:
        parser.error(f"no such part: {', '.join(sorted(wrong))}")
    parts = args.parts or ["cpu", "memory", "startup", "corrupt"]
    bench = Bench(args)
    with web_server(bench.out, bench.pictures) as base:
        if "cpu" in parts:
            bench.cpu(base)
        if "memory" in parts:
            bench.memory(base)
        if "startup" in parts:
            bench.startup()
    if "corrupt" in parts:
        with web_server(bench.out, bench.out / "corrupt") as base:
            bench.corrupt(base)


if __name__ == "__main__":
    main()
