#!/usr/bin/env python3
"""Writes the tables of 8-bit character sets and collations: tools/charsets.py SOCKET

They are asked of a running MariaDB or MySQL server, as root without a password, over its socket: the character behind each
byte, and the weight of each byte in each collation. Both are what columns, indexes and clients of those servers mean, and
index keys are made of the weights: a table that is there never changes, new ones go behind it.

The file is crates/values/src/collation/eight_bit.bin: for each character set 128 code points of two bytes for the bytes from
0x80 on (0: there is none), then for each collation 256 weights.
"""

import subprocess
import sys
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "crates/values/src/collation/eight_bit.bin"

# In the order of the tables; crates/values/src/collation/eight_bit.rs has the same.
CHARSETS = [
    "cp1250", "cp1251", "cp1256", "cp1257", "cp850", "cp852", "cp866", "greek", "hebrew", "koi8r", "koi8u", "latin2", "latin5",
    "latin7", "macce", "macroman",
]
COLLATIONS = [
    "cp1250_general_ci", "cp1250_croatian_ci", "cp1250_polish_ci", "cp1251_general_ci", "cp1251_general_cs", "cp1251_bulgarian_ci",
    "cp1251_ukrainian_ci", "cp1256_general_ci", "cp1257_general_ci", "cp1257_lithuanian_ci", "cp850_general_ci", "cp852_general_ci",
    "cp866_general_ci", "greek_general_ci", "hebrew_general_ci", "koi8r_general_ci", "koi8u_general_ci", "latin1_danish_ci",
    "latin1_spanish_ci", "latin2_general_ci", "latin2_croatian_ci", "latin2_hungarian_ci", "latin5_turkish_ci", "latin7_general_ci",
    "latin7_general_cs", "latin7_estonian_cs", "macce_general_ci", "macroman_general_ci",
]


def ask(socket, columns):
    """One row of hexadecimal values."""
    command = ["mariadb", "--no-defaults", "-uroot", "-S", socket, "-N", "-B", "-e", "SELECT " + ", ".join(columns)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.rstrip("\n").split("\t")


def main(socket):
    out = bytearray()
    for charset in CHARSETS:
        codes = ask(socket, [f"HEX(CONVERT(_{charset} x'{byte:02x}' USING utf16))" for byte in range(0x80, 0x100)])
        for code in codes:
            # What has no character is converted to a question mark.
            out += bytes.fromhex("0000" if code == "003F" else code)
    for collation in COLLATIONS:
        charset = collation.split("_")[0]
        weights = ask(socket, [f"HEX(WEIGHT_STRING(_{charset} x'{byte:02x}' COLLATE {collation}))" for byte in range(0x100)])
        table = bytes.fromhex("".join(weights))
        if len(table) != 256:
            sys.exit(f"{collation} has weights of another length than one byte")
        out += table
    OUT.write_bytes(out)
    print(f"{OUT.name}: {len(CHARSETS)} character sets, {len(COLLATIONS)} collations, {len(out)} bytes")


main(*sys.argv[1:])
