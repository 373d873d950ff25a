#!/usr/bin/env python3
"""Compiles the RocksDB that the workspace is pinned to into a static library: tools/rocksdb.py DIRECTORY

The sources and the list of them come with the crate librocksdb-sys, which would compile them too, but one by one: most of
its time goes into parsing the same headers and into instantiating the same templates 340 times. Here many source files are
compiled as one, which RocksDB's own `make unity_test` keeps possible. Sources that cannot be compiled together are compiled
alone. The flags are those of the crate's build script for Linux.

The library is written to DIRECTORY/librocksdb.a once it is whole. Environment: CXX, CXXFLAGS, AR as for make.
"""

import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# More of them make better use of many cores, fewer parse less.
UNITS = 16
# What a compiler takes for one of them.
UNIT_MEMORY = 1_300 << 20

DEFINES = [
    "LZ4=1",
    "NDEBUG=1",
    "HAVE_ALIGNED_NEW",
    "HAVE_UINT128_EXTENSION",
    "OS_LINUX",
    "ROCKSDB_PLATFORM_POSIX",
    "ROCKSDB_LIB_IO_POSIX",
    "ROCKSDB_SCHED_GETCPU_PRESENT",
    "ROCKSDB_AUXV_GETAUXVAL_PRESENT",
    "ROCKSDB_FALLOCATE_PRESENT",
    "ROCKSDB_RANGESYNC_PRESENT",
]
FLAGS = ["-std=c++20", "-O2", "-fPIC", "-ffunction-sections", "-fdata-sections", "-include", "cstdint", "-w"]
# Without these, checksums are computed by table.
X86_FLAGS = ["-msse4.2", "-mpclmul"]


def crate_directories():
    """Where cargo has unpacked the crates that the workspace depends on, by name."""
    command = [os.environ.get("CARGO", "cargo"), "metadata", "--format-version", "1", "--locked"]
    packages = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)["packages"]
    return {package["name"]: Path(package["manifest_path"]).parent for package in packages}


def sources_of(crate):
    """The source files of the library, in RocksDB's order."""
    listed = (crate / "rocksdb_lib_sources.txt").read_text().split()
    # The crate has one that is filled in.
    return [crate / "rocksdb" / name for name in listed if name != "util/build_version.cc"] + [crate / "build_version.cc"]


def units_of(sources, count):
    """Splits the sources into runs of neighbours, which include the same headers, of about the same size."""
    share = sum(source.stat().st_size for source in sources) / count
    units, begun = [[]], 0
    for source in sources:
        if begun >= share * len(units):
            units.append([])
        units[-1].append(source)
        begun += source.stat().st_size
    return units


def compilers_at_once():
    """One for each core, if there is memory for them."""
    with open("/proc/meminfo") as file:
        available = next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable:"))
    return max(1, min(len(os.sched_getaffinity(0)), available // UNIT_MEMORY))


class Compiler:
    """Compiles one unit after the other into objects in a directory."""

    def __init__(self, crates, directory):
        rocksdb = crates["librocksdb-sys"]
        includes = [rocksdb / "rocksdb/include", rocksdb / "rocksdb", rocksdb, crates["lz4-sys"] / "liblz4/lib"]
        self.directory = directory
        self.command = shlex.split(os.environ.get("CXX", "c++"))
        self.command += FLAGS + (X86_FLAGS if platform.machine() == "x86_64" else [])
        self.command += shlex.split(os.environ.get("CXXFLAGS", ""))
        self.command += [f"-D{define}" for define in DEFINES] + [f"-I{include}" for include in includes]

    def objects_of(self, number, unit):
        """The objects of a unit: one, or one for each of its sources if they do not go together."""
        begun = time.monotonic()
        text = "".join(f'#include "{source}"\n' for source in unit)
        together = self.compile(f"unit-{number}", text)
        if together.returncode == 0:
            objects = [self.object(f"unit-{number}")]
        else:
            print(together.stderr.strip().split("\n")[0], "-> compiled one by one", file=sys.stderr)
            objects = [self.alone(f"unit-{number}-{at}", source) for at, source in enumerate(unit)]
        print(f"rocksdb: piece {number + 1} of {UNITS}, {len(unit)} sources, {time.monotonic() - begun:.0f} s", file=sys.stderr)
        return objects

    def alone(self, name, source):
        done = self.compile(name, f'#include "{source}"\n')
        if done.returncode != 0:
            sys.exit(done.stderr)
        return self.object(name)

    def compile(self, name, text):
        file = self.directory / f"{name}.cc"
        file.write_text(text)
        return subprocess.run(self.command + ["-c", str(file), "-o", str(self.object(name))], stderr=subprocess.PIPE, text=True)

    def object(self, name):
        return self.directory / f"{name}.o"


def main():
    into = Path(sys.argv[1])
    into.mkdir(parents=True, exist_ok=True)
    crates = crate_directories()
    units = units_of(sources_of(crates["librocksdb-sys"]), UNITS)
    with tempfile.TemporaryDirectory(prefix="build-", dir=into) as scratch:
        compiler = Compiler(crates, Path(scratch))
        with ThreadPoolExecutor(compilers_at_once()) as pool:
            objects = [o for some in pool.map(compiler.objects_of, range(len(units)), units) for o in some]
        library = Path(scratch) / "librocksdb.a"
        subprocess.run([os.environ.get("AR", "ar"), "crs", str(library), *map(str, objects)], check=True)
        library.rename(into / "librocksdb.a")


main()
