"""Memory limits of the control groups that this process lives in (Linux, both versions)."""

from pathlib import Path

NO_LIMIT_BYTES = 1 << 60
"""Version 1 writes "no limit" as the largest multiple of a page; nothing real is that large."""


def memory_limit_bytes(root: Path = Path("/")) -> int | None:
    """Return the lowest limit on the way from this process's group to the top; None for none.

    `root` is where proc and sys are looked for.
    """
    limits = [
        limit
        for folder, name in _places(root)
        for level in (folder, *folder.parents)
        if level.is_relative_to(root / "sys/fs/cgroup")
        and (limit := _read(level / name)) is not None
    ]
    return min(limits, default=None)


def memory_used_bytes(root: Path = Path("/")) -> int | None:
    """Return what this process's group uses, without the page cache that can be dropped."""
    for folder, name in _places(root):
        current = "memory.current" if name == "memory.max" else "memory.usage_in_bytes"
        used = _read(folder / current)
        if used is not None:
            return max(0, used - _droppable(folder))
    return None


def _places(root: Path) -> list[tuple[Path, str]]:
    """Return the folders of this process's memory group, and the name of their limit file."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    top = root / "sys/fs/cgroup"
    places: list[tuple[Path, str]] = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        inner = path.strip("/")
        if number == "0" and not controllers:
            places.append((top / inner, "memory.max"))
            # In a container the path may be the host's, while only the top is to be seen.
            places.append((top, "memory.max"))
        elif "memory" in controllers.split(","):
            places.append((top / "memory" / inner, "memory.limit_in_bytes"))
            places.append((top / "memory", "memory.limit_in_bytes"))
    return places


def _read(path: Path) -> int | None:
    try:
        value = int(path.read_text())
    except (OSError, ValueError):  # absent, or "max"
        return None
    return value if 0 < value < NO_LIMIT_BYTES else None


def _droppable(folder: Path) -> int:
    try:
        for line in (folder / "memory.stat").read_text().splitlines():
            if line.startswith(("inactive_file ", "total_inactive_file ")):
                return int(line.split()[1])
    except (OSError, ValueError):
        return 0
    return 0
