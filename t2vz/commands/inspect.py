"""`t2vz inspect`: what a checkpoint, a ControlNet, a LoRA or a VAE is, its sizes, what is missing or extra in it."""

import argparse
import json
import sys

from ..checkpoints import inspect
from ..errors import InputError

NAMED = 6  # of missing or extra tensors, before they are only counted
WIDTH = 88  # of a word of the header that is shown whole


def run(args: argparse.Namespace) -> None:
    """Report on each file; one that cannot be read is one line, and the others are reported all the same."""
    reports, unread = [], []
    for file in args.files:
        try:
            reports.append(inspect(file))
        except InputError as error:
            unread.append(str(error))
            reports.append({"path": file, "error": str(error)})
    if args.json:
        print(json.dumps(reports, indent=2, ensure_ascii=False))
    else:
        print("\n\n".join("\n".join(lines(report)) for report in reports if "error" not in report))
    for message in unread[:-1]:
        print(f"t2vz: {message}", file=sys.stderr)
    if unread:
        raise InputError(unread[-1])


def lines(report: dict) -> list[str]:
    """A report for people."""
    files = f" in {report['files']} files" if report["files"] > 1 else ""
    layout = "" if "lora" in report else f"{report['layout']} layout, "
    made = [
        f"{report['path']}: {report['what']}",
        f"  {layout}{_size(report['bytes'])}{files}, {report['tensors']} tensors, "
        f"{report['parameters']:,} numbers, {_dtypes(report['dtypes'])}",
    ]
    for part in report["parts"]:
        made += _part_lines(part)
    if "lora" in report:
        made += _lora_lines(report["lora"])
    if "groups" in report:
        made.append("  keys: " + ", ".join(f"{name}… ({count})" for name, count in report["groups"].items()))
    if report["strange"]:
        made.append(f"  of no network: {_some(report['strange'])}")
    if report["dropped"]:
        made.append(f"  passed over: {_some(report['dropped'])}")
    made += [f"  header: {key} = {_short(value)}" for key, value in report["metadata"].items()]
    return made + [f"  note: {note}" for note in report["notes"]]


def _part_lines(part: dict) -> list[str]:
    if part["problem"]:
        return [f"  {part['name']}: {part['problem']}"]
    counted = f"{part['parameters'] / 1e6:,.2f} M, {_dtypes(part['dtypes'])}; " if "parameters" in part else ""
    made = [f"  {part['name']}: {counted}{_sizes(part.get('sizes', {}))}"]
    faults = {word: part.get(word) for word in ("missing", "extra", "misshaped")}
    made += [f"    {word}: {_some(names)}" for word, names in faults.items() if names]
    if "missing" in part and not any(faults.values()):
        made[0] += "; complete"
    return made


def _lora_lines(lora: dict) -> list[str]:
    if lora["problem"]:
        return [f"  {lora['method']}: {lora['problem']}"]
    where = ", ".join(f"{count} in the {part}" for part, count in lora["modules"].items() if count)
    targets = ", ".join(f"{name} {count}" for name, count in lora["targets"].items())
    made = [
        f"  changes {sum(lora['modules'].values())} layers ({where}): {targets}",
        f"  rank {_counted(lora['ranks'])}; alpha/rank {_counted(lora['scales'])}; names after {lora['names']}",
    ]
    return made + [f"  made for {lora['made_for']}"] * bool(lora["made_for"])


def _counted(counts: dict) -> str:
    """{4: 30} -> "4"; {4: 30, 8: 2} -> "4 (30×), 8 (2×)"."""
    return ", ".join(f"{value}" if len(counts) == 1 else f"{value} ({count}×)" for value, count in counts.items())


def _sizes(sizes: dict) -> str:
    """block out channels 320, 640, 1280, 1280; heads 8; …: a list of equal numbers as one of them."""
    return "; ".join(f"{name.replace('_', ' ')} {_values(value)}" for name, value in sizes.items())


def _values(value) -> str:
    if isinstance(value, list):
        return ", ".join(map(_values, value[:1] if len(set(value)) == 1 else value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _dtypes(dtypes: dict) -> str:
    total = sum(dtypes.values()) or 1
    return ", ".join(name if len(dtypes) == 1 else f"{name} {count / total:.1%}" for name, count in dtypes.items())


def _size(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} bytes"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} ({', '.join(names[:NAMED])}{more})"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= WIDTH else f"{text[:WIDTH]} … ({len(text)} letters)"
