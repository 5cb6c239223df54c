"""`python -m candle_deeplab`: the program, with all its commands. `--help` lists them."""

import signal
import sys

from candle_deeplab import _native


def main() -> int:
    # Python's handler only notes that there was a Ctrl-C, and nobody looks at the note while native code runs. The program
    # has a handler of its own, unless whoever started it ignores the signal.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _native.run(["candle-deeplab", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
