"""Relative paths: taken from the working directory of the service, once, as Parsec's quickstart and tests have them."""

from typing import Any

from cofferdam_config.host_facts import HostFacts
from cofferdam_config.report import Report
from cofferdam_config.schema import Document, Setting, Table
from cofferdam_config.source import Path
from cofferdam_contracts.folders import absolute


def complete(document: Document, facts: HostFacts, report: Report) -> Document:
    """Return a document whose paths are all absolute; warn of those that were not, and refuse what cannot be one."""
    return Document(
        {
            kind: tuple(_completed(table, facts.folder, report) for table in tables)
            for kind, tables in document.tables.items()
        }
    )


def _completed(table: Table, folder: str, report: Report) -> Table:
    values: dict[str, object] = {}
    for setting in table.settings:
        value = table.find(setting)
        if setting.kind.path_bytes and value is not None and value != setting.initial():
            values[setting.name] = _value(setting, value, table.at(setting), folder, report)
    return table.changed(values)


def _value(setting: Setting[Any], value: object, where: Path, folder: str, report: Report) -> object:
    if isinstance(value, str):
        return _path(value, setting.kind.path_bytes, where, folder, report)
    if isinstance(value, tuple):
        items = (
            _path(item, setting.kind.path_bytes, (*where, index), folder, report) for index, item in enumerate(value)
        )
        return tuple(item for item in items if item is not None)
    return value


def _path(text: str, most: int, where: Path, folder: str, report: Report) -> str | None:
    if text.startswith("/"):
        return text
    if not folder:
        report.refuse(where, "a relative path, and no working directory", "an absolute path")
        return None
    whole = absolute(folder, text)
    if len(whole.encode()) > most:
        report.refuse(
            where, f"a relative path in the working directory {folder}", f"at most {most} bytes for both together"
        )
        return None
    report.warn(where, f"relative, so it is taken from the working directory of the service, {folder}")
    return whole
