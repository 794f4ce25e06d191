"""Keep freed memory, instead of returning it to the system after every operation."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_LARGEST_MMAP_THRESHOLD = 32 << 20  # the most that glibc accepts


def keep_memory() -> None:
    """Tell glibc to recycle buffers of up to 32 MiB; elsewhere do nothing.

    A network's activations are large and short-lived: left alone, glibc maps and unmaps each of them, and the page
    faults cost more than the arithmetic. To be called before torch is imported; it holds for the whole process, which
    is why the command line calls it and the library does not.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    mallopt(_M_TRIM_THRESHOLD, 1 << 30)
    mallopt(_M_TOP_PAD, 64 << 20)
