"""Prints what the extras of pyproject.toml need, one requirement a line, so that an image's layer holds only that.

Usage: python3 requirements.py EXTRA… > requirements.txt
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
for line in [
    *project["dependencies"],
    *(line for name in sys.argv[1:] for line in project["optional-dependencies"][name]),
]:
    sys.stdout.write(line + "\n")
