"""Prints the lowest versions that setup.cfg allows, as constraints of pip: ``python tests/lowest.py > constraints``."""

import configparser
from pathlib import Path

SETUP = Path(__file__).parent.parent / "setup.cfg"


def lowest() -> list[str]:
    """One line for each requirement with a lower bound. Torch is not among them: the Makefile pins it."""
    setup = configparser.ConfigParser()
    setup.read(SETUP, encoding="utf-8")
    extras = setup["options.extras_require"]
    names = ("cluster", "notebooks", "report", "test")
    texts = [setup["options"]["install_requires"], *(extras[name] for name in names)]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    return [line.replace(">=", "==") for line in lines if ">=" in line]


if __name__ == "__main__":
    print("\n".join(lowest()))
