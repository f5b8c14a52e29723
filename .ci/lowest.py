"""The lowest versions that setup.cfg allows, one "name==version" a line: every >= of what t2vz needs to run.

python .ci/lowest.py > lowest.txt
"""

import configparser
import re
from pathlib import Path

setup = configparser.ConfigParser()
setup.read(Path(__file__).resolve().parent.parent / "setup.cfg")
extras = setup["options.extras_require"]
needed = [setup["options"]["install_requires"], *(extras[name] for name in ("control", "lab", "clip", "train"))]
for line in sorted({line for block in needed for line in block.split("\n") if ">=" in line}):
    name, version, marker = re.fullmatch(r"([\w-]+)>=([\w.]+)(;.*)?", line).groups()
    print(f"{name}=={version}{marker or ''}")
