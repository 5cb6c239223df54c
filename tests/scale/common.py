"""What the checks of the cluster engines share."""

import argparse
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from PIL import Image, ImageOps

ROOT = pathlib.Path(__file__).resolve().parents[2]
PHOTO = ROOT / "docs/pictures/photo.jpg"
CORES = len(os.sched_getaffinity(0))
# Seconds that a run may take.
PATIENCE = 1800
SUFFIX = ".mask.png"


def check(condition, what):
    if not condition:
        sys.exit(f"failed: {what}")
    print(f"ok: {what}", flush=True)


def pictures(folder, count):
    """Photographs of many sizes in three folders, two that only their extensions tell apart, and a damaged one."""
    photo = Image.open(PHOTO).convert("RGB")
    for i in range(count - 3):
        left, top = 7 * i % 120, 11 * i % 120
        picture = photo.crop((left, top, left + 300 + i % 83, top + 300 + i % 71))
        picture = ImageOps.mirror(picture) if i % 2 else picture
        file = folder / f"part {i % 3}" / f"{i:04}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture.save(file, quality=90)
    picture.save(folder / "same.jpg")
    picture.resize((200, 150)).save(folder / "same.png")
    (folder / "damaged.jpg").write_bytes((folder / "same.jpg").read_bytes()[:200])
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def contents(folder, suffix):
    """The outputs in a folder by their names; what is hidden is not finished."""
    files = [file for file in folder.rglob(f"*{suffix}") if not file.name.startswith(".")]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def rate(folder):
    """Images per second while all is under way: between the tenth part of the outputs and the last tenth."""
    times = sorted(file.stat().st_mtime for file in folder.rglob(f"*{SUFFIX}"))
    first, last = len(times) // 10, len(times) - 1 - len(times) // 10
    return (last - first) / (times[last] - times[first])


def children(pid):
    """The processes that a process has started, and those that these have started, with their command lines."""
    parents, lines = {}, {}
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parents[int(process.name)] = int(process.joinpath("stat").read_text().rsplit(") ", 1)[1].split()[1])
            lines[int(process.name)] = process.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, IndexError):
            continue
    found, grown = {pid}, True
    while grown:
        more = {child for child, parent in parents.items() if parent in found} - found
        grown = bool(more)
        found |= more
    return {child: lines[child] for child in found - {pid}}


def cpu(pid):
    """Clock ticks that a process has computed; -1 if there is no such process."""
    try:
        user, system = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[11:13]
        return int(user) + int(system)
    except OSError:
        return -1


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class Watch:
    """Looks at outputs while they come: which are replaced, and which are ever anything but the program's."""

    def __init__(self, folder, expected):
        self.folder, self.expected, self.seen, self.replaced, self.wrong = folder, expected, {}, set(), set()
        self.ends = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.ends.wait(0.05):
            self.look()

    def look(self):
        for file in self.folder.rglob(f"[!.]*{SUFFIX}"):
            found = file.stat()
            mark = found.st_ino, found.st_mtime_ns
            if self.seen.get(file) != mark:
                name = file.relative_to(self.folder).as_posix()
                self.replaced.update({name} if file in self.seen else {})
                self.wrong.update({name} if file.read_bytes() != self.expected.get(name) else {})
                self.seen[file] = mark

    def end(self):
        """How many outputs were written again."""
        self.ends.set()
        self.thread.join()
        self.look()
        check(not self.wrong, "no output was at any time anything but the program's")
        return len(self.replaced)


