"""Asks for a name and greets. Standard input and output are the connection, and standard error is the log."""

import sys

from wit_world import exports


class Run(exports.Run):
    def run(self) -> None:
        print("what is your name?", flush=True)
        name = sys.stdin.readline().strip()
        print(f"hello, {name}", flush=True)
