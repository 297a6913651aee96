#!/usr/bin/env python3
"""What bad neighbours cost the good URLs of `facemill local`. Started by hostile.sh.

Each part runs a list of good URLs alone and then the same ones among others, and compares the good URLs a second until
the last good one has its outcome.
"""

import argparse
import asyncio
import json
import os
import random
import shlex
import socket
import sqlite3
import statistics
import struct
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

from measure import LIBRARY, MIB, MODEL, resident, verdict

PARTS = ["mixed", "down", "slow", "dns"]


class Run:
    """A finished run: seconds until the last good URL had its outcome, the rows, and what was seen meanwhile."""

    def __init__(self, good, whole, rows, samples):
        self.good, self.whole, self.rows, self.samples = good, whole, rows, samples


class Bench:
    def __init__(self, args):
        self.args = args
        self.out = Path(args.out).resolve()

    def local(self, urls, is_good, options="", authority=None):
        """facemill local over these URLs, with a fresh database."""
        listed = self.out / "hostile.txt"
        listed.write_text("".join(url + "\n" for url in urls))
        for file in self.out.glob("hostile.db*"):
            file.unlink(missing_ok=True)
        command = [
            self.args.facemill, "local", listed, "--db", self.out / "hostile.db", "--output", "none",
            # All good URLs are on one host here, as they are nowhere else.
            "--set", "fetch.host_concurrency=64", "--allow-network", "127.0.0.0/8", "--set", f"detect.runtime_library={LIBRARY}",
            "--set", f"detect.model={MODEL}", *shlex.split(options),
        ]  # fmt: skip
        environment = dict(os.environ, **({"SSL_CERT_FILE": str(authority)} if authority else {}))
        started = time.time()
        child = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        message = []
        reader = threading.Thread(target=lambda: message.append(child.stderr.read()))
        reader.start()
        samples = []
        while child.poll() is None:
            try:
                sockets = len(os.listdir(f"/proc/{child.pid}/fd"))
                threads = len(os.listdir(f"/proc/{child.pid}/task"))
                samples.append((time.time() - started, resident(child.pid) / MIB, sockets, threads))
            except (OSError, IndexError):
                break
            time.sleep(0.5)
        child.wait()
        whole = time.time() - started
        reader.join()
        with closing(sqlite3.connect(self.out / "hostile.db")) as connection:
            rows = dict(connection.execute("SELECT url, result FROM results"))
        rows = {url: json.loads(outcome) for url, outcome in rows.items()}
        good = [row for url, row in rows.items() if is_good(url)]
        missed = [row for row in good if row["status"] != "detected"]
        if child.returncode != 0 or len(rows) != len(set(urls)) or missed:
            sys.exit(
                f"hostile.py: exit code {child.returncode}, {len(rows)} rows of {len(set(urls))} URLs, "
                f"{len(missed)} good ones failed: {missed[:2]}\n{''.join(message)[-2000:]}"
            )
        last = max(seconds(row["timestamps"]["finished_at"]) for row in good)
        return Run(last - started, whole, rows, samples)

    @contextmanager
    def demo_server(self, *words):
        """The demo's web server with the bench's pictures; yields its address."""
        command = [self.args.demo_server, "--photos", self.out / "pictures", *words]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            yield server.stdout.readline().strip()
        finally:
            server.stdin.close()
            server.wait()

    def compare(self, name, goal, alone, among, count):
        ratio = alone.good / among.good
        print(
            f"{name}: {count / alone.good:.0f} good URLs/s alone, {count / among.good:.0f} among the others "
            f"(all of it in {among.whole:.0f} s)"
        )
        verdict(ratio >= goal, f"{name}: {ratio:.2f} of the good URLs/s; goal {goal}")

    def mixed(self):
        """20,000 URLs of which 30 % misbehave in every way there is."""
        count, authority, listed = self.args.urls, self.out / "authority.pem", self.out / "mixed.txt"
        words = ["--hostile", listed, "--authority", authority, "--urls", str(count), "--share", "30"]
        with self.demo_server(*words) as base:
            urls = listed.read_text().split()
            is_good = lambda url: url.startswith(base)
            good = [url for url in urls if is_good(url)]
            alone = self.local(good, is_good)
            among = self.local(urls, is_good, authority=authority)
        self.compare(f"{count} URLs, 30 % hostile", 0.8, alone, among, len(good))
        ends = {}
        for url, row in among.rows.items():
            if not is_good(url):
                ends[row.get("reason", "detected")] = ends.get(row.get("reason", "detected"), 0) + 1
        print("  hostile ones ended as " + ", ".join(f"{end} {n}" for end, n in sorted(ends.items(), key=lambda e: -e[1])))
        # While good and hostile ones are fetched, without the start and the last ones.
        steady = [sample for sample in among.samples if 0.2 * among.good < sample[0] < among.good]
        half = len(steady) // 2
        for index, what, unit in [(1, "memory", " MiB"), (2, "open files", ""), (3, "threads", "")]:
            first, last = (statistics.mean(sample[index] for sample in part) for part in (steady[:half], steady[half:]))
            verdict(last <= 1.1 * first + 2, f"{what}: {first:.0f}{unit}, then {last:.0f}{unit}; goal flat (under +10 %)")

    def down(self):
        """One host of 5 % of all URLs never answers."""
        for manner in ["accept-never", "header-never"]:
            count, listed = self.args.urls // 2, self.out / "down.txt"
            words = ["--hostile", listed, "--authority", self.out / "authority.pem", "--urls", str(count)]
            with self.demo_server(*words, "--share", "5", "--manners", manner) as base:
                self.among_others(f"5 % on a host that is down ({manner})", base, listed.read_text().split())

    def slow(self):
        """One host of 5 % of all URLs takes four seconds for each."""
        count = self.args.urls // 2
        picture = next((self.out / "pictures").glob("*.jpg")).read_bytes()
        with self.demo_server() as base, slow_server(picture, 4) as slow:
            good = (f"{base}/counted/{n}.jpg" for n in range(count))
            urls = [f"{slow}/{n}.jpg" if n % 20 == 19 else url for n, url in enumerate(good)]
            self.among_others("5 % on a slow host", base, urls)

    def among_others(self, name, base, urls):
        is_good = lambda url: url.startswith(base)
        good = [url for url in urls if is_good(url)]
        alone = self.local(good, is_good)
        self.compare(name, 0.9, alone, self.local(urls, is_good), len(good))

    def dns(self):
        """Every fifth packet of the name server is lost."""
        count = self.args.urls // 5
        with self.demo_server() as base, name_server() as (port, loss):
            where = base.rpartition(":")[2]
            urls = [f"http://h{n % (count // 4)}.test:{where}/counted/{n}.jpg" for n in range(count)]
            options = f"--set 'fetch.dns_servers=[\"127.0.0.1:{port}\"]'"
            everything = lambda url: True
            alone = self.local(urls, everything, options)
            loss.append(0.2)
            among = self.local(urls, everything, options)
        self.compare(f"{count} URLs of {count // 4} names, 20 % of DNS packets lost", 0.8, alone, among, count)