class Run:
    """A run of an example as a process."""

    def __init__(self, command):
        self.log = tempfile.TemporaryFile()
        self.start = time.perf_counter()
        self.process = subprocess.Popen([str(part) for part in command], stdout=self.log, stderr=subprocess.STDOUT)

    @property
    def pid(self):
        return self.process.pid

    def wait(self):
        """The exit code."""
        code = self.process.wait(PATIENCE)
        self.took = time.perf_counter() - self.start
        return code

    def text(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def number(self, pattern):
        """A number that the run has printed, or 0."""
        found = re.findall(rf"(\d+) {pattern}", self.text())
        return int(found[-1]) if found else 0

    def finished(self):
        """The damaged picture makes the exit code 1, as it does for the program."""
        code = self.wait()
        if code != 1:
            sys.exit(f"failed: the run ended with {code}:\n{self.text()[-6000:]}")
        return self

    def until(self, folder, count, suffix=SUFFIX):
        """Waits until so many outputs are there."""
        while sum(1 for _ in folder.rglob(f"[!.]*{suffix}")) < count:
            if self.process.poll() is not None:
                sys.exit(f"failed: the run was over too early to disturb it:\n{self.text()[-6000:]}")
            time.sleep(0.02)

    def kill(self):
        """Kills the process itself, without a chance to tell anybody. What it has started is left to itself."""
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait()


def busiest(workers):
    """The worker that computes the most at the moment, if one does."""
    before = {worker: cpu(worker) for worker in workers}
    time.sleep(0.5)
    working = {worker: cpu(worker) - ticks for worker, ticks in before.items()}
    worker = max(working, key=working.get, default=None)
    return worker if working.get(worker, 0) > 0 else None


class Memory:
    """The most memory that a process of some had while it was looked at. Pages that several share count in part."""

    def __init__(self, processes):
        self.processes, self.peak, self.ends = processes, 0, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.ends.wait(0.5):
            for pid in self.processes():
                try:
                    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                except OSError:
                    continue
                self.peak = max([self.peak, *(int(line.split()[1]) >> 10 for line in lines if line.startswith("Pss:"))])

    def end(self):
        """MiB."""
        self.ends.set()
        self.thread.join()
        return self.peak


class Checks:
    """The checks that all engines have in common.

    `command(images, output)` is how the example is started, and `is_worker` tells processes with models by their command
    lines. `root` is the process that these descend from, if not the example's own. `again` is how many outputs may be written
    a second time after a worker's death, with the same bytes.
    """

    def __init__(self, name, command, is_worker, root=None, again=0):
        self.name, self.command, self.is_worker, self.root, self.again = name, command, is_worker, root, again

    def of(self, images, expected):
        self.images, self.expected = images, expected

    def start(self, output):
        return Run(self.command(self.images, output))

    def workers(self, run):
        return {child for child, line in children(self.root or run.pid).items() if self.is_worker(line)}

    def equal(self, output, what):
        found = contents(output, SUFFIX)
        wrong = [name for name in self.expected if found.get(name) != self.expected[name]]
        check(set(found) == set(self.expected), f"{self.name}, {what}: {len(found)} outputs, each once and none besides")
        check(not wrong, f"{self.name}, {what}: all are equal to the program's byte by byte")

    def undisturbed(self, output):
        """Images per second, over all and while all is under way, and the memory of a worker in MiB."""
        run = self.start(output)
        memory = Memory(lambda: self.workers(run))
        run.finished()
        self.equal(output, "undisturbed")
        check(run.number("segmented") == len(self.expected), f"{self.name}: it says so")
        again = self.start(output).finished()
        nothing = again.number("of them already there") == len(self.expected) and again.number("segmented") == 0
        check(nothing, f"{self.name}: a second run computes nothing")
        return len(self.expected) / run.took, rate(output), memory.end()

    def worker_dies(self, output):
        watch, run = Watch(output, self.expected), self.start(output)
        run.until(output, len(self.expected) // 4)
        worker = busiest(self.workers(run))
        check(worker is not None, f"{self.name}: a worker computes, and is killed: process {worker}")
        os.kill(worker, signal.SIGKILL)
        there = len(contents(output, SUFFIX))
        run.finished()
        self.equal(output, f"a worker was killed at {there}")
        # Spark and Ray try again what the worker had, and the example for Daft plans again what is left.
        computed, left_out = run.number("segmented"), run.number("already there") + run.number("of them already there")
        check(computed + left_out == len(self.expected), f"{self.name}: {left_out} were left out when they were tried again")
        again = watch.end()
        check(again <= self.again, f"{self.name}, a worker died: {again} outputs were written twice")

    def driver_dies(self, output):
        watch, run = Watch(output, self.expected), self.start(output)
        run.until(output, len(self.expected) // 3)
        started, workers = children(run.pid), self.workers(run)
        run.kill()
        died = time.perf_counter()
        while any(map(is_alive, workers)):
            if time.perf_counter() - died > 60:
                sys.exit(f"failed: {self.name}: workers live for a minute after the driver's death")
            time.sleep(0.05)
        print(f"    its {len(workers)} workers ended {time.perf_counter() - died:.1f} s after it", flush=True)
        there = len(contents(output, SUFFIX))
        run = self.start(output).finished()
        for child in filter(is_alive, started):
            print(f"    left by the first driver: process {child}: {started[child][:90]}", flush=True)
        check(run.number("of them already there") == there, f"{self.name}, the driver was killed at {there}: that is seen")
        check(run.number("segmented") == len(self.expected) - there, f"{self.name}: only the rest is computed")
        self.equal(output, f"the driver was killed at {there}")
        check(watch.end() == 0, f"{self.name}, the driver died: no output was written twice")


def reference(program, images, output, formats="mask"):
    """What the program writes, and its rates and memory as `Checks.undisturbed` has them."""
    run = Run([program, "segment", images, "-o", output, "--format", formats, "--quiet"])
    memory = Memory(lambda: [run.pid])
    run.finished()
    found = contents(output, SUFFIX)
    return found, (len(found) / run.took, rate(output), memory.end())


def report(name, theirs, ours):
    """Prints medians of the rounds: the engine's and the program's rates and memory, and how the rates compare."""
    for which, what in enumerate(["with starting and ending", "while all is under way"]):
        engine, program = (statistics.median(round[which] for round in rounds) for rounds in (theirs, ours))
        print(f"{name}, {what}: {engine:.1f} images/s, `segment` {program:.1f}, ratio {engine / program:.2f} ({CORES} cores)")
    engine, program = (max(round[2] for round in rounds) for rounds in (theirs, ours))
    print(f"{name}, memory of a worker: {engine} MiB, of `segment` {program} MiB")


def main(doc, checks, more=None):
    """Runs the checks of an engine, and after them `more(folder, names)`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path, help="the program candle-deeplab")
    parser.add_argument("--images", type=int, default=500, help="how many images")
    parser.add_argument("--rounds", type=int, default=3, help="how often rates are measured, in turns with the program's")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        images = folder / "images"
        names = pictures(images, args.images)
        expected, _ = reference(args.program, images, folder / "program", "mask,rle")
        check(len(expected) == len(names) - 1, f"the program segments {len(expected)} images, and refuses the damaged one")
        checks.of(images, expected)
        ours, theirs = [], []
        for number in range(args.rounds):
            ours.append(reference(args.program, images, folder / f"program{number}")[1])
            theirs.append(checks.undisturbed(folder / f"undisturbed{number}"))
        checks.worker_dies(folder / "worker")
        checks.driver_dies(folder / "driver")
        if more:
            more(folder, names)
        report(checks.name, theirs, ours)
