#!/usr/bin/env python3
"""Three nodes on loopback in one terminal: ./justw cluster [--fresh] [--directory DIR]

Makes certificates and a join token once, starts the nodes of cluster/three with prefixed logs, prints how to connect,
and drains them on Ctrl-C. Data, certificates and logs stay in the directory for the next start.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NODES = (1, 2, 3)
COLOURS = {1: "\033[36m", 2: "\033[35m", 3: "\033[33m"}
READY_SECONDS = 60
DRAIN_SECONDS = 30
# Each node prints on; together they print one line at a time.
OUTPUT = threading.Lock()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, default=ROOT / "target/fast/assize", help="the assize command")
    parser.add_argument("--directory", type=Path, default=ROOT / "target/cluster", help="where data, certificates and logs go")
    parser.add_argument("--fresh", action="store_true", help="forget the data of an earlier run")
    parser.add_argument("--quiet", action="store_true", help="logs go to files only")
    return parser.parse_args()


def use_colour():
    return sys.stderr.isatty() and "NO_COLOR" not in os.environ


def port(node, first):
    return first + 10 * (node - 1)


def make_certificates(binary, directory):
    """The authority, a certificate for each node and a join token; kept from run to run."""
    certificates = directory / "certs"
    if not (certificates / "ca.pem").exists():
        run(binary, "cert", "ca", "--dir", certificates)
    for node in NODES:
        if not (certificates / f"node-{node}.pem").exists():
            run(binary, "cert", "node", node, "--dir", certificates, "--host", "localhost", "--host", "127.0.0.1")
    if not (certificates / "join-token").exists():
        run(binary, "cert", "token", "--file", certificates / "join-token")


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"cluster: {' '.join(map(str, command))}: {done.stderr.strip()}")


def start(binary, directory, node):
    """One node. In a session of its own, so that the terminal's Ctrl-C reaches this script only."""
    return subprocess.Popen(
        [str(binary), "start", "--config", str(ROOT / f"cluster/three/node-{node}.toml")],
        cwd=directory,
        env={**os.environ, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def follow(node, process, directory, quiet):
    """Copies a node's log to its file and, prefixed, to the terminal."""
    colour, end = (COLOURS[node], "\033[0m") if use_colour() else ("", "")
    with open(directory / f"node-{node}.log", "ab", buffering=0) as log:
        for line in process.stdout:
            log.write(line)
            if not quiet:
                with OUTPUT:
                    sys.stderr.write(f"{colour}node-{node} |{end} {line.decode(errors='replace')}")
                    sys.stderr.flush()


def is_ready(node):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port(node, 7480)}/readyz", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def wait_ready(processes, stop):
    """What went wrong, if something did; nothing if all are ready or somebody pressed Ctrl-C."""
    deadline = time.monotonic() + READY_SECONDS
    waiting = set(NODES)
    while waiting and not stop.is_set():
        for node in sorted(waiting):
            if processes[node].poll() is not None:
                return f"node {node} ended with {processes[node].returncode}"
            if is_ready(node):
                waiting.discard(node)
        if waiting and time.monotonic() > deadline:
            return f"not ready after {READY_SECONDS} s: nodes {sorted(waiting)}"
        time.sleep(0.1)
    return None


def welcome(binary, directory):
    shown = os.path.relpath(binary)
    lines = ["", "three nodes are ready; every one of them takes connections:"]
    lines += [f"  mariadb -h 127.0.0.1 -P {port(node, 3406)} -u root" for node in NODES]
    lines += [
        f"or {shown} sql --url mysql://root@127.0.0.1:{port(2, 3406)}",
        f"   curl -s 'http://127.0.0.1:{port(1, 7480)}/readyz?verbose'",
        f"data, certificates and logs: {directory}",
        "kill -9 any one of them and go on; Ctrl-C drains all",
        "",
    ]
    with OUTPUT:
        print("\n".join(lines), flush=True)


def watch(processes, stop):
    """Until Ctrl-C. A node that somebody killed is no reason to end the others: they go on without it."""
    ended = set()
    while not stop.wait(0.2):
        for node, process in processes.items():
            if process.poll() is not None and node not in ended:
                ended.add(node)
                print(f"cluster: node {node} has ended ({process.returncode})", file=sys.stderr)
        if len(ended) == len(processes):
            return "all nodes have ended"
    return None


def drain(processes):
    """SIGTERM to each node by its pid, then patience, then force."""
    for process in processes.values():
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + DRAIN_SECONDS
    clean = True
    for node, process in processes.items():
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            print(f"cluster: node {node} did not end in {DRAIN_SECONDS} s and is killed", file=sys.stderr)
            process.kill()
            process.wait()
            clean = False
    return clean


def main():
    options = arguments()
    binary, directory = options.binary.resolve(), options.directory.resolve()
    if options.fresh:
        for node in NODES:
            shutil.rmtree(directory / f"node-{node}", ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    make_certificates(binary, directory)

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    processes = {node: start(binary, directory, node) for node in NODES}
    threads = [
        threading.Thread(target=follow, args=(node, process, directory, options.quiet))
        for node, process in processes.items()
    ]
    for thread in threads:
        thread.start()

    trouble = "interrupted"
    try:
        trouble = wait_ready(processes, stop)
        if trouble is None and not stop.is_set():
            welcome(binary, directory)
            trouble = watch(processes, stop)
    finally:
        clean = drain(processes)
        for thread in threads:
            thread.join()
    if trouble:
        sys.exit(f"cluster: {trouble}; the logs are in {directory}")
    sys.exit(0 if clean else 1)


if __name__ == "__main__":
    main()
