"""YAML files as plain data, with the line that each field stands on.

Only what a scenario needs: one document of mappings, lists, strings, numbers, booleans and null. No anchors, no tags,
nothing that runs. Keys are always text, so that `on:` stays "on" (YAML 1.1 would read it as true).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from faultlab.errors import UsageError
from faultlab.validation import Where, shown

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_VALUES = 20_000
"""Lists, mappings, names and scalars: Python takes a minute for a MiB of them."""
MAX_NUMBER = 1000
"""Characters of a number; Python prints no integer of more than 4,300 digits, and reads such a one from any base."""
_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null")}

_NUMBERS = {f"tag:yaml.org,2002:{kind}" for kind in ("int", "float")}


@dataclass
class YamlFile:
    """`data`, and the line of each field and list item in it; lines count from 1. `name` is for messages."""

    name: str
    text: str
    data: Any = None
    lines: dict[Where, int] = field(default_factory=dict)

    def locate(self, where: Where) -> tuple[Where, int]:
        """The nearest place in the file, and its line: parts that no file has (a union's tag, say) are left out."""
        found: Where = ()
        for part in where:
            if (*found, part) in self.lines:
                found = (*found, part)
        return found, self.lines.get(found, 1)


def read_yaml(path: Path) -> YamlFile:
    """UsageError, one line with file and line number, for whatever is no such file."""
    return parse_yaml(_read(path), str(path))


def parse_yaml(text: str, name: str) -> YamlFile:
    """As `read_yaml`, of a text; `name` stands for the file's in messages."""
    file = YamlFile(name, text)
    try:
        loader = yaml.SafeLoader(text)
        _check_events(file)
        root = loader.get_single_node()
        if root is None:
            raise UsageError(f"{name}:1: the file is empty; expected fields, such as name: value")
        file.data = _Builder(file, loader).plain(root, ())
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UsageError(f"{name}:{line}: a character that YAML forbids ({error.character:#x}); remove it") from error
    except yaml.MarkedYAMLError as error:
        raise UsageError(f"{name}:{_line_of(error)}: not YAML: {_say(error)}") from error
    return file


def _read(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path}: not a file; expected a YAML file")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path}: can't be read ({why}); expected a YAML file") from error
    if len(raw) > MAX_BYTES:
        raise UsageError(f"{path}: larger than {MAX_BYTES >> 20} MiB; expected a YAML file of a few lines")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from error


def _check_events(file: YamlFile) -> None:
    """Depth, size, anchors and tags are refused before anything is built of them: small files can be huge inside."""
    depth = values = 0
    for event in yaml.parse(file.text, Loader=yaml.SafeLoader):
        at = f"{file.name}:{event.start_mark.line + 1 if event.start_mark else 1}"
        if getattr(event, "anchor", None) is not None:
            raise UsageError(f"{at}: anchors and aliases (&, *) are not supported; write the value out")
        if getattr(event, "tag", None) is not None:
            raise UsageError(f"{at}: tags (!) are not supported; write the plain value")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        values += isinstance(event, yaml.NodeEvent)
        if values > MAX_VALUES:
            raise UsageError(f"{at}: more than {MAX_VALUES:,} values in one file; expected a scenario's few")
        if depth > MAX_DEPTH:
            raise UsageError(f"{at}: nested deeper than {MAX_DEPTH} levels; expected a scenario's few")


class _Builder:
    """Builds the data of one file, and notes the lines."""

    def __init__(self, file: YamlFile, loader: yaml.SafeLoader) -> None:
        self._file = file
        self._loader = loader

    def plain(self, node: yaml.Node, where: Where) -> Any:
        self._file.lines.setdefault(where, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, where)
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, (*where, number)) for number, item in enumerate(node.value)]
        if node.tag not in _PLAIN:
            return str(node.value)
        at = f"{self._file.name}:{node.start_mark.line + 1}"
        if node.tag in _NUMBERS and len(node.value) > MAX_NUMBER:
            raise UsageError(f"{at}: a number that is too long; expected a shorter one")
        try:
            return self._loader.construct_object(node)
        except (
            ValueError,
            OverflowError,
        ) as error:  # YAML 1.1 takes `0x_` for a number, and `1:1:1.5` for one of base 60
            raise UsageError(f"{at}: found {shown(node.value)}, which is no number; put text into quotes") from error

    def _mapping(self, node: yaml.MappingNode, where: Where) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise UsageError(f"{self._file.name}:{line}: a field's name is a list or a mapping; expected a word")
            if key.value in data:
                first = self._file.lines[*where, key.value]
                raise UsageError(
                    f"{self._file.name}:{line}: {dotted((*where, key.value))}: stands here a second time "
                    f"(first on line {first}); expected it once; remove one"
                )
            self._file.lines[*where, key.value] = line
            data[key.value] = self.plain(value, (*where, key.value))
        return data


def dotted(where: Where) -> str:
    """`faults[0].loss`"""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where)
    return text.removeprefix(".")


def _line_of(error: yaml.MarkedYAMLError) -> int:
    mark = error.problem_mark or error.context_mark
    return mark.line + 1 if mark else 1


def _say(error: yaml.MarkedYAMLError) -> str:
    text = " ".join(filter(None, (error.problem, error.context)))
    fix = "indent with spaces, not tabs" if r"'\t'" in text else "mind quotes, colons and indentation"
    return f"{' '.join(text.split())}; {fix}"
