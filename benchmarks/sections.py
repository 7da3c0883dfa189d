"""The command line of a benchmark that has sections."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from threadpoolctl import threadpool_limits


def run(
    parser: argparse.ArgumentParser,
    sections: Mapping[str, Callable[..., Any]],
    call: Callable[[str, argparse.Namespace], Any],
    by_default: Sequence[str] = (),
) -> None:
    """Call what is asked for, on one thread, each under its title: all sections, or those by default, if nothing is."""
    parser.add_argument("sections", nargs="*", metavar="section", help=f"of {', '.join(sections)}")
    options = parser.parse_args()
    unknown = set(options.sections) - set(sections)
    if unknown:
        parser.error(f"sections: {', '.join(sorted(unknown))} given, expected some of {', '.join(sections)}")
    with threadpool_limits(1):
        for name in options.sections or by_default or sections:
            print(f"\n## {name}: {(sections[name].__doc__ or '').strip()}", flush=True)
            call(name, options)
