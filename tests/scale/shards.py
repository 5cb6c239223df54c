"""Checks `segment --shard` and `--resume`, and that the Job of deploy/kubernetes-job.yaml uses them rightly.

    pip install pillow pyyaml
    python tests/scale/shards.py PROGRAM [--images 60]

Any number of parts together must write what one run writes, each output once. There is no cluster here: the script does what
the Job's controller does with the manifest, and kills parts on the way.
"""

import argparse
import os
import pathlib
import signal
import sys
import tempfile

import yaml

from common import ROOT, SUFFIX, Run, Watch, check, contents, pictures, reference

MANIFEST = ROOT / "deploy/kubernetes-job.yaml"


def parts(program, images, output, expected, number):
    """Runs all parts one after the other. Without `--resume`, an output that two parts have is an error."""
    codes, sizes = [], []
    for part in range(number):
        before = len(contents(output, SUFFIX))
        options = ["--format", "mask", "--quiet", "--shard", f"{part}/{number}"]
        codes.append(Run([program, "segment", images, "-o", output, *options]).wait())
        sizes.append(len(contents(output, SUFFIX)) - before)
    check(sorted(codes) == [0] * (number - 1) + [1], f"{number} parts: one has the damaged image, all others end with 0")
    check(contents(output, SUFFIX) == expected, f"{number} parts of {sizes}: together they are the single run, byte by byte")


class Job:
    """The Job's controller: starts the container for an index."""

    def __init__(self, program, images, output):
        spec = yaml.safe_load(MANIFEST.read_text())["spec"]
        self.container, = spec["template"]["spec"]["containers"]
        self.completions, self.tries = spec["completions"], 1 + spec["backoffLimitPerIndex"]
        check(spec["completionMode"] == "Indexed", f"the Job has {self.completions} indexes, each tried {self.tries} times")
        folders = {mount["name"]: mount["mountPath"] for mount in self.container["volumeMounts"]}
        self.program, self.folders = program, {folders["images"]: str(images), folders["masks"]: str(output)}

    def start(self, index):
        return Run([self.program, *(self.expanded(argument, index) for argument in self.container["args"])])

    def expanded(self, argument, index):
        argument = argument.replace("$(JOB_COMPLETION_INDEX)", str(index))
        for inside, outside in self.folders.items():
            argument = argument.replace(inside, outside) if argument.endswith(inside) else argument
        return argument


def job(program, images, output, expected):
    """Each index by itself; one is killed, one is told to end, and both are tried again."""
    watch, controller = Watch(output, expected), Job(program, images, output)
    codes = {}
    for index in range(controller.completions):
        run, before = controller.start(index), len(contents(output, SUFFIX))
        if index in (1, 2):
            run.until(output, before + 1)
            os.kill(run.pid, signal.SIGKILL if index == 1 else signal.SIGTERM)
            ended = run.wait()
            there = len(contents(output, SUFFIX)) - before
            check(ended in (-signal.SIGKILL, 130), f"index {index} was ended with {there} outputs, by {ended}")
            run = controller.start(index)
        codes[index] = run.wait()
    failed = [index for index, code in codes.items() if code]
    check(len(failed) == 1 and codes[failed[0]] == 1, f"index {failed} has the damaged image, all others ended with 0")
    check(controller.start(failed[0]).wait() == 1, "it fails again when it is tried again")
    check(contents(output, SUFFIX) == expected, "the Job's outputs are those of the single run, byte by byte")
    check(watch.end() == 0, "no output was written twice")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path, help="the program candle-deeplab")
    parser.add_argument("--images", type=int, default=60, help="how many images")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        pictures(folder / "images", args.images)
        expected, _ = reference(args.program, folder / "images", folder / "single")
        for number in (1, 2, 3, 7):
            parts(args.program, folder / "images", folder / f"{number} parts", expected, number)
        job(args.program, folder / "images", folder / "job", expected)


if __name__ == "__main__":
    sys.exit(main())