def seconds(timestamp):
    """RFC 3339 in UTC, as seconds since 1970."""
    whole, _, fraction = timestamp.rstrip("Z").partition(".")
    return time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) - time.timezone + float(f"0.{fraction or 0}")


@contextmanager
def on_a_loop(start):
    """Runs an asyncio server on a thread of its own; yields what `start` returned."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@contextmanager
def slow_server(picture, delay):
    """A web server on another address, that takes its time; yields its URL."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n".encode()

    async def serve(reader, writer):
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(delay)
                writer.write(head + picture)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def start():
        server = await asyncio.start_server(serve, "127.77.0.1", 0)
        return f"http://127.77.0.1:{server.sockets[0].getsockname()[1]}"

    with on_a_loop(start) as url:
        yield url


@contextmanager
def name_server():
    """A name server that says 127.0.0.1 to every question for an address; yields its port, and a list whose last entry is
    the share of questions and answers that it loses."""
    loss = [0.0]

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, query, address):
            if random.random() < loss[-1]:
                return
            end = query.index(0, 12) + 5
            is_v4 = query[end - 4 : end - 2] == b"\0\1"
            record = b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4" + socket.inet_aton("127.0.0.1") if is_v4 else b""
            head = query[:2] + b"\x81\x80" + struct.pack(">HHHH", 1, int(is_v4), 0, 0)
            self.transport.sendto(head + query[12:end] + record, address)

    async def start():
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
        return transport.get_extra_info("sockname")[1]

    with on_a_loop(start) as port:
        yield port, loss


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facemill", required=True, help="the program to measure")
    parser.add_argument("--demo-server", required=True, help="the web server, which misbehaves on demand")
    parser.add_argument("--out", required=True, help="folder with pictures/, for everything that is written")
    parser.add_argument("--urls", type=int, default=20000)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS) + "; all if none is named")
    args = parser.parse_args()
    wrong = set(args.parts) - set(PARTS)
    if wrong:
        parser.error(f"no such part: {', '.join(sorted(wrong))}")
    bench = Bench(args)
    for part in args.parts or PARTS:
        getattr(bench, part)()


if __name__ == "__main__":
    main()
